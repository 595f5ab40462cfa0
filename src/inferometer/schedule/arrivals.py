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

from inferometer.config.models import OpenLoop, Stage

#: Gaps are drawn in blocks of this many, so that a prefix of a schedule does not depend on its length.
BLOCK = 1024


def _constant(load: OpenLoop, _: np.random.Generator) -> Iterator[int]:
    return (round(n * 1e9 / load.rate) for n in count())


def _poisson(load: OpenLoop, random: np.random.Generator) -> Iterator[int]:
    return _sums(lambda: random.exponential(1.0 / load.rate, BLOCK))


def _gamma(load: OpenLoop, random: np.random.Generator) -> Iterator[int]:
    """VLLM's burstiness b: shape b, scale 1/(rate b), so that the mean gap is 1/rate and its variation 1/sqrt(b)."""
    return _sums(lambda: random.gamma(load.burstiness, 1.0 / (load.rate * load.burstiness), BLOCK))


def _sums(gaps_s: Callable[[], npt.NDArray[np.float64]]) -> Iterator[int]:
    start_s = 0.0
    while True:
        at_s = start_s + np.cumsum(gaps_s())
        start_s = float(at_s[-1])
        yield from (at_s * 1e9).astype(np.int64).tolist()


ARRIVALS: dict[str, Callable[[OpenLoop, np.random.Generator], Iterator[int]]] = {
    "constant": _constant,
    "poisson": _poisson,
    "gamma": _gamma,
}


def offsets(stage: Stage, seed: int) -> Iterator[int]:
    """Offsets in ns, not decreasing. Closed loops are due at once: there a free slot decides.

    A constant schedule starts at 0; the others after their first gap, as arrivals of a process do. Ends after
    ``num_requests`` offsets, or before ``duration_s``; a closed loop with a duration alone does not end here.
    """
    load = stage.load
    if not isinstance(load, OpenLoop) or math.isinf(load.rate):
        return repeat(0) if stage.num_requests is None else repeat(0, stage.num_requests)
    limit_ns = math.inf if stage.duration_s is None else stage.duration_s * 1e9
    arrivals = ARRIVALS[load.arrivals](load, np.random.Generator(np.random.PCG64(seed)))
    return islice(takewhile(lambda offset: offset < limit_ns, arrivals), stage.num_requests)


def shard(schedule: Iterator[int], worker: int, workers: int) -> Iterator[tuple[int, int]]:
    """(index, offset) of every ``workers``-th arrival, beginning with number ``worker``."""
    return islice(enumerate(schedule), worker, None, workers)


def split(total: int, worker: int, workers: int) -> int:
    """This worker's part of ``total`` slots. The parts of all workers add up exactly."""
    return total // workers + (worker < total % workers)
