"""When requests are due: pure iterators of integer nanoseconds from the start of the stage.

The offsets follow from the load and a seed alone, before the stage starts. A worker's share is a stride of the whole,
so that all workers together send exactly the one schedule, and no queue between them is needed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import count, islice, repeat, takewhile

import numpy as np
import numpy.typing as npt

from inferometer.config.models import Open, OpenLoop, Stage, TraceLoop
from inferometer.schedule.compatible import COMPATIBLE
from inferometer.schedule.rates import Floats, course

Longs = npt.NDArray[np.int64]

#: Gaps are drawn in blocks of this many, so that a prefix of a schedule does not depend on its length.
BLOCK = 1024
#: What is due after more seconds than this, 285 years, is never due: 64 bits hold no more nanoseconds.
NEVER_S = 9e9


def _constant(_: OpenLoop, __: np.random.Generator) -> Iterator[Floats]:
    return (np.arange(first, first + BLOCK, dtype=np.float64) for first in count(0, BLOCK))


def _poisson(_: OpenLoop, random: np.random.Generator) -> Iterator[Floats]:
    return _sums(lambda: random.standard_exponential(BLOCK))


def _gamma(load: OpenLoop, random: np.random.Generator) -> Iterator[Floats]:
    """VLLM's burstiness b: shape b, scale 1/b, so that the mean gap is 1 and its variation 1/sqrt(b); inf: none."""
    if math.isinf(load.burstiness):
        return _sums(lambda: np.ones(BLOCK))
    return _sums(lambda: random.gamma(load.burstiness, 1.0 / load.burstiness, BLOCK))


def _sums(gaps: Callable[[], Floats]) -> Iterator[Floats]:
    start = 0.0
    while True:
        at = start + np.cumsum(gaps())
        start = float(at[-1])
        yield at


#: Arrivals of processes with rate 1, in blocks; a course in time makes them those of any rate.
ARRIVALS: dict[str, Callable[[OpenLoop, np.random.Generator], Iterator[Floats]]] = {
    "constant": _constant,
    "poisson": _poisson,
    "gamma": _gamma,
}


def offsets(stage: Stage, seed: int, recorded_ns: Longs | None = None) -> Iterator[int]:
    """Offsets in ns, not decreasing. Closed loops are due at once: there a free slot decides.

    A constant schedule starts at 0; the others after their first gap, as arrivals of a process do, and a trace where
    its window does. Ends after ``num_requests`` offsets, or before ``duration_s``, or where the load has no more; a
    closed loop with a duration alone does not end here. ``recorded_ns`` are the times, from 0 on, of a trace that has
    none of its own.
    """
    load = stage.load
    if not isinstance(load, Open) or load.at_once:
        return repeat(0) if stage.num_requests is None else repeat(0, stage.num_requests)
    if isinstance(load, TraceLoop):
        return _until(_end_ns(stage), _trace(load, recorded_ns), stage.num_requests)
    random = np.random.Generator(np.random.PCG64(seed))
    if load.arrivals in COMPATIBLE:
        # theirs end by number, the last one at the very end; and one of them has no end in time
        end_ns = math.inf if load.arrivals == "inference-perf-poisson" else _end_ns(stage) + 1
        at_s = COMPATIBLE[load.arrivals](stage, load, random)
        return _until(end_ns, _offsets(iter((at_s,)), lambda at_s: at_s), stage.num_requests)
    arrivals = _offsets(ARRIVALS[load.arrivals](load, random), course(stage).time)
    return _until(_end_ns(stage), arrivals, stage.num_requests)


def _offsets(arrivals: Iterator[Floats], time: Callable[[Floats], Floats]) -> Iterator[int]:
    """Ends where the course has no more time for an arrival."""
    for block in arrivals:
        at_s = time(block)
        due = at_s[at_s < NEVER_S]
        yield from _ns(due)
        if len(due) < len(block):
            return


def _ns(at_s: Floats) -> list[int]:
    offsets_ns: list[int] = np.rint(at_s * 1e9).astype(np.int64).tolist()
    return offsets_ns


def _end_ns(stage: Stage) -> float:
    """Whole nanoseconds, so that the arrival at the very end is not due, however its time was rounded."""
    end_ns = math.inf if stage.duration_s is None else stage.duration_s * 1e9
    return round(end_ns) if math.isfinite(end_ns) else math.inf


def _until(end_ns: float, schedule: Iterator[int], number: int | None) -> Iterator[int]:
    return islice(takewhile(lambda offset_ns: offset_ns < end_ns, schedule), number)


def _trace(load: TraceLoop, recorded_ns: Longs | None) -> Iterator[int]:
    end_ns = None if load.end_s is None else round(load.end_s * 1e9)
    if load.times_s or recorded_ns is None:
        first_s = min(load.times_s)
        recorded_ns = np.array([round((time_s - first_s) * 1e9) for time_s in load.times_s], np.int64)
    return replay(recorded_ns, round(load.start_s * 1e9), end_ns, load.speed)


def replay(recorded_ns: Longs, start_ns: int, end_ns: int | None, speed: float) -> Iterator[int]:
    """Recorded times (ns, in any order) of [``start_ns``, ``end_ns``) as offsets from its start, in order."""
    at_ns = np.sort(recorded_ns)
    end = len(at_ns) if end_ns is None else int(at_ns.searchsorted(end_ns))
    for first in range(int(at_ns.searchsorted(start_ns)), end, BLOCK):
        with np.errstate(over="ignore"):  # what is never due
            due_ns = (at_ns[first : min(first + BLOCK, end)] - start_ns) / speed
        yield from np.rint(due_ns[due_ns < NEVER_S * 1e9]).astype(np.int64).tolist()


def shard(schedule: Iterator[int], worker: int, workers: int) -> Iterator[tuple[int, int]]:
    """(index, offset) of every ``workers``-th arrival, beginning with number ``worker``."""
    return islice(enumerate(schedule), worker, None, workers)


def split(total: int, worker: int, workers: int) -> int:
    """This worker's part of ``total`` slots. The parts of all workers add up exactly."""
    return total // workers + (worker < total % workers)
