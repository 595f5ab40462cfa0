"""vLLM's ``/inference/v1/generate``: token ids in, token ids out, no tokenizer on the way."""

from __future__ import annotations

from typing import Any

import msgspec

from inferometer.client.answers import DONE, Answer, Body, decode, decoder, error_in
from inferometer.client.openai import FAILED, Usage, take_usage
from inferometer.errors import UserError
from inferometer.workload.asks import Ask


class _Choice(msgspec.Struct, gc=False):
    token_ids: list[int] | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Usage | None = None
    error: Any = None
    detail: Any = None
    object: str | None = None
    message: Any = None
    code: Any = None


_CHUNKS = decoder(_Chunk)


def read(data: list[bytes], _names: list[bytes] | None) -> Answer:
    """What a stream of ids says; each event tells its own number of tokens."""
    answer = Answer()
    if data[-1:] == [DONE]:
        data, answer.done = data[:-1], True
    chunks = decode(_CHUNKS, data, answer) if data else []
    sizes = [sum(len(choice.token_ids or ()) for choice in chunk.choices or ()) for chunk in chunks]
    answer.token_events = [position for position, size in enumerate(sizes) if size]
    answer.tokens = [sizes[position] for position in answer.token_events] or None
    reasons = (choice.finish_reason for chunk in reversed(chunks) for choice in chunk.choices or ())
    answer.finish_reason = next((reason for reason in reasons if reason is not None), None)
    answer.error = next(filter(None, (_error(chunk) for chunk in chunks)), None)
    if answer.error is None and answer.finish_reason in FAILED:
        answer.error = f"the server ended the stream with finish_reason {answer.finish_reason!r}"
    usage = next((chunk.usage for chunk in reversed(chunks) if chunk.usage is not None), None)
    if usage is not None:
        take_usage(usage, answer)
    elif answer.tokens:
        answer.output_tokens = sum(answer.tokens)
    return answer


def _error(chunk: _Chunk) -> str | None:
    return None if chunk.choices else error_in(msgspec.structs.asdict(chunk))


def text(_data: list[bytes]) -> str:
    """Ids are no text."""
    return ""


def write(model: str, ask: Ask) -> Body:
    """Ids, streamed, with usage. Raises ``UserError`` for a prompt that is not made of ids."""
    if not (isinstance(ask.prompt, list) and all(type(one) is int for one in ask.prompt)):
        raise UserError(
            "the API vllm-generate takes token ids alone, and this prompt is text: leave the tokenizer out,"
            " or choose another API"
        )
    return {
        "model": model,
        "token_ids": ask.prompt,
        "sampling_params": {"max_tokens": ask.output_tokens},
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def structure(schema: dict[str, Any]) -> Body:
    """What makes an answer follow a JSON schema."""
    return {"sampling_params": {"structured_outputs": {"json": schema}}}
