"""One worker's share of one stage: pure arithmetic. The shares of all workers together are exactly the stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from inferometer.config.models import Closed, ClosedLoop, Pause, Phase, Stage, Users
from inferometer.schedule.arrivals import Longs, offsets, shard, split
from inferometer.workload.pauses import draw_pause


class Share(NamedTuple):
    """``schedule()`` starts anew at each call; ``slots``: infinite in an open loop without a cap; 0 means no part.

    ``opens_ns`` are offsets at which the slots open; ``rest_s`` how long the slot of a request then stays empty.
    """

    schedule: Callable[[], Iterator[tuple[int, int]]]
    slots: float
    opens_ns: Sequence[int]
    rest_s: Callable[[int], float]
    closed: bool
    endless: bool
    duration_s: float
    planned: int | None


class Whole(NamedTuple):
    """What all workers do together. ``recorded_ns``: times of the workload's trace, for a load that has none itself."""

    stage: Stage
    phase: Phase
    seed: int
    recorded_ns: Longs | None = None


def share(whole: Whole, worker: int, workers: int) -> Share:
    """What ``worker`` of ``workers`` does. Workers beyond the number of slots do nothing."""
    stage, phase, seed, recorded_ns = whole
    part = _warmup(stage) if phase is Phase.WARMUP else stage
    slots = _slots(part)
    active = int(min(workers, slots, part.num_requests or math.inf))
    if worker >= active:
        return Share(lambda: iter(()), 0, (), _no_rest, closed=True, endless=False, duration_s=math.inf, planned=0)
    closed = isinstance(part.load, Closed)
    planned = split(part.num_requests, worker, active) if part.num_requests is not None else None
    return Share(
        schedule=lambda: shard(offsets(part, seed, recorded_ns), worker, active),
        slots=slots if math.isinf(slots) else split(int(slots), worker, active),
        opens_ns=_opens_ns(part, worker, active),
        rest_s=_rest_s(part, seed),
        closed=closed,
        endless=closed and part.num_requests is None,
        duration_s=part.duration_s if closed and part.duration_s is not None else math.inf,
        planned=planned,
    )


def stage_seed(seed: int, stage: int) -> int:
    """The seed of a stage's arrivals: another one for every stage, the same on every machine."""
    return seed * 10_007 + stage


def _opens_ns(stage: Stage, worker: int, workers: int) -> list[int]:
    """When each user of this worker arrives: user n after n / spawn_rate seconds. Empty: all slots are open at once."""
    if not isinstance(stage.load, Users) or math.isinf(stage.load.spawn_rate):
        return []
    users, rate = stage.load.users, stage.load.spawn_rate
    return [round(user / rate * 1e9) for user in range(worker, users, workers)]


def _rest_s(stage: Stage, seed: int) -> Callable[[int], float]:
    """How long the user of a request thinks after its answer."""
    if not isinstance(stage.load, Users) or not stage.load.think.expected_s:
        return _no_rest
    think: Pause = stage.load.think
    return lambda number: draw_pause(think, np.random.Generator(np.random.PCG64([seed, number])))


def _no_rest(_: int) -> float:
    return 0.0


def _slots(stage: Stage) -> float:
    if isinstance(stage.load, Users):
        return stage.load.users
    if isinstance(stage.load, ClosedLoop):
        return stage.load.concurrency
    return stage.load.max_in_flight or math.inf


def _warmup(stage: Stage) -> Stage:
    """Warm-up looks like the load: the same requests, as many at once as in the stage itself, up to their number."""
    slots = min(_slots(stage), stage.warmup_requests)
    return Stage(load=ClosedLoop(concurrency=int(slots)), num_requests=stage.warmup_requests)
