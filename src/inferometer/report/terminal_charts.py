"""Charts for a terminal: bars for each stage, and the shape of its distributions. Plain text, 80 columns wide."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from inferometer.analysis.metrics import BY_NAME
from inferometer.analysis.pictures import DRAWN, Pictures
from inferometer.report.content import Content
from inferometer.report.points import Point, heading, points
from inferometer.report.tables import per_second, short, whole

WIDTH = 80
_LABEL, _VALUE = 20, 22
_BAR = WIDTH - _LABEL - _VALUE - 2
#: Marks of bars: (full, up to p95, up to p99, steps of a distribution from nothing to its peak)
UNICODE = ("█", "▒", "░", " ▁▂▃▄▅▆▇█")
ASCII = ("#", "=", "-", " .:-=+*#%@")
Marks = tuple[str, str, str, str]


def render(content: Content, marks: Marks = ASCII) -> str:
    """Throughput and latencies of all stages, then distributions; ends with a line end."""
    rows = points(content.summary)
    if not rows:
        return "No stage was begun: there is nothing to draw.\n"
    by = heading(rows)
    blocks = [
        _bars(rows, "requests_per_s", f"Request throughput (req/s) by {by}", per_second, marks),
        _bars(rows, "output_tokens_per_s", f"Output token throughput (tok/s) by {by}", whole, marks),
        *(_latencies(rows, name, by, marks) for name in ("ttft", "itl", "e2el")),
    ]
    if content.pictures is not None:
        names = {row["stage"] - 1: row["label"] for row in rows}
        blocks += [_shapes(content.pictures, name, names, marks) for name in DRAWN]
    return "\n\n".join("\n".join(block) for block in map(list, blocks) if block) + "\n"


def _bars(rows: Sequence[Point], field: str, title: str, show: Callable[[float], str], marks: Marks) -> Iterator[str]:
    known = [(row["label"], row[field]) for row in rows if row[field] is not None]
    highest = max((value for _, value in known), default=0.0)
    if not highest:
        return
    yield title
    for label, value in known:
        yield _line(label, marks[0] * _length(value, highest), show(value))


def _latencies(rows: Sequence[Point], metric: str, by: str, marks: Marks) -> Iterator[str]:
    """A bar to the median, then to p95 and p99."""
    names = [f"{metric}_p{percent}_ms" for percent in (50, 95, 99)]
    known = [row for row in rows if all(row.get(name) is not None for name in names)]
    highest = max((row[names[2]] for row in known), default=0.0)
    if not highest:
        return
    yield f"{BY_NAME[metric].label} (ms) by {by}: {marks[0]} p50, {marks[1]} p95, {marks[2]} p99"
    for row in known:
        ends = [_length(row[name], highest) for name in names]
        lengths = (end - before for end, before in zip(ends, [0, *ends], strict=False))
        bar = "".join(mark * length for mark, length in zip(marks, lengths, strict=False))
        yield _line(row["label"], bar, " / ".join(short(row[name]) for name in names))


def _shapes(pictures: Pictures, metric: str, names: dict[int, str], marks: Marks) -> Iterator[str]:
    mine = [row for row in pictures.histograms if row["metric"] == metric and row["stage"] in names]
    if not mine:
        return
    low, high = min(row["low_ms"] for row in mine), max(row["high_ms"] for row in mine)
    yield f"{BY_NAME[metric].label}: distribution from {short(low)} to {short(high)} ms (logarithmic)"
    for stage in dict.fromkeys(row["stage"] for row in mine):
        shares = [row["share"] for row in mine if row["stage"] == stage]
        yield f"{names[stage]:>{_LABEL}.{_LABEL}} |{''.join(_step(share, max(shares), marks[3]) for share in shares)}|"


def _step(share: float, highest: float, steps: str) -> str:
    """Something can be seen wherever there is something."""
    return steps[0] if not share else steps[max(1, round(share / highest * (len(steps) - 1)))]


def _length(value: float, highest: float) -> int:
    return round(value / highest * _BAR)


def _line(label: str, bar: str, value: str) -> str:
    return f"{label:>{_LABEL}.{_LABEL}} {bar:<{_BAR}} {value}".rstrip()
