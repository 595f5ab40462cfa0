"""``/generate_stream`` and ``/generate`` of Hugging Face's text-generation-inference (TGI)."""

from __future__ import annotations

from typing import Any

import msgspec

from inferometer.client.answers import Answer, Body, Count, decode, decoder, error_in, without_done
from inferometer.client.prompts import text_or_ids
from inferometer.workload.asks import Ask

#: What TGI calls its own model beside the adapters.
BASE = "tgi"


class _Token(msgspec.Struct, gc=False):
    text: str | None = None
    special: bool = False


class _Details(msgspec.Struct, gc=False):
    finish_reason: str | None = None
    generated_tokens: Count | None = None
    input_length: Count | None = None


class _Event(msgspec.Struct, gc=False):
    token: _Token | None = None
    generated_text: str | None = None
    details: _Details | None = None
    error: Any = None
    message: Any = None
    detail: Any = None


class _Prefill(msgspec.Struct, gc=False):
    id: int | None = None


class _WholeDetails(msgspec.Struct, gc=False):
    finish_reason: str | None = None
    generated_tokens: Count | None = None
    prefill: list[_Prefill] | None = None


class _Document(msgspec.Struct, gc=False):
    generated_text: str | None = None
    details: _WholeDetails | None = None
    error: Any = None
    message: Any = None
    detail: Any = None


_EVENTS = decoder(_Event)
_DOCUMENTS = decoder(_Document)


def read(data: list[bytes], _names: list[bytes] | None) -> Answer:
    """What a stream of tokens says. TGI counts special tokens, such as the end of the text, that nobody gets to see."""
    answer = Answer()
    events = decode(_EVENTS, without_done(data), answer)
    answer.token_events = [position for position, event in enumerate(events) if _text(event)]
    answer.done = any(event.generated_text is not None for event in events)
    answer.error = next(filter(None, (_error(event) for event in events)), None)
    details = next((event.details for event in reversed(events) if event.details is not None), None)
    if details is not None:
        answer.finish_reason = details.finish_reason
        answer.prompt_tokens = details.input_length
        answer.output_tokens = details.generated_tokens
    return answer


def _text(event: _Event) -> str:
    token = event.token
    return "" if token is None or token.special else token.text or ""


def _error(event: _Event) -> str | None:
    return None if event.token is not None else error_in(msgspec.structs.asdict(event))


def read_whole(data: list[bytes], _names: list[bytes] | None) -> Answer:
    """What ``/generate`` says. It names the tokens of the prompt only if asked for its ``decoder_input_details``."""
    answer = Answer()
    for document in decode(_DOCUMENTS, data, answer):
        answer.token_events = [0] if document.generated_text else []
        if document.generated_text is None:
            answer.error = error_in(msgspec.structs.asdict(document))
        details = document.details or _WholeDetails()
        answer.finish_reason = details.finish_reason
        answer.output_tokens = details.generated_tokens
        answer.prompt_tokens = len(details.prefill) if details.prefill else None
    return answer


def text_whole(data: list[bytes]) -> str:
    """The answer that was not streamed."""
    return "".join(document.generated_text or "" for document in decode(_DOCUMENTS, data, Answer()))


def text(data: list[bytes]) -> str:
    """The answer."""
    return "".join(map(_text, decode(_EVENTS, without_done(data), Answer())))


def write(_model: str, ask: Ask) -> Body:
    """A stream with its details. TGI serves one model, whatever it is called; pictures are links in the text."""
    shown = "".join(f"![]({image})" for image in ask.images)
    prompt = text_or_ids(ask)
    return {
        "inputs": shown + prompt if isinstance(prompt, str) else prompt,
        "parameters": {"max_new_tokens": ask.output_tokens, "details": True},
        "stream": True,
    }


def adapter(name: str) -> Body:
    """What asks for one of several LoRA adapters; nothing for the model itself."""
    return {} if name == BASE else {"parameters": {"adapter_id": name}}


def structure(schema: dict[str, Any]) -> Body:
    """What makes an answer follow a JSON schema."""
    return {"parameters": {"grammar": {"type": "json", "value": schema}}}
