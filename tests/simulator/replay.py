"""Play load against an engine in virtual time: what a client with no latency of its own would see. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush

import msgspec

from inferometer.simulator.model import Playable, Request


class Timeline(msgspec.Struct, frozen=True):
    """When a request was sent and when each of its tokens came, in ns."""

    sent_ns: int
    token_ns: list[int]


def _at_once(_index: int) -> int:
    return 0


def closed_loop(
    engine: Playable, requests: Sequence[Request], concurrency: int, delay_ns: Callable[[int], int] = _at_once
) -> list[Timeline]:
    """Keep ``concurrency`` requests in flight until all were played.

    Args:
        engine: an idle engine.
        requests: in the order of sending; ``key`` must be the index.
        concurrency: clients; all start at 0, each sends the next request as soon as its last one ends.
        delay_ns: what a client adds before it sends request ``index``.

    Returns:
        One timeline per request, in the same order.
    """
    sends: list[tuple[int, int]] = []
    sent_ns = [0] * len(requests)
    token_ns: list[list[int]] = [[] for _ in requests]
    following = min(concurrency, len(requests))
    for index in range(following):
        heappush(sends, (delay_ns(index), index))
    while True:
        due_ns = engine.due_ns()
        if sends and (due_ns is None or sends[0][0] <= due_ns):
            at_ns, index = heappop(sends)
            sent_ns[index] = at_ns
            engine.submit(requests[index], at_ns)
            continue
        if due_ns is None:
            return [Timeline(*pair) for pair in zip(sent_ns, token_ns, strict=True)]
        at_ns, emissions = engine.play()
        for progress, tokens, finished in emissions:
            token_ns[progress.request.key].extend([at_ns] * tokens)
            if finished and following < len(requests):
                heappush(sends, (at_ns + delay_ns(following), following))
                following += 1
