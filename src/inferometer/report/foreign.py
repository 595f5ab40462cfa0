"""Results without rows, such as those of other tools: what they tell, and what not. Nothing is computed here."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from inferometer import __version__
from inferometer.analysis.metrics import BY_NAME
from inferometer.analysis.run_data import RunData, StageData
from inferometer.analysis.stats import Estimate
from inferometer.analysis.thresholds import PLAIN, Judged, amount, figure
from inferometer.report.markup import element, inline, table, text
from inferometer.report.page import document
from inferometer.report.tables import as_cell, harmless, in_markdown, markdown, one_line

_LATENCY = re.compile(r"(.+)_(mean|p[\d.]+)_ms")
#: Metrics that a result is expected to tell. ITL or the gaps between events are one question.
_EXPECTED = (("ttft",), ("tpot",), ("itl", "event_gap"), ("e2el",))
_RATES = ("requests_per_s", "output_tokens_per_s", "total_tokens_per_s", "goodput_per_s")
#: More percentiles than these make a table too wide.
_SHOWN = ("mean", "p50", "p90", "p95", "p99")
_NO_ROWS = "No rows of our own: no intervals, distributions, charts or reasons of failures."
_NO_VERDICT = "No verdict: whether the client itself kept up is not known."


class Tables(NamedTuple):
    """Header and lines of the two tables of a run: loads with counts and rates, and latencies in ms."""

    loads: tuple[Sequence[str], list[list[str]]]
    latencies: tuple[Sequence[str], list[list[str]]]


def render(runs: Sequence[RunData], judged: Sequence[Judged], *, unicode: bool = True) -> str:
    """For a terminal. Ends without a line end."""
    blocks = []
    for run in runs:
        blocks.append(f" {one_line(run.label)} ".center(50, "="))
        blocks.append("\n".join(f"{one_line(name) + ':':<16} {one_line(value)}" for name, value in run.context.items()))
        blocks += _text_tables(run, as_cell)
        blocks.append("\n".join(["What this result does not tell:", *map(_wrapped, not_told(run))]))
    blocks.append("\n".join(_limit(one, unicode=unicode) for one in judged))
    return "\n\n".join(block for block in blocks if block)


def record(runs: Sequence[RunData], judged: Sequence[Judged]) -> str:
    """As a section of a file of records, with the marks by which it is found again; ends with a line end."""
    digest = sha256(repr([(run.label, _plain(run)) for run in runs]).encode()).hexdigest()[:16]
    blocks = [f"<!-- inferometer {digest} -->"]
    for run in runs:
        blocks += [f"## {in_markdown(run.label)}", "### Run context"]
        blocks.append(
            markdown(("", ""), [(in_markdown(name), in_markdown(value)) for name, value in run.context.items()])
        )
        blocks += ["### Results", *_text_tables(run, in_markdown), "### What this result does not tell"]
        blocks.append("\n".join(f"- {in_markdown(one)}" for one in not_told(run)))
    if judged:
        blocks += ["### Limits", "\n".join(f"- {in_markdown(_limit(one))}" for one in judged)]
    return "\n\n".join([*blocks, f"<!-- end {digest} -->"]) + "\n"


def as_csv(runs: Sequence[RunData]) -> str:
    """A line for each stage: every figure by its name, in full; unknown is empty. Ends with a line end."""
    found = dict.fromkeys(name for run in runs for stage in run.stages for name in _ordered(stage.figures))
    lines = [
        [run.label, stage.key, stage.verdict, good_of(stage), *(_value(stage, name) for name in found)]
        for run in runs
        for stage in run.stages
    ]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", "stage", "verdict", "ok", *found])
    writer.writerows([harmless(value) for value in line] for line in lines)
    return out.getvalue()


def plain(runs: Sequence[RunData], judged: Sequence[Judged]) -> dict[str, Any]:
    """Plain data, ready for JSON."""
    import msgspec

    told = [_plain(run) | {"not_told": list(not_told(run))} for run in runs]
    return {"tool": "inferometer", "tool_version": __version__, "runs": told, "thresholds": msgspec.to_builtins(judged)}


def page(runs: Sequence[RunData], judged: Sequence[Judged]) -> str:
    """One page of HTML without scripts, which loads nothing. Every text from outside is escaped."""
    parts = [part for run in runs for part in _sections(run, run.label if len(runs) > 1 else "Run context")]
    if judged:
        rows = "".join(element("li", text(_limit(one))) for one in judged)
        parts.append(element("section", element("h2", "Limits") + element("ul", rows)))
    name = ", ".join(run.label for run in runs)
    lead = element("p", "Results as another tool wrote them down.", cls="lead")
    body = element("header", element("div", element("h1", text(name)) + lead)) + element("main", "\n".join(parts))
    body += element("footer", f"Inferometer {text(__version__)}. All times in ms unless said otherwise.")
    return document(name, body)


def not_told(run: RunData) -> Iterator[str]:
    """A sentence for everything that a report of our own has and this result has not."""
    metrics = {match[1] for stage in run.stages for name in stage.figures if (match := _LATENCY.fullmatch(name))}
    for names in _EXPECTED:
        if not metrics & set(names):
            sent = f"{names[0]}_from_send" in metrics
            beside = "; from the send it is there, which leaves out how long a request waited before" if sent else ""
            yield f"No {BY_NAME[names[0]].label}{beside}."
    if "itl" not in metrics and "event_gap" in metrics:
        yield f"No {BY_NAME['itl'].label} for each token: gaps are those between two events, whatever they carry."
    failed = [stage.key for stage in run.stages if "success_rate" not in stage.figures]
    if failed:
        yield f"Not how many requests failed: {', '.join(failed)}."
    yield _NO_ROWS
    if not all(stage.verdict for stage in run.stages):
        yield _NO_VERDICT


def tables_of(run: RunData) -> Tables:
    """What the result tells, as cells of text."""
    rates = [name for name in _RATES if any(name in stage.figures for stage in run.stages)]
    judged = any(stage.verdict for stage in run.stages)
    header = ["stage", "ok", "success", *(PLAIN[name].title for name in rates), *(["verdict"] if judged else [])]
    lines = [
        [
            stage.key,
            "-" if good_of(stage) is None else str(good_of(stage)),
            *(_amount(stage, name) for name in ("success_rate", *rates)),
            *([stage.verdict or "-"] if judged else []),
        ]
        for stage in run.stages
    ]
    latencies = [(stage, metric, found) for stage in run.stages for metric, found in _by_metric(stage).items()]
    shown = [one for one in _SHOWN if any(one in found for _, _, found in latencies)]
    several = len(run.stages) > 1
    cells = [
        [
            *([stage.key] if several else []),
            BY_NAME[metric].label,
            *(f"{found[one].value:.2f}" if one in found else "-" for one in shown),
        ]
        for stage, metric, found in latencies
    ]
    return Tables((header, lines), ([*(["stage"] if several else []), "latency (ms)", *shown], cells))


def good_of(stage: StageData) -> int | None:
    """Requests that succeeded, as far as figures tell."""
    rate = stage.figures.get("success_rate")
    counted = [found.count for name, found in stage.figures.items() if not name.endswith("_rate")]
    good = max(counted, default=0) if rate is None else round(rate.value * rate.count)
    return good or (0 if rate is not None and rate.count else None)


def _by_metric(stage: StageData) -> dict[str, dict[str, Estimate]]:
    """Statistics of each metric, in the order of their definitions."""
    found: dict[str, dict[str, Estimate]] = {name: {} for name in BY_NAME}
    for name, value in stage.figures.items():
        match = _LATENCY.fullmatch(name)
        if match and match[1] in found:
            found[match[1]][match[2]] = value
    return {name: statistics for name, statistics in found.items() if statistics}


def _text_tables(run: RunData, cell: Callable[[str], str]) -> Iterator[str]:
    for header, lines in tables_of(run):
        if lines:
            yield markdown([cell(word) for word in header], [[cell(word) for word in line] for line in lines])


def _wrapped(sentence: str) -> str:
    return textwrap.fill(f"- {sentence}", 100, subsequent_indent="  ", break_on_hyphens=False)


def _sections(run: RunData, title: str) -> Iterator[str]:
    facts = "".join(
        element("tr", element("th", text(name), scope="row") + element("td", text(value)))
        for name, value in run.context.items()
    )
    whole = element("table", element("tbody", facts), cls="facts")
    yield element("section", element("h2", text(title)) + element("div", whole, cls="wide"))
    for heading, (header, lines) in zip(("Loads", "Latencies"), tables_of(run), strict=True):
        if lines:
            cells = [[text(cell) for cell in line] for line in lines]
            yield element("section", element("h2", heading) + table([text(cell) for cell in header], cells))
    sentences = "".join(element("li", inline(sentence)) for sentence in not_told(run))
    yield element("section", element("h2", "What this result does not tell") + element("ul", sentences))


def _ordered(figures: Mapping[str, Estimate]) -> list[str]:
    """Plain figures in their own order, then latencies by metric and rising percentile."""
    metrics = list(BY_NAME)

    def place(name: str) -> tuple[int, int, float]:
        match = _LATENCY.fullmatch(name)
        if match is None or match[1] not in BY_NAME:
            return 0, list(PLAIN).index(name) if name in PLAIN else len(PLAIN), 0.0
        return 1, metrics.index(match[1]), -1.0 if match[2] == "mean" else float(match[2][1:])

    return sorted(figures, key=place)


def _plain(run: RunData) -> dict[str, Any]:
    stages = [
        {
            "stage": stage.key,
            "verdict": stage.verdict or None,
            "figures": {name: _value(stage, name) for name in _ordered(stage.figures)},
            "facts": dict(stage.facts),
        }
        for stage in run.stages
    ]
    return {"label": run.label, "context": dict(run.context), "stages": stages}


def _value(stage: StageData, name: str) -> float | None:
    found = stage.figures.get(name)
    return None if found is None else found.value


def _amount(stage: StageData, name: str) -> str:
    found = stage.figures.get(name)
    return "-" if found is None else amount(found.value, figure(name).unit)


def _limit(one: Judged, *, unicode: bool = True) -> str:
    marks = ("✗", "✓") if unicode else ("x", "+")
    return f"{marks[one.met]} {one_line(one.stage)}: {one.sentence}"
