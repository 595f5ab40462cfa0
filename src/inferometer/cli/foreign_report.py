"""``inferometer report`` of a path that is no run directory: another tool's result, or a summary without its run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from inferometer.errors import UserError

if TYPE_CHECKING:
    from inferometer.analysis.run_data import RunData
    from inferometer.analysis.thresholds import Judged, Threshold

Make = Callable[[Sequence["RunData"], Sequence["Judged"]], str]


def wanted(path: Path) -> bool:
    """A file, or a folder with documents that is no run directory."""
    from inferometer.records import store

    if path.is_file():
        return True
    return path.is_dir() and not (path / store.PLAN).exists() and any((*path.glob("*.json"), *path.glob("*.yaml")))


def run(options: argparse.Namespace, thresholds: Sequence[Threshold]) -> int:
    """Make the report; 1 when a threshold is missed. Raises ``UserError``."""
    from inferometer.analysis.thresholds import judge_figures

    form = options.format or "console"
    if form not in FORMS:
        raise UserError(
            f"--format {form}: charts are drawn from the rows of a run directory, and {options.directory} is none; "
            f"what can be made of it: {', '.join(FORMS)}"
        )
    runs = _read(options.directory)
    single = len(runs) == 1
    named = [
        (stage.key if single else f"{one.label}: {stage.key}", stage.figures) for one in runs for stage in one.stages
    ]
    judged = judge_figures(named, thresholds)
    _put(FORMS[form](runs, judged), options.output or _beside(options.directory, form), markdown=form == "markdown")
    for one in judged:
        if not one.met:
            print(f"missed: {one.threshold.text}: {one.stage}: {one.sentence}", file=sys.stderr)
    return 0 if all(one.met for one in judged) else 1


def _read(path: Path) -> Sequence[RunData]:
    from inferometer.cli.compared import of_summary
    from inferometer.export.foreign.files import read

    ours = of_summary(path, path.stem) if path.is_file() else None
    return read(path) if ours is None else [ours.data]


def _console(runs: Sequence[RunData], judged: Sequence[Judged]) -> str:
    from inferometer.report.foreign import render

    return render(runs, judged, unicode=(sys.stdout.encoding or "").lower().startswith("utf")) + "\n"


def _markdown(runs: Sequence[RunData], judged: Sequence[Judged]) -> str:
    from inferometer.report.foreign import record

    return record(runs, judged)


def _csv(runs: Sequence[RunData], _judged: Sequence[Judged]) -> str:
    from inferometer.report.foreign import as_csv

    return as_csv(runs)


def _json(runs: Sequence[RunData], judged: Sequence[Judged]) -> str:
    from inferometer.report.foreign import plain

    return json.dumps(plain(runs, judged), indent=1, allow_nan=False) + "\n"


def _html(runs: Sequence[RunData], judged: Sequence[Judged]) -> str:
    from inferometer.report.foreign import page

    return page(runs, judged)


#: What a result without rows can be shown as.
FORMS: dict[str, Make] = {
    "console": _console,
    "markdown": _markdown,
    "csv": _csv,
    "json": _json,
    "html": _html,
}


def _beside(path: Path, form: str) -> Path | None:
    """Where a page goes if nobody says it: into the folder, or beside the file under its name."""
    if form != "html":
        return None
    return path / "report.html" if path.is_dir() else path.with_suffix(".html")


def _put(text: str, output: Path | None, *, markdown: bool) -> None:
    """Print it, or write the file; a record is added to those that the file has."""
    from inferometer.export.documents import text_document
    from inferometer.export.load import write_one
    from inferometer.report.markdown import added

    if output is None:
        print(text, end="")
        return
    if markdown and output.exists():
        try:
            text = added(output.read_text(encoding="utf-8"), text)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {output}, to which the record should be added: {error}") from None
    write_one(text_document(output.name, text), output)
    print(output, file=sys.stderr)
