"""Distributions of more values than fit into memory: exact up to a number of events, by a histogram beyond it.

A histogram knows each value to ``RESOLUTION``. Counts, means, standard deviations and the weight of every request are
exact in either case, so intervals, too, are those of all values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import numpy as np

from inferometer.analysis import stats
from inferometer.analysis.frame import Floats, Frame, Ints
from inferometer.analysis.stats import Description, Estimate, Samples

#: Relative width of a bin.
RESOLUTION = 0.001
#: Up to this many token events the values are held as they are: about 100 bytes each while they are sorted.
EXACT_EVENTS = 4_000_000
#: The first bin takes everything below 1 ns; the last one begins above a day.
_LEAST_MS = 1e-6
_BINS = 2 + math.ceil(math.log(1e8 / _LEAST_MS) / math.log1p(RESOLUTION))

#: What was counted of frames that are in use, without the way back to them: each costs a pass over the events.
_KNOWN: WeakKeyDictionary[Frame, dict[Callable[[Frame], Samples], Histogram]] = WeakKeyDictionary()

#: Samples in stretches: (row of the first request, samples whose rows count from there), in order, as often as wanted.
Parts = Callable[[], Iterable[tuple[int, Samples]]]


@dataclass(frozen=True, slots=True, eq=False)
class Histogram:
    """Values of one metric in bins, and what each request adds.

    ``bins`` are the numbers of those that hold anything, ``values`` their means and ``weights`` their weights, by
    rising value. ``sizes``, ``means`` and ``worst`` are the weight, the mean and the largest value of each request,
    shape (requests,): 0, NaN and -inf for one without a value. ``variance`` is that of all values. ``parts`` gives the
    values themselves once more.
    """

    bins: Ints
    values: Floats
    weights: Floats
    sizes: Floats
    means: Floats
    worst: Floats
    variance: float
    parts: Parts

    def below(self, limits: Floats) -> Floats:
        """Weight of each request in all bins up to that of each of the rising limits. Shape (limits, requests)."""
        last = self.bins[np.maximum(np.searchsorted(self.values, limits, side="right") - 1, 0)]
        edges = np.where(last < _BINS - 1, _LEAST_MS * np.exp(last * math.log1p(RESOLUTION)), np.inf)
        found = np.zeros((len(last), len(self.sizes)))
        for first, part in self.parts():
            starts, weights = _starts(part.rows), _unequal(part)
            owners = first + part.rows[starts]
            for place, edge in enumerate(edges if len(starts) else ()):
                inside = part.values < edge
                chosen = inside if weights is None else inside * weights
                np.add.at(found[place], owners, np.add.reduceat(chosen, starts, dtype=np.float64))
        return found


def pooled(frame: Frame, samples: Callable[[Frame], Samples]) -> Samples | Histogram:
    """Samples of all events of a frame, which ``samples`` finds in a frame whose events are in memory."""

    def parts() -> Iterator[tuple[int, Samples]]:
        return ((first, samples(part)) for first, part in frame.parts())

    if frame.event_offsets[-1] <= EXACT_EVENTS:
        return together(parts)
    known = _KNOWN.setdefault(frame, {})
    if samples not in known:
        known[samples] = replace(histogram(parts, len(frame)), parts=tuple)
    return replace(known[samples], parts=parts)


def together(parts: Parts) -> Samples:
    """All samples in memory."""
    found = list(parts())
    if len(found) == 1:
        return found[0][1]
    if not found:
        return Samples(np.zeros(0), np.zeros(0, np.int64), np.zeros(0))
    values, rows, weights = zip(
        *((part.values, part.rows + first, _weights(part)) for first, part in found), strict=True
    )
    return Samples(np.concatenate(values), np.concatenate(rows), np.concatenate(weights))


def histogram(parts: Parts, requests: int) -> Histogram:
    """Count the samples of so many requests. Values are in milliseconds."""
    weights, sums = np.zeros(_BINS), np.zeros(_BINS)
    sizes, totals, worst = np.zeros(requests), np.zeros(requests), np.full(requests, -np.inf)
    pivot, squares = math.nan, 0.0
    for first, part in parts():
        values, weight = part.values, _unequal(part)
        if not len(values):
            continue
        weighted = values if weight is None else weight * values
        pivot = float(values.mean()) if math.isnan(pivot) else pivot  # squares of small differences lose no digits
        deviations = (values - pivot) ** 2
        squares += float(np.sum(deviations if weight is None else weight * deviations))
        bins = _bins(values)
        weights += np.bincount(bins, weight, _BINS)
        sums += np.bincount(bins, weighted, _BINS)
        own = slice(first, first + _requests(part))
        sizes[own] += np.bincount(part.rows, weight)
        totals[own] += np.bincount(part.rows, weighted)
        starts = _starts(part.rows)
        np.maximum.at(worst[own], part.rows[starts], np.maximum.reduceat(values, starts))
    held = np.flatnonzero(weights)
    whole = float(weights.sum())
    means = np.divide(totals, sizes, out=np.full(requests, np.nan), where=sizes > 0)
    variance = squares / whole - (float(totals.sum()) / whole - pivot) ** 2 if whole else 0.0
    return Histogram(
        bins=held,
        values=sums[held] / weights[held],
        weights=weights[held],
        sizes=sizes,
        means=means,
        worst=worst,
        variance=max(0.0, variance),
        parts=parts,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Pooled:
    """Values of one metric by rising value, ``cumulative`` weights of them, and what each request has, in an order.

    ``sizes`` are the weights of its values, ``sums`` their weighted sum, ``below(value)`` the weight of those up to a
    value: shape (requests,) each, requests without a value left out.
    """

    values: Floats
    cumulative: Floats
    sizes: Floats
    sums: Floats
    below: Callable[[float], Floats]

    @property
    def mean(self) -> float:
        """Of all values."""
        return float(self.sums.sum() / self.sizes.sum())


def in_order(samples: Samples | Histogram, keys: Floats) -> Pooled | None:
    """The values with their requests by rising ``keys``, shape (requests,); None without a value."""
    told = _of_histogram(samples) if isinstance(samples, Histogram) else _of_samples(samples, len(keys))
    owners = np.flatnonzero(told.sizes)
    if not len(owners):
        return None
    owners = owners[np.argsort(keys[owners], kind="stable")]
    return replace(
        told, sizes=told.sizes[owners], sums=told.sums[owners], below=lambda value: told.below(value)[owners]
    )


def _of_histogram(samples: Histogram) -> Pooled:
    sums = np.where(samples.sizes > 0, samples.sizes * samples.means, 0.0)
    return Pooled(
        samples.values,
        np.cumsum(samples.weights),
        samples.sizes,
        sums,
        lambda value: samples.below(np.array([value]))[0],
    )


def _of_samples(samples: Samples, requests: int) -> Pooled:
    by_value = np.argsort(samples.values, kind="stable")
    weights = _weights(samples)

    def each(amounts: Floats) -> Floats:
        return np.bincount(samples.rows, amounts, requests).astype(np.float64)

    return Pooled(
        samples.values[by_value],
        np.cumsum(weights[by_value]),
        each(weights),
        each(weights * samples.values),
        lambda value: each(weights * (samples.values <= value)),
    )


def alike(one: Samples | Histogram, other: Samples | Histogram) -> bool:
    """Are these the same values with the same weights?"""
    return np.array_equal(one.values, other.values) and np.array_equal(_weights(one), _weights(other))


def describe(samples: Samples | Histogram, percents: tuple[float, ...], seed: int = 0) -> Description | None:
    """As ``stats.describe``; percentiles of a histogram are good to ``RESOLUTION``, and the description says so.

    Their intervals have room for that.
    """
    if isinstance(samples, Samples):
        return stats.describe(samples, percents, seed)
    owners = np.flatnonzero(samples.sizes)
    if not len(owners):
        return None
    average = stats.mean(Samples(samples.means[owners], owners, samples.sizes[owners]), seed)
    found = _percentiles(samples, sorted({50.0, *percents}))
    return Description(
        mean=average,
        median=found[50.0],
        std=math.sqrt(samples.variance),
        percentiles={f"{percent:g}": found[percent] for percent in percents},
        count=average.count,
        resolution=RESOLUTION,
    )


def _percentiles(samples: Histogram, percents: list[float]) -> dict[float, Estimate]:
    """Estimates by percent (0 to 100)."""
    cumulative = np.cumsum(samples.weights)
    values = [stats.at(samples.values, cumulative, percent / 100 * (cumulative[-1] - 1)) for percent in percents]
    counts = samples.below(np.array(values))
    found: dict[float, Estimate] = {}
    for percent, below in zip(percents, counts, strict=True):
        effective = stats.effective_count(samples.sizes, below, percent / 100)
        found[percent] = _widened(stats.estimate(samples.values, cumulative, percent / 100, effective))
    return found


def _widened(estimate: Estimate) -> Estimate:
    """The interval with the width of a bin on either side: a run may know a percentile better than the bins do."""
    if estimate.low is None or estimate.high is None:
        return estimate
    low, high = estimate.low - RESOLUTION * abs(estimate.low), estimate.high + RESOLUTION * abs(estimate.high)
    return Estimate(estimate.value, low, high, estimate.count)


def _bins(values: Floats) -> Ints:
    """The bin of each value."""
    steps = np.maximum(values, _LEAST_MS)
    steps /= _LEAST_MS
    np.log(steps, out=steps)
    steps /= math.log1p(RESOLUTION)
    bins = steps.astype(np.int64)
    bins += values >= _LEAST_MS
    return np.minimum(bins, _BINS - 1, out=bins)


def _starts(rows: Ints) -> Ints:
    """Where another request begins."""
    return np.flatnonzero(np.diff(rows, prepend=-1))


def _unequal(part: Samples) -> Floats | None:
    """The weights; None if each is one, which saves their arithmetic."""
    return None if part.weights is None or (part.weights == 1).all() else part.weights


def _weights(part: Samples | Histogram) -> Floats:
    return np.ones(len(part.values)) if part.weights is None else part.weights


def _requests(part: Samples) -> int:
    """Requests of a stretch, up to the last one that has a value."""
    return int(part.rows.max(initial=-1)) + 1
