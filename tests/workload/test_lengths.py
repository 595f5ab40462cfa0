"""Drawn lengths have the distribution, the bounds and the mean that the plan says."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from inferometer.config.models import Lengths, Scenario
from inferometer.workload.lengths import draw, expected_tokens, prompt_lengths


def many(lengths: Lengths, count: int = 5000) -> np.ndarray[Any, np.dtype[np.int64]]:
    random = np.random.Generator(np.random.PCG64(3))
    return np.array([draw(lengths, random) for _ in range(count)])


def said(**lengths: Any) -> Lengths:
    return Lengths.model_validate(lengths)


def test_a_mean_alone_is_fixed() -> None:
    assert set(many(Lengths(mean=12, min=3, max=20), 50)) == {12}


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.5, 50, 150), (0.999, 1, 200), (0.004, 99, 101)])
def test_a_ratio_is_uniform_to_both_ends(ratio: float, low: int, high: int) -> None:
    drawn = many(Lengths(mean=100, range_ratio=ratio))
    assert (drawn.min(), drawn.max()) == (low, high)
    assert drawn.mean() == pytest.approx((low + high) / 2, rel=0.05)
    assert drawn.std() == pytest.approx(np.sqrt(((high - low + 1) ** 2 - 1) / 12), rel=0.05)


def test_two_limits_without_a_mean_are_uniform_to_both_ends() -> None:
    counts = np.bincount(many(Lengths(min=7, max=10)))
    assert counts[:7].sum() == 0
    assert (abs(counts[7:] - 1250) < 5 * np.sqrt(1250)).all()


def test_a_deviation_is_normal() -> None:
    drawn = many(Lengths(mean=500, std_dev=50))
    assert drawn.mean() == pytest.approx(500, rel=0.01)
    assert drawn.std() == pytest.approx(50, rel=0.1)
    assert np.mean(abs(drawn - 500) < 50) == pytest.approx(0.683, abs=0.04)


MOMENTS: dict[str, tuple[Lengths, float, float]] = {
    "normal": (said(mean=500, std_dev=50), 500, 50),
    "lognormal": (said(distribution="lognormal", mean=300, std_dev=120), 300, 120),
    "exponential": (said(distribution="exponential", mean=40), 40, np.sqrt(40 * 39)),
    "exponential of 1": (said(distribution="exponential", mean=1), 1, 0),
    "poisson": (said(distribution="poisson", mean=64), 64, 8),
    "uniform": (said(min=50, max=100), 75, np.sqrt((51**2 - 1) / 12)),
    "empirical": (said(values=[10, 20, 90]), 40, np.sqrt((900 + 400 + 2500) / 3)),
    "weighted": (said(values=[10, 90], weights=[3, 1]), 30, np.sqrt(1200)),
}


@pytest.mark.parametrize(("lengths", "mean", "std_dev"), MOMENTS.values(), ids=MOMENTS)
def test_mean_and_deviation_are_those_that_were_said(lengths: Lengths, mean: float, std_dev: float) -> None:
    drawn = many(lengths, 20_000)
    assert expected_tokens(lengths) == pytest.approx(mean)
    assert drawn.mean() == pytest.approx(mean, abs=5 * std_dev / np.sqrt(20_000) + 1e-9)
    assert drawn.std() == pytest.approx(std_dev, rel=0.06)


def test_the_logarithm_of_a_lognormal_length_is_normal() -> None:
    logs = np.log(many(said(distribution="lognormal", mean=3000, std_dev=2000)))
    skew = np.mean((logs - logs.mean()) ** 3) / logs.std() ** 3
    assert skew == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.5])
def test_zipf_has_the_odds_of_its_exponent(exponent: float) -> None:
    lengths = said(distribution="zipf", exponent=exponent, min=10, max=14)
    shares = np.arange(10, 15.0) ** -exponent
    shares /= shares.sum()
    counts = np.bincount(many(lengths, 20_000), minlength=15)
    assert counts[:10].sum() == 0
    assert counts[10:] / 20_000 == pytest.approx(shares, abs=0.02)
    assert expected_tokens(lengths) == pytest.approx(np.arange(10, 15.0) @ shares)


def test_values_have_the_odds_of_their_weights() -> None:
    drawn = many(said(values=[100, 7, 300, 8], weights=[0, 1, 3, 0]), 8000)
    assert set(drawn) == {7, 300}
    assert np.mean(drawn == 300) == pytest.approx(0.75, abs=0.025)


@pytest.mark.parametrize(("mean", "std_dev", "clipped"), [(480, 240, 482.3), (100, 100, 108.5)])
def test_clipping_moves_a_mean_as_the_docstring_says(mean: int, std_dev: int, clipped: float) -> None:
    drawn = many(said(mean=mean, std_dev=std_dev), 40_000)
    assert drawn.min() == 1
    assert drawn.mean() == pytest.approx(clipped, abs=4.5 * std_dev / 200)


SPREAD = st.one_of(
    st.builds(
        lambda kind, std_dev: {"distribution": kind, "std_dev": std_dev},
        st.sampled_from(["normal", "lognormal"]),
        st.floats(0.1, 1e6),
    ),
    st.sampled_from(["fixed", "exponential", "poisson"]).map(lambda kind: {"distribution": kind}),
)
SEEDS = st.integers(0, 2**32)


@settings(deadline=None)
@given(SPREAD, st.integers(1, 5000), st.integers(0, 5000), st.integers(0, 5000), SEEDS)
def test_limits_are_kept(spread: dict[str, Any], mean: int, below: int, above: int, seed: int) -> None:
    lengths = said(mean=mean, min=max(1, mean - below), max=mean + above, **spread)
    assert lengths.min is not None
    assert lengths.max is not None
    assert lengths.min <= draw(lengths, np.random.Generator(np.random.PCG64(seed))) <= lengths.max


@settings(deadline=None)
@given(SPREAD, st.integers(1, 5000), st.floats(0, 0.99), SEEDS)
def test_a_length_is_never_below_one(spread: dict[str, Any], mean: int, ratio: float, seed: int) -> None:
    random = np.random.Generator(np.random.PCG64(seed))
    assert draw(said(mean=mean, **spread), random) >= 1
    assert draw(Lengths(mean=mean, range_ratio=ratio), random) >= 1


@settings(deadline=None)
@given(st.integers(1, 500), st.integers(0, 500), st.floats(0, 5), SEEDS)
def test_zipf_stays_between_its_limits(low: int, width: int, exponent: float, seed: int) -> None:
    lengths = said(distribution="zipf", min=low, max=low + width, exponent=exponent)
    assert low <= draw(lengths, np.random.Generator(np.random.PCG64(seed))) <= low + width


@pytest.mark.parametrize(
    "lengths",
    [
        said(mean=2**31 - 1),
        said(mean=10, std_dev=float("inf")),
        said(mean=10, std_dev=1e12),
        said(mean=2**31 - 1, range_ratio=0.5),
        said(distribution="exponential", mean=2**31 - 1),
        said(distribution="poisson", mean=2**31 - 1),
        said(min=1, max=2**31 - 1),
    ],
)
def test_a_length_fits_into_a_record(lengths: Lengths) -> None:
    drawn = many(lengths, 50)
    assert drawn.min() >= 1
    assert drawn.max() < 2**31


@pytest.mark.parametrize("lengths", [{"mean": 2**31}, {"min": 1, "max": 10**25}, {"values": [3, 2**31]}])
def test_lengths_that_no_record_can_hold(lengths: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="less than or equal to 2147483647"):
        said(**lengths)


def scenario(workload: dict[str, Any], *stages: dict[str, Any]) -> Scenario:
    load = {"load": {"type": "closed", "concurrency": 1}, "num_requests": 1}
    return Scenario.model_validate({"workload": workload, "stages": [load | stage for stage in stages]})


def test_the_lengths_of_all_prompts_are_known() -> None:
    short, long = {"mean": 7}, {"mean": 2000}
    plain = scenario({"input_tokens": short}, {}, {"input_tokens": long})
    assert [lengths.mean for lengths in prompt_lengths(plain)] == [7, 2000]
    mix = [{"name": "a", "share": 1, "input_tokens": long}, {"name": "b", "share": 1}]
    assert [lengths.mean for lengths in prompt_lengths(scenario({"mix": mix}, {}))] == [2000, 256]
