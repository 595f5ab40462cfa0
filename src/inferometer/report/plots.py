"""Charts as PNG files, with the names that inference-perf gives to those that it has, too."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import altair as alt

from inferometer.analysis.metrics import BY_NAME
from inferometer.analysis.rounds import view
from inferometer.report import charts, panels
from inferometer.report.content import Content, title
from inferometer.report.points import Axis, Point, points

_PANEL_WIDTH, _PANEL_HEIGHT, _WIDE = 380, 280, 900
_SCALE = 2.0
_QPS = Axis("sent_or_done_per_s", "Requests per second", quantitative=True, log=False, asked=False)
_CONCURRENCY = Axis("concurrency", "Concurrency", quantitative=True, log=True)
_RATES = (
    ("input_tokens_per_s", "Input tokens/s"),
    ("output_tokens_per_s", "Output tokens/s"),
    ("total_tokens_per_s", "Total tokens/s"),
)
_LATENCIES = ("ttft", "ntpot", "itl")
_CONFIG: dict[str, Any] = {
    "background": "#ffffff",
    "padding": 16,
    "view": {"stroke": None},
    "axis": {"gridColor": "#e3e6ea", "domainColor": "#9aa0a6", "tickColor": "#9aa0a6", "titleFontWeight": "normal"},
    "title": {"fontSize": 15, "anchor": "start", "subtitleColor": "#57606a", "offset": 12},
}


class Picture(NamedTuple):
    """A file name without its ending, and the Vega-Lite specification of its chart."""

    name: str
    spec: dict[str, Any]


def pictures(content: Content) -> Iterator[Picture]:
    """Every chart that the run has data for."""
    rows = [_with_rates(row) for row in points(view(content.summary))]
    yield from _sweeps(content, rows, _QPS, "qps")
    if rows and all(row["concurrency"] for row in rows):
        yield from _sweeps(content, rows, _CONCURRENCY, "concurrency")
    trades = [charts.trade(rows, name, BY_NAME[name].label) for name in ("ntpot", "ttft", "itl") if _has(rows, name)]
    if trades:
        yield _side_by_side(content, "throughput_vs_latency", "Throughput against latency", trades)
    if any(row["goodput_per_s"] is not None for row in rows):
        parts = [
            charts.sweep(rows, _QPS, "goodput_per_s", "Goodput (req/s)"),
            charts.sweep(rows, _QPS, "attainment", "Share of requests that met every SLO"),
        ]
        yield _side_by_side(content, "goodput_vs_qps", "Goodput against request rate", parts)
    if found := panels.distributions(content):
        cdfs = [panel.chart for panel in found if panel.name.startswith("cdf-")]
        yield _side_by_side(content, "latency_distributions", "Distributions of latency", cdfs)
    if over_time := panels.over_time(content):
        sized = [panel.chart.properties(width=_WIDE, height=panel.height, title=panel.title) for panel in over_time]
        yield Picture("over_time", _spec(content, "Over time", alt.vconcat(*sized)))


def png(picture: Picture) -> bytes:
    """The picture at twice its nominal size. Needs no network and no browser."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(picture.spec, scale=_SCALE))


def _sweeps(content: Content, rows: Sequence[Point], against: Axis, ending: str) -> Iterator[Picture]:
    named = {"qps": "request rate", "concurrency": "concurrency"}[ending]
    latencies = [
        charts.latency_sweep(rows, against, name, BY_NAME[name].label) for name in _LATENCIES if _has(rows, name)
    ]
    if latencies:
        yield _side_by_side(content, f"latency_vs_{ending}", f"Latency against {named}", latencies)
    rates = [charts.sweep(rows, against, field, label) for field, label in _RATES if _known(rows, field)]
    if rates:
        yield _side_by_side(content, f"throughput_vs_{ending}", f"Throughput against {named}", rates)


def _side_by_side(content: Content, name: str, heading: str, parts: Sequence[charts.Chart]) -> Picture:
    sized = [part.properties(width=_PANEL_WIDTH, height=_PANEL_HEIGHT) for part in parts]
    whole = alt.concat(*sized, columns=3 if len(sized) != 4 else 2).resolve_scale(color="shared")
    return Picture(name, _spec(content, heading, whole))


def _spec(content: Content, heading: str, whole: charts.Chart) -> dict[str, Any]:
    spec: dict[str, Any] = whole.to_dict()
    told = {"text": heading, "subtitle": title(content)}
    return {**spec, "title": told, "config": _CONFIG}


def _with_rates(row: Point) -> Point:
    """The rate at which requests were sent (completed, where the loop is closed), and prompt tokens per second."""
    total, output = row["total_tokens_per_s"], row["output_tokens_per_s"]
    inputs = None if total is None or output is None else total - output
    return {**row, "sent_or_done_per_s": row["sent_rate_per_s"] or row["requests_per_s"], "input_tokens_per_s": inputs}


def _has(rows: Sequence[Point], metric: str) -> bool:
    return _known(rows, f"{metric}_p50_ms")


def _known(rows: Sequence[Point], field: str) -> bool:
    return any(row.get(field) is not None for row in rows)
