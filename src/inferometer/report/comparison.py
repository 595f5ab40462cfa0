"""Runs side by side as text: what differs, a table, and a sentence for each change. Nothing is computed here."""

from __future__ import annotations

import csv
import io
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence

from inferometer.analysis.alike import Difference
from inferometer.analysis.compare import Comparison, Row
from inferometer.analysis.history import Trend
from inferometer.analysis.thresholds import Judged, amount, figure
from inferometer.report.tables import as_cell, harmless, markdown, one_line

WIDTH = 100
_SEVERITIES = {"refuse": "NOT ALIKE", "warn": "warning", "note": "differs"}
#: Outcomes that have a sentence of their own below the table.
TOLD = ("regression", "slightly worse", "improvement", "slightly better")
_NOUNS = {"regression", "improvement"}
_CSV = (
    "stage",
    "figure",
    "unit",
    "label",
    "base",
    "base_low",
    "base_high",
    "other",
    "other_low",
    "other_high",
    "change",
    "change_low",
    "change_high",
    "p",
    "outcome",
)


def render(comparison: Comparison) -> str:
    """Everything for a terminal: facts that differ first, then the table, then sentences. Ends with a line end."""
    blocks = [
        "\n".join(differing(comparison)),
        table(comparison),
        "\n".join(legend(comparison)),
        "\n".join(_sentences(comparison)),
        counts(comparison),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def differing(comparison: Comparison) -> Iterator[str]:
    """A line for each fact that differs, and one for the stages that not all runs have."""
    for one in comparison.differing:
        yield difference(one, comparison.labels)
    if comparison.unmatched:
        yield _wrapped(f"not in all runs, so not compared: {', '.join(comparison.unmatched)}")


def difference(one: Difference, labels: Sequence[str]) -> str:
    """One fact: its values by label, and why it matters."""
    values = ", ".join(f"{label}: {one_line(value)}" for label, value in zip(labels, one.values, strict=True))
    why = f" ({one.why})" if one.why else ""
    return _wrapped(f"{_SEVERITIES[one.severity]}: {one.fact}: {values}{why}")


def table(comparison: Comparison) -> str:
    """One line for each figure of each stage: the base, then each other run with its change."""
    base, *others = comparison.labels
    by_line: dict[tuple[str, str], dict[str, Row]] = {}
    for row in comparison.rows:
        by_line.setdefault((row.stage, row.figure), {})[row.label] = row
    columns = [text for label in others for text in (label, f"{label} / {base}", "")]
    lines = []
    for (stage, name), rows in by_line.items():
        first = next(iter(rows.values()))
        cells = [cell for label in others for cell in _cells(rows.get(label))]
        lines.append([as_cell(stage), figure(name).title, amount(first.base.value, figure(name).unit), *cells])
    return markdown(["stage", "figure", base, *columns], lines)


def _cells(row: Row | None) -> tuple[str, str, str]:
    if row is None:
        return "-", "-", ""
    return amount(row.other.value, figure(row.figure).unit), change(row), row.outcome


def change(row: Row) -> str:
    """``+10.6 % [+7.0, +15.1]``; points for shares; ``?`` where the noise is unknown."""
    if row.change is None:
        return "-"
    unit = "points" if figure(row.figure).unit == "share" else "%"
    told = f"{_signed(row.change)} {unit}"
    if row.low is None or row.high is None:
        return f"{told} ?"
    return f"{told} [{_signed(row.low)}, {_signed(row.high)}]"


def _signed(share: float) -> str:
    """Per cent with a sign; a zero is a plus."""
    return f"{round(100 * share, 1) + 0.0:+.1f}"


def legend(comparison: Comparison) -> Iterator[str]:
    """What intervals are, and of how many runs."""
    yield "In brackets: 95 % interval of the change."
    runs = {
        label: max((row.runs[1] for row in comparison.rows if row.label == label), default=1)
        for label in comparison.labels[1:]
    }
    runs = {comparison.labels[0]: max((row.runs[0] for row in comparison.rows), default=1), **runs}
    if max(runs.values()) == 1:
        yield "One run each: what changes from run to run is not in the intervals. Repeat the runs to have it in."
        return
    told = ", ".join(f"{label} {count}" for label, count in runs.items())
    yield f"Runs: {told}. Intervals are those of the spread between runs."


def _sentences(comparison: Comparison) -> Iterator[str]:
    several = len(comparison.labels) > 2
    for row in comparison.rows:
        if row.outcome in TOLD:
            yield _wrapped(f"{f'{row.label}, ' if several else ''}{row.sentence}")


def counts(comparison: Comparison) -> str:
    """How many figures came out in which way, in one line."""
    told = (f"{count} {outcome}" for outcome, count in counted(comparison))
    return f"{len(comparison.rows)} compared: {', '.join(told)}."


def counted(comparison: Comparison) -> list[tuple[str, int]]:
    """Outcomes and how many figures have them, changes first; nouns of several in the plural."""
    found = Counter[str](row.outcome for row in comparison.rows)
    known = [(name, found[name]) for name in (*TOLD, "same", "unclear", "not judged") if found[name]]
    return [(f"{name}{'s' if count > 1 and name in _NOUNS else ''}", count) for name, count in known]


def headline(comparison: Comparison) -> str:
    """Which runs are compared."""
    return f"{', '.join(comparison.labels[1:])} against {comparison.labels[0]}"


def verdict(comparison: Comparison) -> dict[str, tuple[str, str]]:
    """What came of each other run: worse, better, mixed, no change or unclear, and a sentence with the figures."""
    return {label: _verdict([row for row in comparison.rows if row.label == label]) for label in comparison.labels[1:]}


def _verdict(rows: Sequence[Row]) -> tuple[str, str]:
    worse = [row for row in rows if row.outcome == "regression"]
    better = [row for row in rows if row.outcome == "improvement"]
    unclear = sum(row.outcome in ("unclear", "not judged") for row in rows)
    if worse or better:
        told = [
            f"{len(some)} of {len(rows)} figures {verb}, {_most(some)}"
            for some, verb in ((worse, "got worse"), (better, "got better"))
            if some
        ]
        doubt = f" {unclear} cannot be told from noise." if unclear else ""
        return _WORDS[bool(worse), bool(better)], f"{'; '.join(told)}.{doubt}"
    small = sum(row.outcome.startswith("slightly") for row in rows)
    parts = [f"No figure of {len(rows)} changed by more than its limit and the noise"]
    parts += [f"{small} changed by less than the limit"] if small else []
    parts += [f"{unclear} are too noisy to tell, or have no interval"] if unclear else []
    return "unclear" if unclear > len(rows) / 2 else "no change", f"{'; '.join(parts)}."


_WORDS = {(True, False): "worse", (False, True): "better", (True, True): "mixed"}


def _most(rows: Sequence[Row]) -> str:
    """The largest of some changes."""
    row = max(rows, key=lambda row: abs(row.change or 0.0))
    return f"most of all {figure(row.figure).title} at {row.stage} ({change(row)})"


def _wrapped(sentence: str) -> str:
    return textwrap.fill(sentence, WIDTH, subsequent_indent="    ", break_on_hyphens=False)


def as_csv(comparison: Comparison) -> str:
    """A line for each row, numbers in full."""
    lines = [
        [
            row.stage,
            row.figure,
            figure(row.figure).unit,
            row.label,
            *(end for side in (row.base, row.other) for end in (side.value, side.low, side.high)),
            row.change,
            row.low,
            row.high,
            row.p,
            row.outcome,
        ]
        for row in comparison.rows
    ]
    return _csv([_CSV, *lines])


def _csv(lines: Sequence[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([harmless(value) for value in line] for line in lines)
    return out.getvalue()


# --- thresholds ------------------------------------------------------------------------------------------------------


def ticks(judged: Sequence[Judged], *, unicode: bool = True) -> str:
    """A line for each threshold at each stage: a tick or a cross, and the figure."""
    signs = ("✗", "✓") if unicode else ("x", "+")
    return "\n".join(f"{signs[one.met]} {one.stage}: {one.sentence}" for one in judged)


# --- history ---------------------------------------------------------------------------------------------------------


def history(found: Sequence[Trend]) -> str:
    """A table of trends, and a sentence for each change point. Ends with a line end."""
    if not found:
        return "Fewer than two runs have a figure in common: there is no history.\n"
    rows = [
        [
            as_cell(one.subject),
            as_cell(one.stage),
            figure(one.figure).title,
            str(one.runs),
            *(amount(value, one.unit) for value in (one.first, one.median, one.last)),
            f"{amount(one.per_run, one.unit)} a run",
            str(len(one.changes)),
        ]
        for one in found
    ]
    header = ("model, lengths", "stage", "figure", "runs", "first", "median", "last", "trend", "changes")
    sentences = [_wrapped(sentence) for one in found for sentence in _changes(one)]
    return "\n\n".join(filter(None, [markdown(header, rows), "\n".join(sentences)])) + "\n"


def _changes(one: Trend) -> Iterator[str]:
    for change in one.changes:
        size = "" if change.share is None else f", {100 * change.share:+.1f} %"
        ends = f"{amount(change.before, one.unit)} -> {amount(change.after, one.unit)}"
        word = "worse" if change.worse else "better"
        when = f" ({change.started})" if change.started else ""
        what = f"{one_line(one.subject)}, {one.stage}: {figure(one.figure).title}"
        yield f"{what} is {word} from {change.run}{when} on: {ends}{size} (p {change.p:.3f})."


def history_csv(found: Sequence[Trend]) -> str:
    """A line for each trend; change points as run names, with blanks."""
    names = ("subject", "stage", "figure", "unit", "runs", "first", "last", "least", "median", "most", "per_run")
    lines = [[*(getattr(one, name) for name in names), " ".join(change.run for change in one.changes)] for one in found]
    return _csv([(*names, "changes"), *lines])
