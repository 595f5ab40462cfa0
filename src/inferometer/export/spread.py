"""Distributions as plain numbers, without the intervals that no other tool's format has room for. Pure.

The values are those of the summary: the same percentiles (type 7), the same population standard deviation.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
import numpy as np

from inferometer.analysis import stats
from inferometer.analysis.frame import Floats
from inferometer.analysis.stats import Samples
from inferometer.analysis.streamed import Histogram


class Spread(msgspec.Struct, frozen=True):
    """A distribution of at least one value. ``percentiles`` are keyed "50", "99.9"; ``total`` is mean x count."""

    count: int
    mean: float
    std: float
    min: float
    max: float
    median: float
    percentiles: dict[str, float]

    @property
    def total(self) -> float:
        """The sum of all values."""
        return self.mean * self.count


def spread(samples: Samples | Histogram, percents: Iterable[float], scale: float = 1.0) -> Spread | None:
    """The distribution of samples, each value times ``scale``; None without a value."""
    if not len(samples.values):
        return None
    if isinstance(samples, Histogram):
        mean = float(samples.sizes @ np.nan_to_num(samples.means) / samples.sizes.sum())
        largest, std = float(samples.worst.max()), math.sqrt(samples.variance)
        return _spread(samples.values, samples.weights, percents, scale, (mean, std, largest))
    ordered = stats.order(samples)
    mean = float(np.average(ordered.values, weights=ordered.weights))
    std = math.sqrt(float(np.average((ordered.values - mean) ** 2, weights=ordered.weights)))
    return _spread(ordered.values, ordered.weights, percents, scale, (mean, std, float(ordered.values[-1])))


def spread_of(values: Floats, percents: Iterable[float], scale: float = 1.0) -> Spread | None:
    """The distribution of plain values; those that are not known (NaN) are left out."""
    known = values[np.isfinite(values)]
    return spread(Samples(known, np.arange(len(known))), percents, scale)


def _spread(
    values: Floats, weights: Floats | None, percents: Iterable[float], scale: float, known: tuple[float, float, float]
) -> Spread:
    cumulative = np.arange(1.0, len(values) + 1) if weights is None else np.cumsum(weights)

    def at(percent: float) -> float:
        return stats.at(values, cumulative, percent / 100 * (cumulative[-1] - 1)) * scale

    mean, std, largest = known
    return Spread(
        count=round(cumulative[-1]),
        mean=mean * scale,
        std=std * scale,
        min=float(values[0]) * scale,
        max=largest * scale,
        median=at(50),
        percentiles={f"{percent:g}": at(percent) for percent in percents},
    )
