"""The edge of the analysis: reads a run directory and hands plain data to the pure functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from inferometer.analysis.summary import summarise
from inferometer.config import files
from inferometer.errors import UserError
from inferometer.records import store
from inferometer.records.record import WorkerStage


def summary_of(directory: Path) -> dict[str, Any]:
    """The summary of a run, finished or killed, from its rows. Raises ``UserError`` if it is not a run directory."""
    if not (directory / store.PLAN).exists():
        raise UserError(f"{directory} is not a run directory: it has no {store.PLAN}")
    plan = files.read_plan(directory / store.PLAN)
    context = _context(directory)
    workers = msgspec.convert(context.get("workers", []), list[WorkerStage])
    told = {
        "state": context.get("state", "running"),
        "sessions": len(context.get("sessions", [])) or 1,
        "prompts": context.get("prompts"),
    }
    return summarise(plan, store.read(directory), workers) | told


def _context(directory: Path) -> dict[str, Any]:
    try:
        context: dict[str, Any] = json.loads((directory / store.CONTEXT).read_text())
    except (OSError, ValueError):
        return {}
    return context
