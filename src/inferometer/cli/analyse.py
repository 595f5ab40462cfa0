"""``inferometer analyse PATH``: what results say: statistics, thresholds, a grade, and the trend over several runs."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inferometer.analysis.history import Trend
    from inferometer.analysis.thresholds import Judged
    from inferometer.export.foreign.evaluation import Result

EPILOG = """PATH is a result of vllm bench serve, a standardised one, a run directory, or a folder with any of them. Of
several runs the newest is judged and graded, and the trend over all of them is shown.
Exit codes: 0 done; 1 a threshold is missed; 2 there is nothing to read."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What to read, what to hold it against, and where to."""
    parser.epilog = EPILOG
    parser.add_argument("path", type=Path, metavar="PATH", help="a result, or a folder of results")
    parser.add_argument("summary", type=Path, nargs="?", metavar="SUMMARY.json", help="write the summary here as JSON")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write a line for each scenario here")
    parser.add_argument(
        "--config-path",
        "--config_path",
        type=Path,
        metavar="FILE",
        help="vllm_benchmark.json; its thresholds are judged (default: those of the run)",
    )
    parser.add_argument(
        "--threshold",
        metavar="LIMIT",
        action="append",
        default=[],
        help="judge this limit, too ('ttft_p95_ms<=200'); may be repeated",
    )


def run(options: argparse.Namespace) -> int:
    """Print the analysis; 1 when a threshold is missed."""
    from inferometer.analysis.grades import grade
    from inferometer.cli.pipeline import thresholds_of
    from inferometer.export.documents import json_document
    from inferometer.export.foreign.evaluation import results
    from inferometer.export.load import write_one
    from inferometer.export.standardized import analysis
    from inferometer.report.evaluation import Analysis, analysed, as_csv

    asked = [*([] if options.config_path is None else thresholds_of(options.config_path)), *options.threshold]
    found = results(options.path)
    newest = _newest(found)
    judged = [row for one in newest.values() for row in _judged(one, asked)]
    summary = analysis({name: one.native for name, one in newest.items()}, datetime.now(UTC).isoformat())
    graded = grade(list(summary["scenarios"].values()))
    trends = _trends(found)
    told = summary | _plain(graded, judged, trends)
    if options.summary is not None:
        write_one(json_document(options.summary.name, told), options.summary)
    if options.csv is not None:
        _write_csv(options.csv, as_csv(summary["scenarios"], graded.letter))
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    natives = {name: one.native for name, one in newest.items()}
    print(analysed(Analysis(natives, summary["scenarios"], judged, graded, trends), unicode=unicode), end="")
    return 0 if all(row.met for row in judged) else 1


def _newest(found: list[Result]) -> dict[str, Result]:
    """The last result of each scenario."""
    return {one.scenario: one for one in found}


def _judged(one: Result, asked: list[str]) -> list[Judged]:
    """The thresholds asked for; without any those of the run, as it judged them."""
    import msgspec

    from inferometer.analysis.thresholds import Judged, judge, parse
    from inferometer.export.foreign.evaluation import stage_of

    if asked:
        return list(judge({"stages": [stage_of(one)]}, [parse(text) for text in asked]))
    own = msgspec.convert(one.judged, list[Judged])
    named = (row.stage if row.stage.startswith(f"{one.scenario}: ") else f"{one.scenario}: {row.stage}" for row in own)
    return [msgspec.structs.replace(row, stage=name) for row, name in zip(own, named, strict=True)]


def _trends(found: list[Result]) -> tuple[Trend, ...]:
    from inferometer.analysis.history import Point, trends
    from inferometer.analysis.thresholds import figure
    from inferometer.export.foreign.evaluation import stage_of

    points = []
    for one in found:
        stage, model = stage_of(one), str(one.native.get("model_id") or "any model")
        read = {name: figure(name).read(stage) for name in _FIGURES}
        points += [
            Point(one.source, one.run, model, one.scenario, name, known.value, None, None)
            for name, known in read.items()
            if known is not None
        ]
    return trends(points)


#: The figures of the summary, by their names here.
_FIGURES = ("success_rate", "requests_per_s", "output_tokens_per_s", "ttft_p95_ms", "tpot_mean_ms", "e2el_p95_ms")


def _plain(graded: Any, judged: list[Judged], trends: tuple[Trend, ...]) -> dict[str, Any]:
    import msgspec

    return {
        "grade": msgspec.to_builtins(graded),
        "thresholds": msgspec.to_builtins(judged),
        "trends": msgspec.to_builtins(trends),
    }


def _write_csv(path: Path, text: str) -> None:
    from inferometer.export.documents import Document
    from inferometer.export.load import write_one

    write_one(Document(path.name, [text]), path)
