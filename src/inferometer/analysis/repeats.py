"""How far a figure can be trusted: inside one run, whose requests depend on each other, and between repeats.

Inside a run neighbours share a queue, so a series of n values is worth fewer than n for its mean: n / tau, where tau
is the integrated autocorrelation time (Geyer 1992, initial monotone sequence). A percentile is the mean of the series
that says which values lie below it. Neither is ever taken to be worth more than independent values. Where a request
has several values (ITL), they count as one: the series is what each request adds, per token of all. Rates go by blocks
of time. Between runs it is Student's t on one value per run.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import numpy as np

from inferometer.analysis.frame import Floats
from inferometer.analysis.stats import Estimate, at, estimate, interval_ranks, t_quantile
from inferometer.analysis.streamed import Pooled

#: Blocks of time of a rate.
BLOCKS = 40
#: Fewer blocks of time than this tell nothing about a rate.
FEWEST_BLOCKS = 5
#: Correlation is looked for up to this share of a series: beyond it there is nothing to see but noise.
LONGEST_LAG = 0.2


def statistic(values: Floats, name: str) -> Estimate:
    """``mean`` or ``p95`` of at least one value; values in the order in which their requests started."""
    return series_mean(values) if name == "mean" else series_percentile(values, float(name[1:]))


def freedom(values: Floats, name: str) -> int:
    """Degrees of freedom of the interval that ``statistic`` gives."""
    series = values if name == "mean" else _below(values, statistic(values, name).value)
    return _freedom(worth(series), len(values))


def series_percentile(values: Floats, percent: float) -> Estimate:
    """A percentile (0 to 100) of a series, with an interval of order statistics for as many values as it is worth."""
    share = percent / 100
    ordered, cumulative = np.sort(values), np.arange(1.0, len(values) + 1)
    value = at(ordered, cumulative, share * (len(values) - 1))
    effective = worth(_below(values, value))
    # order statistics know nothing of a spread that is estimated, as t does: as many values as make up for it
    effective *= (t_quantile(sys.maxsize) / t_quantile(_freedom(effective, len(values)))) ** 2
    # six place a median by the whole range of the values, which holds it however they depend on each other
    return estimate(ordered, cumulative, share, max(min(6, len(values)), math.floor(effective)))


def _below(values: Floats, value: float) -> Floats:
    return (values <= value).astype(np.float64)


def series_mean(values: Floats) -> Estimate:
    """The mean of a series with a t interval for as many values as it is worth; no interval below six values."""
    count, value = len(values), float(values.mean())
    if count < 6:
        return Estimate(value, None, None, count)
    effective = worth(values)
    half = t_quantile(_freedom(effective, count)) * float(values.std(ddof=1)) / math.sqrt(effective)
    return Estimate(value, value - half, value + half, count)


def pooled_statistic(pooled: Pooled, name: str) -> tuple[Estimate, int | None]:
    """``mean`` or ``p95`` of values that come several to a request, and the degrees of freedom of its interval.

    The variance of a ratio (Cochran 1977, 6.3; of a percentile Woodruff 1952) from the series of what each request
    adds, in the order of ``pooled``, for as many requests as that is worth. No interval below six requests.
    """
    share = None if name == "mean" else float(name[1:]) / 100
    total, requests = float(pooled.cumulative[-1]), len(pooled.sizes)
    value = pooled.mean if share is None else at(pooled.values, pooled.cumulative, share * (total - 1))
    count = round(total)
    if requests < 6:
        return Estimate(value, None, None, count), None
    added = pooled.sums if share is None else pooled.below(value)
    series = added - added.sum() / pooled.sizes.sum() * pooled.sizes
    effective = worth(series)
    freedom = _freedom(effective, requests)
    error = float(series.std(ddof=1)) / math.sqrt(effective) / float(pooled.sizes.mean())
    if share is None:
        half = t_quantile(freedom) * error
        return Estimate(value, value - half, value + half, count), freedom
    error *= t_quantile(freedom) / t_quantile(sys.maxsize)  # as in ``series_percentile``
    independent = max(6, min(count, math.floor(share * (1 - share) / error**2 if error else count)))
    ranks = interval_ranks(independent, share)
    if ranks is None:
        return Estimate(value, None, None, count), None
    # the middle of a group, as if there were so many groups of equal values: the ends of all are single tokens
    places = (max(0.0, (rank - 0.5) / independent * total - 0.5) for rank in ranks)
    low, high = (at(pooled.values, pooled.cumulative, place) for place in places)
    return Estimate(value, min(low, value), max(high, value), count), freedom


def _freedom(effective: float, count: int) -> int:
    """Degrees of freedom of a spread: that of a correlated series is known from half of what it is worth."""
    return max(1, count - 1) if effective == count else max(2, math.floor(effective / 2))


def worth(values: Floats) -> float:
    """How many independent values place the mean of a series as well: from 1 to their number."""
    count = len(values)
    covariances = _covariances(values)
    if count < 6 or covariances[0] <= 0:
        return float(count)
    correlations = covariances / covariances[0]
    # Deviations from a mean that is itself estimated are too little correlated, by tau / n (Bartlett 1946).
    missing = _autocorrelation_time(correlations) / count * (1 - np.arange(len(correlations)) / count)
    time = _autocorrelation_time((correlations + missing) / (1 + missing[0]))
    return count / min(time, float(count))


def _covariances(values: Floats) -> Floats:
    """Autocovariances (times n) at the lags up to ``LONGEST_LAG``, an even number of them."""
    count = len(values)
    size = 1 << (2 * count - 1).bit_length()
    power = np.abs(np.fft.rfft(values - values.mean(), size)) ** 2
    lags = max(2, 2 * math.floor(LONGEST_LAG * count / 2))
    return np.asarray(np.fft.irfft(power, size)[:lags], np.float64)


def _autocorrelation_time(correlations: Floats) -> float:
    """1 + twice the sum of correlations, as long as those of two neighbouring lags are positive and fall; from 1 on."""
    pairs = correlations[0::2] + correlations[1::2]
    end = int(np.argmax(pairs <= 0)) if (pairs <= 0).any() else len(pairs)
    return max(1.0, 2 * float(np.minimum.accumulate(pairs[:end]).sum()) - 1)


def rate(starts_s: Floats, ends_s: Floats, amounts: Floats) -> Estimate | None:
    """Amount per second from the first start to the last end, with a t interval from blocks of time.

    Args:
        starts_s: send of each request, shape (requests,).
        ends_s: its end, same shape.
        amounts: what it brought (1, or its tokens), spread evenly over its time.

    Returns:
        None without requests. No interval where the time is less than ``FEWEST_BLOCKS`` mean requests long: a rate
        that was filled once or twice has no spread to look at.
    """
    if not len(starts_s) or ends_s.max() <= starts_s.min():
        return None
    begin, length = float(starts_s.min()), float(ends_s.max() - starts_s.min())
    value = float(amounts.sum()) / length
    blocks = min(BLOCKS, int(length / max(float((ends_s - starts_s).mean()), 1e-9)))
    if blocks < FEWEST_BLOCKS:
        return Estimate(value, None, None, len(starts_s))
    edges = begin + length * np.arange(blocks + 1) / blocks
    took = np.maximum(ends_s - starts_s, 1e-9)
    done = [float((amounts * np.clip((edge - starts_s) / took, 0, 1)).sum()) for edge in edges]
    rates = np.diff(done) * blocks / length
    effective = worth(rates)
    half = t_quantile(max(2, math.floor(effective) - 1)) * float(rates.std(ddof=1)) / math.sqrt(effective)
    return Estimate(value, value - half, value + half, len(starts_s))


def around(value: float, values: Sequence[float]) -> Estimate:
    """A figure of several runs together, with the interval of the spread between the values of each."""
    between = between_runs(values)
    low, high = (None if end is None else end - between.value + value for end in (between.low, between.high))
    return Estimate(value, low, high, len(values))


def between_runs(values: Sequence[float]) -> Estimate:
    """The mean of one value per run, with Student's t interval; no interval of a single run."""
    array = np.asarray(values, np.float64)
    if len(array) < 2:
        return Estimate(float(array.mean()), None, None, len(array))
    half = t_quantile(len(array) - 1) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return Estimate(float(array.mean()), float(array.mean()) - half, float(array.mean()) + half, len(array))
