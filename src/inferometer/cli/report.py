"""``inferometer report DIR``: the numbers of a run again, finished or killed, computed from its rows."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from inferometer.cli.terminal import wants_colour


def arguments(parser: argparse.ArgumentParser) -> None:
    """The run directory, and the form."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="a run directory")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(options: argparse.Namespace) -> int:
    """Print the report."""
    from inferometer.analysis.load import summary_of
    from inferometer.report.console import render

    summary = summary_of(options.directory)
    text = (
        json.dumps(summary, indent=1, allow_nan=False)
        if options.json
        else render(summary, colour=wants_colour(sys.stdout))
    )
    print(text)
    return 0
