"""Several engines behind one address, each with a cache of its own, and the ways to choose one of them. Pure."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import count
from zlib import crc32

from inferometer.simulator.model import Emission, Engine, Figures, Playable, Progress, Request

#: (request, requests in flight at each engine, the engines) -> number of the engine that gets it.
Route = Callable[[Request, Sequence[int], Sequence[Playable]], int]

#: A router that knows the caches follows them if this share of the prompt is there; else it minds the load.
WORTH_FOLLOWING = 0.5


def _at_random(seed: int) -> Route:
    dice = random.Random(seed)
    return lambda _request, in_flight, _engines: dice.randrange(len(in_flight))


def _in_turn(_seed: int) -> Route:
    numbers = count()
    return lambda _request, in_flight, _engines: next(numbers) % len(in_flight)


def _by_prefix(_seed: int) -> Route:
    """To the engine that has most of the prompt in its cache; without enough of it, to the one with least to do."""
    numbers = count()

    def route(request: Request, in_flight: Sequence[int], engines: Sequence[Playable]) -> int:
        known = [engine.known_tokens(request) if isinstance(engine, Engine) else 0 for engine in engines]
        start = next(numbers)
        order = sorted(range(len(engines)), key=lambda place: (in_flight[place], (place - start) % len(engines)))
        best = max(order, key=lambda place: known[place])
        return best if known[best] >= WORTH_FOLLOWING * request.prompt_tokens else order[0]

    return route


def _sticky(seed: int) -> Route:
    """The same engine for the same session; any for a request without one."""
    choose = _at_random(seed)

    def route(request: Request, in_flight: Sequence[int], engines: Sequence[Playable]) -> int:
        if request.session is None:
            return choose(request, in_flight, engines)
        return crc32(request.session) % len(in_flight)

    return route


#: Name of a routing -> its route for a seed.
ROUTINGS: dict[str, Callable[[int], Route]] = {
    "round-robin": _in_turn,
    "random": _at_random,
    "prefix": _by_prefix,
    "sticky": _sticky,
}


class Replicas:
    """Plays several engines through the interface of one; ``Progress.replica`` says which one has a request."""

    def __init__(self, engines: Sequence[Playable], route: Route) -> None:
        self.engines = engines
        self._route = route
        self._in_flight = [0] * len(engines)

    def submit(self, request: Request, now_ns: int) -> Progress:
        """Queue a request at one of the engines; raises as that does."""
        place = self._route(request, self._in_flight, self.engines)
        progress = self.engines[place].submit(request, now_ns)
        progress.replica = place
        self._in_flight[place] += 1
        return progress

    def abort(self, progress: Progress) -> None:
        """Forget a request; aborting a finished one is harmless."""
        if not progress.done:
            self._in_flight[progress.replica] -= 1
        self.engines[progress.replica].abort(progress)

    def limit_cache(self, num_blocks: int | None) -> None:
        """Leave the KV cache of each so many blocks, or again all of them with None."""
        for engine in self.engines:
            if isinstance(engine, Engine):
                engine.limit_cache(num_blocks)

    def due_ns(self) -> int | None:
        """When the first of them has something to do; None if never."""
        return min((due_ns for engine in self.engines if (due_ns := engine.due_ns()) is not None), default=None)

    def play(self) -> tuple[int, list[Emission]]:
        """Do what is due first."""
        due_ns = self.due_ns()
        engine = next(engine for engine in self.engines if engine.due_ns() == due_ns)
        at_ns, emissions = engine.play()
        for progress, _, last in emissions:
            self._in_flight[progress.replica] -= last
        return at_ns, emissions

    def figures(self) -> Figures:
        """All of them together; the use of their caches is the mean."""
        each = [engine.figures() for engine in self.engines]
        return Figures(
            running=sum(one.running for one in each),
            waiting=sum(one.waiting for one in each),
            kv_usage=sum(one.kv_usage for one in each) / len(each),
            prefix_queries=sum(one.prefix_queries for one in each),
            prefix_hits=sum(one.prefix_hits for one in each),
            preemptions=sum(one.preemptions for one in each),
        )
