"""``inferometer targets``: the targets of the catalog, or of a ``targets.yaml``, and where they are."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inferometer.config import files
from inferometer.config.catalog.targets import catalog, servers
from inferometer.config.foreign import suite
from inferometer.config.foreign.translated import Where
from inferometer.errors import UserError


def arguments(parser: argparse.ArgumentParser) -> None:
    """The file."""
    parser.epilog = "The address of NAME is taken from the variable shown, or from --base-url."
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="a targets.yaml (default: the catalog)")


def run(options: argparse.Namespace) -> int:
    """A block for each."""
    document, where = servers(), Where(Path("catalog"), {})
    if options.file is None:
        print("\n".join(f"{name}\n  {entry['description']}" for name, entry in catalog().items()))
    else:
        document, lines, text = files.document(options.file)
        where = Where(options.file, lines, text)
    for name, table in suite.targets(document, where).items():
        print(f"{name}\n  " + "\n  ".join(_lines(name, table.values, document, where)))
    return 0


def _lines(name: str, values: Mapping[str, Any], document: Mapping[str, Any], where: Where) -> list[str]:
    try:
        address = suite.server(name, document, where, os.environ).target["base_url"]
    except UserError:
        address = f"no address: set {values.get('base_url')}"
    shown = [str(values[key]) for key in ("name", "accelerator", "backend", "zone") if values.get(key)]
    lines = [", ".join(shown)] if shown else []
    lines.append(f"{address}, {values.get('model')}")
    if values.get("supported_models"):
        lines.append(f"models: {', '.join(values['supported_models'])}")
    return [*lines, *([f"note: {values['notes']}"] if values.get("notes") else [])]
