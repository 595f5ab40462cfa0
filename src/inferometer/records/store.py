"""The run directory: appended to at least once a second while a run lasts, one Parquet file when it is over.

Every worker appends to an Arrow IPC stream of its own. A stream that ends in mid-write is readable up to its last
whole batch, so a killed run loses at most the rows of its last second. A run that was resumed has both: the rows of
its earlier sessions in the Parquet file, those of the present one in streams. A stage is in one of them only; if both
have it, a merge was killed before it could remove the streams, and the file is right.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet

from inferometer.config.models import Phase
from inferometer.errors import UserError
from inferometer.records import saving
from inferometer.records.record import COLUMNS, Clock, Outcome, Record, column

SCHEMA = pa.schema(
    [pa.field(name, pa.type_for_alias(kind)) for name, kind in COLUMNS]
    + [pa.field("event_ns", pa.list_(pa.int64())), pa.field("event_tokens", pa.list_(pa.int32()))],
    metadata={"inferometer.record_version": "1"},
)
#: Columns that every row has.
NEVER_NULL = ("stage", "phase", "index", "end_ns")
#: Columns that Parquet keeps as dictionaries. Of numbers that never repeat one costs more than it saves (measured: 2x).
TEXTS = [field.name for field in SCHEMA if pa.types.is_string(field.type)]
PARQUET = "requests.parquet"
PLAN = "plan.yaml"
CONTEXT = "context.json"
SUMMARY = "summary.json"
LOG = "run.log"
ENGINE_LOG = "engine.log"
#: The part of another tool's configuration that a plan is from.
SOURCE = "source.yaml"

ORDER = [("stage", "ascending"), ("phase", "descending"), ("index", "ascending"), ("turn", "ascending")]
#: What is written at once has about this many token events (16 bytes each), or rows, and not more.
PIECE_EVENTS = 1 << 20
PIECE_ROWS = 1 << 16
#: What is read at once has not more token events than this: arithmetic on them stays in the cache (measured: 3x).
READ_EVENTS = 1 << 18
#: Rows have numbers: that of their file times this, and their place in it.
FILE_ROWS = 1 << 40

_BLANK = Record(
    stage=0,
    worker=0,
    index=0,
    phase=Phase.WARMUP,
    scheduled_ns=0,
    end_ns=0,
    event_ns=np.empty(0, np.int64),
    outcome=Outcome.OK,
    clock=Clock.USERLAND,
)


class Writer:
    """Appends batches of records to one worker's stream. Raises ``UserError`` if it cannot be begun."""

    def __init__(self, directory: Path, worker: int) -> None:
        path = directory / f"requests-{worker}.arrow"
        try:
            self._sink = pa.OSFile(str(path), "wb")
            self._stream = pa.ipc.new_stream(self._sink, SCHEMA)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error}") from None
        batch([_BLANK])  # the first conversion imports modules (80 ms); not in the middle of a stage

    def append(self, records: list[Record]) -> None:
        """Write one batch; it is in the kernel's hands when this returns."""
        if records:
            self._stream.write_batch(batch(records))

    def close(self) -> None:
        """End the stream properly."""
        self._stream.close()
        self._sink.close()


def batch(records: list[Record]) -> pa.RecordBatch:
    """Records as columns."""
    arrays = [pa.array(column(records, name), SCHEMA.field(name).type) for name, _ in COLUMNS]
    arrays.append(_lists([record.event_ns for record in records], np.int64, SCHEMA.field("event_ns").type))
    arrays.append(_lists([record.event_tokens for record in records], np.int32, SCHEMA.field("event_tokens").type))
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _lists(values: list[Any], dtype: type, kind: pa.DataType) -> pa.ListArray:
    sizes = np.fromiter((0 if value is None else len(value) for value in values), np.int32, len(values))
    offsets = np.concatenate((np.zeros(1, np.int32), np.cumsum(sizes, dtype=np.int32)))
    present = [value for value in values if value is not None]
    flat = np.concatenate(present) if present else np.empty(0, dtype)
    missing = pa.array([value is None for value in values], pa.bool_())
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(flat.astype(dtype, copy=False)), type=kind, mask=missing
    )


# --- reading ---------------------------------------------------------------------------------------------------------


def read(directory: Path) -> pa.Table:
    """All records of a run that fits into memory, by stage, phase and index. Raises as ``pieces`` does."""
    tables = [table for _, table in pieces(directory)]
    return pa.concat_tables([SCHEMA.empty_table(), *tables]).sort_by(ORDER)


