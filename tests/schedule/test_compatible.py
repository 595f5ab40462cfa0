"""What other tools do under these names, by the formulas of their sources."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.config.models import Stage
from inferometer.schedule.arrivals import offsets

Floats = np.ndarray[Any, np.dtype[np.float64]]
COUNTS, SEEDS = st.integers(1, 500), st.integers(0, 2**40)


def arrivals_s(name: str, rate: Any, seed: int = 4, burstiness: float = 1.0, **stop: Any) -> Floats:
    load = {"type": "open", "rate": rate, "arrivals": name, "burstiness": burstiness}
    return np.array(list(offsets(Stage.model_validate({"load": load, **stop}), seed))) / 1e9


@settings(deadline=None)
@given(COUNTS, st.floats(0.05, 20_000), st.sampled_from([0.25, 1.0, 4.0, math.inf]), SEEDS)
def test_vllm_sends_the_last_request_at_n_over_rate(requests: int, rate: float, burstiness: float, seed: int) -> None:
    at_s = arrivals_s("vllm", rate, seed, burstiness, num_requests=requests)
    assert len(at_s) == requests
    assert at_s[-1] == pytest.approx(requests / rate, abs=1e-9, rel=1e-12)
    assert (np.diff(at_s, prepend=0) >= 0).all()


@pytest.mark.parametrize(
    ("rate", "burstiness"), [(1e-10, 1.0), (10.0, 1e-4), ({"type": "linear", "start": 1e-12, "end": 2}, 1.0)]
)
@pytest.mark.parametrize("seed", range(4))
def test_what_no_number_can_hold_is_never_due_before_the_start(rate: Any, burstiness: float, seed: int) -> None:
    at_s = arrivals_s("vllm", rate, seed, burstiness, num_requests=10)
    assert (np.diff(at_s, prepend=0) >= 0).all()
    assert at_s.max(initial=0) <= 9e9


def test_vllm_has_gamma_gaps() -> None:
    gaps = np.diff(arrivals_s("vllm", 100, burstiness=0.5, num_requests=40_000), prepend=0)
    assert gaps.mean() == pytest.approx(0.01, rel=1e-9)
    assert gaps.std() / gaps.mean() == pytest.approx(1 / math.sqrt(0.5), rel=0.06)


def test_vllm_without_variation_begins_after_a_gap() -> None:
    assert arrivals_s("vllm", 4, burstiness=math.inf, num_requests=3).tolist() == [0.25, 0.5, 0.75]
    assert arrivals_s("vllm", 4, burstiness=math.inf, duration_s=1.6).tolist() == pytest.approx(
        [0.25 * i for i in range(1, 7)]
    )
    assert len(arrivals_s("vllm", 4, burstiness=math.inf, num_requests=9, duration_s=1)) == 4


@pytest.mark.parametrize(
    ("strategy", "rates"), [("linear", [2, 4, 6, 8]), ("exponential", [2, 2 * 4 ** (1 / 3), 2 * 4 ** (2 / 3), 8])]
)
def test_a_ramp_of_vllm_goes_by_the_number_of_the_request(strategy: str, rates: list[float]) -> None:
    ramp = {"type": strategy, "start": 2, "end": 8}
    at_s = arrivals_s("vllm", ramp, burstiness=math.inf, num_requests=4)
    assert np.diff(at_s, prepend=0) == pytest.approx([1 / rate for rate in rates], abs=2e-9)
    assert arrivals_s("vllm", ramp, burstiness=math.inf, num_requests=1).tolist() == [0.5]


def test_our_ramp_is_one_of_time() -> None:
    """The same ramp by time: half of its time is over where its rate is in the middle, not half of its requests."""
    ramp, requests = {"type": "linear", "start": 2, "end": 18}, 1000
    ours = arrivals_s("constant", ramp, num_requests=requests)
    theirs = arrivals_s("vllm", ramp, burstiness=math.inf, num_requests=requests)
    assert ours[-1] == pytest.approx(requests / 10, rel=0.01)
    assert theirs[-1] == pytest.approx(requests * math.log(18 / 2) / 16, rel=0.01)
    assert np.searchsorted(ours, ours[-1] / 2) == pytest.approx(300, abs=3)


@settings(deadline=None)
@given(st.floats(0.1, 200), st.floats(0.1, 50), SEEDS)
def test_constant_of_inference_perf_fills_its_duration_at_random(rate: float, duration_s: float, seed: int) -> None:
    at_s = arrivals_s("inference-perf-constant", rate, seed, duration_s=duration_s)
    assert len(at_s) == int(rate * duration_s)
    if len(at_s):
        assert at_s[-1] == pytest.approx(duration_s, abs=1e-9)


def test_constant_of_inference_perf_is_not_constant() -> None:
    gaps = np.diff(arrivals_s("inference-perf-constant", 100, duration_s=400), prepend=0)
    assert gaps.std() / gaps.mean() == pytest.approx(1, rel=0.05)
    assert len(arrivals_s("inference-perf-constant", 100, duration_s=10, num_requests=7)) == 7
    assert arrivals_s("inference-perf-constant", 4, num_requests=8)[-1] == pytest.approx(2)


@settings(deadline=None)
@given(st.floats(0.3, 50), st.integers(1, 40), SEEDS)
def test_poisson_of_inference_perf_ends_every_second_with_a_request(rate: float, duration_s: int, seed: int) -> None:
    """As many as rate x duration, however long that takes."""
    at_s = arrivals_s("inference-perf-poisson", rate, seed, duration_s=duration_s)
    assert len(at_s) == int(rate * duration_s)
    seconds = np.ceil(at_s - 1e-9)
    for second in np.unique(seconds)[:-1]:
        assert at_s[seconds == second][-1] == pytest.approx(second, abs=2e-9)


def test_poisson_of_inference_perf_has_poisson_counts() -> None:
    at_s = arrivals_s("inference-perf-poisson", 20, duration_s=1000)
    counts = np.bincount(np.ceil(at_s - 1e-9).astype(int))[1:-1]
    assert counts.mean() == pytest.approx(20, rel=0.05)
    assert counts.var() / counts.mean() == pytest.approx(1, rel=0.25)


@pytest.mark.parametrize("name", ["vllm", "inference-perf-constant", "inference-perf-poisson"])
def test_seeds_are_ours(name: str) -> None:
    first, again, other = (arrivals_s(name, 9, seed, num_requests=50).tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_second_without_requests_is_waited_for() -> None:
    at_s = arrivals_s("inference-perf-poisson", 0.5, duration_s=8000)
    assert len(at_s) / at_s[-1] == pytest.approx(0.5, rel=0.1)
