"""Percentiles and means that say how far they can be trusted.

Percentiles are linear on the raw values (Hyndman and Fan 1996, type 7; the default of numpy). Their intervals are
those of order statistics: the number of values below the true percentile is binomial, whatever the distribution
(David and Nagaraja 2003, 7.1). Values of one request are not independent: for pooled gaps the variance between
requests decides (Woodruff 1952), and means resample whole requests. All intervals are for 95 %, and for this run
only: what changes between runs needs repeats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import numpy as np

from inferometer.analysis.frame import Floats, Ints

TAIL = 0.025
RESAMPLES = 200
#: Bootstrap at most this many blocks of neighbouring requests: bounds the cost, and keeps correlation in time inside
#: a block.
MAX_BLOCKS = 5000
_Z = 1.959963984540054
_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


class Estimate(msgspec.Struct, frozen=True):
    """A number, its 95 % interval (None: too few samples for one) and the number of samples behind it."""

    value: float
    low: float | None
    high: float | None
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Values of one metric, and the request (row of its frame) that each belongs to.

    ``weights`` is None where each request gives at most one value; otherwise the values of a request are correlated,
    and each counts as often as its weight says (tokens of an event; any number above zero).
    """

    values: Floats
    rows: Ints
    weights: Floats | None = None


class Description(msgspec.Struct, frozen=True, omit_defaults=True):
    """A distribution. ``std`` is the population's, as in ``vllm bench serve``; percentiles are keyed "50", "99.9".

    ``resolution`` is the relative error of percentiles that were read from a histogram.
    """

    mean: Estimate
    median: Estimate
    std: float
    percentiles: dict[str, Estimate]
    count: int
    resolution: float | None = None


def describe(samples: Samples, percents: tuple[float, ...], seed: int = 0) -> Description | None:
    """Mean, median, standard deviation and percentiles (0 to 100); None without a value."""
    if not len(samples.values):
        return None
    ordered = order(samples)
    average = mean(samples, seed)
    spread = np.average((samples.values - average.value) ** 2, weights=samples.weights)
    percentiles = {f"{percent:g}": percentile(ordered, percent) for percent in percents}
    return Description(average, percentile(ordered, 50), math.sqrt(spread), percentiles, average.count)


def order(samples: Samples) -> Samples:
    """The same samples by rising value, as ``percentile`` needs them."""
    by_value = np.argsort(samples.values, kind="stable")
    weights = None if samples.weights is None else samples.weights[by_value]
    return Samples(samples.values[by_value], samples.rows[by_value], weights)


def percentile(ordered: Samples, percent: float) -> Estimate:
    """One percentile (0 to 100) of at least one ordered value, with its interval if there are enough of them."""
    share = percent / 100
    cumulative = np.arange(1.0, len(ordered.values) + 1) if ordered.weights is None else np.cumsum(ordered.weights)
    effective = len(ordered.values)
    if ordered.weights is not None:
        value = at(ordered.values, cumulative, share * (cumulative[-1] - 1))
        below = int(np.searchsorted(ordered.values, value, side="right"))
        sizes = np.bincount(ordered.rows, ordered.weights)
        counts = np.bincount(ordered.rows[:below], ordered.weights[:below], minlength=len(sizes))
        effective = effective_count(sizes, counts, share)
    return estimate(ordered.values, cumulative, share, effective)


def estimate(values: Floats, cumulative: Floats, share: float, effective: int) -> Estimate:
    """The quantile ``share`` (0 to 1) of rising values, worth ``effective`` independent ones, with its interval."""
    total = cumulative[-1]
    value = at(values, cumulative, share * (total - 1))
    ranks = interval_ranks(effective, share)
    count = round(total)
    if ranks is None:
        return Estimate(value, None, None, count)
    scale = (total - 1) / (effective - 1)
    low, high = (at(values, cumulative, (rank - 1) * scale) for rank in ranks)
    return Estimate(value, min(low, value), max(high, value), count)


def interval_ranks(count: int, share: float) -> tuple[int, int] | None:
    """Ranks (1 to count) that enclose the quantile ``share`` (0 to 1) in at least 95 % of samples, or None.

    With B ~ Binomial(count, share) values below it, the lower rank is the largest l with P(B < l) <= 2.5 %, the upper
    one the smallest u with P(B >= u) <= 2.5 %.
    """
    if count < 2 or not 0 < share < 1:
        return None
    first, below = _binomial_cdf(count, share)
    low = first + int(np.searchsorted(below, TAIL, side="right"))
    high = first + int(np.searchsorted(below, 1 - TAIL, side="left")) + 1
    return (low, high) if low >= 1 and high <= count else None