def pieces(
    directory: Path, columns: Sequence[str] | None = None, wanted: Callable[[int, int], bool] = lambda *_: True
) -> Iterator[tuple[int, pa.Table]]:
    """The records of a run, finished or killed, in tables of bounded size, each with the number of its first row.

    The order is that of the files and the same each time: by stage, phase and index in a small run that has ended, in
    stretches of ``PIECE_EVENTS`` in a large one; by worker and end of the request in one that has not. A table has
    about ``READ_EVENTS``.

    Args:
        directory: a run directory.
        columns: those to read; all if not given.
        wanted: are the rows from one number up to, but not including, another needed? Those that are not may be left
            out.

    Raises:
        UserError: there are no records, or they cannot be read.
    """
    finished, streams = _files(directory)
    if finished is not None:
        yield from _pieces_of_file(finished, columns, wanted)
    taken = _stages(finished) if finished is not None and streams else ()
    for number, stream in enumerate(streams, 1):
        first = number * FILE_ROWS
        for table in _tables(_without(taken, _batches(stream)), READ_EVENTS):
            yield first, table if columns is None else table.select(columns)
            first += table.num_rows


def measured_rows(directory: Path) -> dict[int, int]:
    """Measured requests of each stage that has some; empty where nothing was written."""
    if not (directory / PARQUET).exists() and not _streams(directory):
        return {}
    counts: Counter[int] = Counter()
    for _, table in pieces(directory, ["stage", "phase"]):
        measured = table.filter(pc.equal(table["phase"], Phase.MEASURED.value))
        counts.update(measured["stage"].to_pylist())
    return dict(counts)


def event_count(directory: Path) -> int:
    """How many token events a run has at most, from what its files say of themselves. Raises ``UserError``."""
    finished, streams = _files(directory)
    events = sum(stream.stat().st_size for stream in streams) // 8
    if finished is not None:
        with _opened(finished) as file:
            events += sum(_events(file.metadata.row_group(number)) for number in range(file.num_row_groups))
    return events


def _files(directory: Path) -> tuple[Path | None, list[Path]]:
    """The Parquet file, if there is one, and the streams."""
    finished, streams = directory / PARQUET, _streams(directory)
    if not finished.exists() and not streams:
        raise UserError(f"{directory} is not a run directory: it has neither {PARQUET} nor requests-*.arrow")
    return finished if finished.exists() else None, streams


