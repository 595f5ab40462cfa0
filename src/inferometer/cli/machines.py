"""Judgements for machines that test: flags and files of JUnit XML and of the step summary of GitHub Actions."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferometer.errors import UserError

if TYPE_CHECKING:
    from inferometer.report.junit import Case

#: The variable in which GitHub Actions says where a step may write a summary.
VARIABLE = "GITHUB_STEP_SUMMARY"
#: How the names of results end, which a flag without a value takes for its own if one stands behind it.
_RESULTS = (".json", ".yaml", ".yml")
#: Values of options that were not given.
DEFAULTS: dict[str, Any] = {"junit": None, "step_summary": None}


def arguments(parser: argparse.ArgumentParser, what: str) -> None:
    """Declare ``--junit`` and ``--step-summary``; ``what`` is judged."""
    parser.add_argument("--junit", type=Path, metavar="FILE.xml", help=f"also write {what} as JUnit XML")
    parser.add_argument(
        "--step-summary",
        nargs="?",
        const="",
        metavar="FILE",
        help="also append them, and a table of all figures, to this Markdown file; without FILE to that which "
        f"{VARIABLE} names",
    )


def check(options: argparse.Namespace) -> None:
    """Raises ``UserError`` now for a file that could not be written in the end."""
    step = step_summary_file(options)
    if step is not None and (step.is_dir() or step.suffix in _RESULTS):
        what = "a folder" if step.is_dir() else "a result"
        raise UserError(f"--step-summary {step}: that is {what}; name a Markdown file, or put the flag behind the runs")
    for flag, path in (("--junit", options.junit), ("--step-summary", step)):
        if path is not None and not path.parent.is_dir():
            raise UserError(f"{flag} {path}: there is no folder {path.parent}")
        if path is not None and path.is_dir():
            raise UserError(f"{flag} {path}: that is a folder; name a file in it")


def refuse(options: argparse.Namespace, why: str) -> None:
    """Raises ``UserError`` if one of the files was asked for where there is no run of ours to judge."""
    for flag, value in (("--junit", options.junit), ("--step-summary", options.step_summary)):
        if value is not None:
            raise UserError(f"{flag} is made of a run directory, and {why}")


def step_summary_file(options: argparse.Namespace) -> Path | None:
    """Where the step summary goes; None if nobody asked for one. Raises ``UserError``."""
    if options.step_summary is None:
        return None
    path = options.step_summary or os.environ.get(VARIABLE)
    if not path:
        raise UserError(f"--step-summary: {VARIABLE} is not set; name a file, or leave it to GitHub Actions")
    return Path(path)


def write(options: argparse.Namespace, title: str, cases: Sequence[Case], table: str, lead: str = "") -> None:
    """Write what was asked for; ``lead`` stands first in the step summary, ``table`` is folded away at its end.

    Raises:
        UserError: a file cannot be written.
    """
    from inferometer.report import junit

    step = step_summary_file(options)
    if options.junit is not None:
        _write(options.junit, junit.junit(cases), "w")
    if step is not None:
        _write(step, junit.step_summary(title, cases, table, lead), "a")


def write_played(options: argparse.Namespace, directories: Sequence[Path]) -> None:
    """What was asked for of these runs; those that came to no summary are left out."""
    if options.junit is None and options.step_summary is None:
        return
    from inferometer.records import store

    files = [directory / store.SUMMARY for directory in directories]
    found = [(file.parent.name, json.loads(file.read_text())) for file in files if file.exists()]
    write_runs(options, found if len(directories) > 1 else [("", summary) for _, summary in found])


def write_runs(options: argparse.Namespace, runs: Sequence[tuple[str, dict[str, Any]]]) -> None:
    """What was asked for of runs of ours: a name ("" if there is only one) and the summary of each."""
    if (options.junit is None and options.step_summary is None) or not runs:
        return
    from inferometer.report.judgements import cases, figures

    strict = getattr(options, "strict", False)
    found = [case for name, summary in runs for case in cases(summary, name, strict=strict)]
    tables = "\n\n".join("\n\n".join(filter(None, [name, figures(summary)])) for name, summary in runs)
    last = runs[-1][1]
    title = f"{last['plan']} on {last['target']['model'] or last['target']['name']}" if len(runs) == 1 else "Benchmark"
    write(options, title, found, tables)


def _write(path: Path, text: str, mode: str) -> None:
    try:
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
