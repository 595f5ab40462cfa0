"""A server that keeps what it is asked."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import pytest

from conftest import NOT_FOUND, Asked, Said, Serve, sse_body

#: What the server adds to every prompt.
OVERHEAD = 5


def text(body: dict[str, Any]) -> str:
    return " ".join(str(message["content"]) for message in body["messages"])


class Recorder(NamedTuple):
    """A right server that keeps what it is asked, and answers with the number of what it was asked before."""

    url: str
    asked: list[Asked]

    def load(self, kind: str = "") -> list[dict[str, Any]]:
        """Bodies of the load, or of its warm-up, in the order in which they came."""
        mine = re.compile(rf"inferometer-{kind}\d+-\d+")
        return [one.body for one in self.asked if mine.match(one.headers.get("x-request-id", ""))]

    def prompts(self) -> dict[str, str]:
        """Texts of the load by the ids of their requests."""
        ids = (one.headers.get("x-request-id", "") for one in self.asked)
        return {name: text(one.body) for name, one in zip(ids, self.asked, strict=True) if name.startswith("inf")}


@pytest.fixture
def recorder(serve: Serve) -> Recorder:
    asked: list[Asked] = []

    def respond(request: Asked) -> Said:
        if request.path == "/v1/models":
            return Said({"object": "list", "data": [{"id": "tiny", "object": "model"}]})
        if request.body is None:
            return NOT_FOUND
        asked.append(request)
        answer = f"answer {len(request.body['messages'])}"
        usage = {"prompt_tokens": OVERHEAD + len(text(request.body).split()), "completion_tokens": 2}
        if not request.body.get("stream"):
            message = {"role": "assistant", "content": answer}
            return Said({"model": "tiny", "choices": [{"index": 0, "message": message}], "usage": usage})
        deltas = ({"content": word} for word in re.split(r"(?= )", answer))
        chunks: list[Any] = [{"model": "tiny", "choices": [{"index": 0, "delta": delta}]} for delta in deltas]
        chunks[-1]["choices"][0]["finish_reason"] = "stop"
        end = {"model": "tiny", "choices": [], "usage": usage}
        return Said(content_type="text/event-stream", pieces=(sse_body([*chunks, end, "[DONE]"]),))

    return Recorder(serve(respond), asked)
