"""OpenAI's embeddings, as the simulator makes them up. An embedding costs the prompt and one step. Pure."""

from __future__ import annotations

import random

import msgspec

from inferometer.simulator import events
from inferometer.simulator.bodies import Ask, Common, Served, TokenId, ask_of, decode, prompt_ids
from inferometer.simulator.model import Progress
from inferometer.simulator.streams import Dialect, Stream

_DIMENSIONS = 32


class _Body(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/embeddings."""

    model: str | None = None
    input: str | list[TokenId | str | list[TokenId]]


def _read(body: bytes, served: Served) -> Ask:
    asked = decode(body, _Body)
    common = Common(model=asked.model, ignore_eos=True)
    return ask_of(common, False, lambda: prompt_ids(asked.input), 1, served)


def _whole(stream: Stream, progress: Progress) -> bytes:
    dice = random.Random(repr(stream.ask.prompt_ids))
    embedding = [round(dice.uniform(-1, 1), 6) for _ in range(_DIMENSIONS)]
    prompt_tokens = progress.request.prompt_tokens
    return msgspec.json.encode(
        {
            "id": stream.identity.request_id,
            "object": "list",
            "model": stream.identity.model,
            "data": [{"object": "embedding", "index": 0, "embedding": embedding}],
            "usage": {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens, "completion_tokens": 0},
        }
    )


def _following(_stream: Stream, _progress: Progress, _begin: int, _end: int, _last: bool) -> bytes:
    """Embeddings are never streamed."""
    return b""


DIALECT = Dialect(events.named("embd-"), _read, _following, _whole)
