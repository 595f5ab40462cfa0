"""OpenAI's chat completions and completions, as vLLM, SGLang, llama.cpp and the gateways before them speak them."""

from __future__ import annotations

from typing import Any

import msgspec

from inferometer.client.answers import (
    DONE,
    UNREADABLE,
    Answer,
    Body,
    Count,
    call_text,
    decode,
    decoder,
    error_in,
    leading,
    without_done,
)
from inferometer.client.prompts import messages_of, parts_of, text_of, text_or_ids
from inferometer.workload.asks import Ask


class _Function(msgspec.Struct, gc=False):
    name: str | None = None
    arguments: Any = None


class _ToolCall(msgspec.Struct, gc=False):
    function: _Function | None = None


class _Delta(msgspec.Struct, gc=False):
    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Choice(msgspec.Struct, gc=False):
    text: str | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count | None = None


class Usage(msgspec.Struct, gc=False):
    """What an answer cost, in tokens."""

    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _OutputDetails | None = None


class _Chunk(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Usage | None = None
    model: str | None = None
    error: Any = None
    detail: Any = None
    object: str | None = None
    message: Any = None
    msg: Any = None
    code: Any = None


class _Index(msgspec.Struct, gc=False):
    index: int = 0


class _Indices(msgspec.Struct, gc=False):
    choices: list[_Index] | None = None


_CHUNKS = decoder(_Chunk)
_decode_indices = msgspec.json.Decoder(list[_Indices]).decode
#: Reasons to finish that are none.
FAILED = frozenset({"error", "abort"})


def read(data: list[bytes], names: list[bytes] | None) -> Answer:
    """What a stream of chunks says."""
    answer = Answer()
    if data[-1:] == [DONE]:
        data, answer.done = data[:-1], True
    return _told(decode(_CHUNKS, data, answer), data, names, answer) if data else answer


def read_whole(data: list[bytes], names: list[bytes] | None) -> Answer:
    """What a document says, without a stream."""
    answer = Answer()
    return _told(_documents(data, answer), data, names, answer)


def _documents(data: list[bytes], answer: Answer) -> list[_Chunk]:
    """Documents as chunks: their messages stand where a stream has deltas."""
    documents = decode(_CHUNKS, data, answer) if data else []
    for choice in (choice for one in documents for choice in one.choices or ()):
        choice.delta = choice.message
    return documents


def _told(chunks: list[_Chunk], data: list[bytes], names: list[bytes] | None, answer: Answer) -> Answer:
    answer.token_events = [
        position
        for position, chunk in enumerate(chunks)
        # the usual forms first: a call per event would cost as much as decoding it
        if (choices := chunk.choices)
        and (choices[0].text or ((delta := choices[0].delta) and delta.content) or _carries_text(choices))
    ]
    answer.reasoning_events = _leading_reasoning(chunks, answer.token_events)
    reasons = (choice.finish_reason for chunk in reversed(chunks) for choice in chunk.choices or ())
    answer.finish_reason = next((reason for reason in reasons if reason is not None), None)
    answer.model = next((chunk.model for chunk in chunks if chunk.model), None)
    _read_usage(chunks, data, answer)
    answer.error = _find_error(chunks, names)
    if answer.error is None and answer.finish_reason in FAILED:
        answer.error = f"the server ended the stream with finish_reason {answer.finish_reason!r}"
    return answer


def _carries_text(choices: list[_Choice]) -> bool:
    return any(
        _answers(choice) or (choice.delta is not None and (choice.delta.reasoning_content or choice.delta.reasoning))
        for choice in choices
    )


def _answers(choice: _Choice) -> bool:
    """Does it say anything beside reasoning?"""
    delta = choice.delta
    return bool(choice.text or (delta is not None and (delta.content or _says_more(delta))))


def _says_more(delta: _Delta) -> bool:
    """What users read, or their programs act on, beside text: a refusal, calls of tools, the legacy function call."""
    functions = (*(call.function for call in delta.tool_calls or ()), delta.function_call)
    return bool(delta.refusal) or any(function and (function.name or function.arguments) for function in functions)


def _leading_reasoning(chunks: list[_Chunk], positions: list[int]) -> int:
    first = chunks[positions[0]].choices if positions else None
    if first and _answers(first[0]):  # nearly always, and then no more are looked at
        return 0
    return leading([not any(map(_answers, chunks[position].choices or ())) for position in positions])


def _read_usage(chunks: list[_Chunk], data: list[bytes], answer: Answer) -> None:
    """The last usage wins (running totals); several closing ones, one per choice, add up (llama.cpp with n > 1)."""
    counted = [chunk for chunk in chunks if chunk.usage is not None and chunk.usage.completion_tokens is not None]
    if not counted:
        return
    usages = [chunk.usage for chunk in counted if chunk.usage is not None]
    closing = [chunk.usage for chunk in counted if chunk.usage is not None and not chunk.choices]
    last = usages[-1]
    tokens = last.completion_tokens or 0
    if len(closing) > 1 and len(closing) == _choices(data):
        tokens = sum(usage.completion_tokens or 0 for usage in closing)
    if tokens >= 2**31:
        answer.malformed = answer.malformed or f"a usage of {tokens} tokens cannot be right"
        return
    if not tokens and answer.token_events:
        return  # text came: a gateway that fills in zeros has not counted
    take_usage(last, answer)
    answer.output_tokens = tokens
    if len(usages) > 1:
        answer.tokens = _tokens_per_event([chunks[position] for position in answer.token_events])


def take_usage(usage: Usage, answer: Answer) -> None:
    """Put the counts of a usage into an answer."""
    answer.prompt_tokens = usage.prompt_tokens
    answer.output_tokens = usage.completion_tokens
    if usage.prompt_tokens_details is not None:
        answer.cached_tokens = usage.prompt_tokens_details.cached_tokens
    if usage.completion_tokens_details is not None:
        answer.reasoning_tokens = usage.completion_tokens_details.reasoning_tokens


def _choices(data: list[bytes]) -> int:
    """How many choices a stream has (``n``). Asked for rarely, so the index is no part of a chunk."""
    try:
        found = _decode_indices(b"[" + b",".join(data) + b"]")
    except UNREADABLE:
        return 1
    return len({choice.index for one in found for choice in one.choices or ()})


def _tokens_per_event(chunks: list[_Chunk]) -> list[int] | None:
    """Tokens of each event from running totals (``continuous_usage_stats``), if every event has one and none falls."""
    totals = [chunk.usage.completion_tokens if chunk.usage is not None else None for chunk in chunks]
    known = [total for total in totals if total is not None]
    if not known or len(known) < len(totals):
        return None
    tokens = [after - before for before, after in zip([0, *known], known, strict=False)]
    return tokens if min(tokens) >= 0 else None


def _find_error(chunks: list[_Chunk], names: list[bytes] | None) -> str | None:
    """The first error of a stream."""
    marked = {position for position, name in enumerate((names or [])[: len(chunks)]) if name == b"error"}
    odd = {position for position, chunk in enumerate(chunks) if chunk.error or not chunk.choices}
    for position in sorted(odd | marked):
        said = error_in(msgspec.structs.asdict(chunks[position]), marked=position in marked)
        if said is not None or position in marked:
            return said or "error event"
    return None


def text(data: list[bytes]) -> str:
    """The answer without its reasoning, which no next turn repeats."""
    return _text_of(decode(_CHUNKS, data, Answer()))


def text_whole(data: list[bytes]) -> str:
    """The same of a document."""
    return _text_of(_documents(data, Answer()))


def _text_of(chunks: list[_Chunk]) -> str:
    choices = (chunk.choices[0] for chunk in chunks if chunk.choices)
    parts = (choice.text or (choice.delta and choice.delta.content) for choice in choices)
    return "".join(part for part in parts if isinstance(part, str))


def written(data: list[bytes]) -> list[str]:
    """Reasoning, answer, refusal and calls; nothing of several choices, whose tokens come in turn."""
    data = without_done(data)
    return _written(decode(_CHUNKS, data, Answer())) if _choices(data) == 1 else []


def written_whole(data: list[bytes]) -> list[str]:
    """The same of a document."""
    return _written(_documents(data, Answer())) if _choices(data) == 1 else []


def _written(chunks: list[_Chunk]) -> list[str]:
    choices = [choice for chunk in chunks for choice in chunk.choices or ()]
    deltas = [choice.delta for choice in choices if choice.delta is not None]
    calls = [call.function for delta in deltas for call in delta.tool_calls or ()]
    functions = (*calls, *(delta.function_call for delta in deltas))
    return [
        "".join(delta.reasoning_content or delta.reasoning or "" for delta in deltas),
        "".join(choice.text or "" for choice in choices),
        "".join(text_of(delta.content) for delta in deltas if delta.content),
        "".join(delta.refusal or "" for delta in deltas),
        "".join(call_text(function.name, function.arguments) for function in functions if function is not None),
    ]


def write_chat(model: str, ask: Ask) -> Body:
    """A chat completion, streamed, with usage."""
    return {
        "model": model,
        "messages": messages_of(ask, _illustrate),
        "max_tokens": ask.output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _illustrate(content: Any, images: tuple[str, ...]) -> Body:
    shown = ({"type": "image_url", "image_url": {"url": image}} for image in images)
    return {"content": [*parts_of(content, "text"), *shown]}


def write_completion(model: str, ask: Ask) -> Body:
    """A completion, streamed, with usage."""
    return {
        "model": model,
        "prompt": text_or_ids(ask),
        "max_tokens": ask.output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def structure(schema: dict[str, Any]) -> Body:
    """What makes an answer follow a JSON schema, for both."""
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}}
