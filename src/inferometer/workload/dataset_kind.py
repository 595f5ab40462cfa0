"""What kind of file this is: by its content, and its name where the content could be several things.

What was asked for explicitly wins. Where nothing decides, the user is asked, in a sentence that says how to answer.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from inferometer.errors import UserError
from inferometer.workload.datafile import head_of, opened
from inferometer.workload.dataset_formats import DECODERS, Container, Reading, Row, Shape
from inferometer.workload.dataset_records import elements, lines, parquet_columns
from inferometer.workload.tally import BadRecordError
from inferometer.workload.trace_formats import trace_kind

Kind = Literal["auto", "sharegpt", "openai", "custom", "batch", "csv", "parquet", "text"]

#: What an unpacked file's name says, where the content does not.
_BY_SUFFIX: dict[str, Container] = {".csv": "csv", ".tsv": "csv", ".txt": "text", ".prompts": "text"}
_JSON_SUFFIXES = (".json", ".jsonl", ".ndjson")
#: Names of columns and keys that hold a prompt; ``prompt`` wins over the others.
PROMPT_KEYS = ("prompt", "text", "text_input", "question", "instruction", "input", "query")

_LIST = re.compile(rb"\s*\[\s*[{\]]")
_OBJECT = re.compile(rb'\s*\{\s*["}]')


def find_reading(
    path: Path,
    kind: Kind = "auto",
    prompt_key: str | None = None,
    output_tokens_key: str | None = None,
    *,
    whole_conversation: bool = False,
) -> Reading:
    """How to read ``path``, as ``kind`` if that is not ``auto``. Raises ``UserError`` where that cannot be told."""
    head = head_of(path)
    container = _container(path, head, kind, prompt_key)
    columns, delimiter, row = _first_row(path, head, container)
    shape, key = _shape(path, kind, container, row, prompt_key)
    if output_tokens_key is not None and columns and output_tokens_key not in columns:
        raise UserError(f"{path}: no column {output_tokens_key!r}; its columns are {_listed(columns)}")
    return Reading(
        container=container,
        shape=shape,
        columns=columns,
        delimiter=delimiter,
        prompt_key=key,
        output_tokens_key=output_tokens_key,
        whole_conversation=whole_conversation,
    )


def _container(path: Path, head: bytes, kind: Kind, prompt_key: str | None) -> Container:
    if not head.strip():
        raise UserError(f"{path} is empty")
    if head.startswith(b"PAR1"):
        if kind in ("csv", "text"):
            raise UserError(f"{path} is a Parquet file, not {kind}")
        return "parquet"
    if kind == "parquet":
        raise UserError(f"{path} is not a Parquet file: those begin with PAR1")
    if b"\0" in head:
        raise UserError(f"{path} is not a file of text: it has zero bytes")
    if kind in ("csv", "text"):
        return "csv" if kind == "csv" else "text"
    if _LIST.match(head):
        return "list"
    if _OBJECT.match(head):
        return "lines"
    if kind in ("sharegpt", "openai", "custom", "batch") and _suffix(path) not in (".csv", ".tsv"):
        raise UserError(f"{path} is not {kind}: it begins neither with a JSON object nor with a list of objects")
    return _plain(path, head, prompt_key)


def _plain(path: Path, head: bytes, prompt_key: str | None) -> Container:
    """Neither JSON nor Parquet: CSV or lines of text."""
    suffix = _suffix(path)
    if suffix in _JSON_SUFFIXES and head.lstrip().startswith(b"["):
        hint = """a record is {"prompt": "..."}; texts alone go into a .txt file, one on a line"""
        raise UserError(f"{path} is a list of something else than objects: {hint}")
    if suffix in _JSON_SUFFIXES:
        raise UserError(f"{path} is not JSON: it begins with {head[:40].decode('utf-8', 'replace')!r}")
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    names = _header(head)[0]
    if not set(names) & {*PROMPT_KEYS, prompt_key} and trace_kind(names) is None:
        return "text"
    if len(names) > 1:
        return "csv"
    raise UserError(
        f"{path} could be CSV with one column, {names[0]!r}, or lines of text: "
        "say which with --dataset-name csv or text"
    )


def _suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _first_row(path: Path, head: bytes, container: Container) -> tuple[tuple[str, ...], str, Row]:
    """Columns, delimiter, and a row that has the keys; values only where keys come with each record."""
    if container == "text":
        return (), ",", {}
    if container == "csv":
        columns, delimiter = _header(head)
        return columns, delimiter, dict.fromkeys(columns)
    if container == "parquet":
        columns = parquet_columns(path)
        return columns, ",", dict.fromkeys(columns)
    with opened(path) as stream:
        places = elements(stream) if container == "list" else lines(stream)
        reading = Reading(container=container, shape="prompt")
        return (), ",", next(_decoded((place.raw for place in places if place.raw.strip()), reading), {})


def _decoded(records: Iterable[bytes], reading: Reading) -> Iterator[Row]:
    """Those of the first thousand that can be decoded: bad ones are named when the file is read."""
    for _, raw in zip(range(1000), records, strict=False):
        try:
            yield DECODERS[reading.container](raw, reading)
        except BadRecordError:
            continue


def _header(head: bytes) -> tuple[tuple[str, ...], str]:
    """Names of the columns and what separates them: whichever of comma, semicolon and tab comes most often."""
    text = head.lstrip().decode("utf-8", "replace")
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    try:
        names = next(csv.reader(text.splitlines(keepends=True), delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        names = [first]
    return tuple(name.strip() for name in names), delimiter


def _shape(path: Path, kind: Kind, container: Container, row: Row, prompt_key: str | None) -> tuple[Shape, str]:
    """The shape of the records and the key of their prompt."""
    if container == "text":
        return "prompt", "prompt"
    if kind in ("sharegpt", "batch"):
        return ("sharegpt" if kind == "sharegpt" else "batch"), "prompt"
    if kind == "openai":
        return ("messages" if "messages" in row else "prompt"), "prompt"
    if prompt_key is not None and prompt_key not in row:
        raise UserError(f"{path}: no {prompt_key!r} in it; its keys are {_listed(row)}")
    if kind == "custom" or prompt_key is not None:
        return "prompt", prompt_key or "prompt"
    return _shape_by_keys(path, container, row)


def _shape_by_keys(path: Path, container: Container, row: Row) -> tuple[Shape, str]:
    found: dict[str, Shape] = {}
    if "conversations" in row:
        found["sharegpt"] = "sharegpt"
    if row.keys() >= {"custom_id", "body"}:
        found["batch"] = "batch"
    if "messages" in row:
        found["openai"] = "messages"
    keys = ["prompt"] if "prompt" in row else [key for key in PROMPT_KEYS if key in row]
    if "prompt" in row or (keys and not found):
        found["custom"] = "prompt"
    if len(found) > 1:
        raise UserError(f"{path} could be {' or '.join(found)}: say which with --dataset-name")
    if not found:
        raise UserError(_unknown(path, container, row))
    if len(keys) > 1 and "custom" in found:
        raise UserError(
            f"{path}: the prompt could be in {' or '.join(map(repr, keys))}: say where with --dataset-prompt-key"
        )
    return next(iter(found.values())), keys[0] if keys and "custom" in found else "prompt"


def _unknown(path: Path, container: Container, row: Row) -> str:
    if not row:
        return f"{path} has no record that can be read: not one JSON object where there should be many"
    trace = trace_kind(row)
    if trace is not None:
        return f"{path} is a trace ({trace}), without prompts: give it with --dataset-name trace"
    what = "columns" if container in ("csv", "parquet") else "keys"
    return (
        f"{path} is of no known kind: its {what} are {_listed(row)}; known are conversations (sharegpt), messages or "
        "prompt (openai, custom), and custom_id with body (batch); name that of the prompt with --dataset-prompt-key"
    )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, list(names)[:12])) or "none"
