"""The APIs, one row each: where to post, how to write a body, how to read the events of an answer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import repeat
from typing import Annotated, Any, NamedTuple

import msgspec

from inferometer.workload.tokens import Prompt

Body = dict[str, Any]

DONE = b"[DONE]"


class Answer(msgspec.Struct, gc=False):
    """What one stream said. ``token_events`` are positions of events that carry text; ``tokens`` theirs, if told."""

    token_events: list[int] = msgspec.field(default_factory=list)
    tokens: list[int] | None = None
    finish_reason: str | None = None
    model: str | None = None
    error: str | None = None
    malformed: str | None = None
    done: bool = False
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


class Api(NamedTuple):
    """``write`` makes a request body; ``read`` turns event payloads (and their types, if any) into an answer."""

    path: str
    write: Callable[[str, Prompt, int], Body]
    read: Callable[[list[bytes], list[bytes] | None], Answer]
    takes_ids: bool


# --- OpenAI: chat completions and completions ------------------------------------------------------------------------


#: A number of tokens; anything else makes the event malformed.
_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct, gc=False):
    text: str | None = None
    delta: _Delta | None = None
    finish_reason: str | None = None
    token_ids: list[int] | None = None


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: _Count | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: _Count | None = None


class _Usage(msgspec.Struct, gc=False):
    prompt_tokens: _Count | None = None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] = msgspec.field(default_factory=list)
    usage: _Usage | None = None
    model: str | None = None
    error: Any = None
    detail: Any = None
    object: str | None = None
    message: Any = None


#: What servers can do to a JSON decoder: bad JSON, bad UTF-8, endless nesting.
_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_decode_all = msgspec.json.Decoder(list[_Chunk]).decode
_decode_one = msgspec.json.Decoder(_Chunk).decode


def _read_openai(data: list[bytes], names: list[bytes] | None) -> Answer:
    answer = Answer()
    if DONE in data[-1:]:
        data, answer.done = data[:-1], True
    elif DONE in data:
        data, answer.done = data[: data.index(DONE)], True
    if not data:
        return answer
    document = b"[" + b",".join(data) + b"]"
    chunks = _decode(document, data, answer)
    answer.token_events = [
        position
        for position, chunk in enumerate(chunks)
        # the usual forms first: a call per event would cost as much as decoding it
        if (choices := chunk.choices)
        and (choices[0].text or ((delta := choices[0].delta) and delta.content) or _carries_text(choices))
    ]
    reasons = (choice.finish_reason for chunk in reversed(chunks) for choice in chunk.choices)
    answer.finish_reason = next((reason for reason in reasons if reason is not None), None)
    answer.model = next((chunk.model for chunk in chunks if chunk.model), None)
    _read_usage(chunks, answer)
    if names or any(chunk.error or chunk.detail or chunk.message or chunk.object == "error" for chunk in chunks):
        problems = (_problem(chunk, name) for chunk, name in zip(chunks, names or repeat(b""), strict=False))
        answer.error = next(filter(None, problems), None)
    return answer


def _decode(document: bytes, data: list[bytes], answer: Answer) -> list[_Chunk]:
    """One call for the whole stream; one by one only if that fails, to keep what is well formed and name the rest."""
    try:
        chunks = _decode_all(document)
    except _UNREADABLE:
        chunks = []
    if len(chunks) == len(data):
        return chunks
    chunks = []
    for payload in data:
        try:
            chunks.append(_decode_one(payload))
        except _UNREADABLE as error:
            chunks.append(_Chunk())
            answer.malformed = answer.malformed or f"an event of {len(payload)} bytes cannot be read: {error}"
    return chunks


def _carries_text(choices: list[_Choice]) -> bool:
    for choice in choices:
        if choice.text:
            return True
        delta = choice.delta
        if delta is not None and (delta.content or delta.reasoning_content or delta.reasoning or _calls(delta)):
            return True
    return False


def _calls(delta: _Delta) -> bool:
    calls = delta.tool_calls or ()
    return any(call.function is not None and bool(call.function.name or call.function.arguments) for call in calls)


def _read_usage(chunks: list[_Chunk], answer: Answer) -> None:
    """The last usage wins (running totals); several closing ones, one per choice, add up (llama.cpp with n > 1)."""
    with_usage = [chunk for chunk in chunks if chunk.usage is not None]
    usages = [chunk.usage for chunk in with_usage if chunk.usage is not None]
    if not usages:
        return
    closing = [chunk.usage for chunk in with_usage if chunk.usage is not None and not chunk.choices]
    last = usages[-1]
    answer.prompt_tokens = last.prompt_tokens
    answer.output_tokens = (
        sum(u.completion_tokens or 0 for u in closing) if len(closing) > 1 else last.completion_tokens
    )
    if last.prompt_tokens_details is not None:
        answer.cached_tokens = last.prompt_tokens_details.cached_tokens
    if last.completion_tokens_details is not None:
        answer.reasoning_tokens = last.completion_tokens_details.reasoning_tokens
    if len(usages) > 1:
        answer.tokens = _tokens_per_event([chunks[position] for position in answer.token_events])


def _tokens_per_event(chunks: list[_Chunk]) -> list[int] | None:
    """Tokens of each event from running totals (``continuous_usage_stats``), if every event has one and none falls."""
    totals = [chunk.usage.completion_tokens if chunk.usage is not None else None for chunk in chunks]
    known = [total for total in totals if total is not None]
    if not known or len(known) < len(totals):
        return None
    tokens = [after - before for before, after in zip([0, *known], known, strict=False)]
    return tokens if min(tokens) >= 0 else None


def _problem(chunk: _Chunk, name: bytes) -> str | None:
    """An error in a stream: an object, a string, ``event: error``, ``detail``, ``"object": "error"``."""
    if chunk.error is not None:
        return message_of(chunk.error)
    if chunk.object == "error" or name == b"error":
        return message_of(chunk.message or chunk.detail or "error event")
    if chunk.detail is not None and not chunk.choices:
        return message_of(chunk.detail)
    return None


def message_of(error: object) -> str:
    """The human part of an error of any shape, at most 500 characters."""
    if isinstance(error, dict):
        error = error.get("message") or error.get("detail") or error
    return (error if isinstance(error, str) else msgspec.json.encode(error).decode())[:500]


def _write_chat(model: str, prompt: Prompt, output_tokens: int) -> Body:
    return {
        "model": model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _write_completion(model: str, prompt: Prompt, output_tokens: int) -> Body:
    return {
        "model": model,
        "prompt": prompt,
        "max_tokens": output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


APIS: dict[str, Api] = {
    "openai-chat": Api("/v1/chat/completions", _write_chat, _read_openai, takes_ids=False),
    "openai-completions": Api("/v1/completions", _write_completion, _read_openai, takes_ids=True),
}
