"""One worker's share of one stage: pure arithmetic. The shares of all workers together are exactly the stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from inferometer.config.models import ClosedLoop, Phase, Stage
from inferometer.schedule.arrivals import offsets, shard, split


class Share(NamedTuple):
    """``schedule()`` starts anew at each call; ``slots``: infinite in an open loop without a cap; 0 means no part."""

    schedule: Callable[[], Iterator[tuple[int, int]]]
    slots: float
    closed: bool
    endless: bool
    duration_s: float
    planned: int | None


def share(stage: Stage, phase: Phase, seed: int, worker: int, workers: int) -> Share:
    """What ``worker`` of ``workers`` does in one phase of ``stage``. Workers beyond the number of slots do nothing."""
    part = _warmup(stage) if phase is Phase.WARMUP else stage
    slots = _slots(part)
    active = int(min(workers, slots, part.num_requests or math.inf))
    if worker >= active:
        return Share(lambda: iter(()), 0, closed=True, endless=False, duration_s=math.inf, planned=0)
    closed = isinstance(part.load, ClosedLoop)
    planned = split(part.num_requests, worker, active) if part.num_requests is not None else None
    return Share(
        schedule=lambda: shard(offsets(part, seed), worker, active),
        slots=slots if math.isinf(slots) else split(int(slots), worker, active),
        closed=closed,
        endless=closed and part.num_requests is None,
        duration_s=part.duration_s if closed and part.duration_s is not None else math.inf,
        planned=planned,
    )


def stage_seed(seed: int, stage: int) -> int:
    """The seed of a stage's arrivals: another one for every stage, the same on every machine."""
    return seed * 10_007 + stage


def _slots(stage: Stage) -> float:
    if isinstance(stage.load, ClosedLoop):
        return stage.load.concurrency
    return stage.load.max_in_flight or math.inf


def _warmup(stage: Stage) -> Stage:
    """Warm-up looks like the load: the same requests, as many at once as in the stage itself, up to their number."""
    slots = min(_slots(stage), stage.warmup_requests)
    return Stage(load=ClosedLoop(concurrency=int(slots)), num_requests=stage.warmup_requests)
