"""Traces keep every digit of time, every length, and which prompts begin alike; what is left out is counted."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from dataset_files import FIXTURES, write
from hypothesis import given
from hypothesis import strategies as st
from trace_files import MOONCAKE, NAMES, blocks, equal, read, rows

from inferometer.errors import UserError
from inferometer.workload.tally import BadRecordError
from inferometer.workload.trace import Trace, described, fitting, load, save
from inferometer.workload.trace_formats import block_id, instant_ns
from inferometer.workload.trace_records import find_trace_kind

# --- the formats -----------------------------------------------------------------------------------------------------


def test_mooncake() -> None:
    trace = read(FIXTURES / "mooncake.jsonl")
    assert rows(trace) == [(0, 1300, 40), (250_000_000, 1100, 12), (250_000_000, 512, 7), (3_000_500_000, 20, 3)]
    assert blocks(trace) == [
        [(0, 512), (1, 512), (2, 276)],
        [(0, 512), (1, 512), (3, 76)],
        [(9, 512)],
        [(4, 20)],
    ]
    assert trace.report.dropped == {"no output tokens": 1}
    assert trace.report.notes == ("a trace of the kind mooncake, its times read as ms", "blocks of 512 tokens")


def test_bailian_counts_in_seconds_and_blocks_of_16() -> None:
    trace = read(FIXTURES / "bailian.jsonl")
    assert rows(trace) == [(0, 40, 9), (3_386_000_000, 60, 8)]
    assert blocks(trace) == [[(1, 16), (2, 16), (3, 8)], [(1, 16), (2, 16), (4, 16), (5, 12)]]
    assert "turns of sessions: 1; they are sent at their recorded times all the same" in trace.report.notes


def test_azure_keeps_its_seventh_digit() -> None:
    trace = read(FIXTURES / "azure.csv")
    assert rows(trace) == [(0, 512, 24), (140_040_100, 96, 8), (56_520_040_000, 4808, 10)]
    assert trace.report.dropped == {"no output tokens": 1}


def test_burstgpt_without_its_failures() -> None:
    trace = read(FIXTURES / "burstgpt.csv")
    assert rows(trace) == [(0, 120, 30), (4_000_000_000, 401, 77), (40_250_000_000, 12, 3)]
    assert trace.report.dropped == {"a failed request (0 response tokens)": 1}


def test_burstgpt_of_the_third_release_has_other_columns() -> None:
    assert rows(read(FIXTURES / "burstgpt_3.csv")) == [(0, 120, 30), (1_500_000_000, 400, 10)]


def test_one_model_of_a_trace() -> None:
    trace = read(FIXTURES / "burstgpt.csv", model="GPT-4")
    assert rows(trace) == [(0, 401, 77)]
    assert trace.report.dropped["a request to another model"] == 2


def test_our_own() -> None:
    trace = read(FIXTURES / "own.jsonl")
    assert rows(trace) == [(0, 80, 10), (126_543_211, 100, 20), (176_543_211, 50, 5)]
    system = block_id("system")
    assert blocks(trace) == [[(system, 64)], [(system, 64)], []]
    assert "the file is not in the order of time (1 steps back): it was sorted" in trace.report.notes


def test_ids_of_names_are_the_same_everywhere() -> None:
    assert block_id("system") == 2467886097812799020
    assert block_id(1) != block_id("1")


# --- how files are written -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_ends_of_lines_marks_and_gzip_change_nothing(name: str, tmp_path: Path) -> None:
    data = (FIXTURES / name).read_bytes()
    expected = read(FIXTURES / name)
    crlf = data.replace(b"\n", b"\r\n")
    for changed in (crlf, b"\xef\xbb\xbf" + data, data.rstrip(), b"\n" + data + b"\n\n", gzip.compress(crlf)):
        assert equal(read(write(tmp_path, changed, name)), expected)


@pytest.mark.parametrize("name", NAMES)
def test_kinds_are_known_by_content(name: str) -> None:
    kind = name.partition(".")[0].replace("_3", "").replace("own", "inferometer")
    assert find_trace_kind(FIXTURES / name) == kind


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty"),
        ("a,b\n1,2\n", "is no known trace: its columns are 'a', 'b'; known are azure, burstgpt"),
        ('{"when": 3}\n', "is no known trace: its keys are 'when'"),
        ('{"prompt": "a"}\n', "is a file of prompts, not a trace"),
        ("{\n", "is no known trace: its keys are none"),
    ],
)
def test_what_is_no_trace(content: str, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        read(write(tmp_path, content))


def test_explicit_kinds_win(tmp_path: Path) -> None:
    path = write(tmp_path, '{"timestamp": 1, "at_s": 1, "input_tokens": 5, "output_tokens": 6}\n')
    assert find_trace_kind(path) == "inferometer"
    assert read(path, kind="mooncake").report.notes[0].startswith("a trace of the kind mooncake")
    with pytest.raises(UserError, match="no column 'TIMESTAMP'; its columns are"):
        read(FIXTURES / "burstgpt.csv", kind="azure")


def test_the_unit_of_time_can_be_told() -> None:
    assert read(FIXTURES / "mooncake.jsonl", unit="s").at_ns[-1] == 3_000_500_000_000
    assert read(FIXTURES / "burstgpt.csv", unit="us").at_ns[-1] == 40_250


@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=20), st.sampled_from([("s", 9), ("ms", 6)]))
def test_decimal_times_are_exact(ns: list[int], unit: tuple[str, int]) -> None:
    """Through floating point, most of these would be off."""
    name, digits = unit
    key = {"s": "at_s", "ms": "timestamp_ms"}[name]
    texts = [f"{one // 10**digits}.{one % 10**digits:0{digits}d}" for one in ns]
    lines = [f'{{"{key}": {text}, "input_tokens": 1, "output_tokens": 1}}' for text in texts]
    with TemporaryDirectory() as folder:
        trace = read(write(Path(folder), "\n".join(lines)))
    assert trace.at_ns.tolist() == sorted(one - min(ns) for one in ns)


# --- instants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01 00:00:00", 0),
        ("1970-01-01T00:00:00.000000001", 1),
        ("1970-01-01 00:00:01.5", 1_500_000_000),
        (" 1970-01-02 00:00:00.1234567 ", 86_400_123_456_700),
        ("1970-01-01 00:00:00.1234567+00:00", 123_456_700),
        ("1970-01-01T02:00:00+02:00", 0),
        ("1969-12-31 19:00:00-0500", 0),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31 23:59:59.9999999", -100),
        ("2023-11-16 18:17:03.9799600", 1_700_158_623_979_960_000),
    ],
)
def test_instants(text: str, ns: int) -> None:
    assert instant_ns(text) == ns


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "2023-11-16", "2023-13-01 00:00:00", "2023-11-16 25:00:00", "2023-11-16 18:17:03,97", "3.5"],
)
def test_what_is_no_instant(text: str) -> None:
    with pytest.raises(BadRecordError, match="is not a time"):
        instant_ns(text)


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), st.integers(0, 999), st.integers(-14 * 60, 14 * 60))
def test_instants_of_any_time(moment: datetime, rest: int, minutes: int) -> None:
    offset = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02d}:{abs(minutes) % 60:02d}"
    text = f"{moment.strftime('%Y').zfill(4)}{moment.strftime('-%m-%d %H:%M:%S.%f')}{rest:03d}{offset}"
    since = moment.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC) - timedelta(minutes=minutes)
    assert instant_ns(text) == (since // timedelta(microseconds=1)) * 1000 + rest


# --- blocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 64, 128, 512])
def test_the_size_of_blocks_follows_from_the_lengths(size: int, tmp_path: Path) -> None:
    lines = [
        json.dumps({"timestamp": 0, "input_length": n, "output_length": 1, "hash_ids": list(range(-(-n // size)))})
        for n in (1, size, size + 1, 5 * size, 10 * size + 7)
    ]
    trace = read(write(tmp_path, "\n".join(lines)))
    assert trace.block_tokens[0] == 1
    assert [sum(tokens for _, tokens in one) for one in blocks(trace)] == trace.input_tokens.tolist()
    assert any(note.startswith(f"blocks of {size} tokens") for note in trace.report.notes)
    given_size = read(write(tmp_path, "\n".join(lines)), block_tokens=4)
    assert given_size.block_tokens.max() == 4


def test_more_blocks_than_tokens_and_fewer(tmp_path: Path) -> None:
    lines = [MOONCAKE] * 3
    lines += ['{"timestamp": 0, "input_length": 600, "output_length": 1, "hash_ids": [1, 2, 3]}\n']
    lines += ['{"timestamp": 0, "input_length": 2000, "output_length": 1, "hash_ids": [1]}\n']
    trace = read(write(tmp_path, "".join(lines)))
    assert blocks(trace)[3:] == [[(1, 512), (2, 88), (3, 0)], [(1, 512)]]
    assert any(note.startswith("2 prompts have more blocks") for note in trace.report.notes)


# --- what is done to a trace -----------------------------------------------------------------------------------------

LINES = st.lists(
    st.tuples(
        st.integers(0, 10_000), st.integers(1, 3000), st.integers(1, 500), st.lists(st.integers(0, 9), max_size=4)
    ),
    min_size=1,
    max_size=30,
)


def from_lines(lines: list[Any]) -> Trace:
    keys = ("timestamp", "input_length", "output_length", "hash_ids")
    with TemporaryDirectory() as folder:
        text = "\n".join(json.dumps(dict(zip(keys, line, strict=True))) for line in lines)
        return read(write(Path(folder), text), block_tokens=512)


@given(LINES)
def test_sorted_rows_keep_what_is_theirs(lines: list[Any]) -> None:
    trace = from_lines(lines)
    ordered = sorted(lines, key=lambda line: line[0])
    start = ordered[0][0]
    assert rows(trace) == [((at - start) * 1_000_000, n, m) for at, n, m, _ in ordered]
    assert [[name for name, _ in one] for one in blocks(trace)] == [ids for *_, ids in ordered]
    for one, tokens in zip(blocks(trace), trace.input_tokens.tolist(), strict=True):
        assert [size for _, size in one] == [min(512, max(0, tokens - 512 * i)) for i in range(len(one))]


def test_requests_beyond_the_context_are_counted() -> None:
    trace = fitting(read(FIXTURES / "mooncake.jsonl"), 1112)
    assert rows(trace) == [(0, 1100, 12), (0, 512, 7), (2_750_500_000, 20, 3)]
    assert blocks(trace)[0] == [(0, 512), (1, 512), (3, 76)]
    assert trace.report.dropped == {"no output tokens": 1, "longer than 1112 tokens": 1}
    assert (trace.report.read, trace.report.kept) == (5, 3)
    with pytest.raises(UserError, match="every request of the trace is longer than 5 tokens"):
        fitting(trace, 5)
    assert fitting(trace, 10**6) is trace


def test_a_line_that_shows_a_wrong_unit() -> None:
    line = described(read(FIXTURES / "mooncake.jsonl"))
    assert line.startswith("4 requests in 3.001 s, 0.9998 a second; 733 tokens in, 16 out on average")
    assert line.endswith("35% of the prompt tokens repeat a block")


@pytest.mark.parametrize("name", NAMES)
def test_a_trace_on_disk_is_the_same(name: str, tmp_path: Path) -> None:
    trace = read(FIXTURES / name)
    save(trace, tmp_path)
    loaded = load(tmp_path)
    assert equal(loaded, trace)
    assert loaded.report == trace.report
    assert isinstance(loaded.at_ns, np.memmap)
