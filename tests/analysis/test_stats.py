from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferometer.analysis import stats
from inferometer.analysis.stats import Samples

numbers = st.floats(-1e6, 1e6, allow_subnormal=False)


def plain(values: object) -> Samples:
    array = np.asarray(values, float)
    return Samples(array, np.arange(len(array)))


@given(st.lists(numbers, min_size=1, max_size=40), st.floats(0, 100))
def test_percentiles_are_numpys(values: list[float], percent: float) -> None:
    found = stats.percentile(stats.order(plain(values)), percent)
    assert found.value == pytest.approx(np.percentile(values, percent), rel=1e-9, abs=1e-6)
    assert found.count == len(values)
    assert found.low is None or found.low <= found.value <= (found.high or 0)


@given(st.lists(st.tuples(numbers, st.integers(1, 5)), min_size=1, max_size=20), st.floats(0, 100))
def test_a_weight_is_a_repetition(pairs: list[tuple[float, int]], percent: float) -> None:
    values, weights = (np.array(column, float) for column in zip(*pairs, strict=True))
    weighted = stats.order(Samples(values, np.arange(len(values)), weights))
    repeated = np.repeat(values, weights.astype(int))
    found = stats.percentile(weighted, percent)
    assert found.value == pytest.approx(np.percentile(repeated, percent), rel=1e-9, abs=1e-6)
    assert found.count == len(repeated)
    assert stats.mean(weighted).value == pytest.approx(repeated.mean(), rel=1e-9, abs=1e-6)


def exact_ranks(count: int, share: float) -> tuple[int, int] | None:
    """The definition, with whole binomial sums."""
    mass = [math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count + 1)]
    low = max((rank for rank in range(count + 2) if sum(mass[:rank]) <= 0.025), default=0)
    high = min(rank for rank in range(1, count + 2) if sum(mass[:rank]) >= 0.975)
    return (low, high) if low >= 1 and high <= count else None


@given(st.integers(2, 120), st.sampled_from([0.05, 0.25, 0.5, 0.9, 0.95, 0.99]))
def test_ranks_follow_the_binomial(count: int, share: float) -> None:
    assert stats.interval_ranks(count, share) == exact_ranks(count, share)


@pytest.mark.parametrize(
    ("percent", "needed"), [(50, 6), (5, 72), (90, 36), (95, 72), (99, 368), (99.9, 3688), (0, None), (100, None)]
)
def test_needed_count_is_where_intervals_begin(percent: float, needed: int | None) -> None:
    assert stats.needed_count(percent) == needed
    if needed is None:
        assert stats.interval_ranks(10_000, percent / 100) is None
    else:
        assert stats.interval_ranks(needed - 1, percent / 100) is None
        assert stats.interval_ranks(needed, percent / 100) is not None


def test_ranks_of_many_samples_are_near_the_normal_approximation() -> None:
    low, high = stats.interval_ranks(1_000_000, 0.99) or (0, 0)
    half = 1.96 * math.sqrt(1_000_000 * 0.99 * 0.01)
    assert low == pytest.approx(990_000 - half, abs=2)
    assert high == pytest.approx(990_000 + half, abs=3)


@pytest.mark.parametrize(("percent", "truth"), [(50, math.log(2)), (95, math.log(20))])
def test_percentile_intervals_cover_the_truth(percent: float, truth: float) -> None:
    """At least 95 % by construction; 400 seeded samples of an exponential, less four standard errors."""
    rng = np.random.default_rng(1)
    found = [stats.percentile(stats.order(plain(rng.exponential(size=150))), percent) for _ in range(400)]
    covered = np.mean([one.low is not None and one.high is not None and one.low <= truth <= one.high for one in found])
    assert covered >= 0.95 - 4 * math.sqrt(0.05 * 0.95 / 400)


def clustered(rng: np.random.Generator, requests: int, each: int) -> Samples:
    """Values that differ far more between requests than within one: the median is 0."""
    centres = np.repeat(rng.normal(size=requests), each)
    rows = np.repeat(np.arange(requests), each)
    return Samples(centres + 0.1 * rng.normal(size=len(rows)), rows, np.ones(len(rows)))


@pytest.mark.parametrize(("percent", "truth"), [(50, 0.0), (90, 1.2816 * math.sqrt(1.01))])
def test_intervals_of_pooled_values_cover_the_truth_where_plain_ones_do_not(percent: float, truth: float) -> None:
    rng = np.random.default_rng(2)
    runs = [stats.order(clustered(rng, 60, 30)) for _ in range(200)]

    def coverage(samples: list[Samples]) -> float:
        found = [stats.percentile(one, percent) for one in samples]
        return float(np.mean([(one.low or -9) <= truth <= (one.high or 9) for one in found]))

    assert coverage(runs) >= 0.88
    assert coverage([Samples(run.values, run.rows) for run in runs]) <= 0.6


def test_mean_intervals_cover_the_truth() -> None:
    rng = np.random.default_rng(3)
    single = [stats.mean(plain(rng.normal(size=8))) for _ in range(400)]
    pooled = [stats.mean(clustered(rng, 40, 10), seed) for seed in range(200)]
    for found, least in ((single, 0.91), (pooled, 0.87)):
        assert np.mean([(one.low or 0) <= 0 <= (one.high or 0) for one in found]) >= least


def test_a_mean_is_the_same_for_the_same_seed() -> None:
    samples = clustered(np.random.default_rng(4), 20, 5)
    assert stats.mean(samples, 1) == stats.mean(samples, 1)
    assert stats.mean(samples, 1) != stats.mean(samples, 2)


def test_too_few_samples_have_no_interval() -> None:
    assert stats.mean(plain([4.0])) == stats.Estimate(4.0, None, None, 1)
    assert stats.percentile(stats.order(plain([1, 2, 3, 4, 5])), 50) == stats.Estimate(3.0, None, None, 5)
    one_request = Samples(np.arange(100.0), np.zeros(100, int), np.ones(100))
    assert stats.mean(one_request).low is None
    assert stats.percentile(stats.order(one_request), 50).low is None


def test_six_values_give_a_median_its_interval() -> None:
    assert stats.percentile(stats.order(plain([6, 1, 5, 2, 4, 3])), 50) == stats.Estimate(3.5, 1.0, 6.0, 6)


def test_equal_values_have_an_interval_of_no_width() -> None:
    same = Samples(np.full(100, 7.0), np.repeat(np.arange(10), 10), np.ones(100))
    assert stats.percentile(stats.order(same), 50) == stats.Estimate(7.0, 7.0, 7.0, 100)
    assert stats.mean(same) == stats.Estimate(7.0, 7.0, 7.0, 100)


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(1, 12.706), (4, 2.776), (5, 2.571), (10, 2.228), (30, 2.042), (1000, 1.962)]
)
def test_t_quantiles_are_those_of_the_tables(freedom: int, quantile: float) -> None:
    assert stats.t_quantile(freedom) == pytest.approx(quantile, abs=1e-3)


def test_describe() -> None:
    found = stats.describe(plain([1, 2, 3, 4]), (50.0, 99.9))
    assert found is not None
    assert found.std == pytest.approx(math.sqrt(1.25))
    assert list(found.percentiles) == ["50", "99.9"]
    assert found.median == found.percentiles["50"]
    assert stats.describe(plain([]), (50.0,)) is None
