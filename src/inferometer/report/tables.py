"""Tables as text: aligned in a terminal, and Markdown as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

#: Stands after a percentile that has too few samples for an interval.
FEW = "~"
SWEEP_HEADER = ("req/s", "out tok/s", "TTFT p50", "TTFT p95", "ITL p50", "ITL p95", "E2E p50", "E2E p95")

FIRST_COLUMN = {"closed": "concurrency", "open": "rate (req/s)", "trace": "rate (req/s)", "users": "users"}


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells padded to the width of their column, a rule under the header, no line end at the end."""
    widths = [max(3, *(len(line[i]) for line in (header, *rows))) for i in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def one_line(text: str) -> str:
    """A text from outside, on one line and without control characters, which could steer a terminal."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def as_cell(text: str) -> str:
    """A text from outside as a cell of a table, which it does not end."""
    return one_line(text).replace("|", "/")


def in_markdown(text: str) -> str:
    """A text from outside in Markdown: on one line, no end of a cell, no mark of HTML or of a comment."""
    return one_line(text).replace("|", "\\|").replace("<", "&lt;")


def harmless(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula, as a text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def sweep(summary: dict[str, Any]) -> str:
    """All stages of a run, one line each: nine columns. Latencies in ms.

    Before them are the names, if stages have some, and behind them the verdicts, if one is not VALID.
    """
    stages = summary["stages"]
    columns = {FIRST_COLUMN[stage["load"]["type"]] for stage in stages}
    first = columns.pop() if len(columns) == 1 else "load"
    rows = [[level(stage["load"]), *_numbers(stage)] for stage in stages]
    header = [first, *SWEEP_HEADER]
    if played := _rounds(summary):
        header = [first, "round", *SWEEP_HEADER]
        rows = [[load, str(played[stage["stage"]]), *row] for (load, *row), stage in zip(rows, stages, strict=True)]
    if any(stage.get("name") for stage in stages):
        header = ["stage", *header]
        rows = [[as_cell(stage.get("name") or ""), *row] for row, stage in zip(rows, stages, strict=True)]
    if any(stage["verdict"]["verdict"] != "VALID" for stage in stages):
        header.append("verdict")
        rows = [[*row, stage["verdict"]["verdict"]] for row, stage in zip(rows, stages, strict=True)]
    table = markdown(header, rows)
    notes = ["Latencies in ms.", f"{FEW} too few samples for a 95 % interval."]
    return f"{table}\n\n{' '.join(notes if FEW in table else notes[:1])}"


def _rounds(summary: dict[str, Any]) -> dict[int, int]:
    """The round in which each stage was played, by its number; empty if nothing was repeated."""
    groups = summary.get("repeats") or ()
    return {stage: place for group in groups for place, stage in enumerate(group["stages"], 1)}


def by_model(models: Sequence[dict[str, Any]]) -> str:
    """One line for each model of a stage. Latencies in ms."""
    rows = [
        [as_cell(entry["model"]), str(entry["counts"]["ok"]), str(entry["counts"]["failed"]), *_numbers(entry)]
        for entry in models
    ]
    return markdown(("model", "ok", "failed", *SWEEP_HEADER), rows)


def level(load: dict[str, Any]) -> str:
    """The load of a stage in a word: its concurrency or its rate, in words where that changes."""
    if load["type"] == "closed":
        return str(load["concurrency"])
    if load["type"] == "users":
        return str(load["users"])
    return load["rate_per_s"] if isinstance(load["rate_per_s"], str) else f"{load['rate_per_s']:g}"


def short(value: float) -> str:
    """One decimal below 1000, none above."""
    return f"{value:.1f}" if value < 999.95 else f"{value:.0f}"


def whole(value: float) -> str:
    """No decimals."""
    return f"{value:.0f}"


def per_second(value: float) -> str:
    """One decimal, two below 1."""
    return f"{value:.2f}" if value < 0.995 else f"{value:.1f}"


def _numbers(stage: dict[str, Any]) -> list[str]:
    rates = stage["throughput"] or {}
    columns: list[tuple[str, str, Callable[[float], str]]] = [
        (metric, percent, show)
        for metric, show in (("ttft", short), ("itl", short), ("e2el", whole))
        for percent in ("50", "95")
    ]
    return [
        _cell(rates.get("requests_per_s"), per_second),
        _cell(rates.get("output_tokens_per_s"), whole),
        *(_percentile(stage["metrics"].get(metric), percent, show) for metric, percent, show in columns),
    ]


def _cell(value: float | None, show: Callable[[float], str]) -> str:
    return "-" if value is None else show(value)


def _percentile(metric: dict[str, Any] | None, percent: str, show: Callable[[float], str]) -> str:
    if metric is None:
        return "-"
    estimate = metric["percentiles_ms"][percent]
    return show(estimate["value"]) + (FEW if estimate["low"] is None else "")
