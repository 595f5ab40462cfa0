"""Arrival processes have the moments of their names, and the shards of a schedule are the schedule."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.config.models import Stage
from inferometer.schedule.arrivals import offsets, shard, split

Ints = np.ndarray[Any, np.dtype[np.int64]]


def stage(arrivals: str, rate: float, burstiness: float = 1.0, **stop: Any) -> Stage:
    load = {"type": "open", "rate": rate, "arrivals": arrivals, "burstiness": burstiness}
    return Stage.model_validate({"load": load, **stop})


def drawn(arrivals: str, rate: float, burstiness: float = 1.0, *, count: int = 40_000) -> Ints:
    return np.array(list(offsets(stage(arrivals, rate, burstiness, num_requests=count), seed=11)), np.int64)


@pytest.mark.parametrize("rate", [0.2, 1.0, 3.0, 1000.0, 20_000.0])
def test_constant_is_constant_and_does_not_drift(rate: float) -> None:
    at_ns = drawn("constant", rate)
    assert at_ns[0] == 0
    assert abs(at_ns - np.arange(len(at_ns)) * 1e9 / rate).max() <= 1


PROCESSES = [("poisson", 1.0), ("gamma", 1.0), ("gamma", 0.25), ("gamma", 4.0)]


@pytest.mark.parametrize("rate", [0.2, 50.0, 20_000.0])
@pytest.mark.parametrize(("arrivals", "burstiness"), PROCESSES)
def test_mean_and_variation_of_gaps(arrivals: str, burstiness: float, rate: float) -> None:
    gaps_s = np.diff(drawn(arrivals, rate, burstiness), prepend=0) / 1e9
    assert (gaps_s >= 0).all()
    # six standard errors of the mean of 40,000 gaps of the burstiest process
    assert gaps_s.mean() * rate == pytest.approx(1, abs=0.06)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(1 / np.sqrt(burstiness), rel=0.06)


@pytest.mark.parametrize(("arrivals", "burstiness"), PROCESSES)
def test_index_of_dispersion(arrivals: str, burstiness: float) -> None:
    """Variance over mean of the counts in windows of 50 mean gaps: 1 for Poisson, towards 1/b for gamma."""
    at_ns = drawn(arrivals, 1000.0, burstiness)
    counts = np.bincount(at_ns // 50_000_000)[:-1]
    assert counts.var() / counts.mean() == pytest.approx(1 / burstiness, rel=0.35)


@pytest.mark.parametrize(("arrivals", "burstiness"), [("constant", 1.0), *PROCESSES])
def test_a_seed_decides_and_a_longer_schedule_begins_like_a_shorter_one(arrivals: str, burstiness: float) -> None:
    short, long = (list(offsets(stage(arrivals, 9.0, burstiness, num_requests=n), 5)) for n in (100, 3000))
    assert long[:100] == short
    other = list(offsets(stage(arrivals, 9.0, burstiness, num_requests=100), 6))
    assert (other == short) == (arrivals == "constant")


@pytest.mark.parametrize(
    ("rate", "stop", "count"),
    [
        (0.2, {"duration_s": 10.1}, 3),
        (0.2, {"duration_s": 10.0}, 2),
        (0.2, {"duration_s": 1.0}, 1),
        (20_000.0, {"duration_s": 1.0}, 20_000),
        (10.0, {"duration_s": 60.0, "num_requests": 7}, 7),
        (10.0, {"duration_s": 0.3, "num_requests": 700}, 3),
        (float("inf"), {"num_requests": 5}, 5),
        (float("inf"), {"num_requests": 5, "duration_s": 1.0}, 5),
    ],
)
def test_a_stage_ends_by_whichever_rule_is_first(rate: float, stop: dict[str, Any], count: int) -> None:
    assert len(list(offsets(stage("constant", rate, **stop), 0))) == count


@settings(deadline=None)
@given(st.sampled_from(["poisson", "gamma"]), st.floats(0.5, 5000), st.floats(0.001, 0.5), st.integers(0, 2**40))
def test_nothing_is_due_after_the_duration(arrivals: str, rate: float, duration_s: float, seed: int) -> None:
    at_ns = list(offsets(stage(arrivals, rate, 0.5, duration_s=duration_s), seed))
    assert at_ns == sorted(at_ns)
    assert all(0 <= one < duration_s * 1e9 for one in at_ns)


def test_an_infinite_rate_and_closed_loops_are_due_at_once() -> None:
    closed = {"type": "closed", "concurrency": 3}
    assert list(offsets(stage("gamma", float("inf"), num_requests=4), 0)) == [0] * 4
    assert list(offsets(Stage.model_validate({"load": closed, "num_requests": 4}), 0)) == [0] * 4
    endless = offsets(Stage.model_validate({"load": closed, "duration_s": 1.0}), 0)
    assert list(islice(endless, 10_000)) == [0] * 10_000


@settings(deadline=None)
@given(st.sampled_from(["constant", "poisson", "gamma"]), st.integers(1, 300), st.integers(1, 40), st.integers(0, 99))
def test_shards_interleave_to_the_whole(arrivals: str, count: int, workers: int, seed: int) -> None:
    whole = stage(arrivals, 100.0, num_requests=count)
    shards = [list(shard(offsets(whole, seed), worker, workers)) for worker in range(workers)]
    assert sorted(one for part in shards for one in part) == list(enumerate(offsets(whole, seed)))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


@settings(deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 500))
def test_parts_add_up_exactly(total: int, workers: int) -> None:
    parts = [split(total, worker, workers) for worker in range(workers)]
    assert sum(parts) == total
    assert max(parts) - min(parts) <= 1


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(1, 20))
def test_parts_are_as_long_as_shards(total: int, workers: int) -> None:
    for worker in range(workers):
        assert split(total, worker, workers) == len(list(shard(iter(range(total)), worker, workers)))
