"""Whatever is wrong with a data file is named with its place, or counted; nothing is lost in silence."""

import gzip
import json
import os
from pathlib import Path
from typing import Any

import pytest
from dataset_files import FIXTURES, prepared, prompts, write

from inferometer.errors import UserError
from inferometer.workload import datafile, dataset_records
from inferometer.workload.tally import sentences

GOOD = '{"prompt": "Good.", "output_tokens": 3}\n'
BAD = {
    '{"prompt": 7}\n': "'prompt' must be text, not a number",
    '{"prompt": ""}\n': "'prompt' is empty",
    '{"question": "What?"}\n': "no 'prompt' in it, but 'question'",
    '{"prompt": "x", "output_tokens": "ten"}\n': "'output_tokens' must be a whole number of tokens",
    '{"prompt": "x", "output_tokens": 0}\n': "not 0",
    '{"prompt": "x", "output_tokens": 1.5}\n': "not 1.5",
    '{"prompt": "x", "output_tokens": true}\n': "not True",
    '{"prompt": "x", "max_tokens": 99999999999}\n': "not 99999999999",
    '{"prompt": "x", "temperature": "hot"}\n': "temperature: Expected `float | null`, got `str`",
    '{"prompt": "x", "extra_body": 3}\n': "'extra_body' must be an object, not a number",
    '{"prompt": "x",}\n': "not JSON: ",
    '{"prompt": NaN}\n': "not JSON: NaN",
    "[1, 2]\n": "not a JSON object but a list",
    "null\n": "not a JSON object but nothing",
    '{"prompt": "x"} {"prompt": "y"}\n': "not JSON: Extra data",
    '{"prompt": "\\ud800"}\n': "half of a character",
    "[" * 100_000 + "\n": "nested too deep",
}


@pytest.mark.parametrize(("line", "reason"), BAD.items(), ids=range(len(BAD)))
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_bad_line_is_named_or_counted(line: str, reason: str, shuffled: bool, tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + line + GOOD)
    spec = {"shuffle_seed": 1, "limit": 5} if shuffled else {}
    with pytest.raises(UserError) as caught:
        prepared(path, **spec)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert reason in str(caught.value)
    assert str(caught.value).endswith("--skip-bad-lines")
    dataset, items = prepared(path, skip_bad_lines=True, **spec)
    assert {item.number for item in items} == {1, 3}
    assert (dataset.report.bad, dataset.report.read) == (1, 3)
    assert dataset.report.first_bad is not None
    assert dataset.report.first_bad.startswith(f"{path}:2: ")
    assert any("1 bad ones passed over" in line for line in sentences(dataset.report))


def test_bytes_that_are_no_utf_8(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r":2: not UTF-8: .* \(byte 13\)"):
        prepared(write(tmp_path, GOOD.encode() + b'{"prompt": "\xff"}\n'))
    with pytest.raises(UserError, match=r":1: not UTF-8"):
        prepared(write(tmp_path, b"Name \xfc\n", "p.txt"))
    with pytest.raises(UserError, match=r":2: not UTF-8"):
        prepared(write(tmp_path, b"prompt,output_tokens\n\xfc,3\n", "p.csv"))


@pytest.mark.parametrize("end", [5, 11, 20, 30, 38])
def test_a_last_line_that_was_cut_off(end: int, tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + GOOD[:end])
    with pytest.raises(UserError, match=r":2: not JSON: .*the file may have been cut off there"):
        prepared(path)
    assert len(prepared(path, skip_bad_lines=True)[1]) == 1


def test_a_list_that_was_cut_off_anywhere(tmp_path: Path) -> None:
    rows = [{"prompt": f'[{i}] "quoted" \\ {{', "output_tokens": i} for i in range(1, 4)]
    text = json.dumps(rows)
    for end in range(text.index("}") + 1, len(text)):
        path = write(tmp_path, text[:end], "l.json")
        whole = text[:end].count("}, {") + text[:end].endswith(("}", "},", "}, "))
        with pytest.raises(UserError, match=rf"l.json: record {whole + 1}: not JSON: .*cut off"):
            prepared(path)
        dataset, items = prepared(path, skip_bad_lines=True)
        assert [item.number for item in items] == list(range(1, whole + 1))
        assert dataset.report.bad == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[{"prompt": "a"}, 3, {"prompt": "b"}]', "record 2 of the list is not an object after a comma"),
        ('[{"prompt": "a"} {"prompt": "b"}]', "record 2 of the list"),
        ('[{"prompt": "a"},, {"prompt": "b"}]', "record 2 of the list"),
        ('[{"prompt": "a"}] [{"prompt": "b"}]', "something follows the end of the list"),
        ('[{"prompt": "a"},]', "record 2 of the list"),
    ],
)
def test_a_list_whose_elements_cannot_be_told_apart(text: str, reason: str, tmp_path: Path) -> None:
    """That is never skipped: nobody knows how much would be."""
    with pytest.raises(UserError, match=reason):
        prepared(write(tmp_path, text, "l.json"), skip_bad_lines=True)


