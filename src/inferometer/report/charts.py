"""Charts as Altair specifications: one grammar for the page and for the pictures.

A chart has no size: whoever shows it gives it one. Data come from ``points`` and ``analysis.pictures``; nothing is
computed here. Colours are those of ``INK`` and hold on a light and on a dark ground.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import altair as alt

from inferometer.report.points import Axis, Point

Row = dict[str, Any]
#: A chart of Altair, whose own types end in Any.
Chart = Any
#: What colours mean.
INK = {
    "throughput": "#2f8fcf",
    "latency": "#c8762a",
    "tail": "#c8762a",
    "wait": "#9aa0a6",
    "prefill": "#d9912b",
    "decode": "#2f8fcf",
    "failed": "#d1434f",
    "server": "#3d9970",
}
#: Parts of a request in its timeline, and their colours.
PARTS = {"due, not sent": "wait", "sent, no token yet": "prefill", "tokens arrive": "decode", "failed": "failed"}
#: Samples of a server that are drawn as points; more would be a band.
MOST_POINTS = 200
#: Stages from the lightest load to the heaviest.
RAMP = ("#3d7fd6", "#2a9fb0", "#4a9f5f", "#b0902a", "#d9772f", "#cf4457")
#: Pixels for the labels of the y axis: the axes of time of several charts stand in line.
_MARGIN = 52
#: Pixels of the narrowest chart, and of a character of its legend.
_NARROWEST, _CHARACTER = 320, 6.2
_BAND = {"p50": 0.28, "p95": 0.13}


def sweep(rows: Sequence[Point], axis: Axis, field: str, title: str) -> Chart:
    """One number of each stage against the load."""
    known = [row for row in rows if row[field] is not None]
    base = alt.Chart(_data(known, axis.field, "label", "verdict", field)).encode(
        x=_x(axis, known), y=alt.Y(field, type="quantitative", title=title, scale=alt.Scale(zero=True))
    )
    tip = [_told("label", "stage"), _number(field, title), _told("verdict", "verdict")]
    line = base.mark_line(color=INK["throughput"], strokeWidth=2)
    dots = base.mark_point(size=48, filled=True, opacity=1, color=INK["throughput"]).encode(tooltip=tip)
    return alt.layer(line, dots)


def latency_sweep(rows: Sequence[Point], axis: Axis, metric: str, label: str) -> Chart:
    """Median against the load; bands to p95 and p99; the interval of the median as a rule, hollow where it has none."""
    names = {key: f"{metric}_{key}_ms" for key in ("p50", "p95", "p99", "mean")}
    low, high = f"{metric}_p50_low_ms", f"{metric}_p50_high_ms"
    known = [row for row in rows if row.get(names["p50"]) is not None]
    base = alt.Chart(_data(known, axis.field, "label", "verdict", *names.values(), low, high)).encode(x=_x(axis, known))

    def y(field: str) -> alt.Y:
        return alt.Y(field, type="quantitative", title=f"{label} (ms)", scale=alt.Scale(zero=True))

    tip = [
        _told("label", "stage"),
        *(_number(names[key], f"{label} {key} (ms)") for key in ("p50", "p95", "p99", "mean")),
        _number(low, "p50 from (ms)"),
        _number(high, "p50 to (ms)"),
        _told("verdict", "verdict"),
    ]
    bands = [
        base.mark_area(color=INK["latency"], opacity=_BAND[a]).encode(y=y(names[a]), y2=names[b])
        for a, b in (("p50", "p95"), ("p95", "p99"))
    ]
    line = base.mark_line(color=INK["latency"], strokeWidth=2).encode(y=y(names["p50"]))
    tail = base.mark_line(color=INK["latency"], strokeWidth=1, strokeDash=[4, 3]).encode(y=y(names["p95"]))
    rules = base.mark_rule(color=INK["latency"], strokeWidth=2).encode(y=y(low), y2=high)
    dots = base.mark_point(size=48, opacity=1, color=INK["latency"], filled=True).encode(
        y=y(names["p50"]),
        tooltip=tip,
        fillOpacity=alt.condition(f"isValid(datum['{low}'])", alt.value(1), alt.value(0)),
    )
    return alt.layer(*bands, rules, line, tail, dots)


def trade(rows: Sequence[Point], metric: str, label: str) -> Chart:
    """Throughput against a latency, in the order of the rows: what more load costs."""
    x, y = f"{metric}_mean_ms", "output_tokens_per_s"
    rows = [row | {"order": place} for place, row in enumerate(rows)]
    known = [row for row in rows if row.get(x) is not None and row[y] is not None]
    base = alt.Chart(_data(known, "order", "label", "verdict", x, y)).encode(
        x=alt.X(
            x,
            type="quantitative",
            title=f"Mean {label} (ms)",
            scale=alt.Scale(zero=False, nice=True),
            axis=alt.Axis(tickCount=6),
        ),
        y=alt.Y(y, type="quantitative", title="Output tokens/s", scale=alt.Scale(zero=True)),
    )
    tip = [_told("label", "stage"), _number(x, f"mean {label} (ms)"), _number(y, "output tokens/s")]
    line = base.mark_line(color=INK["throughput"], strokeWidth=2).encode(order=alt.Order("order", type="quantitative"))
    dots = base.mark_point(size=48, filled=True, opacity=1, color=INK["throughput"]).encode(tooltip=tip)
    names = base.mark_text(align="left", dx=7, dy=-7, fontSize=11).encode(text="label:N")
    return alt.layer(line, dots, names)


def cdf(rows: Sequence[Row], metric: str, label: str, stages: Sequence[str], title: str) -> Chart:
    """Share of requests (tokens, for ITL) that took at most so long, a line for each stage."""
    mine = [row for row in rows if row["metric"] == metric]
    return (
        alt.Chart(_data(mine, "label", "share", "value_ms"))
        .mark_line(strokeWidth=2, interpolate="step-before" if metric != "itl" else "linear")
        .encode(
            x=alt.X("value_ms:Q", title=f"{label} (ms)", scale=alt.Scale(type="log", nice=False), axis=_log_axis()),
            y=alt.Y("share:Q", title="Share at most", axis=alt.Axis(format="%")),
            color=_by_stage(stages, title),
            opacity=alt.condition(f"pick_cdf_{metric}", alt.value(1), alt.value(0.12)),
            tooltip=[_told("label", "stage"), _number("value_ms", f"{label} (ms)"), _share("share", "share at most")],
        )
        .add_params(_stage_pick(f"pick_cdf_{metric}"))
    )


def histogram(rows: Sequence[Row], metric: str, label: str, stages: Sequence[str], title: str) -> Chart:
    """Share of values in each bin of equal ratio, the stages behind one another."""
    mine = [row for row in rows if row["metric"] == metric]
    return (
        alt.Chart(_data(mine, "label", "low_ms", "high_ms", "share"))
        .mark_area(interpolate="step-after", opacity=0.22, line={"strokeWidth": 1.5})
        .encode(
            x=alt.X("low_ms:Q", title=f"{label} (ms)", scale=alt.Scale(type="log", nice=False), axis=_log_axis()),
            y=alt.Y("share:Q", title="Share", axis=alt.Axis(format="%"), stack=None),
            color=_by_stage(stages, title),
            opacity=alt.condition(f"pick_histogram_{metric}", alt.value(0.35), alt.value(0.04)),
            tooltip=[_told("label", "stage"), _number("low_ms", "from (ms)"), _share("share", "share")],
        )
        .add_params(_stage_pick(f"pick_histogram_{metric}"))
    )


def heat(rows: Sequence[Row], metric: str, label: str, span_s: float) -> Chart:
    """Requests by start and latency: the darker, the more."""
    mine = [row for row in rows if row["metric"] == metric]
    tip = [
        _number("start_s", "from (s)"),
        _number("low_ms", f"{label} from (ms)"),
        _number("high_ms", "to (ms)"),
        _number("requests", "requests"),
    ]
    return (
        alt.Chart(_data(mine, "start_s", "end_s", "low_ms", "high_ms", "requests"))
        .mark_rect(color=INK["throughput"])
        .encode(
            x=_time("start_s", span_s),
            x2="end_s",
            y=alt.Y(
                "low_ms:Q", title=f"{label} (ms)", scale=alt.Scale(type="log", nice=False), axis=_log_axis(margin=True)
            ),
            y2="high_ms",
            opacity=alt.Opacity("requests:Q", scale=alt.Scale(type="sqrt", range=[0.15, 1]), legend=None),
            tooltip=tip,
        )
    )


def series(rows: Sequence[Row], field: str, title: str, span_s: float, ink: str = "throughput") -> Chart:
    """A rate or a level over the time of the run."""
    return (
        alt.Chart(_data(rows, "start_s", field))
        .mark_area(interpolate="step-after", opacity=0.25, color=INK[ink], line={"color": INK[ink], "strokeWidth": 1.5})
        .encode(
            x=_time("start_s", span_s),
            y=alt.Y(field, type="quantitative", title=title, axis=_margin()),
            tooltip=[_number("start_s", "from (s)"), _number(field, title)],
        )
    )


def marked(chart: Chart, windows: Sequence[Row]) -> Chart:
    """The chart of a series with the beginning of every stage and its label."""
    base = alt.Chart(_data(windows, "start_s", "label"))
    rules = base.mark_rule(strokeDash=[2, 3], opacity=0.45).encode(x="start_s:Q")
    names = base.mark_text(align="left", baseline="top", dx=4, fontSize=10, opacity=0.8).encode(
        x="start_s:Q", y=alt.value(2), text="label:N"
    )
    return alt.layer(chart, rules, names)


def failures(rows: Sequence[Row], span_s: float) -> Chart:
    """Failed requests by kind over the time of the run."""
    kinds = {row["kind"] for row in rows}
    return (
        alt.Chart(_data(rows, "start_s", "end_s", "kind", "requests"))
        .mark_bar()
        .encode(
            x=_time("start_s", span_s, bin="binned"),
            x2="end_s",
            y=alt.Y("requests:Q", title="Failed requests", stack=True, axis=_margin(tickMinStep=1)),
            color=alt.Color("kind:N", title=None, scale=alt.Scale(range=[INK["failed"], *RAMP]), legend=_legend(kinds)),
            tooltip=[_number("start_s", "from (s)"), _told("kind", "kind"), _number("requests", "requests")],
        )
    )


def telemetry(rows: Sequence[Row], name: str, title: str, span_s: float) -> Chart:
    """One series of the server for each replica, on the axis of the run."""
    mine = [row for row in rows if row["name"] == name]
    replicas = {row["replica"] for row in mine}
    highest = max((row["value"] for row in mine), default=0.0)
    scale = alt.Scale(domainMin=0) if highest > 0 else alt.Scale(domain=[0, 1])
    # Where samples are few they are seen: what lies between two of them nobody knows.
    ink = INK["server"] if len(replicas) < 2 else alt.Undefined
    point = alt.OverlayMarkDef(filled=True, size=18, color=ink) if len(mine) <= MOST_POINTS else False
    chart = alt.Chart(_data(mine, "t_s", "replica", "value"))
    chart = chart.mark_line(strokeWidth=1.5, color=INK["server"], point=point)
    encoded = chart.encode(
        x=_time("t_s", span_s),
        y=alt.Y("value:Q", title=title, scale=scale, axis=_margin()),
        tooltip=[_number("t_s", "at (s)"), _told("replica", "replica"), _number("value", title)],
    )
    if len(replicas) < 2:
        return encoded
    return encoded.encode(color=alt.Color("replica:N", title=None, legend=_legend(replicas)))


def timeline(rows: Sequence[Row], stages: Sequence[str], pick: str | None) -> Chart:
    """Requests as bars from due to end. ``pick``: only this stage; None: the reader picks one, the last at first."""
    bars = [bar for row in rows if pick is None or row["label"] == pick for bar in _bars(row)]
    scale = alt.Scale(domain=list(PARTS), range=[INK[ink] for ink in PARTS.values()])
    zoom = alt.selection_interval(name="zoom", bind="scales", encodings=["x"], zoom="wheel![event.shiftKey]")
    chart = (
        alt.Chart(_data(bars, "label", "order", "part", "start_s", "end_s", "outcome"))
        .mark_bar(height={"band": 0.8})
        .encode(
            x=alt.X(
                "start_s:Q",
                title="Time in the run (s)",
                scale=alt.Scale(zero=False, nice=False),
                axis=alt.Axis(tickCount=10),
            ),
            x2="end_s",
            y=alt.Y("order:O", title="Requests, by send", axis=_bare()),
            color=alt.Color("part:N", title=None, scale=scale, legend=_legend(PARTS)),
            tooltip=[
                _told("part", "part"),
                _number("start_s", "from (s)"),
                _number("end_s", "to (s)"),
                _told("outcome", "outcome"),
            ],
        )
        .add_params(zoom)
    )
    if pick is not None or len(stages) < 2:
        return chart
    choose = alt.binding_select(options=list(stages), name="Stage ")
    return chart.add_params(alt.param("picked", value=stages[-1], bind=choose)).transform_filter(
        "datum.label == picked"
    )


def _bars(row: Row) -> Iterator[Row]:
    """The parts of a request's life that took time."""
    first_s = row["first_token_s"] if row["outcome"] == "ok" else None
    rest = (
        [("sent, no token yet", "sent_s", "first_token_s"), ("tokens arrive", "first_token_s", "end_s")]
        if first_s is not None
        else [("failed", "sent_s", "end_s")]
    )
    for part, start, end in [("due, not sent", "scheduled_s", "sent_s"), *rest]:
        if row[end] > row[start]:
            yield {**row, "part": part, "start_s": row[start], "end_s": row[end]}


