"""Many runs in the order of time: the trend of every figure, and where it changed.

A change point is the split of a series that explains most of its variance, believed if hardly any shuffling of the
same values splits as well, and looked for again on both sides (binary segmentation with a permutation test, as in
Matteson and James 2014). It needs no normal distribution, and no limit set by hand.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from inferometer.analysis.frame import Floats
from inferometer.analysis.thresholds import Better, figure, stage_key

#: Chance that a series without any change is given one, at each split that is tried.
LEVEL = 0.01
SHUFFLES = 999
#: A change is seen once it lasted this many runs; a single odd run is for a comparison.
SHORTEST = 3
DEFAULT = ("ttft_p50_ms", "ttft_p95_ms", "itl_p50_ms", "e2el_p95_ms", "output_tokens_per_s", "success_rate")


class Point(msgspec.Struct, frozen=True):
    """One figure of one stage of one run, in the unit of ``thresholds.figure``.

    ``subject`` is the model and the lengths asked for: runs that differ in it are no history of each other.
    """

    run: str
    started: str
    subject: str
    stage: str
    figure: str
    value: float
    low: float | None
    high: float | None


class Change(msgspec.Struct, frozen=True):
    """From ``run`` on the mean of a series is ``after`` instead of ``before``; ``share`` is after / before - 1."""

    run: str
    started: str
    before: float
    after: float
    share: float | None
    worse: bool
    p: float


class Trend(msgspec.Struct, frozen=True):
    """One figure of one stage over all runs of a subject; ``per_run`` is the median slope between them (Theil, Sen)."""

    subject: str
    stage: str
    figure: str
    unit: str
    runs: int
    first: float
    last: float
    least: float
    median: float
    most: float
    per_run: float
    changes: tuple[Change, ...]


def points(summaries: Sequence[str], contexts: Sequence[str], names: Sequence[str] = DEFAULT) -> list[Point]:
    """The figures of many runs, from their files, by start.

    Args:
        summaries: paths of ``summary.json`` files; each folder is a run.
        contexts: paths of the ``context.json`` files beside them; a run without one sorts by its name.
        names: figures; those that a stage does not have are left out.

    Raises:
        UserError: there is no such figure.
        duckdb.Error: a file is not what it should be.
    """
    subjects = [figure(name) for name in names]
    stages = _query(_STAGES, summaries)
    started = dict(_query(_STARTS, contexts))
    found = []
    for run, model, document in stages:
        stage = json.loads(document)
        what = _subject(model, stage["lengths"])
        read = ((subject.name, subject.read(stage)) for subject in subjects)
        found += [
            Point(run, started.get(run) or "", what, stage_key(stage), name, value.value, value.low, value.high)
            for name, value in read
            if value is not None
        ]
    return sorted(found, key=lambda point: (point.started, point.run))


def _subject(model: str | None, lengths: Mapping[str, Any]) -> str:
    asked = [lengths[side]["asked_mean_tokens"] for side in ("prompt_tokens", "output_tokens")]
    told = "/".join("?" if tokens is None else f"{tokens:.3g}" for tokens in asked)
    return f"{model or 'any model'}, {told} tokens"


_STAGES = """
select parse_path(filename)[-2] as run, target->>'model' as model,
       unnest(if(len(repeats) > 0, repeats, stages))::varchar as stage
from read_json(?, columns = {target: 'json', stages: 'json[]', repeats: 'json[]'}, format = 'unstructured',
               filename = true, maximum_object_size = 268435456)
"""
_STARTS = """
select parse_path(filename)[-2] as run, started
from read_json(?, columns = {started: 'varchar'}, format = 'unstructured', filename = true,
               maximum_object_size = 268435456)
