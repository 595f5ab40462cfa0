"""Stages that were repeated in one run: their figures together, with the spread between repeats. As text and HTML."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from inferometer.analysis.rounds import relative_half_width
from inferometer.analysis.thresholds import amount, stage_key
from inferometer.report.markup import element, text
from inferometer.report.markup import table as html_table
from inferometer.report.tables import FIRST_COLUMN, as_cell, level, markdown

#: Figures in the table: name, heading.
COLUMNS = (
    ("requests_per_s", "req/s"),
    ("output_tokens_per_s", "out tok/s"),
    ("ttft_p50_ms", "TTFT p50"),
    ("ttft_p95_ms", "TTFT p95"),
    ("itl_p50_ms", "ITL p50"),
    ("itl_p95_ms", "ITL p95"),
    ("e2el_p50_ms", "E2E p50"),
    ("e2el_p95_ms", "E2E p95"),
)
LEGEND = (
    "Percentiles are those of all requests of the repeats, rates are means. ± is half of the 95 % interval by Student's"
    " t, from one value for each repeat."
)


def table(summary: dict[str, Any]) -> str:
    """A line for each stage: its repeats, and figures as ``48.6 ±3.1 %``; "" if nothing was repeated."""
    groups = summary.get("repeats") or ()
    if not groups:
        return ""
    columns = _columns(groups)
    rows = [
        [_name(group), str(group["repeats"]), *(_cell(group["figures"].get(name)) for name, _ in columns)]
        for group in groups
    ]
    lines = markdown((_first(groups), "repeats", *(title for _, title in columns)), rows)
    return f"{lines}\n\n{textwrap.fill(f'{LEGEND} Latencies in ms.', 100)}"


def section(summary: dict[str, Any]) -> str:
    """The same as HTML, with the lowest and the highest of the repeats; "" if nothing was repeated."""
    groups = summary.get("repeats") or ()
    if not groups:
        return ""
    columns = _columns(groups)
    header = (text(_first(groups)), "repeats", *(text(title) for _, title in columns))
    rows = [
        [
            text(_name(group)),
            str(group["repeats"]),
            *(_cell_with_ends(group["figures"].get(name)) for name, _ in columns),
        ]
        for group in groups
    ]
    below = "Below each: the lowest and the highest of the repeats. Latencies in ms."
    return html_table(header, rows, cls="tight") + element("p", f"{LEGEND} {below}", cls="soft")


def heading(group: dict[str, Any]) -> str:
    """``concurrency 8: 3 repeats (stages 1, 4, 6)``."""
    numbers = ", ".join(str(number + 1) for number in group["stages"])
    several = len(group["stages"]) > 1
    count = f"{group['repeats']} repeats (stages {numbers})" if several else f"1 repeat (stage {numbers})"
    return f"{stage_key(group)}: {count}"


def _columns(groups: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Those that some stage has; goodput if there are SLOs."""
    wanted = (*COLUMNS[:2], ("goodput_per_s", "goodput"), *COLUMNS[2:])
    return [(name, title) for name, title in wanted if any(name in group["figures"] for group in groups)]


def _first(groups: Sequence[dict[str, Any]]) -> str:
    kinds = {FIRST_COLUMN[group["load"]["type"]] for group in groups}
    return kinds.pop() if len(kinds) == 1 and not any(group["name"] for group in groups) else "stage"


def _name(group: dict[str, Any]) -> str:
    return as_cell(stage_key(group)) if group["name"] else level(group["load"])


def _cell(told: dict[str, Any] | None) -> str:
    """A value without its unit, which the legend or the heading has."""
    if told is None:
        return "-"
    width = relative_half_width(told)
    shown = amount(told["value"], told["unit"]).partition(" ")[0]
    return shown if width == float("inf") else f"{shown} ±{100 * width:.1f} %"


def _cell_with_ends(told: dict[str, Any] | None) -> str:
    if told is None:
        return "-"
    known = [value for value in told["values"] if value is not None]
    ends = (amount(end, told["unit"]).partition(" ")[0] for end in (min(known), max(known)))
    return text(_cell(told)) + element("small", text(" to ".join(ends)))
