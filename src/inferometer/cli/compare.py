"""``inferometer compare A B ...``: runs side by side, regressions against a baseline, and the history of many runs."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferometer.cli import machines
from inferometer.errors import UserError

if TYPE_CHECKING:
    from inferometer.analysis.compare import Comparison, Row, Rule, RunData
    from inferometer.analysis.thresholds import Judged
    from inferometer.report.junit import Case

EPILOG = """The first RUN is the base. RUN is a run directory, a folder of run directories (repeats of one another), a
summary.json, or a result of vllm bench serve, inference-perf or the benchmarking suite; LABEL=RUN gives it a name, and
runs with the same LABEL are repeats.
Exit codes: 0 done; 1 a regression or a missed threshold; 2 usage, or runs that are not alike."""

BASELINES = Path("results") / "baselines"
FORMATS = ("console", "markdown", "csv", "json")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of the command."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("runs", nargs="*", metavar="RUN", help="runs to compare; the first is the base")
    add("--baseline", metavar="NAME", help="the base is the run that was saved under this name")
    add("--save-baseline", metavar="NAME", help="remember the runs under this name, and stop")
    add("--baselines", type=Path, metavar="DIR", default=BASELINES, help=f"where names are kept ({BASELINES})")
    add("--history", action="store_true", help="trend and change points over all runs, by start, instead")
    add("--metric", metavar="NAME", action="append", help="compare this figure only; may be repeated")
    add(
        "--fail-on-regression",
        metavar="RULE",
        action="append",
        nargs="?",
        const="",
        help="exit 1 if a figure got worse by more than RULE ('ttft_p95>10%%') and the noise; without RULE any figure"
        " by more than 5 %%; may be repeated",
    )
    add(
        "--threshold",
        metavar="LIMIT",
        action="append",
        default=[],
        help="exit 1 unless each run but the base keeps LIMIT ('ttft_p95_ms<=200'); may be repeated",
    )
    add("--strict", action="store_true", help="refuse runs that differ in anything that matters, not only in workload")
    add("--anyway", action="store_true", help="compare runs with different workloads, too")
    add("--format", choices=FORMATS, default="console", help="form of the result")
    add("--output", type=Path, metavar="FILE", help="write the result here instead of on stdout")
    add("--html", type=Path, metavar="FILE", help="also write it as a page: verdict, changes, curves of all runs")
    machines.arguments(parser, "rules and thresholds")


def run(options: argparse.Namespace) -> int:
    """Compare; 1 when a rule or a threshold is broken."""
    if options.save_baseline is not None:
        return _save(options)
    machines.check(options)
    if options.history:
        return _history(options)
    return _compare(options)


def _save(options: argparse.Namespace) -> int:
    from inferometer.cli.compared import save_baseline

    if not options.runs:
        raise UserError("--save-baseline NAME needs the run to remember: name its directory")
    file = save_baseline(options.baselines, options.save_baseline, options.runs)
    print(f"baseline {options.save_baseline}: {file}", file=sys.stderr)
    return 0


# --- side by side ----------------------------------------------------------------------------------------------------


def _compare(options: argparse.Namespace) -> int:
    from inferometer.analysis import compare as comparing
    from inferometer.analysis.alike import refusal
    from inferometer.analysis.thresholds import figure, judge, parse
    from inferometer.cli.compared import baseline_runs, groups
    from inferometer.report.comparison import difference

    rules = [comparing.parse_rule(text) for text in options.fail_on_regression or [] if text]
    thresholds = [parse(text) for text in options.threshold]
    names = [figure(name).name for name in options.metric] if options.metric else comparing.DEFAULT
    base = baseline_runs(options.baselines, options.baseline) if options.baseline else []
    found = groups(options.runs, base, options.baseline or "baseline")
    data = [[one.data for one in group] for group in found]
    comparison = comparing.compare(data, names)
    if not comparison.rows:
        raise UserError(f"there is nothing to compare: the runs have none of {', '.join(names)} in common")
    refused = None if options.anyway else refusal(comparison.differing, strict=options.strict)
    if refused is not None:
        told = difference(refused, comparison.labels).replace("\n   ", "")
        hint = "give --anyway to compare them all the same"
        raise UserError(f"these runs are not alike: {told.partition(': ')[2]}; {hint}")
    checked = comparing.check(data, rules)
    others = [one for group in found[1:] for one in group]
    foreign = next((one.data.label for one in others if one.summary is None), None)
    if thresholds and foreign is not None:
        raise UserError(f"--threshold: {foreign} is a result of another tool; thresholds are judged on runs of ours")
    judged = [(one.data.label, row) for one in others if one.summary for row in judge(one.summary, thresholds)]
    _write(options.output, _text(options.format, comparison, [row for _, row in judged]))
    cases = [*_rule_cases(checked, strict=options.strict), *_default_cases(options, comparison)]
    cases += _threshold_cases(judged)
    _for_machines(options, cases, comparison)
    if options.html is not None:
        _html(options.html, comparison, data, cases)
    for case in cases:
        if not case.passed:
            print(f"inferometer: {case.name}: {case.sentence}", file=sys.stderr)
    return 0 if all(case.passed for case in cases) else 1


def _for_machines(options: argparse.Namespace, cases: Sequence[Case], comparison: Comparison) -> None:
    from inferometer.report.comparison import headline, table, verdict

    told = [f"**{label}: {word}.** {sentence}" for label, (word, sentence) in verdict(comparison).items()]
    machines.write(options, headline(comparison), cases, table(comparison), "\n\n".join(told))


def _html(path: Path, comparison: Comparison, groups: Sequence[Sequence[RunData]], cases: Sequence[Case]) -> None:
    from inferometer.analysis.sides import curves
    from inferometer.report.comparison_page import CURVES, Compared, page

    contexts = {group[0].label: group[0].context for group in groups}
    _write(path, page(Compared(comparison, curves(groups, CURVES), cases, contexts)))
    print(path, file=sys.stderr)


def _text(form: str, comparison: Comparison, judged: Sequence[Judged]) -> str:
    """The result in one of ``FORMATS``."""
    from inferometer.report import comparison as report

    if form == "csv":
        return report.as_csv(comparison)
    if form == "json":
        return _json({"comparison": comparison, "thresholds": judged})
    if form == "markdown":
        lines = [f"- {line}" for line in report.differing(comparison)]
        return "\n\n".join(filter(None, ["\n".join(lines), report.table(comparison), report.counts(comparison)])) + "\n"
    ticks = report.ticks(judged, unicode=(sys.stdout.encoding or "").lower().startswith("utf"))
    return report.render(comparison) + (f"\n{ticks}\n" if ticks else "")


def _json(document: Any) -> str:
    import msgspec

    return json.dumps(msgspec.to_builtins(document), indent=1, allow_nan=False) + "\n"


def _rule_cases(checked: Sequence[tuple[Rule, Row]], *, strict: bool) -> list[Case]:
    """A case for each rule and stage. Noise that is unknown breaks a rule only with --strict, but never unsaid."""
    from inferometer.report.junit import Case

    bad = {"regression", "not judged"} if strict else {"regression"}
    for rule, row in checked:
        if row.outcome == "not judged" and not strict:
            print(f"inferometer: note: {rule.text}: {row.sentence}", file=sys.stderr)
    return [
        Case(f"{row.label}: {row.stage}", rule.text, row.outcome not in bad, row.sentence, row.outcome not in _OPEN)
        for rule, row in checked
    ]


#: Outcomes of figures that noise hides: nothing was broken, and nothing shown.
_OPEN = ("unclear", "not judged")


def _default_cases(options: argparse.Namespace, comparison: Comparison) -> list[Case]:
    """Every figure that was compared, where --fail-on-regression has no rule."""
    from inferometer.report.junit import Case

    if "" not in (options.fail_on_regression or []):
        return []
    return [
        Case(
            f"{row.label}: {row.stage}",
            row.figure,
            row.outcome != "regression",
            row.sentence,
            row.outcome not in _OPEN,
        )
        for row in comparison.rows
    ]


def _threshold_cases(judged: Sequence[tuple[str, Judged]]) -> list[Case]:
    from inferometer.report.junit import Case

    return [Case(f"{label}: {one.stage}", one.threshold.text, one.met, one.sentence) for label, one in judged]


def _write(path: Path | None, text: str, mode: str = "w") -> None:
    if path is None:
        print(text, end="", flush=True)
        return
    try:
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None


# --- history ---------------------------------------------------------------------------------------------------------


def _history(options: argparse.Namespace) -> int:
    import duckdb

    from inferometer.analysis import history
    from inferometer.report import comparison as report

    summaries = sorted(file for text in options.runs for file in _summaries(Path(text)))
    if not summaries:
        raise UserError("--history needs folders with runs that have ended (with a summary.json in them)")
    contexts = [file.with_name("context.json") for file in summaries if file.with_name("context.json").exists()]
    try:
        points = history.points(list(map(str, summaries)), list(map(str, contexts)), options.metric or history.DEFAULT)
    except (duckdb.Error, KeyError, TypeError) as error:
        raise UserError(f"a summary.json cannot be read, or another version wrote it: {_first_line(error)}") from None
    trends = history.trends(points)
    forms = {
        "csv": lambda: report.history_csv(trends),
        "json": lambda: _json({"points": points, "trends": trends}),
    }
    _write(options.output, forms.get(options.format, lambda: report.history(trends))())
    return 0


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _summaries(path: Path) -> list[Path]:
    """The summaries of a run, or of the runs in a folder."""
    own = path / "summary.json"
    return [own] if own.exists() else sorted(path.glob("*/summary.json"))
