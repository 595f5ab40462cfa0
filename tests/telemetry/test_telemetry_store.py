from __future__ import annotations

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from inferometer.errors import UserError
from inferometer.records.telemetry import PARQUET, SCHEMA, Reading, Writer, finish, read

GAUGE = Reading(1, "vllm", "h:1", "engine=0", "requests_running", 3.0)
HISTOGRAM = Reading(2, "vllm", "h:1", "", "ttft_s", 4.5, 9.0, (0.1, math.inf), (5.0, 9.0))
MISSED = Reading(3, "page", "h:1", "", "up", 0.0, detail="connection refused")


def write(directory: Path, session_ns: int, *batches: list[Reading], close: bool = True) -> None:
    writer = Writer(directory, session_ns)
    for batch in batches:
        writer.append(batch)
    if close:
        writer.close()


def rows(directory: Path) -> list[Reading]:
    table = read(directory)
    assert table is not None
    assert table.schema.equals(SCHEMA)
    lists = ("bounds", "buckets")
    return [
        Reading(**{name: tuple(value) if name in lists and value else value for name, value in row.items()})
        for row in table.to_pylist()
    ]


def test_readings_come_back_as_they_were_by_time(tmp_path: Path) -> None:
    write(tmp_path, 1, [MISSED], [], [HISTOGRAM, GAUGE])
    assert rows(tmp_path) == [GAUGE, HISTOGRAM, MISSED]
    finish(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [PARQUET]
    assert rows(tmp_path) == [GAUGE, HISTOGRAM, MISSED]


def test_a_killed_run_keeps_its_whole_batches(tmp_path: Path) -> None:
    write(tmp_path, 1, [GAUGE], [HISTOGRAM], close=False)
    stream = tmp_path / "telemetry-1.arrow"
    stream.write_bytes(stream.read_bytes()[:-40])
    assert rows(tmp_path) == [GAUGE]
    finish(tmp_path)
    assert rows(tmp_path) == [GAUGE]


def test_sessions_are_joined_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    write(tmp_path, 1, [GAUGE])
    first = (tmp_path / "telemetry-1.arrow").read_bytes()
    finish(tmp_path)
    write(tmp_path, 2, [HISTOGRAM])
    assert rows(tmp_path) == [GAUGE, HISTOGRAM]
    (tmp_path / "telemetry-1.arrow").write_bytes(first)  # a merge that was killed before it could remove it
    assert rows(tmp_path) == [GAUGE, HISTOGRAM]
    finish(tmp_path)
    assert rows(tmp_path) == [GAUGE, HISTOGRAM]
    assert [path.name for path in tmp_path.iterdir()] == [PARQUET]


def test_a_run_that_asked_nothing_has_nothing(tmp_path: Path) -> None:
    finish(tmp_path)
    assert read(tmp_path) is None
    assert not list(tmp_path.iterdir())


def test_files_that_are_not_ours(tmp_path: Path) -> None:
    (tmp_path / "telemetry-1.arrow").write_bytes(b"nonsense")
    assert rows(tmp_path) == []
    (tmp_path / PARQUET).write_bytes(b"nonsense")
    with pytest.raises(UserError, match="cannot read"):
        read(tmp_path)
    pq.write_table(pa.table({"t_ns": [1]}), tmp_path / PARQUET)
    with pytest.raises(UserError, match="another version"):
        read(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        Writer(tmp_path / "missing", 1)
