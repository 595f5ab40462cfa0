"""``inferometer report DIR``: the numbers of a run again, finished or killed, computed from its rows."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferometer.cli.terminal import wants_colour
from inferometer.errors import UserError

if TYPE_CHECKING:
    from inferometer.report.content import Content

HTML, PLOTS = "report.html", "plots"


def arguments(parser: argparse.ArgumentParser) -> None:
    """The run directory, the form, and where it goes."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="a run directory")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="form of the report; console if not given",
    )
    parser.add_argument("--json", action="store_const", const="json", dest="format", help="as --format json")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="PATH",
        help="where it goes: a file (markdown is added to it), or a folder for png; "
        f"if not given, html goes to DIR/{HTML}, png to DIR/{PLOTS}, all else to stdout",
    )


def run(options: argparse.Namespace) -> int:
    """Make the report, and print it or say where it is."""
    FORMATS[options.format or "console"](options.directory, options.output)
    return 0


def _console(directory: Path, output: Path | None) -> None:
    from inferometer.analysis.load import summary_of
    from inferometer.report.console import render

    _text(render(summary_of(directory), colour=output is None and wants_colour(sys.stdout)), output)


def _json(directory: Path, output: Path | None) -> None:
    from inferometer.analysis.load import summary_of

    _text(json.dumps(summary_of(directory), indent=1, allow_nan=False), output)


def _csv(directory: Path, output: Path | None) -> None:
    from inferometer.analysis.load import summary_of
    from inferometer.report.points import stages_csv

    _text(stages_csv(summary_of(directory)).rstrip("\n"), output)


def _charts(directory: Path, output: Path | None) -> None:
    from inferometer.report.terminal_charts import ASCII, UNICODE, render

    can = output is None and sys.stdout.isatty() and (sys.stdout.encoding or "").lower().startswith("utf")
    _text(render(content_of(directory), UNICODE if can else ASCII).rstrip("\n"), output)


def _markdown(directory: Path, output: Path | None) -> None:
    """A file of records keeps those of other runs."""
    from inferometer.report.markdown import added, record

    text = record(content_of(directory))
    if output is None:
        print(text, end="")
        return
    try:
        before = output.read_text("utf-8") if output.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {output}, to which the record should be added: {error}") from None
    _write(output, added(before, text).encode())


def _html(directory: Path, output: Path | None) -> None:
    from inferometer.report.html import page

    _write(output or directory / HTML, page(content_of(directory)).encode())


def _png(directory: Path, output: Path | None) -> None:
    from inferometer.report.plots import pictures, png

    folder = output or directory / PLOTS
    drawn = list(pictures(content_of(directory)))
    if not drawn:
        raise UserError(f"{directory} has nothing to draw: no request was answered")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write to {folder}: {error.strerror}") from None
    for picture in drawn:
        _write(folder / f"{picture.name}.png", png(picture))


#: Every form: (run directory, where it goes) -> None.
FORMATS: dict[str, Callable[[Path, Path | None], None]] = {
    "console": _console,
    "charts": _charts,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
    "html": _html,
    "png": _png,
}


def content_of(directory: Path) -> Content:
    """Everything that a page shows, read from a run directory. Raises ``UserError`` if it is not one."""
    from inferometer.analysis import load
    from inferometer.analysis.frame import Frame, from_table
    from inferometer.analysis.pictures import pictures
    from inferometer.config import files
    from inferometer.records import store
    from inferometer.report.content import Content

    summary = load.summary_of(directory)
    rows = load.requests_of(directory)
    plan = files.read_plan(directory / store.PLAN)
    drawn = pictures(plan, rows if isinstance(rows, Frame) else from_table(rows))
    return Content(
        summary=summary,
        context=load.context_of(directory),
        plan=plan.model_dump(mode="json"),
        pictures=drawn,
        server=_server(directory, drawn.start_ns) if drawn else [],
        reading=tuple(_sentence(finding) for finding in summary.get("reading") or ()),
    )


def _sentence(finding: dict[str, Any]) -> str:
    """A finding in Markdown: its title, then figures and advice."""
    return " ".join(filter(None, [f"**{finding['title']}**", finding["text"], finding.get("advice")]))


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
    """Write a file and say so; a reader never sees half of it."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    print(path, file=sys.stderr)
