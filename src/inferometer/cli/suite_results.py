"""What the suite and the in-cluster Job show when all runs have ended: results, verdicts, comparisons, tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inferometer.cli.foreign import Planned
from inferometer.config.foreign.suite_scenarios import LEVELS, Level

Json = dict[str, Any]
Shown = Sequence[tuple[Planned, Path]]
#: Keys of a stage's summary in the order of the Job's table: metric and percentile.
_JOB_COLUMNS = [(metric, percent) for metric in ("ttft", "itl", "e2el") for percent in ("50", "95")]


def show(played: Shown, output: Path | None, *, html: bool) -> int:
    """Verdicts, then the files; 1 if limits decide and a run does not keep them."""
    made = [_document(one, directory) for one, directory in played]
    for (one, _), document in zip(played, made, strict=True):
        print(_verdict(document["results"], one, title=len(played) > 1))
    stem = _stem(output)
    json_too = output is not None and output.suffix != ".html"
    html = html or (output is not None and not json_too)
    labels = _labels(made, played)
    if len(made) > 1:
        _compared(made, labels, stem, json_too=json_too, html=html)
    elif made and output is not None and json_too:
        _save(output if output.suffix else output.with_suffix(".json"), made[0])
    if html:
        _pages([directory for _, directory in played], labels, stem)
    pairs = zip(played, made, strict=True)
    return 1 if any(one.judged and not document["results"]["mlperf_compliant"] for (one, _), document in pairs) else 0


def copies(played: Shown, output: Path | None, *, html: bool) -> None:
    """Summaries of several runs beside each other, and pages."""
    stem, names = _stem(output), [one.name for one, _ in played]
    if len(played) > 1 and stem is not None:
        for name, (_, directory) in zip(names, played, strict=True):
            _write(_beside(stem, name, ".json"), (directory / "summary.json").read_text("utf-8"))
    if html:
        _pages([directory for _, directory in played], names, stem)


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


def _document(one: Planned, directory: Path) -> Json:
    """The suite's result of a run; compliance by the limits of its scenario."""
    from inferometer.export.load import load
    from inferometer.export.suite import document

    made = document(load(directory))
    results, levels = made["results"], one.levels or LEVELS
    results["mlperf_compliant"] = _kept(results, levels["standard"])
    results["mlperf_interactive"] = _kept(results, levels["interactive"])
    return made


def _kept(results: Json, level: Level) -> bool:
    """What was not measured does not comply."""
    pairs = ((results["ttft_ms"]["p95"], level.ttft_ms), (results["tpot_ms"]["p95"], level.tpot_ms))
    return all(value is not None and value <= limit for value, limit in pairs)


def _verdict(results: Json, one: Planned, *, title: bool) -> str:
    """A line for each level of limits."""
    can = (sys.stdout.encoding or "").lower().startswith("utf")
    signs = ("✓", "✗") if can else ("+", "x")
    name = f"{one.name}: " if title else ""
    lines = [f"{name}MLPerf limits of the suite, on the 95th percentiles of all stages together:"]
    for level, key in (("standard", "mlperf_compliant"), ("interactive", "mlperf_interactive")):
        limits: Mapping[str, Level] = one.levels or LEVELS
        figures = [_figure(results, metric, limits[level]) for metric in ("ttft", "tpot")]
        lines.append(f"  {signs[not results[key]]} {level:<11}  {', '.join(figures)}")
    return "\n".join(lines)


def _figure(results: Json, metric: str, level: Level) -> str:
    value, limit = results[f"{metric}_ms"]["p95"], getattr(level, f"{metric}_ms")
    return f"{metric.upper()} {'not measured' if value is None else f'{value:.1f} ms'} (at most {limit:g} ms)"


def _labels(made: Sequence[Json], played: Shown) -> list[str]:
    """What tells the runs apart: their targets, else their models."""
    if len({document["target"] for document in made}) > 1:
        return [one.name for one, _ in played]
    return [document["model"] for document in made]


def _compared(made: Sequence[Json], labels: Sequence[str], stem: Path | None, *, json_too: bool, html: bool) -> None:
    """Runs side by side: printed, and beside each other in files."""
    from inferometer.export.suite import comparison
    from inferometer.export.suite_page import lines, page

    compared = comparison([document | {"model": label} for document, label in zip(made, labels, strict=True)])
    targets = list(dict.fromkeys(document["target"] for document in made))
    kind = "target" if len(targets) > 1 else "model"
    if len(targets) > 1:
        compared |= {"target": ", ".join(targets), "ratios": _ratios(compared["results"])}
    print("\n".join(lines(compared, kind)))
    for name, ratios in compared.get("ratios", {}).items():
        told = ", ".join(f"{key} {value:.2f}" for key, value in ratios.items() if value is not None)
        print(f"{name} / {labels[0]}: {told}")
    if stem is None:
        return
    if json_too:
        for document, label in zip(made, labels, strict=True):
            _save(_beside(stem, label, ".json"), document)
        _save(_beside(stem, "comparison", ".json"), compared)
    if html:
        for path in (stem.with_name(f"{stem.name}.html"), _beside(stem, "comparison", ".html")):
            _write(path, page(compared, kind.capitalize()))


def _ratios(rows: Sequence[Json]) -> dict[str, dict[str, float | None]]:
    """Every target against the first: p50 of TTFT and TPOT, throughput."""
    first = rows[0]
    return {
        row["model"]: {key: _ratio(row[key], first[key]) for key in ("ttft_p50", "tpot_p50", "throughput")}
        for row in rows[1:]
    }


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None


def _pages(directories: Sequence[Path], labels: Sequence[str], stem: Path | None) -> None:
    """The page of every run, beside the results or in its directory."""
    from inferometer.cli.report import content_of, write_page
    from inferometer.report.html import page

    for directory, label in zip(directories, labels, strict=True):
        if stem is None:
            print(f"page: {write_page(directory)}", file=sys.stderr)
        else:
            path = _beside(stem, label, ".html") if len(directories) > 1 else stem.with_name(f"{stem.name}.html")
            _write(path, page(content_of(directory)))


def _stem(output: Path | None) -> Path | None:
    """Where files go, without their ending."""
    if output is None or output.suffix not in (".json", ".html"):
        return output
    return output.with_suffix("")


def _beside(stem: Path, name: str, ending: str) -> Path:
    return stem.with_name(f"{stem.name}_{_safe(name)}{ending}")


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_.+=" else "_" for letter in name)


def _save(path: Path, value: Json) -> None:
    _write(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def _write(path: Path, text: str) -> None:
    from inferometer.export.documents import Document
    from inferometer.export.load import write_one

    write_one(Document(path.name, (text,)), path)
    print(f"saved: {path}", file=sys.stderr)
