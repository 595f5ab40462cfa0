"""The run directory: appended to at least once a second while a run lasts, one Parquet file when it is over.

Every worker appends to an Arrow IPC stream of its own. A stream that ends in mid-write is readable up to its last
whole batch, so a killed run loses at most the rows of its last second.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from inferometer.config.models import Phase
from inferometer.errors import UserError
from inferometer.records.record import COLUMNS, Clock, Outcome, Record, column

SCHEMA = pa.schema(
    [pa.field(name, pa.type_for_alias(kind)) for name, kind in COLUMNS]
    + [pa.field("event_ns", pa.list_(pa.int64())), pa.field("event_tokens", pa.list_(pa.int32()))],
    metadata={"inferometer.record_version": "1"},
)
#: Columns that Parquet keeps as dictionaries. Of numbers that never repeat one costs more than it saves (measured: 2x).
TEXTS = [field.name for field in SCHEMA if pa.types.is_string(field.type)]
PARQUET = "requests.parquet"
PLAN = "plan.yaml"
CONTEXT = "context.json"
SUMMARY = "summary.json"


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
    """Appends batches of records to one worker's stream."""

    def __init__(self, directory: Path, worker: int) -> None:
        self._sink = pa.OSFile(str(directory / f"requests-{worker}.arrow"), "wb")
        self._stream = pa.ipc.new_stream(self._sink, SCHEMA)
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


def read(directory: Path) -> pa.Table:
    """All records of a run, finished or killed, by stage, phase and index. Raises ``UserError`` if there are none."""
    finished = directory / PARQUET
    if finished.exists():
        return pa.parquet.read_table(finished)
    streams = sorted(directory.glob("requests-*.arrow"))
    if not streams:
        raise UserError(f"{directory} is not a run directory: it has neither {PARQUET} nor requests-*.arrow")
    batches = [one for stream in streams for one in _batches(stream)]
    order = [("stage", "ascending"), ("phase", "descending"), ("index", "ascending")]
    return pa.Table.from_batches(batches, SCHEMA).sort_by(order)


def finish(directory: Path) -> pa.Table:
    """Merge the workers' streams into one Parquet file; the streams go only when it is safely there."""
    table = read(directory)
    if not (directory / PARQUET).exists():
        partial = directory / (PARQUET + ".partial")
        pa.parquet.write_table(table, partial, compression="zstd", use_dictionary=TEXTS)
        partial.replace(directory / PARQUET)
        for stream in directory.glob("requests-*.arrow"):
            stream.unlink()
    return table


def _batches(path: Path) -> list[pa.RecordBatch]:
    batches: list[pa.RecordBatch] = []
    try:
        with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as stream:
            batches.extend(stream)
    except (pa.ArrowInvalid, OSError):  # the writer was killed: what came before its last batch is whole
        pass
    return batches


def create(directory: Path) -> bool:
    """Make a run directory; whether it is new. Raises ``UserError`` if it cannot be written or holds a run already."""
    if any((directory / name).exists() for name in (PLAN, CONTEXT, PARQUET)) or list(
        directory.glob("requests-*.arrow")
    ):
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
    """Take back a run that never began: only what it made itself, and the directory only if it is ``new`` and empty."""
    log = directory / "engine.log"
    if (directory / CONTEXT).exists():
        return
    if log.exists() and not log.stat().st_size:
        log.unlink()
    if new:
        with contextlib.suppress(OSError):
            directory.rmdir()


def write_json(path: Path, document: Any) -> None:
    """Write strict JSON so that a reader never sees half a file."""
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
        os.replace(partial, path)  # noqa: PTH105 (a name for what Path.replace hides: atomic on POSIX)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
