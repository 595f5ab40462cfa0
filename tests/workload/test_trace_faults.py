"""Whatever is wrong with a trace is named with its place, or counted."""

from pathlib import Path

import pytest
from dataset_files import FIXTURES, write
from trace_files import MOONCAKE, read, rows

from inferometer.errors import UserError
from inferometer.workload.tally import sentences

BAD_LINES = {
    '{"input_length": 10, "output_length": 2}': "no 'timestamp' in it",
    '{"timestamp": 5, "output_length": 2}': "no 'input_length' in it",
    '{"timestamp": 5, "text_input": "Hi", "output_length": 2}': "literal prompts cannot be replayed yet",
    '{"timestamp": "soon", "input_length": 10, "output_length": 2}': "at `timestamp`",
    '{"timestamp": 5, "input_length": -1, "output_length": 2}': "at `input_length`",
    '{"timestamp": 5, "input_length": 2.5, "output_length": 2}': "at `input_length`",
    '{"timestamp": 5, "input_length": 5000000000, "output_length": 2}': "at `input_length`",
    '{"timestamp": 5, "input_length": 10, "output_length": 2, "hash_ids": ["a"]}': "at `hash_ids[",
    '{"timestamp": 5, "input_length": 10, "output_length": 2, "hash_ids": [-4]}': "at `hash_ids[",
    '{"timestamp": 1e300, "input_length": 10, "output_length": 2}': "is the unit another one?",
    '{"timestamp": 1e999999999, "input_length": 10, "output_length": 2}': "is the unit another one?",
    "[1]": "Expected `object`, got `array`",
    "{": "Input data was truncated",
}


@pytest.mark.parametrize(("line", "reason"), BAD_LINES.items(), ids=range(len(BAD_LINES)))
def test_a_bad_line_is_named_or_counted(line: str, reason: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"{MOONCAKE}\n{line}\n{MOONCAKE}")
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:3: ")
    assert reason in str(caught.value)
    trace = read(path, skip_bad_lines=True)
    assert len(trace.at_ns) == 2
    report = trace.report
    assert (report.read, report.kept, report.bad, report.empty_lines) == (3, 2, 1, 1)
    assert any("1 bad ones passed over" in line for line in sentences(report))


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"at_s": 1, "timestamp_ms": 1, "input_tokens": 5, "output_tokens": 5}', "one of them"),
        ('{"input_tokens": 5, "output_tokens": 5}', "one of them"),
        ('{"at_s": 1, "input_tokens": 5}', "missing required field `output_tokens`"),
        ('{"at_s": 1, "input_tokens": 5, "output_tokens": 5, "prefix_id": 1}', "go together"),
        (
            '{"at_s": 1, "input_tokens": 5, "output_tokens": 5, "prefix_id": 1, "prefix_tokens": 6}',
            "a prefix of 6 tokens",
        ),
        (
            '{"at_s": 1, "input_tokens": 5, "output_tokens": 5, "prefix_id": 1, "prefix_tokens": 5, "hash_ids": [1]}',
            "not both",
        ),
    ],
)
def test_bad_lines_of_our_own(line: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf":1: .*{reason}"):
        read(write(tmp_path, line + "\n"), kind="inferometer")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("2023-11-16 18:17:03,5", "2 cells where the header has 3 columns"),
        ("2023-11-16 18:17:03,5,6,7", "4 cells"),
        ("18:17:03,5,6", "is not a time"),
        ("2023-11-16 18:17:03,five,6", "'ContextTokens' must be a number, not 'five'"),
        ("2023-11-16 18:17:03,5,6.5", "'GeneratedTokens' must be a whole number of tokens"),
        ("2023-11-16 18:17:03,NaN,6", "'ContextTokens' must be a whole number"),
        ("2023-11-16 18:17:03,1e999999,6", "'ContextTokens' must be a whole number"),
        ("2023-11-16 18:17:03,-5,6", "'ContextTokens' must be a whole number"),
        ("2023-11-16 18:17:03,,6", "'ContextTokens' must be a number"),
        ("9999-01-01 00:00:00,5,6", "outside of what nanoseconds can count"),
        ("2023-11-16 18:17:03,5\r,6", "not a row of CSV: new-line character seen in unquoted field"),
        ('"2023-11-16" 18:17:03,5,6', "not a row of CSV: "),
    ],
)
def test_a_bad_row_is_named_or_counted(row: str, reason: str, tmp_path: Path) -> None:
    good = "2023-11-16 18:17:01,5.0,6"
    path = write(tmp_path, f"TIMESTAMP,ContextTokens,GeneratedTokens\n{good}\n{row}\n{good}\n", "a.csv")
    with pytest.raises(UserError, match=rf"a.csv:3: {reason}|a.csv:3: .*{reason}"):
        read(path)
    assert rows(read(path, skip_bad_lines=True)) == [(0, 5, 6), (0, 5, 6)]


def test_a_quote_that_is_never_closed_in_a_trace(tmp_path: Path) -> None:
    """What follows it is one cell, however much that is."""
    row = "2023-11-16 18:17:01,5,6\n"
    path = write(tmp_path, f'TIMESTAMP,ContextTokens,GeneratedTokens\n{row}"{row * 8000}', "a.csv")
    with pytest.raises(UserError, match=r"a.csv:3: not a row of CSV: unexpected end of data"):
        read(path)
    assert rows(read(path, skip_bad_lines=True)) == [(0, 5, 6)]


def test_line_ends_that_nobody_writes_any_more(tmp_path: Path) -> None:
    path = write(tmp_path, "TIMESTAMP,ContextTokens,GeneratedTokens\r2023-11-16 18:17:01,5,6\r", "a.csv")
    with pytest.raises(UserError, match=r"a.csv:1: not a row of CSV: new-line character"):
        read(path, kind="azure")


def test_a_last_row_that_was_cut_off(tmp_path: Path) -> None:
    text = (FIXTURES / "azure.csv").read_text().rstrip()
    with pytest.raises(UserError, match=r":5: 2 cells .*the file may have been cut off there"):
        read(write(tmp_path, text[:-8], "a.csv"))
    with pytest.raises(UserError, match=r":2: .*the file may have been cut off there"):
        read(write(tmp_path, MOONCAKE + MOONCAKE[:30]))


def test_nothing_to_replay(tmp_path: Path) -> None:
    path = write(tmp_path, "Timestamp,Model,Request tokens,Response tokens\n1,GPT-4,5,0\n", "b.csv")
    with pytest.raises(UserError, match="has nothing to replay: 0 of 1 records used; 1 dropped: a failed request"):
        read(path)