def needed_count(percent: float) -> int | None:
    """Independent samples that a percentile (0 to 100) needs for a interval: 6 for p50, 72 for p95, 368 for p99."""
    share = max(percent / 100, 1 - percent / 100)
    return math.ceil(math.log(TAIL) / math.log(share)) if 0 < share < 1 else None


def mean(samples: Samples, seed: int = 0) -> Estimate:
    """Mean of at least one value: Student's t for one value per request, else requests are resampled (seeded)."""
    if samples.weights is None:
        return _plain_mean(samples.values)
    sums = np.bincount(samples.rows, samples.values * samples.weights)
    weights = np.bincount(samples.rows, samples.weights)
    owners = np.flatnonzero(weights)
    value, count = float(sums.sum() / weights.sum()), round(weights.sum())
    if len(owners) < 2:
        return Estimate(value, None, None, count)
    blocks = min(len(owners), MAX_BLOCKS)
    block = np.arange(len(owners)) * blocks // len(owners)
    sums, weights = np.bincount(block, sums[owners]), np.bincount(block, weights[owners])
    rng = np.random.default_rng(seed)
    draws = (rng.integers(blocks, size=blocks) for _ in range(RESAMPLES))
    means = [sums[draw].sum() / weights[draw].sum() for draw in draws]
    low, high = np.quantile(means, [TAIL, 1 - TAIL])
    return Estimate(value, float(min(low, value)), float(max(high, value)), count)


def _plain_mean(values: Floats) -> Estimate:
    count, value = len(values), float(values.mean())
    if count < 2:
        return Estimate(value, None, None, count)
    half = t_quantile(count - 1) * float(values.std(ddof=1)) / math.sqrt(count)
    return Estimate(value, value - half, value + half, count)


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, to 3 digits (Abramowitz and Stegun 26.7.5; a table below 5 degrees)."""
    if freedom in _T:
        return _T[freedom]
    z, v = _Z, float(freedom)
    terms = (
        z,
        (z**3 + z) / (4 * v),
        (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2),
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3),
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4),
    )
    return sum(terms)


def at(values: Floats, cumulative: Floats, position: float) -> float:
    """The value at a position (0 to total weight - 1) of the list in which each value stands as often as it weighs."""
    whole = math.floor(position)
    last = len(values) - 1
    here, there = (min(int(i), last) for i in np.searchsorted(cumulative, [whole, whole + 1], side="right"))
    return float(values[here] + (position - whole) * (values[there] - values[here]))


def effective_count(sizes: Floats | Ints, counts: Floats | Ints, share: float) -> int:
    """How many independent values would place a quantile as precisely: binomial variance over that between requests.

    ``sizes`` is the weight of each request, ``counts`` that of its values up to the quantile, shape (requests,) each.
    Linearised variance of a ratio estimator (Woodruff 1952; Cochran 1977, 6.3). Fewer than six requests count as
    themselves.
    """
    requests = int(np.count_nonzero(sizes))
    if requests < 6:
        return requests
    total = float(sizes.sum())
    residuals = counts - counts.sum() / total * sizes
    variance = requests / (requests - 1) * float(residuals @ residuals) / total**2
    if variance == 0:
        return round(total)
    return max(2, min(round(total), math.floor(share * (1 - share) / variance)))


def _binomial_cdf(count: int, share: float) -> tuple[int, Floats]:
    """P(B <= k) for k = first, first + 1 ...: within ten standard deviations of the mean, where all the mass is."""
    spread = 10 * math.sqrt(count * share * (1 - share)) + 30
    first = max(0, math.floor(count * share - spread))
    last = min(count, math.ceil(count * share + spread))
    k = np.arange(first, last)
    # Ratios of neighbours need no factorials: p(k + 1) / p(k) = (n - k) / (k + 1) * p / (1 - p).
    steps = np.log((count - k) / (k + 1.0)) + math.log(share / (1 - share))
    logs = np.concatenate([[0.0], np.cumsum(steps)])
    mass = np.exp(logs - logs.max())
    return first, np.cumsum(mass) / mass.sum()
