"""The shares of all workers together are exactly the stage, whatever their number."""

import math
from itertools import islice
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.config.models import Phase, Stage
from inferometer.runner.share import Share, Whole, share, stage_seed
from inferometer.schedule.arrivals import offsets

WORKERS = st.integers(1, 20)


def shares(stage: Stage, workers: int, phase: Phase = Phase.MEASURED) -> list[Share]:
    return [share(Whole(stage, phase, 3), worker, workers) for worker in range(workers)]


def closed(concurrency: int, **stop: Any) -> Stage:
    return Stage.model_validate({"load": {"type": "closed", "concurrency": concurrency}, **stop})


def open_(rate: float, cap: int | None, **stop: Any) -> Stage:
    return Stage.model_validate({"load": {"type": "open", "rate": rate, "max_in_flight": cap}, **stop})


def check_whole(parts: list[Share], stage: Stage) -> None:
    """Every request once; a worker without slots does nothing, one with slots has something to do."""
    assert sorted(one for part in parts for one in part.schedule()) == list(enumerate(offsets(stage, 3)))
    assert sum(part.planned or 0 for part in parts) == stage.num_requests
    for part in parts:
        assert part.planned == len(list(part.schedule()))
        assert (part.slots > 0) == (part.planned > 0)


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 200), WORKERS)
def test_closed_loops_by_number(concurrency: int, requests: int, workers: int) -> None:
    stage = closed(concurrency, num_requests=requests)
    parts = shares(stage, workers)
    check_whole(parts, stage)
    assert sum(part.slots for part in parts) == concurrency
    assert all(part.closed and not part.endless for part in parts)


@settings(deadline=None)
@given(st.integers(1, 60), WORKERS)
def test_closed_loops_by_time(concurrency: int, workers: int) -> None:
    parts = shares(closed(concurrency, duration_s=2.0), workers)
    active = [part for part in parts if part.slots]
    assert sum(part.slots for part in parts) == concurrency
    assert len(active) == min(workers, concurrency)
    firsts = [next(part.schedule())[0] for part in active]
    assert firsts == list(range(len(active)))
    assert all(part.endless and part.duration_s == 2.0 and part.planned is None for part in active)
    assert [number for number, _ in islice(active[0].schedule(), 3)] == [0, len(active), 2 * len(active)]


@settings(deadline=None)
@given(st.none() | st.integers(1, 30), st.integers(1, 200), WORKERS)
def test_open_loops(cap: int | None, requests: int, workers: int) -> None:
    stage = open_(50.0, cap, num_requests=requests)
    parts = shares(stage, workers)
    check_whole(parts, stage)
    active = [part for part in parts if part.slots]
    assert sum(part.slots for part in active) == (math.inf if cap is None else cap)
    assert not any(part.closed or part.endless for part in active)


def test_open_loops_by_time() -> None:
    stage = open_(100.0, None, duration_s=1.0)
    parts = shares(stage, 3)
    assert sorted(one for part in parts for one in part.schedule()) == list(enumerate(offsets(stage, 3)))
    assert [part.planned for part in parts] == [None] * 3


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 50), WORKERS)
def test_a_warm_up_has_its_requests_and_no_more_slots_than_the_load(concurrency: int, warm: int, workers: int) -> None:
    stages = [
        closed(concurrency, num_requests=5, warmup_requests=warm),
        open_(1.0, concurrency, num_requests=5, warmup_requests=warm),
    ]
    for stage in stages:
        parts = shares(stage, workers, Phase.WARMUP)
        numbers = sorted(number for part in parts for number, _ in part.schedule())
        assert numbers == list(range(warm))
        assert sum(part.slots for part in parts) == min(concurrency, warm)
        assert all(part.closed for part in parts)


def test_a_schedule_can_be_begun_anew() -> None:
    part = share(Whole(open_(50.0, None, num_requests=9), Phase.MEASURED, 3), 0, 2)
    assert list(part.schedule()) == list(part.schedule())


def test_stages_have_seeds_of_their_own() -> None:
    assert len({stage_seed(seed, stage) for seed in range(50) for stage in range(50)}) == 2500
