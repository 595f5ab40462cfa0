"""Ollama's own APIs, ``/api/chat`` and ``/api/generate``: one JSON object per line."""

from __future__ import annotations

from typing import Any

import msgspec

from inferometer.client.answers import Answer, Body, Count, call_text, decode, decoder, error_in, leading
from inferometer.client.prompts import base64_of, messages_of, text_or_ids
from inferometer.workload.asks import Ask


class _Message(msgspec.Struct, gc=False):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[Any] | None = None


class _Line(msgspec.Struct, gc=False):
    model: str | None = None
    message: _Message | None = None
    response: str | None = None
    thinking: str | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: Count | None = None
    eval_count: Count | None = None
    error: Any = None
    detail: Any = None


_LINES = decoder(_Line)


def read(data: list[bytes], _names: list[bytes] | None) -> Answer:
    """What a stream of lines says, of either API."""
    answer = Answer()
    lines = decode(_LINES, data, answer) if data else []
    answer.token_events = [position for position, line in enumerate(lines) if _answers(line) or _thinks(line)]
    answer.reasoning_events = leading([not _answers(lines[position]) for position in answer.token_events])
    answer.model = next((line.model for line in lines if line.model), None)
    answer.error = next(filter(None, (error_in({"error": line.error, "detail": line.detail}) for line in lines)), None)
    last = next((line for line in reversed(lines) if line.done), None)
    if last is not None:
        answer.done = True
        answer.finish_reason = last.done_reason
        answer.prompt_tokens = last.prompt_eval_count  # left out where all of the prompt was cached
        answer.output_tokens = last.eval_count
    return answer


def _answers(line: _Line) -> bool:
    message = line.message
    return bool(line.response or (message is not None and (message.content or message.tool_calls)))


def _thinks(line: _Line) -> bool:
    return bool(line.thinking or (line.message is not None and line.message.thinking))


def text(data: list[bytes]) -> str:
    """The answer without its thinking."""
    lines = decode(_LINES, data, Answer())
    return "".join(line.response or (line.message and line.message.content) or "" for line in lines)


def written(data: list[bytes]) -> list[str]:
    """Thinking, answer and calls."""
    lines = decode(_LINES, data, Answer())
    messages = [line.message for line in lines if line.message is not None]
    return [
        "".join(line.thinking or (line.message and line.message.thinking) or "" for line in lines),
        "".join(line.response or (line.message and line.message.content) or "" for line in lines),
        "".join(call_text(None, call) for message in messages for call in message.tool_calls or ()),
    ]


def write_chat(model: str, ask: Ask) -> Body:
    """A chat, streamed."""
    messages = messages_of(ask, lambda content, images: {"content": content, "images": [*map(base64_of, images)]})
    return {"model": model, "messages": messages, "stream": True, "options": {"num_predict": ask.output_tokens}}


def write_generate(model: str, ask: Ask) -> Body:
    """A completion, streamed; the server puts its template around the prompt, unless told ``"raw": true``."""
    return {
        "model": model,
        "prompt": text_or_ids(ask),
        "stream": True,
        "options": {"num_predict": ask.output_tokens},
    } | ({"images": [*map(base64_of, ask.images)]} if ask.images else {})


def structure(schema: dict[str, Any]) -> Body:
    """What makes an answer follow a JSON schema, for both."""
    return {"format": schema}
