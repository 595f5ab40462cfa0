"""Arrival processes have the moments of their names, and the shards of a schedule are the schedule."""

import hashlib
import subprocess
import sys
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from inferometer.config.models import Stage
from inferometer.schedule.arrivals import offsets, replay, shard, split
from inferometer.schedule.rates import course

Ints = np.ndarray[Any, np.dtype[np.int64]]


def stage(arrivals: str, rate: Any, burstiness: float = 1.0, **stop: Any) -> Stage:
    load = {"type": "open", "rate": rate, "arrivals": arrivals, "burstiness": burstiness}
    return Stage.model_validate({"load": load, **stop})


def drawn(arrivals: str, rate: float, burstiness: float = 1.0, *, count: int = 40_000) -> Ints:
    return np.array(list(offsets(stage(arrivals, rate, burstiness, num_requests=count), seed=11)), np.int64)


RATES = [0.01, 0.2, 1.0, 3.0, 1000.0, 20_000.0]


@pytest.mark.parametrize("rate", RATES)
def test_constant_is_constant_and_does_not_drift(rate: float) -> None:
    at_ns = drawn("constant", rate)
    assert at_ns[0] == 0
    assert abs(at_ns - np.arange(len(at_ns)) * 1e9 / rate).max() <= 1


def test_half_an_hour_at_50_per_s_is_exact() -> None:
    at_ns = list(offsets(stage("constant", 50, duration_s=1800), 0))
    assert len(at_ns) == 90_000
    assert at_ns[-1] == 89_999 * 20_000_000


