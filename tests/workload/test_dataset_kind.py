"""What a file is, by its content; what was asked for wins; and where nothing decides, a sentence that helps."""

import gzip
import json
from pathlib import Path

import pytest

from inferometer.errors import UserError
from inferometer.workload.dataset_kind import Kind, find_reading

FIXTURES = Path(__file__).parents[1] / "fixtures" / "datasets"


def found(path: Path, kind: Kind = "auto", prompt_key: str | None = None) -> tuple[str, str, str]:
    reading = find_reading(path, kind, prompt_key)
    return reading.container, reading.shape, reading.prompt_key


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sharegpt.json", ("list", "sharegpt", "prompt")),
        ("openai.jsonl", ("lines", "messages", "prompt")),
        ("custom.jsonl", ("lines", "prompt", "prompt")),
        ("batch.jsonl", ("lines", "batch", "prompt")),
        ("prompts.csv", ("csv", "prompt", "prompt")),
        ("prompts.txt", ("text", "prompt", "prompt")),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz", ".data"])
def test_known_by_content_whatever_the_name(
    name: str, expected: tuple[str, str, str], suffix: str, tmp_path: Path
) -> None:
    content = (FIXTURES / name).read_bytes()
    path = tmp_path / f"{name if suffix == '.gz' else 'x'}{suffix}"
    path.write_bytes(gzip.compress(content) if suffix == ".gz" else content)
    assert found(path) == expected


def test_long_first_records(tmp_path: Path) -> None:
    path = tmp_path / "l.json"
    path.write_text(json.dumps([{"id": "x" * 200_000, "conversations": []}]))
    assert found(path) == ("list", "sharegpt", "prompt")
    path.write_text(json.dumps({"id": "x" * 200_000, "messages": []}) + "\n")
    assert found(path) == ("lines", "messages", "prompt")


def test_a_bad_first_line_hides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "l.jsonl"
    path.write_text('{"prompt": cut\n{"messages": []}\n')
    assert found(path) == ("lines", "messages", "prompt")


@pytest.mark.parametrize(
    ("header", "delimiter", "columns"),
    [
        ("id,prompt", ",", ("id", "prompt")),
        ("id;prompt;note, long", ";", ("id", "prompt", "note, long")),
        ("id\tprompt", "\t", ("id", "prompt")),
        ('"id","prompt"', ",", ("id", "prompt")),
        ("prompt", ",", ("prompt",)),
    ],
)
def test_columns_and_what_separates_them(header: str, delimiter: str, columns: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text(f"{header}\n1\n")
    reading = find_reading(path)
    assert (reading.delimiter, reading.columns) == (delimiter, columns)


def test_explicit_kinds_win(tmp_path: Path) -> None:
    both = tmp_path / "both.jsonl"
    both.write_text('{"prompt": "a", "messages": [{"role": "user", "content": "b"}]}\n')
    assert found(both, "openai") == ("lines", "messages", "prompt")
    assert found(both, "custom") == ("lines", "prompt", "prompt")
    assert found(both, "text") == ("text", "prompt", "prompt")
    with pytest.raises(UserError, match="could be openai or custom: say which with --dataset-name"):
        find_reading(both)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "x",
            "prompt\nWhy?\n",
            r"could be CSV with one column, 'prompt', or lines of text.*--dataset-name csv or text",
        ),
        ("x.jsonl", '{"question": "a", "instruction": "b"}', r"'question' or 'instruction': say where with"),
        ("x.jsonl", '{"title": "a"}', r"of no known kind: its keys are 'title'"),
        ("x.csv", "a,b\n1,2\n", r"of no known kind: its columns are 'a', 'b'"),
        ("x.json", "hello", r"is not JSON: it begins with 'hello'"),
        ("x.json", '["a", "b"]', r"is a list of something else than objects: a record is"),
        ("x.json", " \n", r"is empty"),
        ("x.txt", "a\0b", r"zero bytes"),
        ("x.txt", "\x28\ufffd", None),
    ],
)
def test_sentences_for_what_cannot_be_told(name: str, content: str, sentence: str | None, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    if sentence is None:
        assert found(path)[0] == "text"
        return
    with pytest.raises(UserError, match=sentence):
        find_reading(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"\x28\xb5\x2f\xfd....", "packed with zstd"),
        (b"PK\x03\x04....", "a zip archive"),
        ("\ufeffhello".encode("utf-16-le"), "is UTF-16; save it as UTF-8"),
        (b"PAR1 and no more", "cannot read"),
    ],
)
def test_files_that_cannot_be_read(content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        find_reading(path)


def test_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no such file: .*none\.jsonl"):
        find_reading(tmp_path / "none.jsonl")
    with pytest.raises(UserError, match="is a folder; give one of its files"):
        find_reading(tmp_path)


@pytest.mark.parametrize("kind", ["sharegpt", "openai", "custom", "batch", "parquet"])
def test_asked_for_what_it_is_not(kind: Kind) -> None:
    with pytest.raises(UserError, match=f"(?i)prompts.txt is not (a )?{kind}"):
        find_reading(FIXTURES / "prompts.txt", kind)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mooncake.jsonl", "mooncake"),
        ("bailian.jsonl", "bailian"),
        ("own.jsonl", "inferometer"),
        ("azure.csv", "azure"),
        ("burstgpt.csv", "burstgpt"),
    ],
)
def test_a_trace_is_recognised(name: str, kind: str) -> None:
    with pytest.raises(UserError, match=rf"is a trace \({kind}\), without prompts"):
        find_reading(FIXTURES / name)


def test_the_key_of_the_prompt(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("title,text,body\na,b,c\n")
    assert found(path) == ("csv", "prompt", "text")
    assert found(path, prompt_key="body") == ("csv", "prompt", "body")
    with pytest.raises(UserError, match="no 'words' in it; its keys are 'title', 'text', 'body'"):
        find_reading(path, prompt_key="words")
    with pytest.raises(UserError, match="no column 'n'; its columns are"):
        find_reading(path, output_tokens_key="n")
