"""OpenAI's embeddings: one JSON document, whose arrival is the only event, without output tokens."""

from __future__ import annotations

from typing import Any

import msgspec

from inferometer.client.answers import Answer, Body, decode, decoder, error_in
from inferometer.client.openai import Usage
from inferometer.client.prompts import text_or_ids
from inferometer.workload.asks import Ask


class _Embedding(msgspec.Struct, gc=False):
    embedding: msgspec.Raw = msgspec.Raw(b"")


class _Document(msgspec.Struct, gc=False):
    data: list[_Embedding] | None = None
    model: str | None = None
    usage: Usage | None = None
    error: Any = None
    detail: Any = None
    object: str | None = None
    message: Any = None
    code: Any = None


_DOCUMENTS = decoder(_Document)


def read(data: list[bytes], _names: list[bytes] | None) -> Answer:
    """What the document says."""
    answer = Answer()
    for document in decode(_DOCUMENTS, data, answer) if data else ():
        answer.error = error_in(msgspec.structs.asdict(document))
        answer.token_events = [0] if any(bytes(one.embedding) for one in document.data or ()) else []
        answer.done = answer.malformed is None
        answer.model = document.model
        answer.output_tokens = 0
        if document.usage is not None:
            answer.prompt_tokens = document.usage.prompt_tokens
    return answer


def text(_data: list[bytes]) -> str:
    """Embeddings say nothing."""
    return ""


def write(model: str, ask: Ask) -> Body:
    """The embedding of one prompt."""
    return {"model": model, "input": text_or_ids(ask), "encoding_format": "float"}