@settings(deadline=None)
@given(st.integers(1, 4000), st.integers(1, 4000))
def test_a_constant_rate_sends_rate_times_duration(tenths_per_s: int, tenths_s: int) -> None:
    whole = stage("constant", tenths_per_s / 10, duration_s=tenths_s / 10)
    assert sum(1 for _ in offsets(whole, 0)) == -(-tenths_per_s * tenths_s // 100)


PROCESSES = [("poisson", 1.0), ("gamma", 1.0), ("gamma", 0.25), ("gamma", 4.0)]


@pytest.mark.parametrize("rate", [0.2, 50.0, 20_000.0])
@pytest.mark.parametrize(("arrivals", "burstiness"), PROCESSES)
def test_mean_and_variation_of_gaps(arrivals: str, burstiness: float, rate: float) -> None:
    gaps_s = np.diff(drawn(arrivals, rate, burstiness), prepend=0) / 1e9
    assert (gaps_s >= 0).all()
    # six standard errors of the mean of 40,000 gaps of the burstiest process
    assert gaps_s.mean() * rate == pytest.approx(1, abs=0.06)
    assert gaps_s.std() / gaps_s.mean() == pytest.approx(1 / np.sqrt(burstiness), rel=0.06)


def test_gamma_gaps_without_variation_are_equal() -> None:
    assert list(offsets(stage("gamma", 4.0, float("inf"), num_requests=3), 0)) == [
        250_000_000,
        500_000_000,
        750_000_000,
    ]


def dispersion(counts: Ints) -> float:
    return float(counts.var() / counts.mean())


@pytest.mark.parametrize(("arrivals", "burstiness"), PROCESSES)
def test_index_of_dispersion(arrivals: str, burstiness: float) -> None:
    """Variance over mean of the counts in windows of 50 mean gaps: 1 for Poisson, towards 1/b for gamma."""
    at_ns = drawn(arrivals, 1000.0, burstiness)
    assert dispersion(np.bincount(at_ns // 50_000_000)[:-1]) == pytest.approx(1 / burstiness, rel=0.35)


COURSES: dict[str, dict[str, Any]] = {
    "up": {"type": "linear", "start": 0, "end": 40},
    "down": {"type": "linear", "start": 40, "end": 1},
    "steeper": {"type": "exponential", "start": 1, "end": 200},
    "flatter": {"type": "exponential", "start": 200, "end": 1, "over_s": 30},
    "then steady": {"type": "linear", "start": 2, "end": 40, "over_s": 20},
    "steps": {"type": "steps", "steps": [{"rate": rate, "duration_s": 40} for rate in (30, 0, 5, 60, 0)]},
    "sine": {"type": "sine", "mean": 20, "amplitude": 15, "period_s": 90, "phase": 0.75},
    "down to 0": {"type": "sine", "mean": 20, "amplitude": 20, "period_s": 45},
}


@pytest.mark.parametrize("rate", COURSES.values(), ids=COURSES)
def test_arrival_n_is_where_the_integral_of_the_rate_reaches_n(rate: dict[str, Any]) -> None:
    """To the microsecond, to the last one, and no one too few."""
    whole = stage("constant", rate, duration_s=200)
    at_s = np.array(list(offsets(whole, 0))) / 1e9
    number = course(whole).number
    n = np.arange(len(at_s))
    # an arrival is not due a microsecond earlier; where the rate is 0 the microsecond may hold none
    assert (number(np.maximum(at_s - 1e-6, 0)) <= n + 1e-9).all()
    assert (number(at_s + 1e-6) >= n - 1e-9).all()
    assert len(at_s) == np.ceil(float(number(np.array([200.0]))[0]) - 1e-6)


@pytest.mark.parametrize("rate", COURSES.values(), ids=COURSES)
@pytest.mark.parametrize(("arrivals", "burstiness"), PROCESSES)
def test_in_the_time_of_its_rate_a_process_is_itself(arrivals: str, burstiness: float, rate: dict[str, Any]) -> None:
    """Gaps, measured in arrivals that were due, have the mean and the variation of the process, whatever the rate."""
    found: list[float] = []
    for seed in range(4):
        whole = stage(arrivals, rate, burstiness, duration_s=200)
        due = course(whole).number(np.array(list(offsets(whole, seed))) / 1e9)
        found += np.diff(due, prepend=0.0).tolist()
    gaps = np.array(found)
    assert len(gaps) > 4000
    assert (gaps >= -1e-6).all()
    assert gaps.mean() == pytest.approx(1, abs=0.15)
    assert gaps.std() == pytest.approx(1 / np.sqrt(burstiness), rel=0.15)


def test_poisson_counts_follow_a_ramp() -> None:
    """In each tenth of the ramp the count is Poisson about its integral: 4.5 standard deviations either way."""
    whole = stage("poisson", {"type": "linear", "start": 0, "end": 400}, duration_s=50)
    edges_s = np.linspace(0, 50, 11)
    counts, _ = np.histogram(np.array(list(offsets(whole, 3))) / 1e9, edges_s)
    wanted = np.diff(course(whole).number(edges_s))
    assert wanted.sum() == pytest.approx(10_000)
    assert (abs(counts - wanted) < 4.5 * np.sqrt(wanted)).all()


def test_a_ramp_without_a_duration_ends_with_its_requests() -> None:
    """(5 + 15) / 2 = 10 per s: the last of 100 constant arrivals comes when the rate is nearly at its end."""
    at_ns = list(offsets(stage("constant", {"type": "linear", "start": 5, "end": 15}, num_requests=100), 0))
    assert len(at_ns) == 100
    assert 9.9e9 < at_ns[-1] < 10e9


def test_steps_end_a_stage() -> None:
    steps = [{"rate": 4, "duration_s": 2}, {"rate": 0, "duration_s": 1}, {"rate": 2, "duration_s": 1}]
    whole = stage("constant", {"type": "steps", "steps": steps})
    assert [at_ns / 1e9 for at_ns in offsets(whole, 0)] == [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 3, 3.5]
    assert whole.duration_s == 4
    more = stage("poisson", {"type": "steps", "steps": steps}, num_requests=10_000)
    assert 0 < len(list(offsets(more, 0))) < 100


@pytest.mark.parametrize("rate", [9.0, *COURSES.values()], ids=["number", *COURSES])
@pytest.mark.parametrize(("arrivals", "burstiness"), [("constant", 1.0), *PROCESSES])
def test_a_seed_decides_and_a_longer_schedule_begins_like_a_shorter_one(
    arrivals: str, burstiness: float, rate: Any
) -> None:
    short, long = (
        list(offsets(stage(arrivals, rate, burstiness, num_requests=n, duration_s=999), 5)) for n in (100, 3000)
    )
    assert long[:100] == short
    other = list(offsets(stage(arrivals, rate, burstiness, num_requests=100, duration_s=999), 6))
    assert (other == short) == (arrivals == "constant")


def digest() -> str:
    """Of every process under every course."""
    kinds = [(arrivals, rate) for arrivals in ("constant", "poisson", "gamma") for rate in (9.0, *COURSES.values())]
    schedules = [list(offsets(stage(arrivals, rate, 0.5, duration_s=60), 8)) for arrivals, rate in kinds]
    others = ("vllm", "inference-perf-constant", "inference-perf-poisson")
    schedules += [list(offsets(stage(arrivals, 9.0, 0.5, duration_s=60), 8)) for arrivals in others]
    return hashlib.sha256(repr(schedules).encode()).hexdigest()


def test_two_processes_have_the_same_schedule() -> None:
    here = __file__.rpartition("/")[0]
    code = "from test_arrivals import digest; print(digest())"
    other = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest()


@pytest.mark.parametrize(
    ("rate", "stop", "count"),
    [
        (0.2, {"duration_s": 10.1}, 3),
        (0.2, {"duration_s": 10.0}, 2),
        (0.2, {"duration_s": 1.0}, 1),
        (49.3, {"duration_s": 10.0}, 493),
        (3.0, {"duration_s": 1 / 3}, 1),
        (20_000.0, {"duration_s": 1.0}, 20_000),
        (10.0, {"duration_s": 60.0, "num_requests": 7}, 7),
        (10.0, {"duration_s": 0.3, "num_requests": 700}, 3),
        (10.0, {"duration_s": float("inf"), "num_requests": 7}, 7),
        (1e-8, {"num_requests": 7}, 7),
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


def trace(*times_s: float, num_requests: int | None = None, duration_s: float | None = None, **load: Any) -> Stage:
    ends = {"num_requests": num_requests, "duration_s": duration_s}
    return Stage.model_validate({"load": {"type": "trace", "times_s": times_s, **load}, **ends})


TIMES = (1_700_000_003.5, 1_700_000_000.0, 1_700_000_001.25, 1_700_000_001.25, 1_700_000_009.0)


@pytest.mark.parametrize(
    ("window", "offsets_s"),
    [
        ({}, [0, 1.25, 1.25, 3.5, 9]),
        ({"speed": 2}, [0, 0.625, 0.625, 1.75, 4.5]),
        ({"speed": 0.5, "start_s": 1}, [0.5, 0.5, 5, 16]),
        ({"start_s": 1.25, "end_s": 3.5}, [0, 0]),
        ({"start_s": 1.25, "end_s": 3.6}, [0, 0, 2.25]),
        ({"num_requests": 3}, [0, 1.25, 1.25]),
        ({"duration_s": 2}, [0, 1.25, 1.25]),
        ({"speed": 2, "duration_s": 2}, [0, 0.625, 0.625, 1.75]),
    ],
)
def test_a_trace_is_played_from_its_window_as_fast_as_asked(window: dict[str, Any], offsets_s: list[float]) -> None:
    assert [at_ns / 1e9 for at_ns in offsets(trace(*TIMES, **window), 0)] == pytest.approx(offsets_s, abs=1e-6)


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 10**12), min_size=1),
    st.integers(0, 10**12),
    st.none() | st.integers(0, 10**12),
    st.floats(0.001, 1000),
)
def test_a_replay_keeps_order_and_ratios(recorded: list[int], start: int, end: int | None, speed: float) -> None:
    inside = sorted(one for one in recorded if start <= one and (end is None or one < end))
    played = list(replay(np.array(recorded, np.int64), start, end, speed))
    assert played == sorted(played)
    assert len(played) == len(inside)
    for was, now in zip(inside, played, strict=True):
        assert now == pytest.approx((was - start) / speed, abs=0.6, rel=1e-12)


def test_a_replay_that_nobody_lives_to_see_ends_where_numbers_do() -> None:
    assert list(offsets(trace(0, 1, 2, speed=1e-300), 0)) == [0]


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=50), st.floats(0, 500), st.floats(400, 1e4))
def test_a_trace_knows_how_many_it_sends(times_s: list[float], start_s: float, end_s: float) -> None:
    first_s = min(times_s)
    assume(any(start_s + 1e-6 < time_s - first_s < end_s - 1e-6 for time_s in times_s))
    whole = trace(*times_s, start_s=start_s, end_s=end_s)
    assert whole.num_requests
    assert len(list(offsets(whole, 0))) == whole.num_requests


@settings(deadline=None)
@given(
    st.sampled_from(["constant", "poisson", "gamma", "vllm", "inference-perf-constant", "inference-perf-poisson"]),
    st.integers(1, 300),
    st.integers(1, 40),
    st.integers(0, 99),
)
def test_shards_interleave_to_the_whole(arrivals: str, count: int, workers: int, seed: int) -> None:
    whole = stage(arrivals, 100.0, num_requests=count)
    shards = [list(shard(offsets(whole, seed), worker, workers)) for worker in range(workers)]
    assert sorted(one for part in shards for one in part) == list(enumerate(offsets(whole, seed)))
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_the_shards_of_a_poisson_process_add_up_to_one() -> None:
    """Counts of all workers together keep the dispersion of 1, which workers with one seed each would raise."""
    whole = stage("poisson", 1000.0, num_requests=40_000)
    every = np.sort([at_ns for worker in range(8) for _, at_ns in shard(offsets(whole, 11), worker, 8)])
    assert dispersion(np.bincount(every // 50_000_000)[:-1]) == pytest.approx(1, rel=0.35)


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