def _data(rows: Sequence[Row], *fields: str) -> alt.InlineData:
    """Only what is drawn; a page holds many charts."""
    return alt.InlineData(values=[{field: row.get(field) for field in dict.fromkeys(fields)} for row in rows])


def _x(axis: Axis, rows: Sequence[Point]) -> alt.X:
    if not axis.quantitative:
        labels = [row["label"] for row in rows]
        return alt.X("label:N", title=axis.title, sort=labels, axis=alt.Axis(labelAngle=-40, labelLimit=120))
    ticks = {"values": sorted({row[axis.field] for row in rows})} if axis.asked else {"tickCount": 6}
    scale = alt.Scale(type="log", base=2, nice=False) if axis.log else alt.Scale(zero=False, nice=True)
    return alt.X(
        axis.field,
        type="quantitative",
        title=axis.title,
        scale=scale,
        axis=alt.Axis(**ticks, grid=False, format=",.4~r", labelOverlap="greedy"),
    )


def _time(field: str, span_s: float, **more: Any) -> alt.X:
    scale = alt.Scale(domain=[0, span_s], nice=False)
    axis = alt.Axis(tickCount=10)
    return alt.X(field, type="quantitative", title="Time in the run (s)", scale=scale, axis=axis, **more)


def _margin(**more: Any) -> alt.Axis:
    return alt.Axis(minExtent=_MARGIN, maxExtent=_MARGIN, tickCount=4, **more)


