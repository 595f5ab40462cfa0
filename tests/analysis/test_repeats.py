from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inferometer.analysis import repeats
from inferometer.analysis.stats import Samples
from inferometer.analysis.streamed import histogram, in_order

SERIES = arrays.arrays(np.float64, st.integers(1, 300), elements=st.floats(0.1, 1e4))


def correlated(rng: np.random.Generator, count: int, rho: float) -> np.ndarray:
    noise = rng.standard_normal(count)
    for number in range(1, count):
        noise[number] = rho * noise[number - 1] + math.sqrt(1 - rho**2) * noise[number]
    return 100 * np.exp(0.2 * noise)


@given(SERIES, st.sampled_from(["mean", "p50", "p95", "p99.9"]))
def test_the_value_is_numpys_and_inside_its_interval(values: np.ndarray, name: str) -> None:
    found = repeats.statistic(values, name)
    wanted = values.mean() if name == "mean" else np.percentile(values, float(name[1:]))
    assert found.value == pytest.approx(wanted)
    assert (found.low is None) == (found.high is None)
    assert found.low is None or found.low <= found.value <= (found.high or 0)


@pytest.mark.parametrize(("name", "truth"), [("mean", 100 * math.exp(0.02)), ("p50", 100.0), ("p95", 138.95)])
@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_intervals_hold_the_truth_in_most_runs_however_requests_depend_on_each_other(
    name: str, truth: float, rho: float
) -> None:
    rng = np.random.default_rng(5)
    found = [repeats.statistic(correlated(rng, 200, rho), name) for _ in range(200)]
    known = [(one.low, one.high) for one in found if one.low is not None and one.high is not None]
    assert len(known) >= 0.3 * len(found)  # 200 requests that depend on each other may be too few for a p95
    assert sum(low <= truth <= high for low, high in known) >= 0.85 * len(known)


def test_requests_that_depend_on_each_other_are_worth_fewer() -> None:
    rng = np.random.default_rng(0)
    widths = {}
    for rho in (0.0, 0.8):
        found = [repeats.series_mean(correlated(rng, 400, rho)) for _ in range(50)]
        widths[rho] = np.mean([(one.high or 0) - (one.low or 0) for one in found])
    assert widths[0.8] > 1.7 * widths[0.0]


@pytest.mark.parametrize(("rho", "least", "most"), [(0.0, 0.7, 1.0), (0.5, 0.2, 0.5), (0.8, 0.06, 0.2)])
def test_what_a_series_is_worth(rho: float, least: float, most: float) -> None:
    """By theory (1 - rho) / (1 + rho) of its length: 1, 1/3 and 1/9."""
    rng = np.random.default_rng(1)
    worth = [repeats.worth(np.log(correlated(rng, 1000, rho))) / 1000 for _ in range(30)]
    assert least < np.median(worth) <= most


@given(SERIES)
def test_a_series_is_worth_one_to_all_of_its_values(values: np.ndarray) -> None:
    assert 1 <= repeats.worth(values) <= len(values)


def clustered(rng: np.random.Generator, requests: int, each: int, rho: float) -> Samples:
    """Values of which those of one request are nearly alike; the median is 100."""
    centres = np.repeat(correlated(rng, requests, rho), each)
    rows = np.repeat(np.arange(requests), each)
    return Samples(centres * np.exp(0.02 * rng.standard_normal(len(rows))), rows, np.ones(len(rows)))


@pytest.mark.parametrize(("name", "truth"), [("mean", 100 * math.exp(0.0202)), ("p50", 100.0)])
@pytest.mark.parametrize("rho", [0.0, 0.8])
def test_intervals_of_values_that_come_several_to_a_request_hold_the_truth(name: str, truth: float, rho: float) -> None:
    rng = np.random.default_rng(6)
    found = []
    for _ in range(200):
        pooled = in_order(clustered(rng, 200, 20, rho), np.arange(200.0))
        assert pooled is not None
        found.append(repeats.pooled_statistic(pooled, name)[0])
    assert sum((one.low or 0) <= truth <= (one.high or 0) for one in found) >= 0.88 * len(found)


@pytest.mark.parametrize("name", ["mean", "p50", "p90"])
def test_one_value_per_request_is_a_series(name: str) -> None:
    """Where each request has one value, both ways say the same, whatever the order in which they are kept."""
    values = correlated(np.random.default_rng(3), 200, 0.5)
    shuffled = np.random.default_rng(4).permutation(200)
    pooled = in_order(Samples(values[shuffled], np.arange(200), np.ones(200)), shuffled.astype(float))
    assert pooled is not None
    found, freedom = repeats.pooled_statistic(pooled, name)
    series = repeats.statistic(values, name)
    assert found.value == pytest.approx(series.value)
    assert (found.low, found.high) == pytest.approx((series.low, series.high), rel=0.02)
    assert freedom == repeats.freedom(values, name)


def test_a_histogram_says_what_the_values_say() -> None:
    samples = clustered(np.random.default_rng(1), 100, 20, 0.5)
    both = [in_order(one, np.arange(100.0)) for one in (samples, histogram(lambda: [(0, samples)], 100))]
    for name in ("mean", "p50", "p90"):
        (exact, freedom), (near, same) = (repeats.pooled_statistic(one, name) for one in both if one is not None)
        assert (near.value, near.low, near.high) == pytest.approx((exact.value, exact.low, exact.high), rel=0.003)
        assert same == freedom


def test_fewer_than_six_requests_say_nothing_of_their_spread() -> None:
    pooled = in_order(clustered(np.random.default_rng(1), 5, 100, 0.0), np.arange(5.0))
    assert pooled is not None
    assert repeats.pooled_statistic(pooled, "p50")[0].low is None
    assert in_order(Samples(np.zeros(0), np.zeros(0, np.int64), np.zeros(0)), np.arange(5.0)) is None


def test_a_series_that_drifts_is_worth_next_to_nothing() -> None:
    assert repeats.worth(np.arange(200.0)) < 10
    found = repeats.statistic(np.repeat([10.0, 20.0], 40), "p50")
    assert (found.low, found.high) == (10.0, 20.0)


def test_the_interval_between_runs_stands_around_another_value() -> None:
    found, between = repeats.around(5.0, [10.0, 12.0]), repeats.between_runs([10.0, 12.0])
    assert (found.value, found.count) == (5.0, 2)
    assert (found.high or 0) - 5 == pytest.approx((between.high or 0) - 11)


def test_a_rate_is_amount_over_time() -> None:
    starts = np.arange(100.0)
    found = repeats.rate(starts, starts + 1, np.full(100, 16.0))
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((16.0, 16.0, 16.0))


def test_a_rate_that_was_filled_once_has_no_interval() -> None:
    found = repeats.rate(np.zeros(8), np.full(8, 10.0), np.ones(8))
    assert found is not None
    assert (found.value, found.low) == (0.8, None)
    assert repeats.rate(np.zeros(0), np.zeros(0), np.zeros(0)) is None


def test_between_runs_is_students_t() -> None:
    found = repeats.between_runs([10.0, 12.0])
    assert found.value == 11.0
    assert found.high == pytest.approx(11 + 12.706, abs=1e-3)
    assert repeats.between_runs([10.0]).low is None