"""


def _query(sql: str, paths: Sequence[str]) -> list[tuple[Any, ...]]:
    """Rows of a query over all these files at once; none of no files."""
    if not paths:
        return []
    import duckdb

    with duckdb.connect() as database:
        return list(database.execute(sql, [list(paths)]).fetchall())


def trends(found: Sequence[Point], seed: int = 0) -> tuple[Trend, ...]:
    """The trend of every figure of every stage that at least two runs have, in the order of the points.

    Args:
        found: as ``points`` gives them: by start.
        seed: of the shuffling.
    """
    series = _grouped(found)
    return tuple(_trend(points, seed) for points in series.values() if len(points) > 1)


def _grouped(found: Sequence[Point]) -> dict[tuple[str, str, str], list[Point]]:
    groups = defaultdict[tuple[str, str, str], list[Point]](list)
    for point in found:
        groups[point.subject, point.stage, point.figure].append(point)
    return groups


def _trend(series: Sequence[Point], seed: int) -> Trend:
    subject = figure(series[0].figure)
    values = np.array([point.value for point in series])
    changes = tuple(_change(series, values, split, subject.better) for split in _splits(values, seed))
    return Trend(
        series[0].subject,
        series[0].stage,
        subject.name,
        subject.unit,
        len(values),
        float(values[0]),
        float(values[-1]),
        float(values.min()),
        float(np.median(values)),
        float(values.max()),
        _slope(values),
        changes,
    )


def _slope(values: Floats) -> float:
    earlier, later = np.triu_indices(len(values), 1)
    return float(np.median((values[later] - values[earlier]) / (later - earlier)))


class _Split(NamedTuple):
    """A change point, with the stretch that it cuts in two."""

    begin: int
    place: int
    end: int
    p: float


def _splits(values: Floats, seed: int) -> list[_Split]:
    """Change points with the stretches between their neighbours, known once all are found."""
    found = change_points(values, seed)
    edges = [0, *(place for place, _ in found), len(values)]
    return [_Split(edges[number], place, edges[number + 2], p) for number, (place, p) in enumerate(found)]


def _change(series: Sequence[Point], values: Floats, split: _Split, better: Better) -> Change:
    before, after = float(values[split.begin : split.place].mean()), float(values[split.place : split.end].mean())
    share = after / before - 1 if before else None
    worse = (after > before) == (better == "lower")
    first = series[split.place]
    return Change(first.run, first.started, before, after, share, worse, split.p)


def change_points(values: Sequence[float] | Floats, seed: int = 0) -> list[tuple[int, float]]:
    """Places at which the mean changes (the first value of what is new), rising, each with its p-value."""
    array, rng = np.asarray(values, np.float64), np.random.default_rng(seed)
    ahead, found = [(0, len(array))], []
    while ahead:
        begin, end = ahead.pop()
        split = _split(array[begin:end], rng)
        if split is not None:
            place, p = begin + split[0], split[1]
            found.append((place, p))
            ahead += [(begin, place), (place, end)]
    return sorted(found)


def _split(values: Floats, rng: np.random.Generator) -> tuple[int, float] | None:
    """The best split of a stretch, if it is better than chance."""
    if len(values) < 2 * SHORTEST or not np.ptp(values):
        return None
    gains = _gains(values)
    place = int(np.argmax(gains))
    shuffled = rng.permuted(np.tile(values, (SHUFFLES, 1)), axis=1)
    as_good = np.count_nonzero(_gains(shuffled).max(axis=1) >= gains[place] * (1 - 1e-12))
    p = (1 + as_good) / (1 + SHUFFLES)
    return (place + SHORTEST, float(p)) if p <= LEVEL else None


def _gains(values: Floats) -> Floats:
    """Variance explained by a split before each place from ``SHORTEST`` on; series along the last axis."""
    count = values.shape[-1]
    left = np.arange(SHORTEST, count - SHORTEST + 1)
    sums = np.cumsum(values, axis=-1)
    head, total = sums[..., left - 1], sums[..., -1:]
    gains: Floats = (head / left - (total - head) / (count - left)) ** 2 * left * (count - left) / count
    return gains
