"""Answers without a stream: one JSON document, complete when its last byte has arrived."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from inferometer.client.answers import Answer, Body
from inferometer.client.sse import Events
from inferometer.workload.asks import Ask

#: Payloads (and their types) -> what they say.
Read = Callable[[list[bytes], list[bytes] | None], Answer]


class Whole(NamedTuple):
    """How an API answers with one document: how it is read, what its text is, and at which path, if at another.

    ``written`` is that of an API.
    """

    read: Read
    text: Callable[[list[bytes]], str]
    path: str | None = None
    written: Callable[[list[bytes]], list[str]] | None = None


def parse(body: bytes) -> Events:
    """A JSON object as the one event that it is; anything else has none."""
    whole = [body] if body.lstrip().startswith(b"{") else []
    return Events(whole, np.array([len(body)] * len(whole), np.int64), None, unterminated=False)


def ended(read: Read) -> Read:
    """The same reader for documents, which end without saying so and bring all tokens at once."""

    def of_document(data: list[bytes], names: list[bytes] | None) -> Answer:
        answer = read(data, names)
        answer.done = answer.malformed is None
        counted = bool(answer.token_events) and answer.output_tokens is not None
        answer.tokens = [answer.output_tokens or 0] if counted else None
        if answer.malformed is not None:
            answer.malformed = answer.malformed.replace("an event", "the document", 1)
        return answer

    return of_document


def unstreamed(write: Callable[[str, Ask], Body]) -> Callable[[str, Ask], Body]:
    """The same request, to be answered at once. Ollama streams unless it is told not to."""

    def once(model: str, ask: Ask) -> Body:
        body = write(model, ask)
        return {key: value for key, value in body.items() if key != "stream_options"} | {"stream": False}

    return once
