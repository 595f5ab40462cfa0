"""The edge of the exports: reads a run directory, and writes documents."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from inferometer.analysis.frame import Frame, from_table
from inferometer.analysis.load import context_of, requests_of, summary_of
from inferometer.config import files
from inferometer.config.foreign.origin import Origin, parsed
from inferometer.errors import UserError
from inferometer.export.documents import Document, encoded
from inferometer.export.run import Run
from inferometer.records import saving, store

if TYPE_CHECKING:
    import pyarrow as pa


def load(directory: Path) -> Run:
    """A run, finished or killed. Raises ``UserError`` if it is not a run directory."""
    summary = summary_of(directory)
    rows = requests_of(directory)
    return Run(
        name=directory.resolve().name,
        plan=files.read_plan(directory / store.PLAN),
        context=context_of(directory),
        summary=summary,
        rows=rows if isinstance(rows, Frame) else from_table(rows),
        tables=lambda: _tables(directory),
        origin=origin_of(directory),
        log=_text(directory / store.LOG),
    )


def origin_of(directory: Path) -> Origin | None:
    """The part of another tool's file that the run is from; None if it has none, or one that cannot be read."""
    return parsed(_text(directory / store.SOURCE))


def _text(path: Path) -> str:
    """What the file says; nothing if there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def write(documents: Iterable[Document], folder: Path) -> list[Path]:
    """Write documents into a folder, which is made; files of the same names are replaced. Raises ``UserError``."""
    return [_write(document, folder / document.name) for document in documents]


def write_one(document: Document, path: Path | None) -> None:
    """Write a document as this file, or (None) to stdout. Raises ``UserError``."""
    if path is not None:
        _write(document, path)
        return
    for piece in encoded(document.pieces):
        sys.stdout.write(piece.decode())


def append(document: Document, path: Path) -> None:
    """Put a document behind what a file has, with a line end in between. Raises ``UserError``."""
    try:
        if saving.is_replaced(path) and path.exists() and path.stat().st_size:
            with path.open("ab") as file:
                file.write(b"\n")
                file.writelines(encoded(document.pieces))
            return
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    _write(document, path)


def _write(document: Document, path: Path) -> Path:
    """A reader never sees half a file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        saving.save(path, encoded(document.pieces))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another place with --output") from None
    return path


def _tables(directory: Path) -> Iterator[pa.Table]:
    return (table for _, table in store.pieces(directory))
