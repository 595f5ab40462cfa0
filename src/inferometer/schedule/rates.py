"""Rates in time, as their integrals: how many arrivals are due up to a moment, and when the next one is.

An arrival process of rate 1 becomes one of any rate by this change of time: its arrival at n is due when the integral
of the rate has reached n (Lewis and Shedler 1979; k6 ramps in the same way).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from inferometer.config.models import OpenLoop, Ramp, Sine, Stage, Steps

Floats = npt.NDArray[np.float64]
Curve = Callable[[Floats], Floats]

#: The time of an arrival on a sine is found up to this (and the precision of a double), in so many steps at most.
SINE_EXACT_S = 1e-10
SINE_STEPS = 60


class Course(NamedTuple):
    """``number(s)``: arrivals due in the first s seconds. ``time(n)``: the last moment when n are; inf if always."""

    number: Curve
    time: Curve


def course(stage: Stage) -> Course:
    """The course of an open loop's rate, which is finite. A ramp without ``over_s`` takes the whole stage."""
    rate = stage.load.rate if isinstance(stage.load, OpenLoop) else math.inf
    if isinstance(rate, float):
        return Course(lambda s: s * rate, lambda n: n / rate)
    return COURSES[rate.type](rate, stage)


def span_s(ramp: Ramp, stage: Stage) -> float:
    """Seconds from the start of a ramp to its end; of a stage without a duration, until all of its requests are due."""
    if ramp.over_s is not None:
        return ramp.over_s
    if stage.duration_s is not None:
        return stage.duration_s
    assert stage.num_requests is not None  # noqa: S101 (a stage has one of the two)
    return stage.num_requests / _mean(ramp)


def _mean(ramp: Ramp) -> float:
    if ramp.type == "linear" or ramp.start == ramp.end:
        return (ramp.start + ramp.end) / 2
    return (ramp.end - ramp.start) / _log_ratio(ramp)


def _log_ratio(ramp: Ramp) -> float:
    """Natural logarithm of end / start, exact also where the two are nearly the same."""
    ratio = ramp.end / ramp.start
    return math.log1p((ramp.end - ramp.start) / ramp.start) if 0.5 < ratio < 2 else math.log(ratio)


def _linear(ramp: Ramp, stage: Stage) -> Course:
    over_s = span_s(ramp, stage)
    gain = (ramp.end - ramp.start) / over_s

    def time(n: Floats) -> Floats:
        # 2n / (r + sqrt(r^2 + 2an)) and not (sqrt(r^2 + 2an) - r) / a, which cancels where a is small
        root = np.sqrt(np.maximum(ramp.start * ramp.start + 2 * gain * n, 0.0))
        return np.divide(2 * n, ramp.start + root, out=np.zeros_like(n), where=n > 0)

    return _then_steady(lambda s: s * (ramp.start + gain * s / 2), time, ramp.end, over_s)


def _exponential(ramp: Ramp, stage: Stage) -> Course:
    over_s = span_s(ramp, stage)
    growth = _log_ratio(ramp) / over_s
    if growth == 0:
        return Course(lambda s: s * ramp.start, lambda n: n / ramp.start)
    return _then_steady(
        lambda s: ramp.start * np.expm1(growth * s) / growth,
        lambda n: np.log1p(growth * n / ramp.start) / growth,
        ramp.end,
        over_s,
    )


def _then_steady(number: Curve, time: Curve, rate: float, from_s: float) -> Course:
    """One course up to ``from_s``, a steady rate from there on."""
    before = float(number(np.array([from_s]))[0])

    def whole_number(s: Floats) -> Floats:
        return number(np.minimum(s, from_s)) + rate * np.maximum(s - from_s, 0.0)

    def whole_time(n: Floats) -> Floats:
        return time(np.minimum(n, before)) + np.maximum(n - before, 0.0) / rate

    return Course(whole_number, whole_time)


def _steps(rate: Steps, _: Stage) -> Course:
    """Nothing is due during a pause, so what has been counted when it begins is due when it ends."""
    rates = np.array([step.rate for step in rate.steps])
    starts_s = np.cumsum([0.0, *(step.duration_s for step in rate.steps)])
    counts = np.concatenate([[0.0], np.cumsum(rates * np.diff(starts_s))])

    def time(n: Floats) -> Floats:
        part = np.searchsorted(counts, n, side="right") - 1
        inside = part < len(rates)
        known = np.where(inside, part, 0)
        at_s = starts_s[known] + np.divide(n - counts[known], rates[known], out=np.zeros_like(n), where=inside)
        return np.where(inside, at_s, np.inf)

    return Course(lambda s: np.interp(s, starts_s, counts), time)


def _sine(rate: Sine, _: Stage) -> Course:
    """Whole periods hold mean x period arrivals; within one, Newton's method between bounds that close in."""
    turn = 2 * math.pi
    per_period, swing = rate.mean * rate.period_s, rate.amplitude * rate.period_s / turn

    def number(s: Floats) -> Floats:
        angle = s / rate.period_s + rate.phase
        # a difference of cosines as a product, which does not cancel
        return rate.mean * s + swing * 2 * np.sin(turn * (angle + rate.phase) / 2) * np.sin(math.pi * s / rate.period_s)

    def slope(s: Floats) -> Floats:
        return rate.mean + rate.amplitude * np.sin(turn * (s / rate.period_s + rate.phase))

    def time(n: Floats) -> Floats:
        periods = np.floor(n / per_period)
        rest = n - periods * per_period
        return periods * rate.period_s + _solve(number, slope, rest, rate.period_s)

    return Course(number, time)


def _solve(number: Curve, slope: Curve, n: Floats, end_s: float) -> Floats:
    """Where a rising ``number`` reaches n, between 0 and ``end_s``."""
    low, high = np.zeros_like(n), np.full_like(n, end_s)
    at_s = n / float(number(high[:1])[0]) * end_s
    for _ in range(SINE_STEPS):
        error = number(at_s) - n
        low, high = np.where(error < 0, at_s, low), np.where(error >= 0, at_s, high)
        steep = slope(at_s)
        newton = at_s - np.divide(error, steep, out=np.full_like(n, np.inf), where=steep > 0)
        next_s = np.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
        if np.abs(next_s - at_s).max(initial=0.0) <= SINE_EXACT_S + 1e-15 * end_s:
            return next_s
        at_s = next_s
    return at_s


COURSES: dict[str, Callable[[Any, Stage], Course]] = {
    "linear": _linear,
    "exponential": _exponential,
    "steps": _steps,
    "sine": _sine,
}
