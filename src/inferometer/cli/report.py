"""``inferometer report PATH``: the numbers of a run again, computed from its rows; or another tool's result."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inferometer.cli import machines
from inferometer.cli.terminal import wants_colour
from inferometer.errors import UserError

if TYPE_CHECKING:
    from inferometer.analysis import thresholds
    from inferometer.analysis.thresholds import Threshold
    from inferometer.report.content import Content, Judged

Summary = dict[str, Any]
HTML, PLOTS = "report.html", "plots"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The run directory, the form, and where it goes."""
    parser.epilog = (
        "A result of another tool has no rows: the report shows its figures, and says what it does not tell. "
        "Exit codes: 0 done; 1 a threshold is missed; 2 usage, or nothing that can be read."
    )
    parser.add_argument(
        "directory",
        type=Path,
        metavar="PATH",
        help="a run directory, or a result of another tool: its file, or a folder of its files",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="form of the report; console if not given",
    )
    for name in ("json", "html"):
        parser.add_argument(f"--{name}", action="store_const", const=name, dest="format", help=f"as --format {name}")
    parser.add_argument(
        "--threshold",
        metavar="LIMIT",
        action="append",
        default=[],
        help="show in html and markdown whether each stage keeps LIMIT ('ttft_p95_ms<=200'), and exit 1 if one does "
        "not; may be repeated",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="where it goes: a file (markdown is added to it), or a folder for png; "
        f"if not given, html goes to PATH/{HTML}, png to PATH/{PLOTS}, all else to stdout",
    )
    machines.arguments(parser, "thresholds and failures of a run")


def _with_thresholds(summary: Summary, judged: Sequence[thresholds.Judged]) -> Summary:
    """The summary with thresholds beside those of its plan."""
    import msgspec

    known = {one["threshold"]["text"] for one in summary["thresholds"]}
    more = [msgspec.to_builtins(one) for one in judged if one.threshold.text not in known]
    return summary | {"thresholds": [*summary["thresholds"], *more]}


class Asked(NamedTuple):
    """What a report is made of, and where it goes."""

    directory: Path
    output: Path | None = None
    thresholds: Sequence[Threshold] = ()


def run(options: argparse.Namespace) -> int:
    """Make the report, and print it or say where it is; 1 when a threshold is missed."""
    from inferometer.analysis.thresholds import judge, parse
    from inferometer.cli import foreign_report

    machines.check(options)
    thresholds = [parse(text) for text in options.threshold]
    if foreign_report.wanted(options.directory):
        machines.refuse(options, f"{options.directory} is not one")
        return foreign_report.run(options, thresholds)
    summary = FORMATS[options.format or "console"](Asked(options.directory, options.output, thresholds))
    judged = judge(summary, thresholds)
    machines.write_runs(options, [("", _with_thresholds(summary, judged))])
    missed = [one for one in judged if not one.met]
    for one in missed:
        print(f"missed: {one.threshold.text}: {one.stage}: {one.sentence}", file=sys.stderr)
    return 1 if missed else 0


def write_page(directory: Path, path: Path | None = None) -> Path:
    """Write the page of a run, into its directory if no path is given; where it is. Raises ``UserError``."""
    from inferometer.report.html import page

    path = path or directory / HTML
    _save(path, page(content_of(directory)).encode())
    return path


def _console(asked: Asked) -> Summary:
    from inferometer.analysis.load import summary_of
    from inferometer.report.console import render

    summary = summary_of(asked.directory)
    _text(render(summary, colour=asked.output is None and wants_colour(sys.stdout)), asked.output)
    return summary


def _json(asked: Asked) -> Summary:
    from inferometer.analysis.load import summary_of

    summary = summary_of(asked.directory)
    _text(json.dumps(summary, indent=1, allow_nan=False), asked.output)
    return summary


def _csv(asked: Asked) -> Summary:
    from inferometer.analysis.load import summary_of
    from inferometer.report.points import stages_csv

    summary = summary_of(asked.directory)
    _text(stages_csv(summary).rstrip("\n"), asked.output)
    return summary


def _charts(asked: Asked) -> Summary:
    from inferometer.report.terminal_charts import ASCII, UNICODE, render

    content = content_of(asked.directory)
    can = asked.output is None and sys.stdout.isatty() and (sys.stdout.encoding or "").lower().startswith("utf")
    _text(render(content, UNICODE if can else ASCII).rstrip("\n"), asked.output)
    return content.summary


def _markdown(asked: Asked) -> Summary:
    """A file of records keeps those of other runs."""
    from inferometer.records.saving import is_replaced
    from inferometer.report.markdown import added, record

    content, output = content_of(asked.directory, asked.thresholds), asked.output
    if output is None:
        print(record(content), end="")
        return content.summary
    try:
        before = output.read_text("utf-8") if is_replaced(output) and output.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {output}, to which the record should be added: {error}") from None
    _write(output, added(before, record(content)).encode())
    return content.summary


