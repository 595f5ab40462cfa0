"""vLLM's ``/inference/v1/generate``, as the simulator speaks it: token ids in, token ids out. Pure."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from inferometer.simulator import events
from inferometer.simulator.bodies import (
    COMPLETION_TOKENS,
    Ask,
    Common,
    Limit,
    Served,
    StreamOptions,
    TokenId,
    ask_of,
    decode,
)
from inferometer.simulator.model import Progress
from inferometer.simulator.streams import Dialect, Stream, usage
from inferometer.simulator.tokens import tokenize


class _Sampling(msgspec.Struct, frozen=True, kw_only=True):
    max_tokens: Limit | None = None
    min_tokens: Annotated[int, Meta(ge=0)] = 0
    ignore_eos: bool = False


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """POST /inference/v1/generate."""

    token_ids: Annotated[list[TokenId], Meta(min_length=1)]
    sampling_params: _Sampling
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


def _read(body: bytes, served: Served) -> Ask:
    asked = decode(body, _Body)
    sampling = asked.sampling_params
    common = Common(
        model=asked.model,
        stream=asked.stream,
        stream_options=asked.stream_options,
        min_tokens=sampling.min_tokens,
        ignore_eos=sampling.ignore_eos,
    )
    return ask_of(common, False, lambda: asked.token_ids, sampling.max_tokens or COMPLETION_TOKENS, served)


def _following(stream: Stream, progress: Progress, begin: int, end: int, last: bool) -> bytes:
    said = _answer(stream, begin, end, stream.answer.finish_reason if last else None)
    if stream.ask.continuous_usage:
        said["usage"] = usage(stream, progress)
    data = _event(said)
    if last and stream.ask.include_usage:
        data += _event(_answer(stream, end, end, None) | {"choices": [], "usage": usage(stream, progress)})
    return data + (events.DONE if last else b"")


def _event(content: dict[str, object]) -> bytes:
    return events.chunk(b"data: " + msgspec.json.encode(content) + b"\n\n")


def _answer(stream: Stream, begin: int, end: int, finish_reason: str | None) -> dict[str, object]:
    ids = [tokenize(word)[0] for word in stream.answer.words[begin:end]]
    choice = {"index": 0, "finish_reason": finish_reason, "stop_reason": None, "token_ids": ids, "logprobs": None}
    return {"request_id": stream.identity.request_id, "output_mode": "tokens", "choices": [choice]}


def _whole(stream: Stream, progress: Progress) -> bytes:
    said = _answer(stream, 0, len(stream.texts), stream.answer.finish_reason)
    return msgspec.json.encode(said | {"model": stream.identity.model, "usage": usage(stream, progress)})


DIALECT = Dialect(events.named("generate-"), _read, _following, _whole)
