"""OpenAI's responses: events with types, of which those that end in ``.delta`` carry text."""

from __future__ import annotations

from typing import Any

import msgspec

from inferometer.client.answers import (
    Answer,
    Body,
    Count,
    call_text,
    decode,
    decoder,
    error_in,
    leading,
    message_of,
    without_done,
)
from inferometer.client.prompts import messages_of, parts_of
from inferometer.workload.asks import Ask

_TEXT = "response.output_text.delta"
_REASONING = frozenset(
    {
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning.delta",  # older servers
    }
)
#: What users read, or their programs act on.
_SAID = frozenset(
    {
        _TEXT,
        "response.refusal.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.mcp_call_arguments.delta",
        "response.code_interpreter_call_code.delta",
    }
)
_ENDS = frozenset({"response.completed", "response.incomplete"})


class _InputDetails(msgspec.Struct, gc=False):
    cached_tokens: Count | None = None


class _OutputDetails(msgspec.Struct, gc=False):
    reasoning_tokens: Count | None = None


class _Usage(msgspec.Struct, gc=False):
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Reason(msgspec.Struct, gc=False):
    reason: str | None = None


class _Response(msgspec.Struct, gc=False):
    model: str | None = None
    status: str | None = None
    error: Any = None
    incomplete_details: _Reason | None = None
    usage: _Usage | None = None


class _Item(msgspec.Struct, gc=False):
    type: str | None = None
    name: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    delta: Any = None
    response: _Response | None = None
    item: _Item | None = None
    error: Any = None
    message: Any = None
    code: Any = None
    detail: Any = None


class _Part(msgspec.Struct, gc=False):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None


class _Output(msgspec.Struct, gc=False):
    type: str | None = None
    name: str | None = None
    arguments: Any = None
    content: list[_Part] | None = None
    summary: list[_Part] | None = None


class _Outputs(msgspec.Struct, gc=False):
    output: list[_Output] | None = None
    object: str | None = None
    message: Any = None
    code: Any = None
    detail: Any = None


_EVENTS = decoder(_Event)
_RESPONSES = decoder(_Response)
_OUTPUTS = decoder(_Outputs)


def read(data: list[bytes], _names: list[bytes] | None) -> Answer:
    """What a stream of typed events says."""
    answer = Answer()
    events = decode(_EVENTS, without_done(data), answer)
    answer.done = False  # nothing but its own last event ends a response
    answer.token_events = [position for position, event in enumerate(events) if _carries_text(event)]
    answer.reasoning_events = leading([events[position].type in _REASONING for position in answer.token_events])
    answer.error = next(filter(None, map(_error, events)), None)
    for event in events:
        if event.response is not None:
            _take(event.type, event.response, answer)
    return answer


def _carries_text(event: _Event) -> bool:
    if event.type in _SAID or event.type in _REASONING:
        return bool(event.delta)
    calls = event.type == "response.output_item.added" and event.item is not None
    return calls and event.item.type == "function_call" and bool(event.item.name)  # type: ignore[union-attr]


def _take(kind: str, response: _Response, answer: Answer) -> None:
    """What an event about the whole response tells; the last one knows most."""
    answer.model = response.model or answer.model
    if kind in _ENDS:
        answer.done = True
        incomplete = response.incomplete_details
        answer.finish_reason = (incomplete and incomplete.reason) or response.status
    usage = response.usage
    if usage is None or usage.output_tokens is None or (not usage.output_tokens and answer.token_events):
        return
    answer.prompt_tokens, answer.output_tokens = usage.input_tokens, usage.output_tokens
    if usage.input_tokens_details is not None:
        answer.cached_tokens = usage.input_tokens_details.cached_tokens
    if usage.output_tokens_details is not None:
        answer.reasoning_tokens = usage.output_tokens_details.reasoning_tokens


def _error(event: _Event) -> str | None:
    """What an event says if it is an error: ``error``, ``response.failed``, or one of another API's shape."""
    if event.type == "response.failed":
        error = event.response.error if event.response is not None else None
        return message_of(error) if error else "the response failed"
    if event.type and event.type != "error":
        return None
    said = error_in(msgspec.structs.asdict(event), marked=event.type == "error")
    return said or ("error event" if event.type == "error" else None)


def text(data: list[bytes]) -> str:
    """The answer without its reasoning."""
    events = decode(_EVENTS, without_done(data), Answer())
    return "".join(event.delta for event in events if event.type == _TEXT and isinstance(event.delta, str))


def read_whole(data: list[bytes], _names: list[bytes] | None) -> Answer:
    """What a response says that was not streamed."""
    answer = Answer()
    for outputs, response in zip(decode(_OUTPUTS, data, answer), decode(_RESPONSES, data, answer), strict=True):
        items = outputs.output or ()
        said = any(map(_speaks, items))
        answer.token_events = [0] if said or any(map(_thinks, items)) else []
        answer.reasoning_events = len(answer.token_events) - said
        answer.error = error_in(msgspec.structs.asdict(outputs) | {"error": response.error, "usage": response.usage})
        if response.status == "failed":
            answer.error = answer.error or "the response failed"
        _take("response.completed", response, answer)
    return answer


def _speaks(item: _Output) -> bool:
    called = item.type is not None and item.type.endswith("_call")
    return called or any(part.refusal or (part.text and item.type != "reasoning") for part in item.content or ())


def _thinks(item: _Output) -> bool:
    return any(part.text for part in (*(item.content or ()), *(item.summary or ())))


def text_whole(data: list[bytes]) -> str:
    """The answer without its reasoning, of a response that was not streamed."""
    items = (item for outputs in decode(_OUTPUTS, data, Answer()) for item in outputs.output or ())
    parts = (part for item in items for part in item.content or ())
    return "".join(part.text or "" for part in parts if part.type == "output_text")


def written(data: list[bytes]) -> list[str]:
    """Reasoning, answer and calls."""
    events = [event for event in decode(_EVENTS, without_done(data), Answer()) if _carries_text(event)]
    return [
        "".join(call_text(None, event.delta) for event in events if event.type in _REASONING),
        "".join(call_text(None, event.delta) for event in events if event.type in _SAID),
        *(event.item.name or "" for event in events if event.item is not None),
    ]


def written_whole(data: list[bytes]) -> list[str]:
    """The same of a response that was not streamed."""
    items = [item for outputs in decode(_OUTPUTS, data, Answer()) for item in outputs.output or ()]
    parts = [part for item in items for part in item.content or item.summary or ()]
    calls = [call_text(item.name, item.arguments) for item in items]
    return [*(part.text or part.refusal or "" for part in parts), *calls]


def write(model: str, ask: Ask) -> Body:
    """A response, streamed. It is not to be stored: servers would keep every answer of a run."""
    plain = isinstance(ask.prompt, str) and not ask.images
    return {
        "model": model,
        "input": ask.prompt if plain else messages_of(ask, _illustrate),
        "max_output_tokens": ask.output_tokens,
        "stream": True,
        "store": False,
    }


def _illustrate(content: Any, images: tuple[str, ...]) -> Body:
    shown = ({"type": "input_image", "image_url": image} for image in images)
    return {"content": [*parts_of(content, "input_text"), *shown]}


def structure(schema: dict[str, Any]) -> Body:
    """What makes an answer follow a JSON schema."""
    return {"text": {"format": {"type": "json_schema", "name": "answer", "schema": schema}}}
