"""Ollama's own APIs, as the simulator speaks them: what is asked, and the lines of the answer. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from inferometer.simulator import events
from inferometer.simulator.bodies import (
    EFFORTS,
    Ask,
    Common,
    Limit,
    Message,
    Served,
    ask_of,
    chat_ids,
    decode,
    reasoning,
)
from inferometer.simulator.model import Progress
from inferometer.simulator.streams import Dialect, Stream, texts
from inferometer.simulator.tokens import tokenize

_HEAD = events.STREAM_HEAD.replace(b"text/event-stream; charset=utf-8", b"application/x-ndjson")
#: When every answer was made; nobody reads it.
_CREATED = "2026-01-01T00:00:00Z"
#: How much of an answer is thinking, if nobody says how hard to think.
_THINKING = 0.5


class _Options(msgspec.Struct, frozen=True):
    num_predict: Limit | None = None


class _Common(msgspec.Struct, frozen=True, kw_only=True):
    model: str | None = None
    stream: bool = True
    options: _Options = _Options()
    think: bool | str = False


class _ChatBody(_Common, frozen=True, kw_only=True):
    """POST /api/chat."""

    messages: Annotated[list[Message], Meta(min_length=1)]


class _GenerateBody(_Common, frozen=True, kw_only=True):
    """POST /api/generate."""

    prompt: str


def _read_chat(body: bytes, served: Served) -> Ask:
    asked = decode(body, _ChatBody)
    limit = asked.options.num_predict
    ask = ask_of(_common(asked), True, lambda: chat_ids(asked.messages), limit, served)
    return reasoning(ask, _share(asked.think))


def _read_generate(body: bytes, served: Served) -> Ask:
    asked = decode(body, _GenerateBody)
    limit = asked.options.num_predict
    ask = ask_of(_common(asked), False, lambda: tokenize(asked.prompt), limit, served)
    return reasoning(ask, _share(asked.think))


def _common(asked: _Common) -> Common:
    return Common(model=asked.model, stream=asked.stream)


def _share(think: bool | str) -> float:
    return EFFORTS.get(think, 0.0) if isinstance(think, str) else _THINKING * think


def _following(stream: Stream, progress: Progress, begin: int, end: int, last: bool) -> bytes:
    lines = [_said(stream, text, reasons) | {"done": False} for text, reasons in texts(stream, begin, end)]
    if last:
        lines.append(_said(stream, "", False) | _end(stream, progress))
    data = b"".join(events.chunk(msgspec.json.encode(line) + b"\n") for line in lines)
    return data + (events.LAST_CHUNK if last else b"")


def _said(stream: Stream, text: str, reasons: bool) -> dict[str, object]:
    start: dict[str, object] = {"model": stream.identity.model, "created_at": _CREATED}
    if stream.ask.chat:
        return start | {"message": {"role": "assistant", "content": ""} | {_field(stream, reasons): text}}
    return start | {"response": ""} | {_field(stream, reasons): text}


def _field(stream: Stream, reasons: bool) -> str:
    return "thinking" if reasons else "content" if stream.ask.chat else "response"


def _end(stream: Stream, progress: Progress) -> dict[str, object]:
    return {
        "done": True,
        "done_reason": stream.answer.finish_reason,
        "prompt_eval_count": progress.request.prompt_tokens,
        "eval_count": progress.generated,
    }


def _whole(stream: Stream, progress: Progress) -> bytes:
    said = {_field(stream, reasons): text for text, reasons in texts(stream, 0, len(stream.texts))}
    answer = {"message": {"role": "assistant", **said}} if stream.ask.chat else said
    return msgspec.json.encode(_said(stream, "", False) | answer | _end(stream, progress))


CHAT = Dialect(events.named("chat-"), _read_chat, _following, _whole, _HEAD)
GENERATE = Dialect(events.named("generate-"), _read_generate, _following, _whole, _HEAD)
