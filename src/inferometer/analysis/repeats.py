"""How far a figure can be trusted: inside one run, whose requests depend on each other, and between repeats.

Inside a run neighbours share a queue, so a series of n values is worth fewer than n: it is cut into blocks of
neighbours, and the variance between blocks decides (batch means; Law and Kelton 2000, 9.5). It never makes an interval
narrower than independent values would have. Between runs it is Student's t on one value per run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from inferometer.analysis.frame import Floats, Ints
from inferometer.analysis.stats import Estimate, at, effective_count, estimate, t_quantile

BLOCKS = 20
#: Fewer blocks of time than this tell nothing about a rate.
FEWEST_BLOCKS = 5


def statistic(values: Floats, name: str) -> Estimate:
    """``mean`` or ``p95`` of at least one value; values in the order in which their requests started."""
    return series_mean(values) if name == "mean" else series_percentile(values, float(name[1:]))


def series_percentile(values: Floats, percent: float) -> Estimate:
    """A percentile (0 to 100) of a series, with an interval of order statistics for as many values as it is worth."""
    share = percent / 100
    ordered, cumulative = np.sort(values), np.arange(1.0, len(values) + 1)
    value = at(ordered, cumulative, share * (len(values) - 1))
    block = _blocks(len(values))
    counts = np.bincount(block, values <= value)
    return estimate(ordered, cumulative, share, effective_count(np.bincount(block), counts, share))


def series_mean(values: Floats) -> Estimate:
    """The mean of a series with a t interval from its blocks; no interval below six values."""
    count, value = len(values), float(values.mean())
    if count < 6:
        return Estimate(value, None, None, count)
    block = _blocks(count)
    means = np.bincount(block, values) / np.bincount(block)
    plain, between = float(values.std(ddof=1)) / math.sqrt(count), float(means.std(ddof=1)) / math.sqrt(len(means))
    half = t_quantile(len(means) - 1) * max(plain, between)
    return Estimate(value, value - half, value + half, count)


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
    spread = float((np.diff(done) * blocks / length).std(ddof=1))
    half = t_quantile(blocks - 1) * spread / math.sqrt(blocks)
    return Estimate(value, value - half, value + half, len(starts_s))


def between_runs(values: Sequence[float]) -> Estimate:
    """The mean of one value per run, with Student's t interval; no interval of a single run."""
    array = np.asarray(values, np.float64)
    if len(array) < 2:
        return Estimate(float(array.mean()), None, None, len(array))
    half = t_quantile(len(array) - 1) * float(array.std(ddof=1)) / math.sqrt(len(array))
    return Estimate(float(array.mean()), float(array.mean()) - half, float(array.mean()) + half, len(array))


def _blocks(count: int) -> Ints:
    """The block of each value: ``BLOCKS`` stretches of neighbours, as equal as can be."""
    return np.arange(count) * min(BLOCKS, count) // count
