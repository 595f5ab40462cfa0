"""The edge of the analysis: reads a run directory and hands plain data to the pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from inferometer.analysis.calibration import Calibration
from inferometer.analysis.frame import Events, Frame, Ints, events_of, stored
from inferometer.analysis.reading import reading
from inferometer.analysis.server_samples import Told, from_table
from inferometer.analysis.summary import summarise
from inferometer.config import files
from inferometer.errors import UserError
from inferometer.records import store, telemetry
from inferometer.records.record import WorkerStage

if TYPE_CHECKING:
    import pyarrow as pa

#: Runs with more token events than this are read piece by piece, as often as it takes.
EVENTS_IN_MEMORY = 4_000_000


def summary_of(directory: Path, rows: pa.Table | Frame | None = None) -> dict[str, Any]:
    """The summary of a run, finished or killed, from its rows. Raises ``UserError`` if it is not a run directory.

    ``rows`` are those of ``requests_of``, if they are at hand.
    """
    if not (directory / store.PLAN).exists():
        why = f"it has no {store.PLAN}" if directory.is_dir() else "there is no such folder"
        raise UserError(f"{directory} is not a run directory: {why}")
    plan = files.read_plan(directory / store.PLAN)
    context = context_of(directory)
    workers = msgspec.convert(context.get("workers", []), list[WorkerStage])
    told = {
        "state": context.get("state", "running"),
        "ended_early": _ended_early(context),
        "sessions": len(context.get("sessions", [])) or 1,
        "prompts": context.get("prompts"),
        "engine": _engine(context),
    }
    rows = requests_of(directory) if rows is None else rows
    summary = summarise(plan, rows, workers, _calibration(context), _told(directory)) | told
    return summary | {"reading": msgspec.to_builtins(reading(summary))}


def _told(directory: Path) -> Told | None:
    """What the servers said of themselves; None if nothing is known."""
    table = telemetry.read(directory)
    return None if table is None else from_table(table)


def requests_of(directory: Path) -> pa.Table | Frame:
    """All rows in memory, or all but their events."""
    if store.event_count(directory) <= EVENTS_IN_MEMORY:
        return store.read(directory)
    return stored(store.pieces(directory), lambda rows: _events(directory, rows))


def _events(directory: Path, rows: Ints) -> Iterator[Events]:
    """The events of the rows with these rising numbers, piece by piece."""

    def wanted(first: int, end: int) -> bool:
        return bool(np.searchsorted(rows, first) < np.searchsorted(rows, end))

    found = 0
    for first, table in store.pieces(directory, ["event_ns", "event_tokens"], wanted):
        chosen = rows[slice(*np.searchsorted(rows, [first, first + table.num_rows]))] - first
        if len(chosen):
            found += len(chosen)
            yield events_of(table if len(chosen) == table.num_rows else table.take(chosen))
    if found != len(rows):
        raise UserError(f"{directory} changed while it was read: try again when the run has ended")


def _ended_early(context: dict[str, Any]) -> str | None:
    """Why the run is not all of its plan, in words; None if it is, or if its repeats were enough."""
    if context.get("stopped"):
        return str(context["stopped"])
    if context.get("state", "running") == "running":
        return "the run was killed, or is still going on"
    why = (context.get("sessions") or [{}])[-1].get("why")
    return None if why in (None, "complete", "known well enough") else str(why)


def _engine(context: dict[str, Any]) -> str | None:
    """What the server says it is; None if it did not say."""
    told = (context.get("run_context") or {}).get("engine")
    return None if told in (None, "unknown") else str(told)


def _calibration(context: dict[str, Any]) -> Calibration | None:
    """What the machine was calibrated for when the run began, if it was."""
    try:
        return msgspec.convert(context.get("calibration"), Calibration | None)
    except msgspec.ValidationError:
        return None


def context_of(directory: Path) -> dict[str, Any]:
    """``context.json`` of a run; empty if it is not there or not whole."""
    try:
        context: dict[str, Any] = json.loads((directory / store.CONTEXT).read_text())
    except (OSError, ValueError):
        return {}
    return context
