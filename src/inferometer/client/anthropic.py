"""Anthropic's messages, which vLLM, SGLang, llama.cpp and gateways serve too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from inferometer.client.answers import Answer, Body, Count, call_text, decode, decoder, error_in, leading, without_done
from inferometer.client.prompts import base64_of, media_type_of, messages_of, parts_of, text_of
from inferometer.workload.asks import Ask

#: The version of the API that this module speaks; the server wants to be told.
HEADERS = {"anthropic-version": "2023-06-01"}


class _Usage(msgspec.Struct, gc=False):
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cache_read_input_tokens: Count | None = None
    cache_creation_input_tokens: Count | None = None


class _Message(msgspec.Struct, gc=False):
    model: str | None = None
    usage: _Usage | None = None


class _Piece(msgspec.Struct, gc=False):
    """A delta, or the beginning of a block."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    name: str | None = None
    input: Any = None
    stop_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    type: str = ""
    message: _Message | str | None = None
    content_block: _Piece | None = None
    delta: _Piece | None = None
    usage: _Usage | None = None
    error: Any = None
    detail: Any = None
    code: Any = None


class _Document(msgspec.Struct, gc=False):
    type: str = ""
    model: str | None = None
    content: list[_Piece] | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None
    error: Any = None
    message: Any = None
    detail: Any = None
    code: Any = None


_EVENTS = decoder(_Event)
_DOCUMENTS = decoder(_Document)


def read(data: list[bytes], _names: list[bytes] | None) -> Answer:
    """What a stream of typed events says."""
    answer = Answer()
    events = decode(_EVENTS, without_done(data), answer)
    pieces = [event.delta or event.content_block for event in events]
    answer.token_events = [position for position, piece in enumerate(pieces) if piece is not None and _says(piece)]
    said = [pieces[position] for position in answer.token_events]
    answer.reasoning_events = leading([piece is not None and not _answers(piece) for piece in said])
    answer.finish_reason = next((piece.stop_reason for piece in reversed(pieces) if piece and piece.stop_reason), None)
    answer.done = any(event.type == "message_stop" for event in events)
    answer.error = next(filter(None, map(_error, events)), None)
    _read_counts(events, answer)
    return answer


def _says(piece: _Piece) -> bool:
    return bool(piece.thinking) or _answers(piece)


def _answers(piece: _Piece) -> bool:
    """Does it say anything beside thinking? The beginning of a call of a tool names the tool."""
    return bool(piece.text or piece.partial_json or (piece.type == "tool_use" and piece.name))


def read_whole(data: list[bytes], _names: list[bytes] | None) -> Answer:
    """What a message says that was not streamed."""
    answer = Answer()
    for document in decode(_DOCUMENTS, data, answer):
        pieces = [piece for piece in document.content or () if _says(piece)]
        answer.token_events = [0] if pieces else []
        answer.reasoning_events = int(bool(pieces) and not any(map(_answers, pieces)))
        answer.finish_reason, answer.model = document.stop_reason, document.model
        if document.type != "message":
            answer.error = error_in(msgspec.structs.asdict(document), marked=document.type == "error")
        _take_counts([document.usage] if document.usage is not None else [], answer)
    return answer


def text_whole(data: list[bytes]) -> str:
    """The answer without its thinking, of a message that was not streamed."""
    pieces = (piece for document in decode(_DOCUMENTS, data, Answer()) for piece in document.content or ())
    return "".join(piece.text or "" for piece in pieces if piece.type == "text")


def _read_counts(events: list[_Event], answer: Answer) -> None:
    """The beginning tells the prompt, the end the answer; some servers tell all at the end, some zeros before."""
    message = next((event.message for event in events if isinstance(event.message, _Message)), _Message())
    answer.model = message.model
    _take_counts([usage for usage in (message.usage, *(event.usage for event in events)) if usage is not None], answer)


def _take_counts(usages: list[_Usage], answer: Answer) -> None:
    read_tokens = _last(usage.cache_read_input_tokens for usage in usages)
    made_tokens = _last(usage.cache_creation_input_tokens for usage in usages)
    fresh_tokens = _last(usage.input_tokens for usage in usages)
    output_tokens = _last(usage.output_tokens for usage in usages)
    if fresh_tokens is not None and (fresh_tokens or read_tokens or made_tokens):
        # input_tokens are those that were neither read from the cache nor written to it
        answer.prompt_tokens = fresh_tokens + (read_tokens or 0) + (made_tokens or 0)
        answer.cached_tokens = read_tokens
    if output_tokens or not answer.token_events:
        answer.output_tokens = output_tokens


def _last(counts: Iterable[int | None]) -> int | None:
    """The last count that is more than nothing, else the last."""
    known = [count for count in counts if count is not None]
    return next((count for count in reversed(known) if count), known[-1] if known else None)


def _error(event: _Event) -> str | None:
    """What an event says if it is an error, in this API's shape or another's."""
    if event.type and event.type != "error":
        return None
    said = error_in(msgspec.structs.asdict(event), marked=event.type == "error")
    return said or ("error event" if event.type == "error" else None)


def text(data: list[bytes]) -> str:
    """The answer without its thinking."""
    events = decode(_EVENTS, without_done(data), Answer())
    return "".join(event.delta.text or "" for event in events if event.delta is not None)


def written(data: list[bytes]) -> list[str]:
    """Thinking, answer and calls."""
    events = decode(_EVENTS, without_done(data), Answer())
    return _written([piece for event in events if (piece := event.delta or event.content_block) is not None])


def written_whole(data: list[bytes]) -> list[str]:
    """The same of a message that was not streamed."""
    return _written([piece for document in decode(_DOCUMENTS, data, Answer()) for piece in document.content or ()])


def _written(pieces: list[_Piece]) -> list[str]:
    return [
        "".join(piece.thinking or "" for piece in pieces),
        "".join(piece.text or "" for piece in pieces),
        "".join(call_text(piece.name, piece.partial_json or piece.input) for piece in pieces),
    ]


def write(model: str, ask: Ask) -> Body:
    """A message, streamed. What the system says has a place of its own."""
    messages = messages_of(ask, _illustrate)
    system = [text_of(message["content"]) for message in messages if message["role"] == "system"]
    return {
        "model": model,
        "messages": [message for message in messages if message["role"] != "system"],
        "max_tokens": ask.output_tokens,
        "stream": True,
    } | ({"system": "\n".join(system)} if system else {})


def _illustrate(content: Any, images: tuple[str, ...]) -> Body:
    shown = (
        {
            "type": "image",
            "source": {"type": "base64", "media_type": media_type_of(image), "data": base64_of(image)},
        }
        for image in images
    )
    return {"content": [*parts_of(content, "text"), *shown]}


def key_headers(key: str) -> dict[str, str]:
    """How the key is sent."""
    return {"x-api-key": key}


def structure(schema: dict[str, Any]) -> Body:
    """What makes an answer follow a JSON schema."""
    return {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