def test_a_bad_element_of_a_list(tmp_path: Path) -> None:
    path = write(tmp_path, '[{"prompt": "a"}, {"prompt": "b",}, {"prompt": "c"}]', "l.json")
    with pytest.raises(UserError, match=r"l.json: record 2: not JSON"):
        prepared(path)
    assert prompts(path, skip_bad_lines=True) == ["a", "c"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a,3,4", "3 cells where the header has 2 columns"),
        ("a", "1 cells where the header has 2 columns"),
        ('"a"b,3', "not a row of CSV"),
        ("a,three", "'output_tokens' must be a whole number of tokens"),
        (" ,3", "'prompt' is empty"),
    ],
)
def test_a_bad_row_of_csv(row: str, reason: str, tmp_path: Path) -> None:
    path = write(tmp_path, f"prompt,output_tokens\nfirst,1\n{row}\nlast,2\n", "p.csv")
    with pytest.raises(UserError, match=rf"p.csv:3: {reason}"):
        prepared(path)
    assert prompts(path, skip_bad_lines=True) == ["first", "last"]


def test_a_quote_that_is_never_closed(tmp_path: Path) -> None:
    path = write(tmp_path, 'prompt,output_tokens\nfirst,1\n"second,2\nthird,3\n', "p.csv")
    with pytest.raises(UserError, match=r"p.csv:3: not a row of CSV: unexpected end of data"):
        prepared(path)


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        ({"method": "GET"}, "method 'GET'"),
        ({"url": "/v1/embeddings"}, "url '/v1/embeddings'"),
        ({"url": "/v1/completions"}, "no 'prompt' in it"),
        ({"body": {"messages": []}}, "'messages' is empty"),
        (
            {"body": {"messages": [{"role": "human", "content": "a"}]}},
            r"messages\[0\].role: Invalid enum value 'human'",
        ),
        ({"body": {"messages": [{"role": "user", "content": 3}]}}, r"messages\[0\].content: Expected"),
        ({"body": {"messages": "Hello"}}, "messages: Expected `array`, got `str`"),
        ({"custom_id": None}, "custom_id: Expected `str`"),
    ],
)
def test_a_bad_line_of_a_batch(batch: dict[str, Any], reason: str, tmp_path: Path) -> None:
    good = json.loads((FIXTURES / "batch.jsonl").read_text().splitlines()[0])
    path = write(tmp_path, json.dumps(good) + "\n" + json.dumps(good | batch) + "\n")
    with pytest.raises(UserError, match=rf":2: {reason}"):
        prepared(path)


def test_a_chat_of_answers_alone(tmp_path: Path) -> None:
    path = write(tmp_path, '{"messages": [{"role": "assistant", "content": "Yes."}]}')
    with pytest.raises(UserError, match="no message that could be answered"):
        prepared(path)


def test_nothing_to_send(tmp_path: Path) -> None:
    path = write(tmp_path, '[{"conversations": []}, {"conversations": [{"from": "human", "value": "a"}]}]', "s.json")
    with pytest.raises(UserError, match="has nothing to send: 0 of 2 records used; 2 dropped: no human turn"):
        prepared(path)
    with pytest.raises(UserError, match="has no record that can be read"):
        prepared(write(tmp_path, "[]", "e.json"))


def test_a_gzip_file_that_was_cut_off(tmp_path: Path) -> None:
    data = gzip.compress(os.urandom(300_000).hex().encode() + b"\n" + GOOD.encode())
    path = write(tmp_path, data[: len(data) // 2], "p.txt.gz")
    with pytest.raises(UserError, match="cannot be unpacked, it may have been cut off"):
        prepared(path, kind="text")


def test_a_line_that_is_too_long_for_any_prompt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (datafile, dataset_records):
        monkeypatch.setattr(module, "LONGEST_BYTES", 1000)
    long = json.dumps({"prompt": "x" * 2000})
    with pytest.raises(UserError, match="line 2 is longer than"):
        prepared(write(tmp_path, GOOD + long + "\n"), skip_bad_lines=True)
    monkeypatch.setattr(dataset_records, "BLOCK_BYTES", 100)
    with pytest.raises(UserError, match="record 1 is longer than"):
        prepared(write(tmp_path, f"[{long}", "l.json"), kind="custom", skip_bad_lines=True)
    rows = "".join(f"row {i},1\n" for i in range(500))
    with pytest.raises(UserError, match=r"is a quote not closed\?"):
        prepared(write(tmp_path, f'prompt,output_tokens\n"{rows}', "p.csv"), skip_bad_lines=True)
