"""Where the records of a data file are: one pass in bounded memory that gives each its offset, size and number.

Lines, rows of CSV (whose quoted fields may span lines), elements of a JSON list, rows of Parquet (copied as JSON lines,
because only lines can be read one by one later, between the reads of a running stage).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from inferometer.errors import UserError
from inferometer.workload.datafile import LONGEST_BYTES, Stream, csv_reader

BLOCK_BYTES = 1 << 20
#: Rows of Parquet that are in memory at once.
PARQUET_ROWS = 256


class Place(NamedTuple):
    """A record: ``size`` bytes at ``start``, which are ``raw``. ``number`` counts lines, rows or elements from 1."""

    start: int
    size: int
    number: int
    raw: bytes


#: Records one after the other; closing it closes what it reads and writes.
Places = Generator[Place]


def lines(stream: Stream) -> Places:
    """Lines with their ends, empty ones too."""
    start = stream.start
    for number, raw in enumerate(iter(stream.readline, b""), 1):
        _check_size(len(raw), stream, f"line {number}")
        yield Place(start, len(raw), number, raw)
        start += len(raw)


def csv_rows(stream: Stream, delimiter: str) -> Places:
    """Rows below the header, numbered by their first line, and empty lines."""
    taken: list[bytes] = []
    size_bytes = 0

    def texts() -> Iterator[str]:
        nonlocal size_bytes
        for raw in iter(stream.readline, b""):
            taken.append(raw)
            size_bytes += len(raw)
            _check_size(size_bytes, stream, "a row (is a quote not closed?)")
            yield raw.decode("utf-8", "replace")  # this pass looks for quotes only

    reader = csv_reader(texts(), delimiter)
    start, number, below_header = stream.start, 1, False
    while _advance(reader):
        raw = b"".join(taken)
        if below_header:
            yield Place(start, len(raw), number, raw)
        below_header = below_header or not raw.isspace()
        start, number, size_bytes = start + len(raw), number + len(taken), 0
        taken.clear()


def _advance(reader: Iterator[list[str]]) -> bool:
    """Is there another row? A malformed one is one too; whoever parses it will say what is wrong."""
    try:
        next(reader)
    except StopIteration:
        return False
    except csv.Error:
        return True
    return True


# --- elements of a JSON list -----------------------------------------------------------------------------------------

#: Everything up to the next bracket that is not in a string. Possessive, so that nothing is remembered for a retreat.
_TO_BRACKET = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+[\[\]{}]', re.DOTALL)
_GAP = re.compile(rb"[ \t\r\n,]*+")


def elements(stream: Stream) -> Places:
    """Objects of a list, without decoding them. A list that is cut off ends with what there is of its last element.

    Raises ``UserError`` where the elements of the list cannot be told apart.
    """
    start, buffer = stream.start, stream.read(BLOCK_BYTES)
    at, number = buffer.find(b"[") + 1, 1
    while True:
        found = _next_element(buffer, at, number == 1)
        if found is None:
            start, buffer, at = start + at, buffer[at:], 0
            _check_size(len(buffer), stream, f"record {number}")
            # as much again as there is: a long element is looked at a few times only
            more = stream.read(max(BLOCK_BYTES, len(buffer)))
            if not more:
                rest = buffer.lstrip(b" \t\r\n,")
                yield Place(start + len(buffer) - len(rest), len(rest), number, rest)
                return
            buffer += more
            continue
        first, end = found
        if first == end:
            raise UserError(
                f"{stream.source}: record {number} of the list is not an object after a comma: "
                f"{buffer[at : at + 40].decode('utf-8', 'replace')!r}"
            )
        if buffer[first : first + 1] == b"]":
            _check_end(buffer[end:], stream)
            return
        yield Place(start + first, end - first, number, buffer[first:end])
        at, number = end, number + 1


def _next_element(buffer: bytes, at: int, is_first: bool) -> tuple[int, int] | None:
    """Begin and end of the next element, or of the list's end; None if there is too little in the buffer to tell.

    An end equal to the begin means that something else stands here.
    """
    gap = _GAP.match(buffer, at)
    first = gap.end() if gap else at
    if first == len(buffer):
        return None
    commas = buffer.count(b",", at, first)
    if buffer[first : first + 1] == b"]" and not commas:
        return first, first + 1
    if buffer[first : first + 1] != b"{" or commas != (0 if is_first else 1):
        return first, first
    end = _end_of_element(buffer, first)
    return None if end is None else (first, end)


def _end_of_element(buffer: bytes, first: int) -> int | None:
    depth, at = 0, first
    while found := _TO_BRACKET.match(buffer, at):
        at = found.end()
        depth += 1 if buffer[at - 1] in b"[{" else -1
        if depth == 0:
            return at
    return None


def _check_end(rest: bytes, stream: Stream) -> None:
    rest = (rest + stream.read(BLOCK_BYTES)).strip()
    if rest:
        raise UserError(
            f"{stream.source}: something follows the end of the list: {rest[:40].decode(errors='replace')!r}"
        )


# --- rows of Parquet -------------------------------------------------------------------------------------------------


def parquet_rows(path: Path, columns: tuple[str, ...], copy: Path) -> Places:
    """Rows as lines of JSON, in ``copy``, which is complete once this is closed.

    Row groups may be of any size: without ``pre_buffer`` they are read in pieces (200 MB in 30 MiB of memory).
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    start, number = 0, 1
    try:
        with pq.ParquetFile(path, buffer_size=BLOCK_BYTES, pre_buffer=False) as file, copy.open("wb") as out:
            for batch in file.iter_batches(PARQUET_ROWS, columns=list(columns), use_threads=False):
                for row in batch.to_pylist():
                    raw = _encode(row)
                    out.write(raw)
                    yield Place(start, len(raw), number, raw)
                    start, number = start + len(raw), number + 1
    except pa.ArrowException as error:
        raise UserError(f"cannot read {path}: {error}") from None


def _encode(row: dict[str, Any]) -> bytes:
    texts = {name: _text(value) if isinstance(value, bytes) else value for name, value in row.items()}
    return msgspec.json.encode(texts, enc_hook=str) + b"\n"


def _text(value: bytes) -> str | None:
    """Some writers do not say that a column of bytes is text; what is none is nothing that could be sent."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def parquet_columns(path: Path) -> tuple[str, ...]:
    """Names of the columns. Raises ``UserError``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return tuple(file.schema_arrow.names)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def _check_size(size_bytes: int, stream: Stream, what: str) -> None:
    if size_bytes > LONGEST_BYTES:
        limit = LONGEST_BYTES >> 20
        raise UserError(f"{stream.source}: {what} is longer than {limit} MiB: is the file of another kind?")
