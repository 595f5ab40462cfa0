"""Charts of a comparison: changes with their intervals, and curves of all runs over each other.

Colours hold on a light and on a dark ground. The base is grey; the others have the colours of ``RAMP``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from inferometer.analysis.compare import LIMIT, Row
from inferometer.analysis.sides import Point
from inferometer.analysis.thresholds import amount, figure
from inferometer.report.charts import Chart
from inferometer.report.comparison import change

BASE_INK = "#7d868f"
RAMP = ("#2f8fcf", "#d9772f", "#4a9f5f", "#a45fb8", "#b0902a", "#cf4457")
#: What an outcome looks like in a forest plot.
OUTCOMES = {
    "regression": "#d1434f",
    "slightly worse": "#dd8f6a",
    "improvement": "#2f9a63",
    "slightly better": "#7fb68f",
    "same": "#7d868f",
    "unclear": "#b0902a",
    "not judged": "#9aa0a6",
}
#: Pixels for a line of a forest plot, and for what names it.
LINE = 22
_LABELS = 118


def forest(rows: Sequence[Row], names: Sequence[str], *, by: str) -> Chart:
    """Changes in per cent with their intervals, a line each; the band is what is not called a regression.

    Args:
        rows: of one other run, or of several.
        names: of the lines from top to bottom: titles of figures, or stages.
        by: what names a line: ``figure`` or ``stage``.
    """
    data = [_line(row, by) for row in rows if row.change is not None]
    told = list(dict.fromkeys(one["outcome"] for one in data))
    y = alt.Y(
        "line:N",
        sort=list(names),
        title=None,
        scale=alt.Scale(domain=[name for name in names if any(one["line"] == name for one in data)]),
        axis=alt.Axis(labelLimit=_LABELS, minExtent=_LABELS, maxExtent=_LABELS, ticks=False, domain=False, grid=True),
    )
    several = len({one["label"] for one in data}) > 1
    base = alt.Chart(alt.InlineData(values=data)).encode(y=y)
    if several:
        base = base.encode(yOffset=alt.YOffset("label:N", sort=None))
        # symbols are black, if nobody says otherwise
        legend = alt.Legend(
            orient="bottom", columns=2, labelLimit=160, symbolFillColor=BASE_INK, symbolStrokeColor=BASE_INK
        )
        shape = alt.Shape("label:N", title=None, sort=None, legend=legend)
    colour = alt.Color(
        "outcome:N",
        title=None,
        scale=alt.Scale(domain=told, range=[OUTCOMES[outcome] for outcome in told]),
        legend=alt.Legend(orient="top", columns=3, labelLimit=120),
    )
    tip = [
        alt.Tooltip("label:N", title="run"),
        alt.Tooltip("line:N", title=by),
        alt.Tooltip("before:N", title="before"),
        alt.Tooltip("after:N", title="after"),
        alt.Tooltip("told:N", title="change"),
        alt.Tooltip("outcome:N", title="outcome"),
    ]
    x = alt.X("change:Q", title=_direction(rows), scale=alt.Scale(nice=True, zero=True, padding=10))
    limit = 100 * LIMIT
    band = (
        alt.Chart(alt.InlineData(values=[{"from": -limit, "to": limit}]))
        .mark_rect(color=BASE_INK, opacity=0.12)
        .encode(x="from:Q", x2="to:Q")
    )
    none = alt.Chart(alt.InlineData(values=[{"at": 0}])).mark_rule(strokeWidth=1, opacity=0.7).encode(x="at:Q")
    arms = base.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q"), x2="high:Q", color=colour)
    known = alt.condition("isValid(datum.low)", alt.value(1), alt.value(0))
    dots = base.mark_point(filled=True, size=64, opacity=1, strokeWidth=2).encode(
        x=x, color=colour, stroke=colour, fillOpacity=known, tooltip=tip
    )
    dots = dots.encode(shape=shape) if several else dots
    return alt.layer(band, none, *([arms] if _has_ends(data) else []), dots)


def _has_ends(data: Sequence[dict[str, Any]]) -> bool:
    """Whether an interval is known: a mark whose ends are all empty makes the library complain."""
    return any(one["low"] is not None for one in data)


def _direction(rows: Sequence[Row]) -> str:
    """The title of an axis of changes."""
    subjects = [figure(row.figure) for row in rows]
    units = {"points" if subject.unit == "share" else "%" for subject in subjects}
    unit = units.pop() if len(units) == 1 else "%; points for shares"
    better = {subject.better for subject in subjects}
    return f"Change ({unit})" + ("" if len(better) > 1 else f", {'right' if 'lower' in better else 'left'} is worse")


def _line(row: Row, by: str) -> dict[str, Any]:
    subject = figure(row.figure)
    low, high = (None if end is None else 100 * end for end in (row.low, row.high))
    return {
        "line": subject.title if by == "figure" else row.stage,
        "label": row.label,
        "change": 100 * (row.change or 0.0),
        "low": low,
        "high": high,
        "before": amount(row.base.value, subject.unit),
        "after": amount(row.other.value, subject.unit),
        "told": change(row),
        "outcome": row.outcome,
    }


def overlay(points: Sequence[Point], labels: Sequence[str], name: str) -> Chart:
    """One figure of all stages against the load, a line for each label, with intervals."""
    mine = [point for point in points if point.figure == name]
    data = [
        {
            "label": point.label,
            "stage": point.stage,
            "level": point.level,
            "value": point.value,
            "low": point.low,
            "high": point.high,
        }
        for point in mine
    ]
    subject = figure(name)
    base = alt.Chart(alt.InlineData(values=data)).encode(x=_load(mine), color=by_label(labels))
    y = alt.Y("value:Q", title=f"{title(name)} ({subject.unit})", scale=alt.Scale(zero=True))
    tip = [
        alt.Tooltip("label:N", title="run"),
        alt.Tooltip("stage:N", title="stage"),
        alt.Tooltip("value:Q", title=title(name), format=",.4~r"),
        alt.Tooltip("low:Q", title="from", format=",.4~r"),
        alt.Tooltip("high:Q", title="to", format=",.4~r"),
    ]
    line = base.mark_line(strokeWidth=2).encode(y=y)
    arms = base.mark_rule(strokeWidth=1.5).encode(y=alt.Y("low:Q"), y2="high:Q")
    dots = base.mark_point(filled=True, size=48, opacity=1).encode(y=y, tooltip=tip)
    return alt.layer(line, *([arms] if _has_ends(data) else []), dots)


def trade(points: Sequence[Point], labels: Sequence[str], pair: tuple[str, str]) -> Chart | None:
    """A rate against a latency (figures in this order), in the order of the stages; None if no stage has both."""
    by_place: dict[tuple[str, str], dict[str, Any]] = {}
    for point in points:
        place = by_place.setdefault((point.label, point.stage), {"label": point.label, "stage": point.stage})
        if point.figure in pair:
            place[("y", "x")[pair.index(point.figure)]] = point.value
    data = [row | {"order": number} for number, row in enumerate(by_place.values()) if {"x", "y"} <= row.keys()]
    if not data:
        return None
    subjects = [figure(name) for name in pair]
    base = alt.Chart(alt.InlineData(values=data)).encode(
        x=alt.X("x:Q", title=f"{title(pair[1])} ({subjects[1].unit})", scale=alt.Scale(zero=False, nice=True)),
        y=alt.Y("y:Q", title=f"{title(pair[0])} ({subjects[0].unit})", scale=alt.Scale(zero=True)),
        color=by_label(labels),
    )
    tip = [
        alt.Tooltip("label:N", title="run"),
        alt.Tooltip("stage:N", title="stage"),
        alt.Tooltip("x:Q", title=title(pair[1]), format=",.4~r"),
        alt.Tooltip("y:Q", title=title(pair[0]), format=",.4~r"),
    ]
    line = base.mark_line(strokeWidth=2).encode(order=alt.Order("order:Q"))
    return alt.layer(line, base.mark_point(filled=True, size=48, opacity=1).encode(tooltip=tip))


def title(name: str) -> str:
    """The title of a figure as the beginning of a heading."""
    told = figure(name).title
    return told[0].upper() + told[1:]


def by_label(labels: Sequence[str]) -> alt.Color:
    """A colour for each label; the first is the base."""
    inks = [BASE_INK, *(RAMP[number % len(RAMP)] for number in range(len(labels) - 1))]
    legend = alt.Legend(orient="top", columns=2, labelLimit=160, title=None)
    return alt.Color("label:N", scale=alt.Scale(domain=list(labels), range=inks), legend=legend)


def _load(points: Sequence[Point]) -> alt.X:
    """The load as a number if all stages have one of the same kind, else their names in order."""
    kinds = {point.kind for point in points}
    levels = [point.level for point in points if point.level is not None]
    numbered = len({point.stage for point in points}) == len(set(levels)) and len(levels) == len(points)
    if len(kinds) > 1 or None in kinds or not numbered:
        order = list(dict.fromkeys(point.stage for point in points))
        return alt.X("stage:N", title="Stage", sort=order, axis=alt.Axis(labelAngle=-40, labelLimit=120))
    log = min(levels) > 0 and max(levels) >= 8 * min(levels)
    scale = alt.Scale(type="log", base=2, nice=False) if log else alt.Scale(zero=False, nice=True)
    kind = {"concurrency": "Concurrency", "users": "Users"}.get(kinds.pop() or "", "Request rate (req/s)")
    axis = alt.Axis(values=sorted(set(levels)), grid=False, format=",.4~r", labelOverlap="greedy")
    return alt.X("level:Q", title=kind, scale=scale, axis=axis)
