"""One figure of one run, or of several runs that are repeats of each other: what a comparison holds against another."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from inferometer.analysis import repeats
from inferometer.analysis.run_data import RunData, StageData
from inferometer.analysis.stats import Estimate
from inferometer.analysis.thresholds import Figure, figure

_LEVEL = re.compile(r"(?:.*: )?(concurrency )?([\d.]+)( users| req/s)?")

#: Runs under one label are repeats of each other.
Group = Sequence[RunData]


class Side(NamedTuple):
    """A figure of one or several runs. ``spread`` is the standard deviation between runs, on the scale compared.

    ``freedom`` are the degrees of freedom of the interval of a single run; None: it is taken for exactly known.
    """

    estimate: Estimate
    runs: int
    spread: float | None
    freedom: int | None = None


class Point(msgspec.Struct, frozen=True):
    """A figure of a stage under one label, for a curve. ``level`` is the number in its load, if ``kind`` has one."""

    label: str
    stage: str
    figure: str
    kind: str | None
    level: float | None
    value: float
    low: float | None
    high: float | None
    runs: int


def curves(groups: Sequence[Group], names: Sequence[str]) -> list[Point]:
    """These figures of all stages of all groups, whether the others have them or not."""
    return [
        _point(group[0].label, key, name, found)
        for group in groups
        for key in dict.fromkeys(stage.key for run in group for stage in run.stages)
        for name in names
        if (found := side(group, key, figure(name))) is not None
    ]


def _point(label: str, key: str, name: str, found: Side) -> Point:
    level = _LEVEL.fullmatch(key)
    kind = (level[1] or level[3] or "").strip() or None if level else None
    number = float(level[2]) if level and kind else None
    ends = found.estimate
    return Point(label, key, name, kind, number, ends.value, ends.low, ends.high, found.runs)


def side(group: Group, key: str, subject: Figure) -> Side | None:
    """The figure of a group: of its only stage with this key, or of all of them as repeats."""
    stages = [stage for run in group for stage in run.stages if stage.key == key]
    found = [told for stage in stages if (told := _single(stage, subject)) is not None]
    if len(found) < 2:
        return found[0] if found else None
    values = [one.estimate.value for one in found]
    numbers = [scaled(value, subject) for value in values]
    spread = None if any(value is None for value in numbers) else float(np.std(np.array(numbers, np.float64), ddof=1))
    pooled = group[0].together.get(key, {}).get(subject.name) if len(group) == 1 else None
    pooled = _pooled(stages, subject) if pooled is None else pooled
    whole = repeats.around(float(np.mean(values)) if pooled is None else pooled, values)
    count = sum(one.estimate.count for one in found)
    return Side(msgspec.structs.replace(whole, count=count), len(found), spread)


def _single(stage: StageData, subject: Figure) -> Side | None:
    metric, _, rest = subject.name.partition("_")
    if subject.unit == "ms" and metric in stage.series:
        values, name = stage.series[metric], rest.removesuffix("_ms")
        return Side(repeats.statistic(values, name), 1, None, repeats.freedom(values, name))
    told = stage.figures.get(subject.name)
    return None if told is None else Side(told, 1, None, stage.freedoms.get(subject.name))


def _pooled(stages: Sequence[StageData], subject: Figure) -> float | None:
    """A latency of all requests of all repeats together: percentiles are not averaged."""
    metric, _, rest = subject.name.partition("_")
    series = [stage.series[metric] for stage in stages if metric in stage.series]
    if subject.unit != "ms" or len(series) < len(stages):
        return None
    return repeats.statistic(np.concatenate(series), rest.removesuffix("_ms")).value


def scaled(value: float, subject: Figure) -> float | None:
    """On the scale that is compared: logarithms, for ratios; shares as they are. None where there is no logarithm."""
    if subject.unit == "share":
        return value
    return math.log(value) if value > 0 else None