def _bare() -> alt.Axis:
    return alt.Axis(labels=False, ticks=False, domain=False, minExtent=_MARGIN, maxExtent=_MARGIN)


def _log_axis(*, margin: bool = False) -> alt.Axis:
    extent: dict[str, Any] = {"minExtent": _MARGIN, "maxExtent": _MARGIN} if margin else {}
    return alt.Axis(tickCount=5, format=",.4~r", labelOverlap="greedy", grid=margin, **extent)


def _legend(labels: Iterable[str], title: str | None = None) -> alt.Legend:
    """As many columns as a telephone has room for."""
    room = _NARROWEST - _CHARACTER * len(title or "")
    columns = room / (20 + _CHARACTER * max(map(len, labels), default=0))
    columns = max(1, min(6, int(columns)))
    return alt.Legend(orient="top", columns=columns, symbolLimit=20, labelLimit=180, title=title, titleOrient="left")


def _by_stage(stages: Sequence[str], title: str) -> alt.Color:
    scale = alt.Scale(domain=list(stages), range=_colours(len(stages)))
    return alt.Color("label:N", title=title, scale=scale, legend=_legend(stages, title) if len(stages) > 1 else None)


def _colours(count: int) -> list[str]:
    """As many colours of the ramp, evenly."""
    if count <= len(RAMP):
        return [RAMP[round(i * (len(RAMP) - 1) / max(1, count - 1))] for i in range(count)]
    return [_between(i * (len(RAMP) - 1) / (count - 1)) for i in range(count)]


def _between(place: float) -> str:
    first = min(int(place), len(RAMP) - 2)
    pairs = [(int(RAMP[first][i : i + 2], 16), int(RAMP[first + 1][i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (place - first) * (b - a)):02x}" for a, b in pairs)


def _stage_pick(name: str) -> alt.Parameter:
    """A click on the legend leaves one stage in colour."""
    return alt.selection_point(name=name, fields=["label"], bind="legend")


def _told(field: str, title: str) -> alt.Tooltip:
    return alt.Tooltip(field, type="nominal", title=title)


def _number(field: str, title: str) -> alt.Tooltip:
    return alt.Tooltip(field, type="quantitative", title=title, format=",.4~r")


def _share(field: str, title: str) -> alt.Tooltip:
    return alt.Tooltip(field, type="quantitative", title=title, format=".1%")
