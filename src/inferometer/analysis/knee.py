"""Where a server saturates: the knee of measured points, the Universal Scalability Law, and what degrades first.

The knee is Kneedle's (Satopaa, Albrecht, Irwin and Raghavan 2011), offline: both axes scaled to 0 to 1, the level
that lies farthest from the straight line between the ends. The law is Gunther's (2007): X(N) = lambda N / (1 + sigma
(N - 1) + kappa N (N - 1)), with sigma for contention and kappa for coherency; N / X is linear in what is unknown, so
the fit is exact least squares without negative coefficients, on relative errors. Its uncertainty comes from resampled
residuals (Efron and Tibshirani 1993, 9.4).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from inferometer.analysis.frame import Floats
from inferometer.analysis.stats import TAIL, Estimate

#: Points that bend less than this (as a share of the scaled axis) have no knee.
LEAST_BEND = 0.05
#: Distinct levels that a fit of three coefficients needs to have any residuals.
LEAST_LEVELS = 4
RESAMPLES = 500
#: An SLI has degraded where it is this many times what it was at the lowest load.
DEGRADED = 1.5
_GRID = 1001

Shape = Literal["concave", "convex"]


class Knee(msgspec.Struct, frozen=True):
    """The knee is at a measured level, and lies between its neighbours; ``bend`` is its height, 0 to 1."""

    at: float
    low: float
    high: float
    bend: float


class Usl(msgspec.Struct, frozen=True):
    """A fit. Rates are in the unit of the throughput that was given.

    ``rate_at_one`` is lambda. ``peak_load`` is None where the law has no peak (kappa is 0: throughput only levels
    off); an end of its interval is None where some resamples have none. A peak beyond the measured loads is an
    extrapolation. ``knee_load`` is Kneedle's on the curve over the measured loads. ``error`` is the relative residual
    (root mean square).
    """

    rate_at_one: Estimate
    sigma: Estimate
    kappa: Estimate
    peak_load: Estimate | None
    peak_rate: Estimate | None
    knee_load: Estimate | None
    error: float

    def rate(self, load: float) -> float:
        """Throughput at a load."""
        return float(_law(np.array([self.rate_at_one.value, self.sigma.value, self.kappa.value]), np.array([load]))[0])


class Degradation(msgspec.Struct, frozen=True):
    """An SLI over the loads: how many times it grew in all, and the first load at which it had degraded, if any."""

    name: str
    first: float
    last: float
    growth: float
    at: float | None


def kneedle(loads: Sequence[float], values: Sequence[float], shape: Shape = "concave") -> Knee | None:
    """The knee of at least three points.

    Args:
        loads: levels, rising, all different.
        values: throughput ("concave": rises steeply, then levels off) or a latency ("convex": the other way).
        shape: which of both.

    Returns:
        None if there are fewer than three points, or they do not bend.
    """
    x, y = np.asarray(loads, np.float64), np.asarray(values, np.float64)
    if len(x) < 3 or not np.ptp(y):
        return None
    bends = _bends(x, y) if shape == "concave" else -_bends(x, y)
    place = int(np.argmax(bends))
    if bends[place] < LEAST_BEND:
        return None
    return Knee(float(x[place]), float(x[max(place - 1, 0)]), float(x[min(place + 1, len(x) - 1)]), float(bends[place]))


def _bends(x: Floats, y: Floats) -> Floats:
    """Scaled y - scaled x; points along the last axis."""
    low, high = y.min(axis=-1, keepdims=True), y.max(axis=-1, keepdims=True)
    bends: Floats = (y - low) / np.where(high > low, high - low, 1.0) - (x - x[0]) / (x[-1] - x[0])
    return bends


def usl(loads: Sequence[float], rates: Sequence[float], seed: int = 0) -> Usl | None:
    """The law that fits best; loads may repeat. None below four distinct loads, or where a rate is not above zero.

    Args:
        loads: concurrency of each point, at least 1.
        rates: throughput, requests or tokens per s.
        seed: of the resampling.
    """
    x, y = np.asarray(loads, np.float64), np.asarray(rates, np.float64)
    if len(np.unique(x)) < LEAST_LEVELS or not (y > 0).all():
        return None
    best = _fit(x, y)
    fitted = _law(best, x)
    residuals = y / fitted - 1
    # three coefficients take their share of the spread out of the residuals
    wider = residuals * math.sqrt(len(x) / max(1, len(x) - 3))
    rng = np.random.default_rng(seed)
    drawn = rng.choice(wider - wider.mean(), (RESAMPLES, len(x)))
    samples = np.array([_fit(x, fitted * np.maximum(1 + draw, 0.05)) for draw in drawn])
    return _described(best, samples, x, float(np.sqrt(np.mean(residuals**2))))


def _fit(x: Floats, y: Floats) -> Floats:
    """(lambda, sigma, kappa): N / X = a + b (N - 1) + c N (N - 1), each equation divided by what it should give."""
    from scipy.optimize import nnls

    terms = np.stack([np.ones_like(x), x - 1, x * (x - 1)], axis=1)
    a, b, c = nnls(terms * (y / x)[:, None], np.ones_like(x))[0]
    a = max(float(a), 1e-12)  # all of it went into contention: a rate at 1 that is beyond measure
    b, c = (
        value if value * term > 1e-9 * a else 0.0 for value, term in zip((b, c), terms[:, 1:].max(axis=0), strict=True)
    )
    return np.array([1 / a, b / a, c / a])


def _law(coefficients: Floats, x: Floats) -> Floats:
    """Throughput, shape (..., loads), of coefficients of shape (..., 3)."""
    rate, sigma, kappa = (coefficients[..., place, None] for place in range(3))
    law: Floats = rate * x / (1 + sigma * (x - 1) + kappa * x * (x - 1))
    return law


def _described(best: Floats, samples: Floats, x: Floats, error: float) -> Usl:
    everything = np.vstack([best, samples])
    rates, sigmas, kappas = everything.T
    with np.errstate(divide="ignore", invalid="ignore"):
        peaks = np.where(kappas > 0, np.sqrt(np.maximum(1 - sigmas, 0) / kappas), np.inf)
    peaks = np.maximum(peaks, 1.0)
    tops = np.array([_law(one, np.array([min(peak, 1e9)]))[0] for one, peak in zip(everything, peaks, strict=True)])
    count = len(x)
    has_peak = bool(np.isfinite(peaks[0]))
    return Usl(
        _around(rates, count),
        _around(sigmas, count),
        _around(kappas, count),
        _around(peaks, count) if has_peak else None,
        _around(tops, count) if has_peak else None,
        _knee_load(everything, x),
        error,
    )


def _knee_load(everything: Floats, x: Floats) -> Estimate | None:
    """Kneedle on the curves, from the lowest to the highest measured load."""
    grid = np.linspace(x.min(), x.max(), _GRID)
    bends = _bends(grid, _law(everything, grid))
    if bends[0].max() < LEAST_BEND:
        return None
    return _around(grid[bends.argmax(axis=1)], len(x))


def _around(values: Floats, count: int) -> Estimate:
    """The first value with the middle 95 % of the others; an end without bound is None."""
    ends = np.quantile(values[1:], [TAIL, 1 - TAIL], method="nearest")
    low, high = min(float(ends[0]), float(values[0])), max(float(ends[1]), float(values[0]))
    return Estimate(float(values[0]), low if math.isfinite(low) else None, high if math.isfinite(high) else None, count)


# --- what degrades first ---------------------------------------------------------------------------------------------


def degradations(loads: Sequence[float], slis: Mapping[str, Sequence[float | None]]) -> tuple[Degradation, ...]:
    """Every SLI (latencies: lower is better), the one that degrades first at the front.

    First is who reaches ``DEGRADED`` times its value at the lowest load at the lowest load; of several, and of those
    that never do, who grew most in all. SLIs without values at both ends are left out.

    Args:
        loads: levels, rising.
        slis: values at each level by name, None where unknown.
    """
    found = [one for name, values in slis.items() if (one := _degradation(name, loads, values)) is not None]
    return tuple(sorted(found, key=lambda one: (math.inf if one.at is None else one.at, -one.growth)))


def _degradation(name: str, loads: Sequence[float], values: Sequence[float | None]) -> Degradation | None:
    first, last = (values[0], values[-1]) if values else (None, None)
    if not first or last is None or len(values) < 2:
        return None
    pairs = zip(loads, values, strict=True)
    at = next((load for load, value in pairs if value is not None and value >= DEGRADED * first), None)
    return Degradation(name, first, last, last / first, at)
