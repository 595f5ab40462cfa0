"""A course and its inverse are each other's, and its integral is the one that calculus gives."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.config.models import OpenLoop, Ramp, Stage
from inferometer.schedule.rates import Course, course, span_s

POSITIVE = st.floats(0.01, 10_000)
SECONDS = st.floats(0.1, 100_000)


def course_of(rate: Any, duration_s: float = 100.0) -> Course:
    return course(Stage.model_validate({"load": {"type": "open", "rate": rate}, "duration_s": duration_s}))


RAMPS = st.builds(
    lambda kind, start, end, over_s: {"type": kind, "start": start, "end": end, "over_s": over_s},
    st.sampled_from(["linear", "exponential"]),
    POSITIVE,
    POSITIVE,
    SECONDS,
)
SINES = st.builds(
    lambda mean, share, period_s, phase: {
        "type": "sine",
        "mean": mean,
        "amplitude": mean * share,
        "period_s": period_s,
        "phase": phase,
    },
    POSITIVE,
    st.floats(0, 1),
    SECONDS,
    st.floats(0, 1),
)
STEPS = st.lists(st.tuples(st.just(0.0) | POSITIVE, SECONDS), min_size=1, max_size=8).map(
    lambda steps: {
        "type": "steps",
        "steps": [*({"rate": rate, "duration_s": s} for rate, s in steps), {"rate": 1, "duration_s": 1}],
    }
)


@settings(deadline=None)
@given(st.floats(0.001, 1e5) | RAMPS | SINES | STEPS, st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_time_of_n_is_when_n_are_due(rate: Any, shares: list[float]) -> None:
    found = course_of(rate)
    total = float(found.number(np.array([50_000.0]))[0])
    n = np.sort(np.array(shares)) * total * (1 - 1e-9)
    at_s = found.time(n)
    assert (np.diff(at_s) >= -1e-9).all()
    # as exact as doubles are: relative to the count, and by what a rate sends in the least of times
    assert found.number(at_s) == pytest.approx(n, rel=1e-9, abs=1e-4)


@pytest.mark.parametrize(
    ("rate", "integral"),
    [
        (3.0, lambda s: 3 * s),
        ({"type": "linear", "start": 2, "end": 12}, lambda s: 2 * s + 0.05 * s**2),
        ({"type": "linear", "start": 7, "end": 7}, lambda s: 7 * s),
        ({"type": "exponential", "start": 1, "end": 8}, lambda s: 100 / np.log(8) * (8 ** (s / 100) - 1)),
        ({"type": "exponential", "start": 7, "end": 7}, lambda s: 7 * s),
        (
            {"type": "sine", "mean": 5, "amplitude": 4, "period_s": 30, "phase": 0.25},
            lambda s: 5 * s + 4 * 30 / 2 / np.pi * np.sin(2 * np.pi * s / 30),
        ),
        ({"type": "sine", "mean": 5, "amplitude": 0, "period_s": 30}, lambda s: 5 * s),
    ],
)
def test_the_integral_is_that_of_the_rate(rate: Any, integral: Callable[[Any], Any]) -> None:
    s = np.linspace(0, 100, 57)
    assert course_of(rate).number(s) == pytest.approx(integral(s), abs=1e-9)


def test_a_ramp_stays_at_its_end() -> None:
    found = course_of({"type": "linear", "start": 0, "end": 10, "over_s": 20})
    assert found.number(np.array([20.0, 21.0, 90.0])) == pytest.approx([100, 110, 800])
    assert found.time(np.array([100.0, 110.0, 800.0])) == pytest.approx([20, 21, 90])


def test_what_is_counted_when_a_pause_begins_is_due_when_it_ends() -> None:
    steps = [{"rate": rate, "duration_s": 10} for rate in (0, 2, 0, 0, 1)]
    found = course_of({"type": "steps", "steps": steps})
    assert found.time(np.array([0.0, 1.0, 19.0, 20.0, 29.0])).tolist() == [10, 10.5, 19.5, 40, 49]
    assert np.isinf(found.time(np.array([30.0, 31.0]))).all()


@settings(deadline=None)
@given(RAMPS.map(lambda ramp: ramp | {"over_s": None}), st.integers(1, 10**6))
def test_a_ramp_of_a_stage_without_a_duration_fits_its_requests(rate: dict[str, Any], requests: int) -> None:
    stage = Stage.model_validate({"load": {"type": "open", "rate": rate}, "num_requests": requests})
    assert isinstance(stage.load, OpenLoop)
    assert isinstance(stage.load.rate, Ramp)
    end_s = span_s(stage.load.rate, stage)
    assert float(course(stage).number(np.array([end_s]))[0]) == pytest.approx(requests)
