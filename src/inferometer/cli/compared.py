"""Runs for comparisons, by path, label or baseline: the edge where their files are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from inferometer.analysis.compare import RunData, from_summary, with_rows
from inferometer.analysis.frame import Frame, from_table
from inferometer.analysis.load import requests_of, summary_of
from inferometer.analysis.summary import SCHEMA_VERSION
from inferometer.config import files
from inferometer.errors import UserError
from inferometer.export.foreign.files import read as read_foreign
from inferometer.records import store


class Read(NamedTuple):
    """A run as comparisons see it, and its summary if it is ours."""

    data: RunData
    summary: dict[str, Any] | None


def groups(texts: Sequence[str], baseline: Sequence[Path] = (), name: str = "baseline") -> list[list[Read]]:
    """Runs by label, the baseline first; those with one label are repeats of each other.

    Args:
        texts: each a run directory, a folder of them (repeats), a ``summary.json``, or a result of another tool, as
            PATH or LABEL=PATH.
        baseline: paths of the baseline's runs.
        name: what the baseline is called.

    Raises:
        UserError: one of them cannot be read.
    """
    named = [*((name, path) for path in baseline), *(_labelled(text) for text in texts)]
    paths = [(label, run) for label, path in named for run in _runs(path)]
    labels = _distinct(named)
    found: dict[str, list[Read]] = {}
    for label, path in paths:
        for run in _read(path, labels.get(label, label)):
            found.setdefault(run.data.label, []).append(run)
    return list(found.values())


def _labelled(text: str) -> tuple[str, Path]:
    """A label and a path; without a label the path stands for itself."""
    label, separator, path = text.partition("=")
    if separator and label and not Path(text).exists():
        return label, Path(path)
    return str(Path(text)), Path(text)


def _distinct(named: Sequence[tuple[str, Path]]) -> dict[str, str]:
    """Paths that are their own label -> the name of the folder, if no other has it."""
    own = dict.fromkeys(label for label, path in named if label == str(path))
    short = {label: Path(label).resolve().name for label in own}
    return {label: name for label, name in short.items() if list(short.values()).count(name) == 1}


def _runs(path: Path) -> list[Path]:
    """The run at a path, or those in a folder of runs."""
    if path.is_file() or (path / store.PLAN).exists():
        return [path]
    inside = sorted(plan.parent for plan in path.glob(f"*/{store.PLAN}"))
    if not inside and not any((*path.glob("*.json"), *path.glob("*.yaml"))):
        raise UserError(f"{path} is neither a run directory, nor a folder of some, nor a result of another tool")
    return inside or [path]


def _read(path: Path, label: str) -> list[Read]:
    """The run at a path, or those of another tool's result, which can be of several models."""
    if (path / store.PLAN).exists():
        rows = requests_of(path)
        summary = summary_of(path, rows)
        data = from_summary(label, summary, _context(path))
        frame = rows if isinstance(rows, Frame) else from_table(rows)
        return [Read(with_rows(data, summary, files.read_plan(path / store.PLAN), frame), summary)]
    if path.is_file() and (ours := of_summary(path, label)) is not None:
        return [ours]
    foreign = read_foreign(path)
    alone = len(foreign) == 1
    return [Read(replace(run, label=label if alone else f"{label} {run.label}"), None) for run in foreign]


def of_summary(path: Path, label: str) -> Read | None:
    """The run of a summary of ours; None if the file is something else.

    Raises:
        UserError: it is one of another version, or not whole.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("tool") != "inferometer" or "stages" not in document:
        return None
    if document.get("schema_version") != SCHEMA_VERSION:
        raise UserError(f"{path} is a summary of another version; name the run directory, it is computed anew")
    try:
        return Read(from_summary(label, document), document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} looks like a summary of ours and is not one: {error!r}") from None


def _context(path: Path) -> dict[str, Any]:
    try:
        document = json.loads((path / store.CONTEXT).read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


# --- baselines -------------------------------------------------------------------------------------------------------


def save_baseline(folder: Path, name: str, texts: Sequence[str]) -> Path:
    """Remember runs under a name: a small file that points to them. Raises ``UserError``."""
    runs = [run for text in texts for run in _runs(_labelled(text)[1])]
    file = _baseline_file(folder, name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot make {folder}: {error.strerror}") from None
    told = {"saved": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}", "runs": [str(run.resolve()) for run in runs]}
    store.write_json(file, {"schema_version": 1, "name": name, **told})
    return file


def baseline_runs(folder: Path, name: str) -> list[Path]:
    """The runs that a baseline points to. Raises ``UserError`` if there is none, or its runs have gone."""
    file = _baseline_file(folder, name)
    if not file.exists():
        known = ", ".join(sorted(other.stem for other in folder.glob("*.json"))) or "none yet"
        raise UserError(f"there is no baseline {name!r} in {folder} (known: {known}); make one with --save-baseline")
    try:
        runs = [Path(run) for run in json.loads(file.read_text())["runs"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file} is not a baseline: save it again with --save-baseline {name} RUN") from None
    lost = [run for run in runs if not run.exists()]
    if lost or not runs:
        gone = f"{lost[0]} has gone" if lost else "it names no run"
        raise UserError(f"baseline {name!r}: {gone}; save it again with --save-baseline {name} RUN")
    return runs


def _baseline_file(folder: Path, name: str) -> Path:
    if not name or name.startswith(".") or any(letter in name for letter in "/\\"):
        raise UserError(f"{name!r} is no name for a baseline: use letters, digits, - and _")
    return folder / f"{name}.json"
