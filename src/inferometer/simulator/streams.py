"""An answer under way, and the bytes of its next tokens. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import msgspec

from inferometer.simulator import events
from inferometer.simulator.bodies import Ask, Served
from inferometer.simulator.model import Progress
from inferometer.simulator.tokens import WORDS, Answer

_SPACED = {word: b" " + word.encode() for word in WORDS}


class Wire(Protocol):
    """Where an answer goes: its connection, or what stands in for it when the answer goes wrong."""

    def send(self, data: bytes) -> None:
        """Write a piece of a streamed answer."""

    def respond(self, status: int, body: bytes) -> None:
        """Write a whole answer."""

    def end(self) -> None:
        """The streamed answer is complete."""


class Dialect(NamedTuple):
    """How one API is spoken.

    ``read`` checks a body. ``head`` begins a streamed answer, ``following(stream, progress, begin, end, last)`` are
    the bytes for the tokens from ``begin`` to ``end``; ``whole`` is the body of an answer that is not streamed.
    """

    shape: events.Shape
    read: Callable[[bytes, Served], Ask]
    following: Callable[[Stream, Progress, int, int, bool], bytes]
    whole: Callable[[Stream, Progress], bytes]
    head: bytes = events.STREAM_HEAD


class Stream(msgspec.Struct, eq=False):
    """One answer under way. ``texts`` are the pieces to send, one per token; ``fault`` is the kind that struck it.

    The first ``reasoning_tokens`` of them are reasoning.
    """

    wire: Wire
    dialect: Dialect
    ask: Ask
    answer: Answer
    identity: events.Identity
    log_id: str
    parts: events.Template
    texts: list[bytes]
    reasoning_tokens: int = 0
    last_ns: int = 0
    due_ns: list[int] = []
    written_ns: list[int] = []
    fault: str | None = None


def new_stream(
    wire: Wire, dialect: Dialect, said: tuple[Ask, Answer], identity: events.Identity, log_id: str
) -> Stream:
    """An answer of which nothing was sent yet."""
    ask, answer = said
    texts = [_SPACED[word] for word in answer.words]
    reasoning_tokens = int(ask.reasoning_share * len(texts))
    for first in {0, reasoning_tokens}:
        texts[first] = texts[first][1:]
    parts = events.template(identity, answer.finish_reason)
    return Stream(wire, dialect, ask, answer, identity, log_id, parts, texts, reasoning_tokens)


def usage(stream: Stream, progress: Progress) -> dict[str, object]:
    """The usage object of what was generated so far."""
    reasoning_tokens = min(stream.reasoning_tokens, progress.generated)
    return events.usage(progress.request.prompt_tokens, progress.generated, progress.cached_tokens, reasoning_tokens)


def texts(stream: Stream, begin: int, end: int) -> list[tuple[str, bool]]:
    """The text of the tokens from ``begin`` to ``end``, and whether it is reasoning; two where that ends in between."""
    border = min(max(stream.reasoning_tokens, begin), end)
    parts = ((begin, border, True), (border, end, False))
    return [(b"".join(stream.texts[first:after]).decode(), reasons) for first, after, reasons in parts if first < after]


def next_events(stream: Stream, progress: Progress, begin: int, end: int, last: bool) -> bytes:
    """The bytes for the tokens from ``begin`` to ``end``: usually one event, more at either end of the stream."""
    ask, parts = stream.ask, stream.parts
    field = events.usage_field(usage(stream, progress)) if ask.continuous_usage else b""
    if begin < stream.reasoning_tokens:
        data = _reasoned(stream, begin, end, last, field)
    else:
        text = stream.texts[begin] if end - begin == 1 else b"".join(stream.texts[begin:end])
        data = events.token_event(parts, text, last, field)
    if begin == 0 and ask.chat:
        zero = events.usage(progress.request.prompt_tokens, 0, progress.cached_tokens)
        data = events.role_event(parts, events.usage_field(zero) if ask.continuous_usage else b"") + data
    if last:
        data += (events.usage_event(parts, usage(stream, progress)) if ask.include_usage else b"") + events.DONE
    return data


def _reasoned(stream: Stream, begin: int, end: int, last: bool, field: bytes) -> bytes:
    """Reasoning, and behind it what is part of the answer already."""
    data = b""
    for text, reasons in texts(stream, begin, end):
        parts = events.thinking(stream.parts) if reasons else stream.parts
        data += events.token_event(parts, text.encode(), last and not reasons, field)
    return data


def whole_answer(stream: Stream, progress: Progress) -> bytes:
    """The body of an answer that is not streamed."""
    said = {reasons: text for text, reasons in texts(stream, 0, len(stream.texts))}
    counts = usage(stream, progress)
    return events.whole_answer(stream.identity, said[False], stream.answer.finish_reason, counts, said.get(True, ""))
