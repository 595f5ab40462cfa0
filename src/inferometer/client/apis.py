"""The APIs, one row each: where to post, how to write a body, how to read the events of an answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import msgspec

from inferometer.workload.tokens import Prompt

Body = dict[str, Any]

DONE = b"[DONE]"


class Answer(msgspec.Struct, gc=False):
    """What one stream said. ``token_events`` are positions of events that carry text; ``tokens`` theirs, if told.

    ``malformed`` says what cannot be read; ``unreadable`` is the position of the first such event.
    """

    token_events: list[int] = msgspec.field(default_factory=list)
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
    finish_reason: str | None = None


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
    choices: list[_Choice] | None = None
    usage: _Usage | None = None
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


#: What servers can do to a JSON decoder: bad JSON, bad UTF-8, endless nesting.
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_decode_all = msgspec.json.Decoder(list[_Chunk]).decode
_decode_indices = msgspec.json.Decoder(list[_Indices]).decode
#: Takes 12.0 for 12: some gateways count in floats.
_decode_one = msgspec.json.Decoder(_Chunk, strict=False).decode
#: Half a character outside the BMP: gateways that count in UTF-16 split there. Legal JSON (RFC 8259, 8.2).
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")
#: Reasons to finish that are none.
_FAILED = frozenset({"error", "abort"})
#: Codes of answers that are no errors.
_FINE = (None, "", 0, "0", 200, "200")


def _read_openai(data: list[bytes], names: list[bytes] | None) -> Answer:
    answer = Answer()
    if data[-1:] == [DONE]:
        data, answer.done = data[:-1], True
    if not data:
        return answer
    chunks = _decode(data, answer)
    answer.token_events = [
        position
        for position, chunk in enumerate(chunks)
        # the usual forms first: a call per event would cost as much as decoding it
        if (choices := chunk.choices)
        and (choices[0].text or ((delta := choices[0].delta) and delta.content) or _carries_text(choices))
    ]
    reasons = (choice.finish_reason for chunk in reversed(chunks) for choice in chunk.choices or ())
    answer.finish_reason = next((reason for reason in reasons if reason is not None), None)
    answer.model = next((chunk.model for chunk in chunks if chunk.model), None)
    _read_usage(chunks, data, answer)
    answer.error = _find_error(chunks, names)
    if answer.error is None and answer.finish_reason in _FAILED:
        answer.error = f"the server ended the stream with finish_reason {answer.finish_reason!r}"
    return answer


def _decode(data: list[bytes], answer: Answer) -> list[_Chunk]:
    """One call for the whole stream; one by one only if that fails, to keep what is well formed and name the rest."""
    try:
        chunks = _decode_all(b"[" + b",".join(data) + b"]")
    except UNREADABLE:
        chunks = []
    return chunks if len(chunks) == len(data) else _decode_each(data, answer)


def _decode_each(data: list[bytes], answer: Answer) -> list[_Chunk]:
    chunks: list[_Chunk] = []
    for payload in data:
        text = payload.strip()
        if text == DONE:
            answer.done = True
            break
        if not text:  # a sign of life that some gateways send
            chunks.append(_Chunk())
            continue
        try:
            chunks.append(_decode_one(_SURROGATE.sub(rb"\\ufffd", text)))
        except UNREADABLE as error:
            if answer.malformed is None:
                answer.malformed = f"an event of {len(payload)} bytes cannot be read: {error}"
                answer.unreadable = len(chunks)
            chunks.append(_Chunk())
    return chunks


def _carries_text(choices: list[_Choice]) -> bool:
    for choice in choices:
        if choice.text:
            return True
        delta = choice.delta
        if delta is not None and (delta.content or delta.reasoning_content or delta.reasoning or _says_more(delta)):
            return True
    return False


def _says_more(delta: _Delta) -> bool:
    """What users read, or their programs act on, beside text: a refusal, calls of tools, the legacy function call."""
    functions = (*(call.function for call in delta.tool_calls or ()), delta.function_call)
    return bool(delta.refusal) or any(function and (function.name or function.arguments) for function in functions)


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
    answer.prompt_tokens = last.prompt_tokens
    answer.output_tokens = tokens
    if last.prompt_tokens_details is not None:
        answer.cached_tokens = last.prompt_tokens_details.cached_tokens
    if last.completion_tokens_details is not None:
        answer.reasoning_tokens = last.completion_tokens_details.reasoning_tokens
    if len(usages) > 1:
        answer.tokens = _tokens_per_event([chunks[position] for position in answer.token_events])


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
