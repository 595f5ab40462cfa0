"""OpenAI's responses, as the simulator speaks them: what is asked, and the events of the answer. Pure."""

from __future__ import annotations

import msgspec

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

_KINDS = {True: "reasoning_text", False: "output_text"}


class _Reasoning(msgspec.Struct, frozen=True):
    effort: str | None = None


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/responses."""

    model: str | None = None
    input: str | list[Message]
    max_output_tokens: Limit | None = None
    stream: bool | None = None
    ignore_eos: bool = False
    reasoning: _Reasoning | None = None


def _read(body: bytes, served: Served) -> Ask:
    asked = decode(body, _Body)
    messages = [Message("user", asked.input)] if isinstance(asked.input, str) else asked.input
    share = EFFORTS.get((asked.reasoning or _Reasoning()).effort, 0.0)
    common = Common(model=asked.model, stream=asked.stream, ignore_eos=asked.ignore_eos)
    ask = ask_of(common, True, lambda: chat_ids(messages), asked.max_output_tokens, served)
    return reasoning(ask, share)


def _following(stream: Stream, progress: Progress, begin: int, end: int, last: bool) -> bytes:
    data = b""
    if begin == 0:
        about: dict[str, object] = {"response": _response(stream) | {"status": "in_progress"}}
        data += events.event("response.created", about) + events.event("response.in_progress", about)
        item = {"type": "message", "role": "assistant", "status": "in_progress", "content": []}
        data += events.event("response.output_item.added", {"output_index": 0, "item": item})
    for text, reasons in texts(stream, begin, end):
        data += events.event(f"response.{_KINDS[reasons]}.delta", {"output_index": 0, "delta": text})
    return data + (_end(stream, progress) if last else b"")


def _end(stream: Stream, progress: Progress) -> bytes:
    said = texts(stream, 0, len(stream.texts))[-1][0]
    done = events.event("response.output_text.done", {"output_index": 0, "text": said})
    response = _ended(stream, progress)
    return done + events.event(f"response.{response['status']}", {"response": response}) + events.LAST_CHUNK


def _response(stream: Stream) -> dict[str, object]:
    identity = stream.identity
    return {
        "id": identity.request_id,
        "object": "response",
        "created_at": identity.created_s,
        "model": identity.model,
    }


def _ended(stream: Stream, progress: Progress) -> dict[str, object]:
    full = stream.answer.finish_reason == "length"
    content = [{"type": _KINDS[reasons], "text": text} for text, reasons in texts(stream, 0, len(stream.texts))]
    prompt_tokens = progress.request.prompt_tokens
    return _response(stream) | {
        "status": "incomplete" if full else "completed",
        "incomplete_details": {"reason": "max_output_tokens"} if full else None,
        "output": [{"type": "message", "role": "assistant", "content": content}],
        "usage": {
            "input_tokens": prompt_tokens,
            "input_tokens_details": {"cached_tokens": progress.cached_tokens},
            "output_tokens": progress.generated,
            "output_tokens_details": {"reasoning_tokens": stream.reasoning_tokens},
            "total_tokens": prompt_tokens + progress.generated,
        },
    }


def _whole(stream: Stream, progress: Progress) -> bytes:
    return msgspec.json.encode(_ended(stream, progress))


DIALECT = Dialect(events.named("resp_"), _read, _following, _whole)
