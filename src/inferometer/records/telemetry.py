"""What the server said during a run: appended sample by sample, one Parquet file when the run is over.

As with requests, a stream that ends in mid-write is readable up to its last whole batch. Each session of a run has a
stream of its own; the Parquet file names those that it holds, so a merge that was killed counts nothing twice.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet

from inferometer.errors import UserError

PARQUET = "telemetry.parquet"
SCHEMA = pa.schema(
    [
        pa.field("t_ns", pa.int64()),
        pa.field("source", pa.string()),
        pa.field("replica", pa.string()),
        pa.field("series", pa.string()),
        pa.field("name", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("observations", pa.float64()),
        pa.field("bounds", pa.list_(pa.float64())),
        pa.field("buckets", pa.list_(pa.float64())),
        pa.field("detail", pa.string()),
    ],
    metadata={"inferometer.telemetry_version": "1"},
)
_TEXTS = [field.name for field in SCHEMA if pa.types.is_string(field.type)]
_STREAMS = "telemetry-*.arrow"
_MERGED = b"inferometer.merged"


class Reading(NamedTuple):
    """One figure of one server at one moment.

    ``t_ns`` counts from the run's epoch. ``source`` is the engine, exporter or tool that the figure comes from,
    ``replica`` the server that was asked, ``series`` what tells several figures of it apart ("engine=0", "gpu=1").
    A histogram has the sum of its values in ``value``, how many ``observations`` it has, the upper ``bounds`` of its
    buckets (the last one is infinite) and the cumulative ``buckets``; other figures have a ``value`` alone. ``detail``
    says why a sample is missing.
    """

    t_ns: int
    source: str
    replica: str
    series: str
    name: str
    value: float | None
    observations: float | None = None
    bounds: Sequence[float] | None = None
    buckets: Sequence[float] | None = None
    detail: str | None = None


class Writer:
    """Appends to the stream of one session. ``session_ns`` is a time that no other session of the run began at."""

    def __init__(self, directory: Path, session_ns: int) -> None:
        path = directory / f"telemetry-{session_ns}.arrow"
        try:
            self._sink = pa.OSFile(str(path), "wb")
            self._stream = pa.ipc.new_stream(self._sink, SCHEMA)
        except OSError as error:
            raise UserError(f"cannot write {path}: {error}") from None

    def append(self, readings: Sequence[Reading]) -> None:
        """Write one batch; it is in the kernel's hands when this returns. Raises ``OSError`` if the disk is full."""
        if readings:
            self._stream.write_batch(batch(readings))

    def close(self) -> None:
        """End the stream properly."""
        self._stream.close()
        self._sink.close()


def batch(readings: Sequence[Reading]) -> pa.RecordBatch:
    """Readings as columns."""
    columns = zip(*readings, strict=True)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def read(directory: Path) -> pa.Table | None:
    """All readings of a run, finished or killed, by time; None if nothing was asked.

    Raises:
        UserError: the file cannot be read, or another version wrote it.
    """
    finished, streams = directory / PARQUET, _streams(directory)
    if not finished.exists() and not streams:
        return None
    tables = [SCHEMA.empty_table(), *([_parquet(finished)] if finished.exists() else [])]
    tables += [pa.Table.from_batches([rows]) for stream in streams for rows in _batches(stream)]
    return pa.concat_tables(tables).sort_by("t_ns")


def finish(directory: Path) -> None:
    """Merge all sessions into one Parquet file; the streams go only when it is safely there.

    Raises:
        UserError: there is no room for the file, or an earlier one cannot be read; the streams are left as they are.
    """
    streams = sorted(directory.glob(_STREAMS))
    if not streams:
        return
    table = read(directory)
    assert table is not None  # noqa: S101
    merged = b" ".join(sorted({*_merged(directory), *(stream.name.encode() for stream in streams)}))
    partial = directory / (PARQUET + ".partial")
    try:
        whole = table.replace_schema_metadata({**(SCHEMA.metadata or {}), _MERGED: merged})
        pa.parquet.write_table(whole, partial, compression="zstd", use_dictionary=_TEXTS)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(directory / PARQUET)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)  # the disk may be full
        raise UserError(f"cannot write {directory / PARQUET}: {error}; its streams are left in the folder", 3) from None
    for stream in streams:
        stream.unlink()


def _streams(directory: Path) -> list[Path]:
    """Those that the Parquet file does not hold yet."""
    merged = _merged(directory)
    return [stream for stream in sorted(directory.glob(_STREAMS)) if stream.name.encode() not in merged]


def _merged(directory: Path) -> set[bytes]:
    path = directory / PARQUET
    if not path.exists():
        return set()
    try:
        return set((pa.parquet.read_schema(path).metadata or {}).get(_MERGED, b"").split())
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"cannot read {path}: {error}") from None


def _parquet(path: Path) -> pa.Table:
    try:
        table = pa.parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    if not table.schema.equals(SCHEMA):
        raise UserError(f"{path} is damaged, or another version wrote it: its columns are not those of telemetry")
    return table.replace_schema_metadata(SCHEMA.metadata)


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pa.OSFile(str(path), "rb") as source, pa.ipc.open_stream(source) as stream:
            if not stream.schema.equals(SCHEMA):
                return
            for rows in stream:
                rows.validate(full=True)
                yield rows
    except (pa.ArrowException, OSError):  # the writer was killed: what came before its last batch is whole
        return
