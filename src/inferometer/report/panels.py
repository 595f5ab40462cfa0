"""Which charts a run has, with their titles and captions: the same for the page and for the pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from inferometer.analysis.metrics import BY_NAME
from inferometer.analysis.pictures import DRAWN, HEATED, Pictures
from inferometer.report import charts
from inferometer.report.charts import Chart
from inferometer.report.content import Content
from inferometer.report.points import axis, heading, labels, points
from inferometer.report.run_context import GAUGES

_GIB = 2**30


class Panel(NamedTuple):
    """One chart: a name for its element, a title, what to know to read it, its height in pixels."""

    name: str
    title: str
    caption: str
    chart: Chart
    height: int = 240


def sweep(content: Content) -> list[Panel]:
    """Throughput and latencies against the load; nothing for a single stage."""
    rows = points(content.summary)
    if len(rows) < 2:
        return []
    against = axis(rows)
    found = []
    if any(row["output_tokens_per_s"] is not None for row in rows):
        chart = charts.sweep(rows, against, "output_tokens_per_s", "Output tokens/s")
        found.append(Panel("sweep-throughput", "Output throughput", "", chart))
    caption = "Line: median, with its 95 % interval; dashed: p95; bands: to p95 and to p99."
    for metric in ("ttft", "itl", "e2el"):
        if any(row.get(f"{metric}_p50_ms") is not None for row in rows):
            label = BY_NAME[metric].label
            chart = charts.latency_sweep(rows, against, metric, label)
            found.append(Panel(f"sweep-{metric}", BY_NAME[metric].title, caption, chart))
    for metric in ("ttft", "e2el"):
        known = [row for row in rows if row.get(f"{metric}_mean_ms") is not None]
        if len(known) > 1:
            label = BY_NAME[metric].label
            chart = charts.trade(known, metric, label)
            found.append(Panel(f"trade-{metric}", f"Throughput against {label}", "Each point is a stage.", chart))
    return found


def distributions(content: Content) -> list[Panel]:
    """A CDF and a histogram of each metric that has values."""
    if content.pictures is None:
        return []
    names = _drawn(content, content.pictures)
    cdfs, histograms = (_labelled(content, rows) for rows in (content.pictures.cdfs, content.pictures.histograms))
    title = heading(points(content.summary)).capitalize()
    found = []
    for metric in DRAWN:
        if not any(row["metric"] == metric for row in cdfs):
            continue
        label = BY_NAME[metric].label
        found.append(Panel(f"cdf-{metric}", f"{label}: CDF", "", charts.cdf(cdfs, metric, label, names, title)))
        chart = charts.histogram(histograms, metric, label, names, title)
        found.append(Panel(f"histogram-{metric}", f"{label}: distribution", "", chart))
    return found


def over_time(content: Content) -> list[Panel]:
    """Load, throughput, latencies, failures and the server's figures on one axis of time."""
    pictures = content.pictures
    if pictures is None:
        return []
    span_s = pictures.series[-1]["end_s"]
    load = charts.marked(
        charts.series(pictures.series, "in_flight", "In flight", span_s), _labelled(content, pictures.windows)
    )
    found = [
        Panel("time-in-flight", "Requests in flight, and where each stage begins", "", load, 110),
        Panel(
            "time-throughput",
            "Output throughput",
            "",
            charts.series(pictures.series, "output_tokens_per_s", "Output tokens/s", span_s),
            110,
        ),
    ]
    for metric in HEATED:
        if any(row["metric"] == metric for row in pictures.heat):
            label = BY_NAME[metric].label
            chart = charts.heat(pictures.heat, metric, label, span_s)
            found.append(Panel(f"heat-{metric}", f"{label} of requests by their start", "", chart, 170))
    if pictures.failures:
        found.append(Panel("time-failures", "Failed requests", "", charts.failures(pictures.failures, span_s), 110))
    return found + list(_server(content, span_s))


def timeline(content: Content, pick: str | None = None) -> list[Panel]:
    """Some requests of each stage from due to end; ``pick`` fixes the stage."""
    if content.pictures is None or not content.pictures.spans:
        return []
    names = _drawn(content, content.pictures)
    chart = charts.timeline(_labelled(content, content.pictures.spans), names, pick)
    return [Panel("timeline", "From due to end", "", chart, 380)]


def _server(content: Content, span_s: float) -> Iterator[Panel]:
    units = {"share": ("%", 100.0), "bytes": ("GiB", 1 / _GIB)}
    for name, (title, unit) in GAUGES.items():
        shown, factor = units.get(unit, (unit, 1.0))
        rows = [{**row, "value": row["value"] * factor} for row in content.server if row["name"] == name]
        if rows:
            label = f"{title} ({shown})" if shown else title
            chart = charts.telemetry(rows, name, label, span_s)
            yield Panel(f"server-{name.replace('_', '-')}", f"Server: {title}", "", chart, 110)


def _drawn(content: Content, pictures: Pictures) -> list[str]:
    names = _names(content.summary["stages"])
    return [names[stage] for stage in pictures.drawn_stages if stage in names]


def _names(stages: Sequence[dict[str, Any]]) -> dict[int, str]:
    return dict(zip((stage["stage"] for stage in stages), labels(stages), strict=True))


def _labelled(content: Content, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    names = _names(content.summary["stages"])
    return [{**row, "label": names[row["stage"]]} for row in rows if row["stage"] in names]
