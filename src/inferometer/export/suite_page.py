"""The suite's comparison of models as a page: one table, and the best of each column by name. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inferometer.report.markup import element, table, text

#: Column -> key of a row, its factor and its form.
_COLUMNS = {
    "TTFT p50 (ms)": ("ttft_p50", 1000, ".1f"),
    "TTFT p95 (ms)": ("ttft_p95", 1000, ".1f"),
    "TPOT p50 (ms)": ("tpot_p50", 1000, ".2f"),
    "TPOT p95 (ms)": ("tpot_p95", 1000, ".2f"),
    "Throughput (tok/s)": ("throughput", 1, ".1f"),
    "Error rate (%)": ("error_rate", 100, ".1f"),
}
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color-scheme:light dark}"
    "table{border-collapse:collapse}th,td{padding:.3rem .8rem;border-bottom:1px solid #8886;text-align:right}"
    "th[scope=row],th:first-child{text-align:left}.wide{overflow-x:auto}"
)


def page(comparison: Mapping[str, Any], name: str = "Model") -> str:
    """A whole page, with nothing from elsewhere. ``name`` says what the rows are."""
    rows = [
        [text(row["model"]), *_cells(row), "yes" if row["mlperf_compliant"] else "no"] for row in comparison["results"]
    ]
    title = f"{comparison['scenario']}: {len(rows)} {name.lower()}s"
    best = [f"{column}: {found}" for column, (key, *_) in _COLUMNS.items() if (found := comparison["best"].get(key))]
    parts = [
        element("h1", text(title)),
        element("p", text(f"{comparison['timestamp']}, {comparison['base_url']}")),
        table([name, *_COLUMNS, "MLPerf"], rows),
        *_list("Differences", comparison.get("reading", ())),
        *_list("Best", best),
        element("p", "MLPerf: TTFT p95 at most 2 s and TPOT p95 at most 100 ms, or the limits of the scenario."),
    ]
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += element("title", text(title)) + element("style", _STYLE)
    whole = element("html", element("head", head) + element("body", "".join(parts)), lang="en")
    return f"<!doctype html>{whole}\n"


def lines(comparison: Mapping[str, Any], name: str = "model") -> list[str]:
    """The same for a terminal."""
    found = comparison["results"]
    rows = [[str(row["model"]), *_cells(row), "yes" if row["mlperf_compliant"] else "no"] for row in found]
    table_rows = [[name, *_COLUMNS, "MLPerf"], *rows]
    widths = [max(map(len, column)) for column in zip(*table_rows, strict=True)]
    padded = [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in table_rows
    ]
    best = [
        f"best {column}: {found}" for column, (key, *_) in _COLUMNS.items() if (found := comparison["best"].get(key))
    ]
    return padded + best


def _list(title: str, found: Sequence[str]) -> list[str]:
    """A heading and its lines, if there are any."""
    items = "".join(element("li", text(line)) for line in found)
    return [element("h2", title), element("ul", items)] if items else []


def _cells(row: Mapping[str, Any]) -> list[str]:
    shown = ((row[key], factor, form) for key, factor, form in _COLUMNS.values())
    return ["-" if value is None else format(value * factor, form) for value, factor, form in shown]
