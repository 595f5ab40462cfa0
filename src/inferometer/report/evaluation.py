"""The analysis of the vLLM evaluation pipeline for a terminal and as CSV. Pure."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from inferometer.analysis.grades import Grade
from inferometer.analysis.history import Trend
from inferometer.analysis.thresholds import Judged
from inferometer.report.comparison import history, ticks
from inferometer.report.tables import markdown

#: Metrics of vLLM, in its order.
METRICS = ("ttft", "tpot", "itl", "e2el")
COLUMNS = ("success_rate", "request_throughput", "output_throughput", "ttft_p95_ms", "tpot_mean_ms", "e2el_p95_ms")
_STATISTIC = re.compile(r"(mean|median|std|p\d+(?:\.\d+)?)_(ttft|tpot|itl|e2el)_ms")


class Analysis(NamedTuple):
    """What an analysis found.

    Attributes:
        natives: results in the form of vLLM by scenario.
        scenarios: the same as the analysis summary has them.
        judged: thresholds of all scenarios; may be empty.
        graded: the grade of the means over scenarios.
        trends: over several runs; may be empty.
    """

    natives: Mapping[str, Mapping[str, Any]]
    scenarios: Mapping[str, Mapping[str, Any]]
    judged: Sequence[Judged]
    graded: Grade
    trends: Sequence[Trend]


def analysed(found: Analysis, *, unicode: bool) -> str:
    """Statistics of each scenario, thresholds, the grade and its reasons, trends. Ends with a line end.

    ``unicode``: ticks and crosses can be written as such.
    """
    natives, scenarios, judged, graded, trends = found
    blocks = [_statistics(name, told) for name, told in natives.items()]
    rows = [[name, *(_cell(told.get(key)) for key in COLUMNS)] for name, told in scenarios.items()]
    blocks.append(markdown(("scenario", *COLUMNS), rows))
    if judged:
        missed = sum(not one.met for one in judged)
        count = f"{missed} of {len(judged)} missed" if missed else "all met"
        blocks.append(f"Thresholds: {count}.\n{ticks(judged, unicode=unicode)}")
    blocks.append(_graded(graded))
    if trends:
        blocks.append(f"Trend over runs:\n{history(trends).rstrip()}")
    return "\n\n".join(blocks) + "\n"


def as_csv(scenarios: Mapping[str, Mapping[str, Any]], letter: str | None) -> str:
    """A line for each scenario; nothing where nothing is known. ``letter`` is the grade of all of them."""
    sink = io.StringIO()
    rows = [[name, *(told.get(key) for key in COLUMNS), letter] for name, told in scenarios.items()]
    csv.writer(sink, lineterminator="\n").writerows([["scenario", *COLUMNS, "grade"], *rows])
    return sink.getvalue()


def _statistics(name: str, native: Mapping[str, Any]) -> str:
    found: dict[str, dict[str, Any]] = {}
    for key, value in native.items():
        if match := _STATISTIC.fullmatch(key):
            found.setdefault(match[2], {})[match[1]] = value
    names = sorted({statistic for told in found.values() for statistic in told}, key=_order)
    rows = [[metric, *(_cell(found[metric].get(one)) for one in names)] for metric in METRICS if metric in found]
    told = ", ".join(
        f"{native[key]} {word}" for key, word in (("completed", "completed"), ("failed", "failed")) if key in native
    )
    title = f"{name}: {told}" if told else name
    return f"{title}\n{markdown(('ms', *names), rows)}" if rows else title


def _order(statistic: str) -> tuple[int, float]:
    plain = ("mean", "median", "std")
    return (plain.index(statistic), 0.0) if statistic in plain else (len(plain), float(statistic[1:]))


def _graded(graded: Grade) -> str:
    if graded.letter is None:
        return "Grade: none, as no figure of it is known."
    lines = [f"Grade: {graded.letter}", *(f"  {issue}" for issue in graded.issues)]
    lines += [f"  not graded, as it is not known: {', '.join(graded.missing)}"] if graded.missing else []
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "-"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.1f}"
