"""Rows survive: a killed writer loses its last batch at most, and merging twice is merging once."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.config.models import Phase
from inferometer.errors import UserError
from inferometer.records import store
from inferometer.records.record import Clock, Outcome, Record, Source


def record(index: int, **changed: Any) -> Record:
    fields: dict[str, Any] = {
        "stage": 0,
        "worker": 0,
        "index": index,
        "phase": Phase.MEASURED,
        "scheduled_ns": 10 * index,
        "end_ns": 10 * index + 9,
        "event_ns": np.arange(index % 4, dtype=np.int64) + 10 * index,
        "outcome": Outcome.OK,
        "clock": Clock.KERNEL,
    }
    return Record(**fields | changed)


def write(directory: Path, worker: int, batches: list[list[Record]]) -> Path:
    writer = store.Writer(directory, worker)
    for batch in batches:
        writer.append(batch)
    writer.close()
    return directory / f"requests-{worker}.arrow"


def test_every_field_comes_back(tmp_path: Path) -> None:
    full = record(
        7,
        sent_ns=1,
        connected_ns=2,
        first_byte_ns=3,
        first_token_ns=4,
        last_token_ns=5,
        event_ns=np.array([4, 5], np.int64),
        event_tokens=np.array([1, 3], np.int32),
        status=200,
        detail="ä",
        finish_reason="stop",
        output_tokens=4,
        output_tokens_source=Source.USAGE,
        model="m",
        bytes_received=2**40,
        conversation=3,
    )
    write(tmp_path, 0, [[full, record(8)]])
    store.finish(tmp_path)
    rows = store.read(tmp_path).to_pylist()
    for row, wrote in zip(rows, [full, record(8)], strict=True):
        for name in Record.__struct_fields__:
            value = getattr(wrote, name)
            assert row[name] == (value.tolist() if isinstance(value, np.ndarray) else value), name
    assert rows[1]["event_ns"] == []  # none happened
    assert rows[1]["event_tokens"] is None  # none were told


def test_rows_of_all_workers_by_stage_phase_and_index(tmp_path: Path) -> None:
    warm = [record(index, phase=Phase.WARMUP, stage=1) for index in (1, 0)]
    write(tmp_path, 0, [[record(2, stage=1), *warm], [record(0)]])
    write(tmp_path, 1, [[record(1, worker=1, stage=1), record(1, worker=1)], []])
    rows = store.read(tmp_path).select(["stage", "phase", "index"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        (0, "measured", 0),
        (0, "measured", 1),
        (1, "warmup", 0),
        (1, "warmup", 1),
        (1, "measured", 1),
        (1, "measured", 2),
    ]


def test_what_is_appended_is_readable_at_once(tmp_path: Path) -> None:
    writer = store.Writer(tmp_path, 0)
    assert store.read(tmp_path).num_rows == 0
    writer.append([record(0), record(1)])
    assert store.read(tmp_path).num_rows == 2
    writer.close()


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, list[int]]:
    """A folder to play in, a stream of batches of 1, 2, 3 and 4 rows, and the size of its file after each."""
    directory = tmp_path_factory.mktemp("stream")
    writer, sizes = store.Writer(directory, 0), []
    path, index = directory / "requests-0.arrow", 0
    for size in (0, 1, 2, 3, 4):
        writer.append([record(index + i) for i in range(size)])
        index += size
        sizes.append(path.stat().st_size)
    writer.close()
    return directory, path.read_bytes(), sizes


def rows_after(stream: tuple[Path, bytes, list[int]], size: int) -> tuple[int, int]:
    """Rows that are read from the first ``size`` bytes, and rows of the batches that are whole in them."""
    directory, whole, sizes = stream
    (directory / "requests-0.arrow").write_bytes(whole[:size])
    complete = sum(rows for rows, end in enumerate(sizes) if end <= size)
    table = store.read(directory)
    assert table.column("index").to_pylist() == list(range(table.num_rows))
    return table.num_rows, complete


@settings(deadline=None)
@given(data=st.data())
def test_a_stream_cut_at_any_byte_keeps_its_whole_batches(
    stream: tuple[Path, bytes, list[int]], data: st.DataObject
) -> None:
    read, complete = rows_after(stream, data.draw(st.integers(0, len(stream[1]))))
    assert read == complete


def test_a_stream_cut_around_each_boundary(stream: tuple[Path, bytes, list[int]]) -> None:
    for end in stream[2][1:]:
        for size in range(end - 9, end + 9):
            read, complete = rows_after(stream, size)
            assert read == complete


def test_one_cut_stream_does_not_touch_the_others(tmp_path: Path) -> None:
    path = write(tmp_path, 0, [[record(0)], [record(2)]])
    path.write_bytes(path.read_bytes()[:-60])
    write(tmp_path, 1, [[record(1)], [record(3)]])
    store.finish(tmp_path)
    assert store.read(tmp_path).column("index").to_pylist() == [0, 1, 3]


def test_finishing_twice_is_finishing_once(tmp_path: Path) -> None:
    write(tmp_path, 0, [[record(i) for i in range(50)]])
    before = store.read(tmp_path)
    store.finish(tmp_path)
    names, content = sorted(path.name for path in tmp_path.iterdir()), (tmp_path / store.PARQUET).read_bytes()
    assert names == [store.PARQUET]
    store.finish(tmp_path)
    assert store.read(tmp_path).equals(before)
    assert (tmp_path / store.PARQUET).read_bytes() == content


def test_a_merge_that_was_killed_is_done_again(tmp_path: Path) -> None:
    write(tmp_path, 0, [[record(0), record(1)]])
    (tmp_path / (store.PARQUET + ".partial")).write_bytes(b"PAR1 half of it")
    store.finish(tmp_path)
    assert store.read(tmp_path).num_rows == 2
    assert [path.name for path in tmp_path.iterdir()] == [store.PARQUET]


def test_the_schema_says_its_version(tmp_path: Path) -> None:
    write(tmp_path, 0, [[record(0)]])
    store.finish(tmp_path)
    schema = pyarrow.parquet.read_schema(tmp_path / store.PARQUET)
    assert schema.metadata[b"inferometer.record_version"] == b"1"
    assert sorted(schema.names) == sorted(Record.__struct_fields__)


def test_a_folder_without_rows_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run directory"):
        store.read(tmp_path)


@pytest.mark.parametrize("name", [store.PLAN, store.CONTEXT, store.PARQUET, "requests-3.arrow"])
def test_a_used_folder_is_not_used_again(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(UserError, match=r"holds a run already.*--run-dir"):
        store.create(tmp_path)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"mine")]


def test_a_new_folder_is_made_and_left_empty(tmp_path: Path) -> None:
    store.create(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=r"cannot write to .*--run-dir"):
            store.create(path)


def test_json_is_strict_and_never_half(tmp_path: Path) -> None:
    store.write_json(tmp_path / "x.json", {"a": [1, None, "ä"]})
    with pytest.raises(ValueError, match="JSON compliant"):
        store.write_json(tmp_path / "x.json", {"a": math.nan})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": [1, None, "ä"]}
    with pytest.raises(UserError, match="cannot write"):
        store.write_json(tmp_path / "none" / "x.json", {})


def test_a_run_that_never_began_takes_back_only_its_own(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("empty.txt", store.LOG, store.ENGINE_LOG):
        (mine / name).touch()
    store.discard(mine, new=store.create(mine))
    assert sorted(path.name for path in mine.iterdir()) == ["empty.txt", store.ENGINE_LOG, store.LOG]
    fresh = tmp_path / "fresh"
    new = store.create(fresh)
    (fresh / store.LOG).write_text("it never began\n")
    store.discard(fresh, new=new)
    assert not fresh.exists()


# --- runs larger than memory, and runs that were resumed -------------------------------------------------------------


def indices(directory: Path) -> list[tuple[int, str, int]]:
    rows = store.read(directory).select(["stage", "phase", "index"]).to_pylist()
    return [(row["stage"], row["phase"], row["index"]) for row in rows]


def part(stage: int, indices: range, **changed: Any) -> list[Record]:
    return [record(index, stage=stage, **changed) for index in indices]


@st.composite
def runs(draw: st.DrawFn) -> list[list[list[Record]]]:
    """What each worker appended, batch by batch: stages and phases one after the other, requests in any order."""
    workers: list[list[list[Record]]] = []
    for worker in range(draw(st.integers(1, 3))):
        batches: list[list[Record]] = []
        for stage, phase in ((0, Phase.WARMUP), (0, Phase.MEASURED), (2, Phase.MEASURED)):
            mine = [n * 3 + worker for n in draw(st.permutations(range(draw(st.integers(0, 9)))))]
            cut = draw(st.integers(0, len(mine)))
            made = [record(n, stage=stage, phase=phase, worker=worker, event_ns=np.arange(n % 7)) for n in mine]
            batches += [made[:cut], made[cut:]]
        workers.append(batches)
    return workers


@given(runs(), st.integers(1, 40))
def test_a_merge_in_pieces_is_the_merge_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory, run: list[list[list[Record]]], piece_events: int
) -> None:
    directory = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "PIECE_EVENTS", piece_events)
        for worker, batches in enumerate(run):
            write(directory, worker, batches)
        before = store.read(directory)
        store.finish(directory)
        assert store.read(directory).equals(before)
        written = [table for _, table in store.pieces(directory)]
    assert sum(table.num_rows for table in written) == sum(len(batch) for batches in run for batch in batches)
    order = [(table["stage"][0].as_py(), table["phase"][0].as_py() == "measured") for table in written]
    assert order == sorted(order)
    with pyarrow.parquet.ParquetFile(directory / store.PARQUET) as file:
        groups = [file.read_row_group(number) for number in range(file.num_row_groups)]
    assert all(group.equals(group.sort_by(store.ORDER)) for group in groups)
    # what is written at once is as much as was wanted, and the batch (9 requests, 6 events each) that made it so
    assert all(sum(map(len, group["event_ns"].to_pylist())) < piece_events + 9 * 6 for group in groups)


def test_pieces_are_small_and_numbered_the_same_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PIECE_ROWS", 4)
    write(tmp_path, 0, [part(0, range(30))])
    write(tmp_path, 1, [part(0, range(30, 40), worker=1)])
    for finish in (lambda _: None, store.finish):
        finish(tmp_path)
        found = [(first, table["index"].to_pylist()) for first, table in store.pieces(tmp_path, ["index"])]
        assert sorted(index for _, some in found for index in some) == list(range(40))
        assert found == [(first, table["index"].to_pylist()) for first, table in store.pieces(tmp_path, ["index"])]
        numbers = [first + place for first, some in found for place in range(len(some))]
        assert numbers == sorted(set(numbers))
    assert max(len(some) for _, some in found) <= 4


def test_pieces_that_nobody_wants_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "PIECE_ROWS", 4)
    write(tmp_path, 0, [[record(index)] for index in range(20)])
    store.finish(tmp_path)
    some = [table["index"].to_pylist() for _, table in store.pieces(tmp_path, ["index"], lambda a, b: a <= 9 < b)]
    assert some == [[8, 9, 10, 11]]


def test_the_number_of_events_is_known_without_reading_them(tmp_path: Path) -> None:
    write(tmp_path, 0, [part(0, range(100))])
    events = sum(index % 4 for index in range(100))
    assert store.event_count(tmp_path) >= events
    store.finish(tmp_path)
    assert events <= store.event_count(tmp_path) <= events + 25  # a request without events counts as one


def test_a_session_goes_on_beside_the_file_of_the_one_before(tmp_path: Path) -> None:
    write(tmp_path, 0, [part(0, range(3)), part(1, range(2))])
    before = store.read(tmp_path).slice(0, 3)
    assert store.keep(tmp_path, {0}) == 2
    assert [path.name for path in tmp_path.iterdir()] == [store.PARQUET]
    assert store.read(tmp_path).equals(before)
    write(tmp_path, 0, [part(1, range(1))])
    assert indices(tmp_path) == [(0, "measured", 0), (0, "measured", 1), (0, "measured", 2), (1, "measured", 0)]
    read = store.read(tmp_path)
    store.finish(tmp_path)
    assert store.read(tmp_path).equals(read)
    assert [path.name for path in tmp_path.iterdir()] == [store.PARQUET]


def test_a_kill_between_the_merge_and_the_removal_doubles_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, 0, [part(0, range(3)), part(1, range(2))])
    stream = path.read_bytes()
    store.finish(tmp_path)
    whole = store.read(tmp_path)
    path.write_bytes(stream)
    assert store.read(tmp_path).equals(whole)
    store.finish(tmp_path)
    assert store.read(tmp_path).equals(whole)
    assert not path.exists()
    # in a session that resumes, the file has the finished stages only, and the streams still have all
    assert store.keep(tmp_path, {0}) == 2
    path.write_bytes(stream)
    assert store.read(tmp_path).equals(whole)
    assert store.keep(tmp_path, {0}) == 2
    assert store.read(tmp_path).equals(whole.slice(0, 3))


def test_nothing_is_written_anew_where_nothing_is_dropped(tmp_path: Path) -> None:
    assert store.keep(tmp_path, {0}) == 0
    write(tmp_path, 0, [part(0, range(3))])
    store.finish(tmp_path)
    before = (tmp_path / store.PARQUET).stat()
    assert store.keep(tmp_path, {0}) == 0
    assert (tmp_path / store.PARQUET).stat().st_ino == before.st_ino
    assert store.keep(tmp_path, ()) == 3
    assert indices(tmp_path) == []


def test_a_stream_that_cannot_be_begun_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "requests-3.arrow").mkdir()
    with pytest.raises(UserError, match=r"cannot write .*requests-3\.arrow"):
        store.Writer(tmp_path, 3)


def test_a_merge_without_room_leaves_no_half_of_a_file(tmp_path: Path) -> None:
    """In a process of its own, whose files may have 16 KiB."""
    write(tmp_path, 0, [[record(index, event_ns=np.arange(3000) ** 3) for index in range(5)]])
    code = "import resource, sys; from pathlib import Path; from inferometer.records import store; "
    code += "resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384)); store.finish(Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert "File too large; the rows are safe" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["requests-0.arrow"]


def test_a_merge_without_room_keeps_the_streams(tmp_path: Path) -> None:
    path = write(tmp_path, 0, [part(0, range(3))])
    (tmp_path / (store.PARQUET + ".partial")).mkdir()
    with pytest.raises(UserError, match="the rows are safe") as caught:
        store.finish(tmp_path)
    assert caught.value.exit_code == 3
    assert path.exists()
    assert len(indices(tmp_path)) == 3


def test_a_damaged_file_is_said(tmp_path: Path) -> None:
    (tmp_path / store.PARQUET).write_bytes(b"PAR1 and nothing more")
    with pytest.raises(UserError, match=r"cannot read .*requests\.parquet"):
        store.read(tmp_path)
