"""What the suite and the in-cluster Job show when all runs have ended: results, verdicts, comparisons, tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferometer.cli import suite_files
from inferometer.cli.foreign import Planned
from inferometer.cli.suite_files import ended
from inferometer.config.levels import Level, Levels

if TYPE_CHECKING:
    from inferometer.export.run import Run

Json = dict[str, Any]
Shown = Sequence[tuple[Planned, Path]]
#: Keys of a stage's summary in the order of the Job's table: metric and percentile.
_JOB_COLUMNS = [(metric, percent) for metric in ("ttft", "itl", "e2el") for percent in ("50", "95")]
#: Success rates in percent that the suite's page wants.
_WANTED = "production wants 99.9 %, a test 95 %"


def show(played: Shown, output: Path | None, *, html: bool) -> int:
    """Verdicts, then the files; 1 if levels decide and a run does not keep them."""
    from inferometer.export.load import load
    from inferometer.export.suite import document
    from inferometer.export.suite_hints import hints

    runs = [load(directory) for _, directory in played]
    made = [document(run) | {"hints": hints(run)} for run in runs]
    for (one, directory), run, told in zip(played, runs, made, strict=True):
        title = f"{one.name}: " if len(played) > 1 else ""
        print("\n".join(f"{title}{line}" for line in _told(run, told)))
        for name, content in _OWN_FILES.get(run.plan.scenario.name, {}).items():
            _save(directory / name, content(run))
    if len(made) > 1:
        _several(played, made, output, html=html)
    elif made:
        _one(played[0][1], made[0], output, html=html)
    return 1 if any(map(_missed, runs, made)) else 0


def copies(played: Shown, output: Path | None, *, html: bool) -> None:
    """Summaries of several runs beside each other, and pages."""
    several = len(played) > 1
    for one, directory in played:
        base = None if output is None else suite_files.stem(output)
        base = suite_files.beside(base, one.name) if several and base else base
        if several and base is not None:
            _write(ended(base, ".json"), (directory / "summary.json").read_text("utf-8"))
        if html:
            _page(directory, base)


def job_table(played: Shown) -> None:
    """The table of the in-cluster Job between its markers, with its columns."""
    for one, directory in played:
        summary = json.loads((directory / "summary.json").read_text("utf-8"))
        told = summary["target"]
        print(f"target: {told['base_url']}  model: {told['model']}  endpoint: {one.plan.target.endpoint}")
        print("RESULTS_TABLE_BEGIN")
        print("| conc | req/s | out_tok/s | ttft_p50 | ttft_p95 | itl_p50 | itl_p95 | e2e_p50 | e2e_p95 |")
        print("|---|---|---|---|---|---|---|---|---|")
        for stage in summary["stages"]:
            print(f"| {' | '.join(_job_cells(stage))} |")
        print("RESULTS_TABLE_END", flush=True)


def _job_cells(stage: Json) -> list[str]:
    rates = stage["throughput"] or {}
    values = [rates.get("requests_per_s"), rates.get("output_tokens_per_s")]
    values += [_percentile(stage, metric, percent) for metric, percent in _JOB_COLUMNS]
    first = stage["load"].get("concurrency", stage["name"] or "")
    return [str(first), *("" if value is None else f"{value:.1f}" for value in values)]


def _percentile(stage: Json, metric: str, percent: str) -> float | None:
    found = (stage["metrics"].get(metric) or {}).get("percentiles_ms", {}).get(percent)
    return None if found is None else float(found["value"])


# --- what is said ----------------------------------------------------------------------------------------------------


def _told(run: Run, told: Json) -> Iterator[str]:
    """Success, tries and levels of a run, and what may be the matter with it."""
    results = told["results"]
    yield from _success(results)
    for name, one in told.get("models", {}).items():
        yield from (f"  {name}: {line}" for line in _success(one))
    if routing := told.get("routing"):
        right, answered, wrong = (
            routing["by_the_model_asked_for"],
            routing["answered"],
            routing["tries_of_another_model"],
        )
        again = f"; {wrong} tries were answered by another and repeated" if wrong else ""
        yield f"routing: {right} of {answered} answers are of the model that was asked for{again}"
    if (levels := run.plan.scenario.levels) is not None:
        yield from _verdict(results, levels)
    yield from (f"hint: {hint}" for hint in told["hints"])


def _success(results: Json) -> Iterator[str]:
    if (rate := results["success_rate"]) is None:
        return
    yield f"success rate {rate:.1f} % ({results['successful']} of {results['total_requests']} requests; {_WANTED})"
    if stats := results.get("retry_stats"):
        yield (
            f"retries: {stats['avg_attempts']:.2f} tries per request on average, {stats['max_attempts']} at most; "
            f"{stats['first_try_success_rate']:.1f} % of first tries succeeded"
        )


def _verdict(results: Json, levels: Levels) -> Iterator[str]:
    """A line for each level of limits."""
    can = (sys.stdout.encoding or "").lower().startswith("utf")
    signs = ("✓", "✗") if can else ("+", "x")
    yield "MLPerf limits of the suite, on the 95th percentiles of all stages together:"
    for level, key in (("standard", "mlperf_compliant"), ("interactive", "mlperf_interactive")):
        figures = (_figure(results, metric, getattr(levels, level)) for metric in ("ttft", "tpot"))
        yield f"  {signs[not results[key]]} {level:<11}  {', '.join(figures)}"


def _figure(results: Json, metric: str, level: Level) -> str:
    value, limit = results[f"{metric}_ms"]["p95"], getattr(level, f"{metric}_p95_ms")
    return f"{metric.upper()} {'not measured' if value is None else f'{value:.1f} ms'} (at most {limit:g} ms)"


def _missed(run: Run, told: Json) -> bool:
    levels = run.plan.scenario.levels
    return levels is not None and levels.decisive and not told["results"]["mlperf_compliant"]


# --- what is written -------------------------------------------------------------------------------------------------


def _comprehensive(run: Run) -> Json:
    from inferometer.export.suite_pattern3 import document

    return document(run)


#: Scenario -> files of its own in the directory of a run.
_OWN_FILES: dict[str, dict[str, Callable[[Run], Json]]] = {
    "pattern3_prefix_cache": {"comprehensive_results.json": _comprehensive}
}


def _one(directory: Path, told: Json, output: Path | None, *, html: bool) -> None:
    """The result of a run, and its page: as ``output`` if that is a page."""
    page_alone = output is not None and output.suffix == ".html"
    if output is not None and not page_alone:
        _save(output if output.suffix else output.with_suffix(".json"), told)
    if html or page_alone:
        _page(directory, output and suite_files.stem(output))


def _several(played: Shown, made: Sequence[Json], output: Path | None, *, html: bool) -> None:
    """Runs side by side: printed, and in files beside ``output``, else in the folder of the runs, with a page."""
    from inferometer.export.suite import comparison
    from inferometer.export.suite_page import lines, page
    from inferometer.export.suite_targets import ratios, sentences

    labels = _labels(made, played)
    compared = comparison([told | {"model": label} for told, label in zip(made, labels, strict=True)])
    targets = list(dict.fromkeys(told["target"] for told in made))
    kind = "target" if len(targets) > 1 else "model"
    if len(targets) > 1:
        found = ratios(made, labels)
        compared |= {"target": ", ".join(targets), "ratios": found, "reading": sentences(found, labels[0])}
    print("\n".join([*lines(compared, kind), *compared.get("reading", ())]))
    names = suite_files.names([one.plan for one, _ in played], labels, output, played[0][1].parent)
    if output is None or output.suffix != ".html":
        for base, told in (*zip(names.results, made, strict=True), (names.comparison, compared)):
            _save(ended(base, ".json"), told)
    if html or output is None or output.suffix == ".html":
        for base in names.reports:
            _write(ended(base, ".html"), page(compared, kind.capitalize()))
    if html or (output is not None and output.suffix == ".html"):
        for base, (_, directory) in zip(names.results, played, strict=True):
            _page(directory, base)


def _labels(made: Sequence[Json], played: Shown) -> list[str]:
    """What tells the runs apart: their targets, else their models."""
    if len({document["target"] for document in made}) > 1:
        return [one.name for one, _ in played]
    return [document["model"] for document in made]


def _page(directory: Path, base: Path | None) -> None:
    """The page of a run, beside its result or in its directory."""
    from inferometer.cli.report import content_of, write_page
    from inferometer.report.html import page

    if base is None:
        print(f"page: {write_page(directory)}", file=sys.stderr)
    else:
        _write(ended(base, ".html"), page(content_of(directory)))


def _save(path: Path, value: Json) -> None:
    _write(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _write(path: Path, text: str) -> None:
    from inferometer.export.documents import Document
    from inferometer.export.load import write_one

    write_one(Document(path.name, (text,)), path)
    print(f"saved: {path}", file=sys.stderr)
