"""Anthropic's messages, as the simulator speaks them: what is asked, and the events of the answer. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from inferometer.simulator import events
from inferometer.simulator.bodies import Ask, Common, Limit, Message, Part, Served, ask_of, chat_ids, decode, reasoning
from inferometer.simulator.model import Progress
from inferometer.simulator.streams import Dialect, Stream, texts

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens"}
#: How much of an answer is thinking, if it is asked for.
_THINKING = 0.5


class _Thinking(msgspec.Struct, frozen=True):
    type: str = "disabled"


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/messages."""

    model: str | None = None
    messages: Annotated[list[Message], Meta(min_length=1)]
    max_tokens: Limit
    stream: bool | None = None
    system: str | list[Part] | None = None
    thinking: _Thinking = _Thinking()


def _read(body: bytes, served: Served) -> Ask:
    asked = decode(body, _Body)
    system = [Message("system", asked.system)] if asked.system is not None else []
    share = 0.0 if asked.thinking.type == "disabled" else _THINKING
    common = Common(model=asked.model, stream=asked.stream)
    ask = ask_of(common, True, lambda: chat_ids([*system, *asked.messages]), asked.max_tokens, served)
    return reasoning(ask, share)


def _following(stream: Stream, progress: Progress, begin: int, end: int, last: bool) -> bytes:
    data = _start(stream, progress) if begin == 0 else b""
    for text, reasons in texts(stream, begin, end):
        index = int(stream.reasoning_tokens > 0 and not reasons)
        if index and begin <= stream.reasoning_tokens < end:
            data += _stop_block(0) + _start_block(1, "text")
        delta = {"type": "thinking_delta", "thinking": text} if reasons else {"type": "text_delta", "text": text}
        data += events.event("content_block_delta", {"index": index, "delta": delta})
    return data + (_end(stream, progress) if last else b"")


def _start(stream: Stream, progress: Progress) -> bytes:
    usage = _usage(progress) | {"output_tokens": 0}
    message = _message(stream) | {"content": [], "stop_reason": None, "usage": usage}
    kind = "thinking" if stream.reasoning_tokens else "text"
    return events.event("message_start", {"message": message}) + _start_block(0, kind)


def _start_block(index: int, kind: str) -> bytes:
    return events.event("content_block_start", {"index": index, "content_block": {"type": kind, kind: ""}})


def _stop_block(index: int) -> bytes:
    return events.event("content_block_stop", {"index": index})


def _end(stream: Stream, progress: Progress) -> bytes:
    delta = {"stop_reason": _STOP_REASONS[stream.answer.finish_reason], "stop_sequence": None}
    return (
        _stop_block(int(stream.reasoning_tokens > 0))
        + events.event("message_delta", {"delta": delta, "usage": {"output_tokens": progress.generated}})
        + events.event("message_stop", {})
        + events.LAST_CHUNK
    )


def _message(stream: Stream) -> dict[str, object]:
    identity = stream.identity
    return {"id": identity.request_id, "type": "message", "role": "assistant", "model": identity.model}


def _usage(progress: Progress) -> dict[str, object]:
    """What was read from the cache is no part of ``input_tokens``."""
    cached = progress.cached_tokens
    return {
        "input_tokens": progress.request.prompt_tokens - cached,
        "cache_read_input_tokens": cached,
        "output_tokens": progress.generated,
    }


def _whole(stream: Stream, progress: Progress) -> bytes:
    kinds = {True: "thinking", False: "text"}
    content = [{"type": kinds[reasons], kinds[reasons]: text} for text, reasons in texts(stream, 0, len(stream.texts))]
    stop_reason = _STOP_REASONS[stream.answer.finish_reason]
    return msgspec.json.encode(
        _message(stream) | {"content": content, "stop_reason": stop_reason, "usage": _usage(progress)}
    )


DIALECT = Dialect(events.named("msg_"), _read, _following, _whole)
