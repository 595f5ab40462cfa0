"""An answer under way, and the bytes of its next tokens. Pure."""

from __future__ import annotations

from typing import Protocol

import msgspec

from inferometer.simulator import events
from inferometer.simulator.bodies import Ask
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


class Stream(msgspec.Struct, eq=False):
    """One answer under way. ``texts`` are the pieces to send, one per token; ``fault`` is the kind that struck it."""

    wire: Wire
    ask: Ask
    answer: Answer
    identity: events.Identity
    log_id: str
    parts: events.Template
    texts: list[bytes]
    last_ns: int = 0
    due_ns: list[int] = []
    written_ns: list[int] = []
    fault: str | None = None


def new_stream(wire: Wire, ask: Ask, answer: Answer, identity: events.Identity, log_id: str) -> Stream:
    """An answer of which nothing was sent yet."""
    texts = [_SPACED[word] for word in answer.words]
    texts[0] = texts[0][1:]
    return Stream(wire, ask, answer, identity, log_id, events.template(identity, answer.finish_reason), texts)


def usage(progress: Progress) -> dict[str, object]:
    """The usage object of what was generated so far."""
    return events.usage(progress.request.prompt_tokens, progress.generated, progress.cached_tokens)


def next_events(stream: Stream, progress: Progress, begin: int, end: int, last: bool) -> bytes:
    """The bytes for the tokens from ``begin`` to ``end``: usually one event, more at either end of the stream."""
    ask, parts = stream.ask, stream.parts
    text = stream.texts[begin] if end - begin == 1 else b"".join(stream.texts[begin:end])
    field = events.usage_field(usage(progress)) if ask.continuous_usage else b""
    data = events.token_event(parts, text, last, field)
    if begin == 0 and ask.chat:
        zero = events.usage(progress.request.prompt_tokens, 0, progress.cached_tokens)
        data = events.role_event(parts, events.usage_field(zero) if ask.continuous_usage else b"") + data
    if last:
        data += (events.usage_event(parts, usage(progress)) if ask.include_usage else b"") + events.DONE
    return data


def whole_answer(stream: Stream, progress: Progress) -> bytes:
    """The body of an answer that is not streamed."""
    text = b"".join(stream.texts).decode()
    return events.whole_answer(stream.identity, text, stream.answer.finish_reason, usage(progress))
