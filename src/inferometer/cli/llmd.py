"""What llm-d's guide expects of a run: a results folder for each workload, named as there, with all its files.

``worlds`` calls ``keep`` after each run of the plans of ``config/foreign/llmd.py``.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from inferometer.config.names import as_file_name
from inferometer.errors import UserError

if TYPE_CHECKING:
    from inferometer.cli.foreign import Planned

#: The name of the format, as ``--format`` has it.
WORLD = "llm-d"


def run_directory(parent: Path, begun: datetime, one: Planned) -> Path:
    """The results folder of a plan of llm-d's: ``<harness>_<epoch>_<workload>_<stack name>`` in ``parent``."""
    harness, stack = (one.origin.harness, one.origin.stack) if one.origin is not None else (WORLD, "")
    stack = stack or one.plan.target.model or one.plan.target.name
    return parent / "_".join(map(as_file_name, (harness, f"{int(begun.timestamp())}", one.name, stack)))


def keep(directory: Path, _: int) -> int:
    """Write the files of the guide's listing into the folder of a run that has ended. Returns an exit code.

    A run that could not be played has none, and files that cannot be written keep no other workload from being played.
    """
    from inferometer.export import results_folder
    from inferometer.export.documents import Options
    from inferometer.export.load import load, write
    from inferometer.records import store

    if not (directory / store.SUMMARY).exists():
        return 0
    try:
        run = load(directory)
        made = results_folder.export(run, Options(), per_request=results_folder.wants_requests(run))
        write(made.documents if run.summary["stages"] else [], directory)
    except UserError as error:
        print(f"inferometer: {directory.name}: {error}", file=sys.stderr)
        return error.exit_code
    for note in made.notes:
        print(f"note: {directory.name}: {note}", file=sys.stderr)
    return 0