def _streams(directory: Path) -> list[Path]:
    return sorted(directory.glob("requests-*.arrow"))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[pa.parquet.ParquetFile]:
    try:
        with pa.parquet.ParquetFile(path) as file:
            if file.schema_arrow.names != SCHEMA.names:
                raise UserError(f"{path} is of another version of inferometer: its columns are not those of a run now")
            yield file
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def _pieces_of_file(
    path: Path, columns: Sequence[str] | None, wanted: Callable[[int, int], bool]
) -> Iterator[tuple[int, pa.Table]]:
    with _opened(path) as file:
        first = 0
        for number in range(file.num_row_groups):
            group = file.metadata.row_group(number)
            end = first + group.num_rows
            if not wanted(first, end):
                first = end
                continue
            most = max(1, min(PIECE_ROWS, group.num_rows * READ_EVENTS // max(1, _events(group))))
            # one column has nearly all of the bytes: threads only wait for each other
            for rows in file.iter_batches(most, row_groups=[number], columns=columns, use_threads=False):
                yield first, pa.Table.from_batches([rows])
                first += rows.num_rows


def _events(group: Any) -> int:
    """Token events in a row group; a request without any counts as one."""
    columns = (group.column(number) for number in range(group.num_columns))
    return sum(column.num_values for column in columns if column.path_in_schema.startswith("event_ns"))


def _stages(path: Path) -> set[int]:
    tables = (table for _, table in _pieces_of_file(path, ["stage"], lambda *_: True))
    return {stage for table in tables for stage in table["stage"].unique().to_pylist()}


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as stream:
            if not stream.schema.equals(SCHEMA):
                raise UserError(f"{path} is damaged, or another version wrote it: its columns are not those of a run")
            for rows in stream:
                rows.validate(full=True)  # a flipped bit in an offset ends the interpreter of whoever follows it
                if any(rows[name].null_count for name in NEVER_NULL):
                    return
                yield rows
    except (pa.ArrowException, OSError):  # the writer was killed: what came before its last batch is whole
        return


def _without(stages: Container[int], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The slices of batches that are of none of these stages."""
    return (rows for (stage, _, _), rows in _slices(batches) if stage not in stages)


def _slices(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[tuple[int, bool, int], pa.RecordBatch]]:
    """Batches cut where another stage or phase begins, each with what it is sorted by: stage, measured, first end."""
    for rows in batches:
        stages = rows["stage"].to_numpy()
        measured = pc.equal(rows["phase"], Phase.MEASURED.value).to_numpy(zero_copy_only=False)
        changes = np.flatnonzero((stages[1:] != stages[:-1]) | (measured[1:] != measured[:-1])) + 1
        for first, end in pairwise([0, *changes.tolist(), rows.num_rows]):
            if end > first:
                key = (int(stages[first]), bool(measured[first]), rows["end_ns"][first].as_py())
                yield key, rows.slice(first, end - first)


def _tables(batches: Iterable[pa.RecordBatch], most_events: int) -> Iterator[pa.Table]:
    """Batches together, as many as make so many events or ``PIECE_ROWS``."""
    held: list[pa.RecordBatch] = []
    events = rows = 0
    for one in batches:
        held.append(one)
        events += pc.sum(pc.list_value_length(one["event_ns"])).as_py() or 0
        rows += one.num_rows
        if events >= most_events or rows >= PIECE_ROWS:
            yield pa.Table.from_batches(held, SCHEMA)
            held, events, rows = [], 0, 0
    if held:
        yield pa.Table.from_batches(held, SCHEMA)


# --- merging ---------------------------------------------------------------------------------------------------------


def finish(directory: Path) -> None:
    """Merge all rows into one Parquet file; the streams go only when it is safely there. Memory is bounded.

    Raises:
        UserError: there are no rows, or there is no room for the file; the streams are then left as they are.
    """
    finished, streams = _files(directory)
    if streams or finished is None:
        _merge(directory, None)


def keep(directory: Path, stages: Container[int]) -> int:
    """Drop the rows of all but these stages for good; how many they were. As ``finish`` otherwise, errors included."""
    if not (directory / PARQUET).exists() and not _streams(directory):
        return 0
    columns = (table["stage"] for _, table in pieces(directory, ["stage"]))
    dropped = sum(1 for column in columns for stage in column.to_pylist() if stage not in stages)
    if dropped or _streams(directory):
        _merge(directory, stages)
    return dropped


def _merge(directory: Path, stages: Container[int] | None) -> None:
    """Write the rows of these stages (None: of all) as the Parquet file, sorted as far as a row group reaches."""
    finished, streams = _files(directory)
    taken = _stages(finished) if finished is not None and streams else ()
    sources = [_slices(_without(taken, _batches(stream))) for stream in streams]
    if finished is not None:
        whole = (rows for _, table in _pieces_of_file(finished, None, lambda *_: True) for rows in table.to_batches())
        sources.append(_slices(whole))
    merged = heapq.merge(*sources, key=itemgetter(0))
    kept = (rows for (stage, _, _), rows in merged if stages is None or stage in stages)
    partial = directory / (PARQUET + ".partial")
    try:
        with pa.parquet.ParquetWriter(partial, SCHEMA, compression="zstd", use_dictionary=TEXTS) as writer:
            for table in _tables(kept, PIECE_EVENTS):
                writer.write_table(table.sort_by(ORDER), row_group_size=table.num_rows)
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # the streams are the only other copy
        partial.replace(directory / PARQUET)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)  # the disk may be full
        raise UserError(f"cannot write {directory / PARQUET}: {error}; the rows are safe in its folder", 3) from None
    for stream in streams:
        stream.unlink()


# --- the folder ------------------------------------------------------------------------------------------------------


def create(directory: Path) -> bool:
    """Make a run directory; whether it is new. Raises ``UserError`` if it cannot be written or holds a run already."""
    if any((directory / name).exists() for name in (PLAN, CONTEXT, PARQUET)) or _streams(directory):
        raise UserError(f"{directory} holds a run already; nothing is overwritten: name another with --run-dir")
    new = not directory.exists()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write to {directory}: {error.strerror}; name another folder with --run-dir") from None
    return new


def discard(directory: Path, *, new: bool) -> None:
    """Take back a run that never began, if the directory is ``new``: in another one a log may be somebody else's."""
    if not new or (directory / CONTEXT).exists():
        return
    log = directory / ENGINE_LOG
    if log.exists() and not log.stat().st_size:
        log.unlink()
    for name in (LOG, SOURCE):
        (directory / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        directory.rmdir()


def plan_digest(directory: Path) -> str:
    """SHA-256 of the plan's file in hexadecimal, as ``sha256sum`` prints it."""
    return sha256((directory / PLAN).read_bytes()).hexdigest()


def write_json(path: Path, document: Any) -> None:
    """Write strict JSON so that a reader never sees half a file."""
    try:
        saving.save(path, [(json.dumps(document, indent=1, allow_nan=False) + "\n").encode()])
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
