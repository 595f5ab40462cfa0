"""What all APIs share: bodies that are merged, what is kept of an answer, how events are decoded, how errors look."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import msgspec

Body = dict[str, Any]

#: The last event of many streams.
DONE = b"[DONE]"

#: A number of tokens; anything else makes the event malformed.
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]

T = TypeVar("T", bound=msgspec.Struct)


class Answer(msgspec.Struct, gc=False):
    """What one stream said. ``token_events`` are positions of events that carry text; ``tokens`` theirs, if told.

    ``malformed`` says what cannot be read; ``unreadable`` is the position of the first such event. The first
    ``reasoning_events`` of the token events carry nothing but reasoning.
    """

    token_events: list[int] = msgspec.field(default_factory=list)
    reasoning_events: int = 0
    tokens: list[int] | None = None
    finish_reason: str | None = None
    model: str | None = None
    error: str | None = None
    malformed: str | None = None
    unreadable: int | None = None
    done: bool = False
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


class Decoder(NamedTuple, Generic[T]):
    """Of JSON into one kind of event: a list of them, one alone, and what stands for one that cannot be read."""

    several: Callable[[bytes], list[T]]
    one: Callable[[bytes], T]
    empty: Callable[[], T]


def merged(body: Body, more: Body) -> Body:
    """A body with more in it, which wins. Objects in both are merged: an option leaves those beside it alone."""
    inner = {
        key: merged(body[key], value)
        for key, value in more.items()
        if isinstance(value, dict) and isinstance(body.get(key), dict)
    }
    return body | more | inner


def decoder(kind: type[T]) -> Decoder[T]:
    """``one`` takes 12.0 for 12: some gateways count in floats."""
    several = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
    return Decoder(several.decode, msgspec.json.Decoder(kind, strict=False).decode, kind)


#: What servers can do to a JSON decoder: bad JSON, bad UTF-8, endless nesting.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
#: Half a character outside the BMP: gateways that count in UTF-16 split there. Legal JSON (RFC 8259, 8.2).
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
#: Codes of answers that are no errors.
_FINE = (None, "", 0, "0", 200, "200")


def without_done(data: list[bytes]) -> list[bytes]:
    """The payloads without the ``[DONE]`` that some gateways put behind the streams of all APIs."""
    return data[:-1] if data[-1:] == [DONE] else data


def decode(by: Decoder[T], data: list[bytes], answer: Answer) -> list[T]:
    """One call for the whole stream; one by one only if that fails, to keep what is well formed and name the rest."""
    try:
        events = by.several(b"[" + b",".join(data) + b"]")
    except UNREADABLE:
        events = []
    return events if len(events) == len(data) else _decode_each(by, data, answer)


def _decode_each(by: Decoder[T], data: list[bytes], answer: Answer) -> list[T]:
    events: list[T] = []
    for payload in data:
        text = payload.strip()
        if text == DONE:
            answer.done = True
            break
        if not text:  # a sign of life that some gateways send
            events.append(by.empty())
            continue
        try:
            events.append(by.one(_SURROGATE.sub(rb"\\ufffd", text)))
        except UNREADABLE as error:
            if answer.malformed is None:
                answer.malformed = f"an event of {len(payload)} bytes cannot be read: {error}"
                answer.unreadable = len(events)
            events.append(by.empty())
    return events


def call_text(name: object, arguments: object) -> str:
    """The call of a tool as text: its name, its arguments as JSON. Streams bring both in parts."""
    said = (name, arguments if isinstance(arguments, str) or not arguments else msgspec.json.encode(arguments).decode())
    return "".join(part for part in said if isinstance(part, str))


def leading(reasoning: Sequence[bool]) -> int:
    """How many are true before the first that is not: of token events, those with nothing but reasoning."""
    return next((number for number, only in enumerate(reasoning) if not only), len(reasoning))


def error_in(said: dict[str, Any], *, marked: bool = False) -> str | None:
    """What an event or a document says if it is an error, or is ``marked`` as one; None if it is none or says nothing.

    An error is an ``error`` (an object, a string), a ``detail``, ``"object": "error"``, or a ``code`` and no answer.
    """
    if said.get("error"):
        return message_of(said["error"])
    code = said.get("code")
    told = next((said[key] for key in ("message", "msg", "detail") if said.get(key)), None)
    text = message_of(told) if told else f"code {message_of(code)}" if code else None
    if marked or said.get("object") == "error":
        return text
    answers = said.get("choices") or said.get("usage")
    return text if not answers and (said.get("detail") or code not in _FINE) else None


def message_of(error: object) -> str:
    """The human part of an error of any shape, at most 500 characters."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    if isinstance(error, str):
        return error[:500]
    try:
        return msgspec.json.encode(error).decode()[:500]
    except RecursionError:
        return "an error too deep to be shown"
