"""What the readers of all formats share: stages made of plain numbers. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from inferometer.analysis.frame import Floats
from inferometer.analysis.run_data import SERIES, StageData
from inferometer.analysis.stats import Estimate
from inferometer.analysis.thresholds import share
from inferometer.export.spread import spread_of

#: Percentiles of figures that are made from lists.
PERCENTS = (50.0, 90.0, 95.0, 99.0)

Facts = Mapping[str, str | float | None]


def stage(
    key: str,
    plain: Mapping[str, Any],
    counts: tuple[int, int],
    series: Mapping[str, Floats] | None = None,
    facts: Facts | None = None,
) -> StageData:
    """A stage of another tool.

    Args:
        key: its load, as ``thresholds.stage_key`` says it.
        plain: by name of ``thresholds.figure``, in its unit; what is None or not finite is left out.
        counts: requests that succeeded, and all that ended.
        series: by name of ``run_data.SERIES``, ms of successful requests in the order of their start.
        facts: what must agree for a comparison.
    """
    good, ended = counts
    shares = {"success_rate": share(good, ended), "error_rate": share(ended - good, ended)}
    values = {name: number(value) for name, value in plain.items()}
    figures = {name: Estimate(value, None, None, good) for name, value in values.items() if value is not None}
    known = {name: values for name, values in (series or {}).items() if name in SERIES and len(values)}
    return StageData(
        key,
        figures | {name: found for name, found in shares.items() if found is not None},
        series=known,
        facts={"stamps": "userland", **(facts or {})},
    )


def described(metric: str, series: Floats) -> dict[str, float | None]:
    """Mean and percentiles of a series as figures of a metric; nothing of no values."""
    found = spread_of(series, PERCENTS)
    if found is None:
        return {}
    told = {"mean": found.mean, **{f"p{key}": value for key, value in found.percentiles.items()}}
    return {f"{metric}_{statistic}_ms": value for statistic, value in told.items()}


def number(value: Any) -> float | None:
    """A finite number, or None for anything else; some tools write NaN and Infinity."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def whole(value: Any) -> int:
    """A count; 0 where none is told."""
    return int(number(value) or 0)


def load_key(concurrency: Any, rate: Any) -> str | None:
    """``concurrency 8`` or ``2.5 req/s``; None where neither is told."""
    per_second = number(rate)
    if per_second is not None:
        return f"{per_second:g} req/s"
    if number(concurrency):
        return f"concurrency {whole(concurrency)}"
    return "inf req/s" if rate in ("inf", math.inf) else None


def per_request(total: Any, good: int) -> float | None:
    """The mean of a total over successful requests."""
    known = number(total)
    return known / good if known is not None and good else None


def texts(told: Mapping[str, Any]) -> dict[str, str]:
    """The facts of a run that are known, as text."""
    return {name: str(value) for name, value in told.items() if value not in (None, "")}
