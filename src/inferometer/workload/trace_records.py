"""The records of a trace file, one after the other: bytes of JSON lines, or those cells of CSV that are needed."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import itemgetter
from pathlib import Path

import msgspec

from inferometer.errors import UserError
from inferometer.workload.datafile import LONGEST_BYTES, Stream, csv_reader, opened
from inferometer.workload.tally import BadRecordError, cut_off
from inferometer.workload.trace_formats import FORMATS, TraceFormat, TraceKind, trace_kind

#: Bytes or cells; none where a line is empty, an error where it cannot be taken apart.
Record = bytes | tuple[str, ...] | BadRecordError | None


def find_trace_kind(path: Path) -> TraceKind:
    """The kind of a trace by its header, or by the keys of its first record. Raises ``UserError``."""
    with opened(path) as stream:
        lines = (line for line in iter(stream.readline, b"") if not line.isspace())
        first = next(lines, b"")
        if not first:
            raise UserError(f"{path} is empty")
        in_json = first.lstrip().startswith(b"{")
        names = _keys([first, *islice(lines, 100)]) if in_json else _names(first)
    kind = trace_kind(names)
    if kind is not None:
        return kind
    listed = ", ".join(map(repr, names[:12])) or "none"
    what = "keys" if in_json else "columns"
    if {"prompt", "messages", "conversations", "text"} & set(names):
        raise UserError(f"{path} is a file of prompts, not a trace: its {what} are {listed}; give it as a data set")
    raise UserError(
        f"{path} is no known trace: its {what} are {listed}; known are {', '.join(FORMATS)}; our own is one line "
        '{"at_s": 0.5, "input_tokens": 100, "output_tokens": 20} a request'
    )


def _keys(lines: Iterable[bytes]) -> list[str]:
    for line in lines:
        try:
            row = msgspec.json.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(row, dict):
            return list(row)
    return []


def _names(header: bytes) -> list[str]:
    return [name.strip().strip('"') for name in header.decode("utf-8", "replace").strip().split(",")]


def records(stream: Stream, shape: TraceFormat) -> Iterator[tuple[int, Record]]:
    """Records with the numbers of their lines. Raises ``UserError`` if columns are missing."""
    if shape.container == "csv":
        return _rows(stream, shape.keys)
    lines = enumerate(iter(stream.readline, b""), 1)
    return ((number, _checked(line, stream, number)) for number, line in lines)


def _checked(line: bytes, stream: Stream, number: int) -> bytes | None:
    if len(line) > LONGEST_BYTES:
        raise UserError(f"{stream.source}:{number}: a line above {LONGEST_BYTES >> 20} MiB: is this a trace?")
    return None if line.isspace() else line


def _rows(stream: Stream, keys: tuple[str, ...]) -> Iterator[tuple[int, Record]]:
    """Rows with the numbers of their first lines."""
    last, lines = b"", 0

    def texts() -> Iterator[str]:
        nonlocal last, lines
        for last in iter(stream.readline, b""):
            lines += 1
            yield last.decode("utf-8", "replace")

    reader = csv_reader(texts(), skip_space=True)
    while (first := _next_row(reader)) == []:
        pass
    if isinstance(first, BadRecordError):
        raise UserError(f"{stream.source}:1: {first}")
    header = [name.strip() for name in first or ()]
    missing = [key for key in keys if key not in header]
    if missing:
        raise UserError(f"{stream.source}: no column {missing[0]!r}; its columns are {', '.join(map(repr, header))}")
    pick = itemgetter(*map(header.index, keys))
    number = lines + 1
    while (cells := _next_row(reader)) is not None:
        if isinstance(cells, BadRecordError):
            yield number, cells
        elif len(cells) == len(header):
            yield number, pick(cells)
        elif not cells:
            yield number, None
        else:
            reason = f"{len(cells)} cells where the header has {len(header)} columns{cut_off(last)}"
            yield number, BadRecordError(reason)
        number = lines + 1


def _next_row(reader: Iterator[list[str]]) -> list[str] | BadRecordError | None:
    """None at the end. After a row that cannot be taken apart the reader goes on with the next line."""
    try:
        return next(reader, None)
    except csv.Error as error:
        return BadRecordError(f"not a row of CSV: {error}")
