"""``inferometer scenarios``: the scenarios of the catalog, or of a ``test_scenarios.yaml``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inferometer.config import files
from inferometer.config.catalog.scenarios import scenarios
from inferometer.config.foreign import suite
from inferometer.config.foreign.translated import Where


def arguments(parser: argparse.ArgumentParser) -> None:
    """The file."""
    parser.add_argument(
        "file", type=Path, nargs="?", metavar="FILE", help="a test_scenarios.yaml (default: the catalog)"
    )


def run(options: argparse.Namespace) -> int:
    """A block for each: what it is for, and what a plan makes of it."""
    document: Mapping[str, Any] = {"scenarios": scenarios()}
    where = Where(Path("catalog"), {})
    if options.file is not None:
        document, lines, text = files.document(options.file)
        where = Where(options.file, lines, text)
    for name, values in (document.get("scenarios") or {}).items():
        print(f"{name}\n  " + "\n  ".join(_lines(name, values, document, where)))
    return 0


def _lines(name: str, values: Mapping[str, Any], document: Mapping[str, Any], where: Where) -> list[str]:
    told = [str(values["description"])] if values.get("description") else []
    if "plan" in values:
        return [*told, _count(values["plan"]["scenario"]["stages"])]
    read = suite.scenario(name, document, where)
    return [*told, _count(read.scenario["stages"]), *read.notes]


def _count(stages: Sequence[object]) -> str:
    return "1 stage" if len(stages) == 1 else f"{len(stages)} stages"
