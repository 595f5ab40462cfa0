"""Prepared files give back what was written into them, in any order, and account for everything else."""

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from dataset_files import FIXTURES, prepared, prompts, write

from inferometer.errors import UserError
from inferometer.workload.dataset import Dataset, DatasetSpec, Items, TokenLimits, prepare, shuffled_order, sized
from inferometer.workload.dataset_formats import Item
from inferometer.workload.tally import DroppedError, sentences

# --- the formats, from files -----------------------------------------------------------------------------------------


def test_sharegpt_as_vllm_reads_it() -> None:
    dataset, items = prepared(FIXTURES / "sharegpt.json")
    assert [(item.number, item.prompt, item.answer) for item in items] == [
        (
            1,
            'How do rivers find the sea? Say it in one line, with "quotes" and [brackets] {too}.',
            "They follow the slope.\nAlways \\ down.",
        ),
        (4, "Größe, 大きさ, розмір?", "Three words for size."),
        (5, "One?", "Two."),
    ]
    report = dataset.report
    assert (report.read, report.kept, report.bad, report.whole_file) == (7, 3, 0, True)
    assert report.dropped == {
        "no human turn with an answer after it": 3,
        "the first human turn, or its answer, is empty": 1,
    }
    assert report.ignored_keys == {"id": 3}
    assert (dataset.answers, dataset.without_output_tokens) == (3, 3)


def test_sharegpt_as_whole_conversations() -> None:
    _, items = prepared(FIXTURES / "sharegpt.json", whole_conversation=True)
    roles = [[message["role"] for message in item.prompt] for item in items]  # type: ignore[union-attr, call-overload, index]
    assert roles == [["user", "assistant", "user"], ["user"], ["system", "user"]]
    assert [item.answer for item in items] == ["They wait.", "Three words for size.", "Two."]


def test_openai_lines_with_their_own_settings() -> None:
    dataset, (first, second, third) = prepared(FIXTURES / "openai.jsonl")
    assert first == Item([{"role": "user", "content": "Name three rivers."}], 1, None, 40, None, {"temperature": 0})
    assert second.prompt == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    assert second.answer == "Because."
    assert third.overrides == {"model": "org/other", "min_p": 0.1}
    assert [part["type"] for part in third.prompt[0]["content"]] == ["text", "image_url"]  # type: ignore[index]
    assert dataset.report.ignored_keys == {"id": 1}


def test_custom_lines_of_vllm() -> None:
    dataset, items = prepared(FIXTURES / "custom.jsonl")
    assert [(item.number, item.prompt_tokens, item.output_tokens) for item in items] == [
        (1, None, 40),
        (3, None, 25),
        (4, 3, None),
    ]
    assert items[2].prompt == [11, 12, 13]
    assert dataset.report.empty_lines == 1
    assert dataset.report.ignored_keys == {"category": 1}


def test_batches_keep_their_bodies() -> None:
    _, (chat, completion) = prepared(FIXTURES / "batch.jsonl")
    assert chat == Item([{"role": "user", "content": "Hello"}], 1, None, 5, None, {"model": "m", "odd_field": 3})
    assert completion == Item("Once", 2, None, 6, None, {"model": "m"})


def test_csv_by_the_names_of_its_columns() -> None:
    dataset, items = prepared(FIXTURES / "prompts.csv")
    assert [item.prompt for item in items] == [
        "First, with a comma",
        'Second\nover two lines, and "quotes"',
        "Third",
    ]
    assert [item.number for item in items] == [2, 3, 5]
    assert [item.output_tokens for item in items] == [12, None, 30]
    assert [item.overrides for item in items] == [{"temperature": 0.5}, {}, {"temperature": 1}]
    assert dataset.report.ignored_keys == {"id": 3}


def test_long_cells_of_csv_can_be_read_by_other_processes(tmp_path: Path) -> None:
    """A worker never looks for the rows itself; the limit of Python's reader is one of the process."""
    dataset = prepare(write(tmp_path, f"prompt,output_tokens\n{'x' * 200_000},3\n", "p.csv"), DatasetSpec(), tmp_path)
    code = "import sys; from inferometer.workload.dataset import Dataset, Items; import msgspec; "
    code += "print(len(Items(msgspec.json.decode(sys.argv[1], type=Dataset)).item(0).prompt))"
    words = [sys.executable, "-c", code, msgspec.json.encode(dataset).decode()]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip() == "200000"


def test_text_is_a_prompt_a_line() -> None:
    dataset, items = prepared(FIXTURES / "prompts.txt")
    assert [item.prompt for item in items] == [
        "Why is the sky blue?",
        "[INST] Name a river. [/INST]",
        "{not json} but a prompt",
    ]
    assert dataset.report.empty_lines == 1


