"""Whatever is written into a file of any format is read back, wherever blocks end."""

import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from dataset_files import prepared, prompts, write
from hypothesis import given
from hypothesis import strategies as st

from inferometer.workload import datafile, dataset_records

#: Text that any format can carry: no lone surrogates (they are no UTF-8), no zero bytes, and not only white space.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=40).filter(
    str.strip
)
LINE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1, max_size=40).filter(
    lambda text: text.encode().strip() and text.strip() and not text.startswith("\ufeff")
)
ROWS = st.lists(st.tuples(TEXT, st.none() | st.integers(1, 10_000)), min_size=1, max_size=12)


def as_jsonl(rows: list[Any], folder: Path) -> Path:
    lines = [json.dumps({"prompt": p, "output_tokens": n}, ensure_ascii=len(p) % 2 == 0) for p, n in rows]
    return write(folder, "\n".join(lines), "d.jsonl")


def as_list(rows: list[Any], folder: Path) -> Path:
    return write(folder, json.dumps([{"prompt": p, "output_tokens": n} for p, n in rows], indent=1), "d.json")


def as_csv(rows: list[Any], folder: Path) -> Path:
    import csv

    with (folder / "d.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["prompt", "output_tokens"], *rows])
    return folder / "d.csv"


def as_parquet(rows: list[Any], folder: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {"prompt": [p for p, _ in rows], "output_tokens": pa.array([n for _, n in rows], pa.int64())}
    pq.write_table(pa.table(columns), folder / "d.parquet", row_group_size=3)
    return folder / "d.parquet"


@given(ROWS, st.sampled_from([as_jsonl, as_list, as_csv, as_parquet]))
def test_what_was_written_is_read_back(rows: list[Any], save: Callable[..., Path]) -> None:
    with TemporaryDirectory() as folder:
        _, items = prepared(save(rows, Path(folder)), kind="auto")
        assert [(item.prompt, item.output_tokens) for item in items] == rows
        _, shuffled = prepared(save(rows, Path(folder)), shuffle_seed=len(rows))
        assert sorted(shuffled, key=lambda item: item.number) == items


@given(st.lists(LINE, min_size=1, max_size=12))
def test_text_is_read_back(rows: list[str]) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder), "\n".join(rows), "d.txt")
        assert prompts(path, kind="text") == rows


@given(
    st.lists(st.dictionaries(TEXT, st.recursive(TEXT | st.integers() | st.none(), st.lists, max_leaves=5)), max_size=6),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
)
def test_a_list_is_taken_apart_wherever_its_blocks_end(rows: list[Any], block: int, indent: int | None) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset_records, "BLOCK_BYTES", block)
        path = write(Path(folder), json.dumps(rows, indent=indent), "l.json")
        with datafile.opened(path) as stream:
            # the list is found by its kind before; here the first block must reach it
            places = list(dataset_records.elements(stream))
        data = path.read_bytes()
    assert [json.loads(place.raw) for place in places] == rows
    assert [data[place.start : place.start + place.size] for place in places] == [place.raw for place in places]
    assert [place.number for place in places] == list(range(1, len(rows) + 1))