def _html(asked: Asked) -> Summary:
    from inferometer.report.html import page

    content = content_of(asked.directory, asked.thresholds)
    _write(asked.output or asked.directory / HTML, page(content).encode())
    return content.summary


def _png(asked: Asked) -> Summary:
    from inferometer.report.plots import pictures, png

    content, folder = content_of(asked.directory), asked.output or asked.directory / PLOTS
    drawn = list(pictures(content))
    if not drawn:
        raise UserError(f"{asked.directory} has nothing to draw: no request was answered")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None
    for picture in drawn:
        _write(folder / f"{picture.name}.png", png(picture))
    return content.summary


#: Every form: a function that makes it and returns the summary that it was made of.
FORMATS: dict[str, Callable[[Asked], Summary]] = {
    "console": _console,
    "charts": _charts,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
    "html": _html,
    "png": _png,
}


def content_of(directory: Path, thresholds: Sequence[Threshold] = ()) -> Content:
    """Everything that a page shows, read from a run directory. Raises ``UserError`` if it is not one."""
    from inferometer.analysis import load
    from inferometer.analysis.frame import Frame, from_table
    from inferometer.analysis.pictures import pictures
    from inferometer.config import files
    from inferometer.records import store
    from inferometer.report.content import Content

    rows = load.requests_of(directory)
    summary = load.summary_of(directory, rows)
    plan = files.read_plan(directory / store.PLAN)
    drawn = pictures(plan, rows if isinstance(rows, Frame) else from_table(rows))
    return Content(
        summary=summary,
        context=load.context_of(directory),
        plan=plan.model_dump(mode="json"),
        pictures=drawn,
        server=_server(directory, drawn.start_ns) if drawn else [],
        reading=tuple(_sentence(finding) for finding in summary.get("reading") or ()),
        thresholds=_judged(summary, thresholds),
    )


def _judged(summary: Summary, thresholds: Sequence[Threshold]) -> tuple[Judged, ...]:
    """The thresholds of the plan, then these, with the labels that stages have on a page."""
    from inferometer.analysis.rounds import view
    from inferometer.analysis.thresholds import judge, stage_key
    from inferometer.report.content import Judged
    from inferometer.report.points import labels

    stages = view(summary)["stages"]
    named: dict[str, list[str]] = {}
    for stage, label in zip(stages, labels(stages), strict=True):
        named.setdefault(stage_key(stage), []).append(label)
    judged, seen = [], Counter[tuple[str, str]]()
    for one in _with_thresholds(summary, judge(summary, thresholds))["thresholds"]:
        text, key = one["threshold"]["text"], one["stage"]
        alike = named.get(key, [key])  # stages of one load are judged in their order
        judged.append(Judged(text, alike[seen[text, key] % len(alike)], _figure(one["sentence"]), met=one["met"]))
        seen[text, key] += 1
    return tuple(judged)


def _figure(sentence: str) -> str:
    """What a threshold found, without the limit, which stands beside it, and with what makes it doubtful."""
    told, *doubts = sentence.split("; ")
    return ", ".join([told.partition(", ")[0], *doubts])


def _sentence(finding: dict[str, Any]) -> str:
    """A finding in Markdown: its title, then figures and advice."""
    return " ".join(filter(None, [f"**{finding['title']}.**", finding["text"], finding.get("advice")]))


def _server(directory: Path, start_ns: float) -> list[dict[str, Any]]:
    """The gauges that are drawn, of each part of each server, from what the run wrote down."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from inferometer.analysis.pictures import samples
    from inferometer.records import telemetry
    from inferometer.report.run_context import GAUGES

    table = telemetry.read(directory)
    if table is None:
        return []
    table = table.filter(pc.is_in(table["name"], pa.array(GAUGES)))
    told = (table[name].fill_null("").to_pylist() for name in ("replica", "series"))
    parts = [" ".join(filter(None, pair)) for pair in zip(*told, strict=True)]
    return samples(table["t_ns"].to_numpy(), parts, table["name"].to_pylist(), table["value"].to_numpy(), start_ns)


def _text(text: str, output: Path | None) -> None:
    if output is None:
        print(text)
        return
    _write(output, f"{text}\n".encode())


def _write(path: Path, content: bytes) -> None:
    """Write a file and say so."""
    _save(path, content)
    print(path, file=sys.stderr)


def _save(path: Path, content: bytes) -> None:
    """A reader never sees half of a file."""
    from inferometer.records.saving import save

    try:
        save(path, [content])
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