def test_parquet_of_any_row_groups(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"prompt": f"Question {i}?", "output_tokens": i + 1, "source": b"\xff"} for i in range(1000)]
    rows[5]["output_tokens"] = None
    for size in (7, 1000):
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet", row_group_size=size)
        dataset, items = prepared(tmp_path / "p.parquet")
        assert [item.prompt for item in items] == [row["prompt"] for row in rows]
        assert [item.output_tokens for item in items] == [row["output_tokens"] for row in rows]
        assert dataset.report.ignored_keys == {"source": 1000}
        for limit in (1, 300, 2000):
            assert prompts(tmp_path / "p.parquet", limit=limit) == [row["prompt"] for row in rows[:limit]]
        shuffled = prepared(tmp_path / "p.parquet", limit=20, shuffle_seed=1)[1]
        assert all(item.prompt == rows[item.number - 1]["prompt"] for item in shuffled)


def test_parquet_that_does_not_say_what_is_text(tmp_path: Path) -> None:
    """As Impala, Hive and older Spark write it: bytes, without the word that they are UTF-8."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = pa.array([b"Why?", "Größe".encode(), b"\xff\xfe"], pa.binary())
    pq.write_table(pa.table({"prompt": column}), tmp_path / "p.parquet")
    with pytest.raises(UserError, match=r"p\.parquet: row 3: 'prompt' must be text, not nothing"):
        prepared(tmp_path / "p.parquet")
    assert prompts(tmp_path / "p.parquet", skip_bad_lines=True) == ["Why?", "Größe"]


def test_parquet_with_conversations(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = json.loads((FIXTURES / "sharegpt.json").read_text())
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "p.parquet")
    assert prompts(tmp_path / "p.parquet") == prompts(FIXTURES / "sharegpt.json")


# --- the ways in which files are written -----------------------------------------------------------------------------

FILES = ["sharegpt.json", "openai.jsonl", "custom.jsonl", "batch.jsonl", "prompts.csv", "prompts.txt"]


def crlf(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


def bom(data: bytes) -> bytes:
    return b"\xef\xbb\xbf" + data


def without_last_end(data: bytes) -> bytes:
    return data.rstrip(b"\n")


def padded(data: bytes) -> bytes:
    return b"\n\n" + data + b"\n \n"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [crlf, bom, without_last_end, padded, lambda data: bom(crlf(data))])
def test_ends_of_lines_and_marks_change_nothing(name: str, change: Callable[[bytes], bytes], tmp_path: Path) -> None:
    changed = prompts(write(tmp_path, change((FIXTURES / name).read_bytes()), name))
    if name == "prompts.csv":  # a quoted cell keeps its line ends, whichever they are
        changed = [prompt.replace("\r\n", "\n") for prompt in changed]
    assert changed == prompts(FIXTURES / name)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("spec", [{}, {"shuffle_seed": 5}, {"shuffle_seed": 5, "limit": 2}, {"limit": 2}])
def test_gzip_changes_nothing(name: str, spec: dict[str, int], tmp_path: Path) -> None:
    packed = write(tmp_path, gzip.compress(bom((FIXTURES / name).read_bytes())), f"{name}.gz")
    assert prompts(packed, **spec) == prompts(FIXTURES / name, **spec)


def test_lists_and_lines_of_one_sort_are_the_same(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (FIXTURES / "openai.jsonl").read_text().splitlines()]
    assert prompts(write(tmp_path, json.dumps(rows), "o.json")) == prompts(FIXTURES / "openai.jsonl")
    rows = json.loads((FIXTURES / "sharegpt.json").read_text())
    lines = "\n".join(json.dumps(row) for row in rows)
    assert prompts(write(tmp_path, lines, "s.jsonl")) == prompts(FIXTURES / "sharegpt.json")


# --- order -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """500 lines, of which every seventh is bad."""
    lines = [f'{{"prompt": "number {i}"}}' if i % 7 else "{bad" for i in range(1, 501)]
    return write(tmp_path, "\n".join(lines))


def test_the_order_is_that_of_the_file(numbered: Path) -> None:
    dataset, items = prepared(numbered, skip_bad_lines=True)
    assert [item.number for item in items] == [i for i in range(1, 501) if i % 7]
    assert [item.prompt for item in items] == [f"number {item.number}" for item in items]
    assert dataset.report.bad == 71


def test_a_limit_reads_no_further(numbered: Path) -> None:
    dataset, items = prepared(numbered, skip_bad_lines=True, limit=10)
    assert [item.number for item in items] == [1, 2, 3, 4, 5, 6, 8, 9, 10, 11]
    assert (dataset.report.read, dataset.report.whole_file) == (11, False)
    assert "not the whole file" in sentences(dataset.report)[0]
    assert prepared(numbered, skip_bad_lines=True, limit=429)[0].report.whole_file
    assert not prepared(numbered, skip_bad_lines=True, limit=428)[0].report.whole_file


def test_a_shuffled_file_has_everything_once_and_the_same_beginning(numbered: Path) -> None:
    whole = [item.number for item in prepared(numbered, skip_bad_lines=True, shuffle_seed=3)[1]]
    assert sorted(whole) == [i for i in range(1, 501) if i % 7]
    assert whole != sorted(whole)
    for limit in (1, 17, 428, 1000):
        _, items = prepared(numbered, skip_bad_lines=True, shuffle_seed=3, limit=limit)
        assert [item.number for item in items] == whole[:limit]
    other = [item.number for item in prepared(numbered, skip_bad_lines=True, shuffle_seed=4)[1]]
    assert other != whole


#: As it is on every machine, for ever: a stored plan shall send the same again.
ORDER_OF_SEED_7 = [1, 5, 6, 0, 7, 4, 3, 2]


def test_two_processes_shuffle_the_same_way() -> None:
    code = "import numpy as np; from inferometer.workload.dataset import shuffled_order as s; "
    code += "print(s(np.arange(1, 1001), 7).tolist())"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(other.stdout) == shuffled_order(np.arange(1, 1001), 7).tolist()
    assert shuffled_order(np.arange(1, 9), 7).tolist() == ORDER_OF_SEED_7


def test_every_place_is_equally_likely() -> None:
    """Of 2000 seeds, each of 8 records comes first about 250 times (standard deviation 15)."""
    firsts = [int(shuffled_order(np.arange(1, 9), seed)[0]) for seed in range(2000)]
    assert all(170 < firsts.count(one) < 330 for one in range(8))


def test_a_file_that_changed_is_not_read(tmp_path: Path) -> None:
    path = write(tmp_path, '{"prompt": "One."}\n')
    dataset = prepare(path, DatasetSpec(), tmp_path)
    path.write_text('{"prompt": "Another."}\n')
    with pytest.raises(UserError, match="has changed since this run was prepared"):
        Items(dataset)
    path.unlink()
    with pytest.raises(UserError, match="cannot read"):
        Items(dataset)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, '{"prompt": "One."}\n' * 3)
    items = Items(prepare(path, DatasetSpec(), tmp_path))
    path.write_text('{"prompt": "Two"}\n')
    with pytest.raises(UserError, match="has changed during the run"):
        items.item(2)


def test_what_workers_get_survives_the_way_to_them(tmp_path: Path) -> None:
    dataset = prepare(FIXTURES / "sharegpt.json", DatasetSpec(shuffle_seed=1), tmp_path)
    assert msgspec.json.decode(msgspec.json.encode(dataset), type=Dataset) == dataset


# --- lengths ---------------------------------------------------------------------------------------------------------


def words(text: str) -> int:
    return len(text.split())


def test_lengths_are_counted_once_and_kept(tmp_path: Path) -> None:
    lines = [
        {"messages": [{"role": "user", "content": "one two three"}, {"role": "assistant", "content": "four five"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "one two"}]}], "max_tokens": 9},
        {"messages": [{"role": "user", "content": "one"}]},
    ]
    path = write(tmp_path, "\n".join(map(json.dumps, lines)))
    dataset, items = prepared(path, lambda item: sized(item, words, None))
    assert [(item.prompt_tokens, item.output_tokens) for item in items] == [(3, 2), (2, 9), (1, None)]
    assert dataset.without_output_tokens == 1
    _, items = prepared(path, lambda item: sized(item, words, None, output_tokens=50))
    assert [item.output_tokens for item in items] == [50, 50, 50]


def test_limits_drop_and_count() -> None:
    def refine(item: Item) -> Item:
        return sized(item, words, TokenLimits(min_prompt=2, min_output=3, max_prompt=15, max_total=18))

    dataset, items = prepared(FIXTURES / "sharegpt.json", refine)
    assert [(item.number, item.prompt_tokens, item.output_tokens) for item in items] == [(4, 3, 4)]
    assert dataset.report.dropped["a prompt above 15 tokens"] == 1
    assert dataset.report.dropped["a prompt below 2 tokens"] == 1


@pytest.mark.parametrize(
    ("prompt", "answer", "fixed", "kept"),
    [
        (4, 4, None, True),
        (3, 4, None, False),
        (4, 3, None, False),
        (4, 3, 3, True),  # a length that the user fixed is never too short
        (1024, 1024, None, True),
        (1024, 1025, None, False),
        (1025, 4, None, False),
        (1024, 4, 2000, False),
    ],
)
def test_the_limits_of_vllm(prompt: int, answer: int, fixed: int | None, kept: bool) -> None:
    item = Item("a " * prompt, 1, answer="b " * answer)
    if kept:
        assert sized(item, words, TokenLimits(), fixed).output_tokens == (fixed or answer)
    else:
        with pytest.raises(DroppedError):
            sized(item, words, TokenLimits(), fixed)
