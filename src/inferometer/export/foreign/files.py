"""The edge of the readers: a file or a folder of another tool's results, recognised by content."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from inferometer.analysis.run_data import RunData
from inferometer.errors import UserError
from inferometer.export.foreign import benchmark_report, inference_perf, suite, vllm
from inferometer.export.foreign.evaluation import is_standardized, native_of

REPORT = "llm-d benchmark report"
PER_REQUEST = "per_request_lifecycle_metrics.json"


class Reader(NamedTuple):
    """Whether a document is of this format, and what reads it: label, documents by file name, the folder's rows."""

    knows: Callable[[Any], bool]
    read: Callable[[str, dict[str, Any], list[inference_perf.Row]], tuple[RunData, ...]]


def _single(read: Callable[[str, Any], tuple[RunData, ...]]) -> Any:
    """A reader of formats in which each document is a run of its own."""

    def read_each(label: str, documents: dict[str, Any], _rows: Any) -> tuple[RunData, ...]:
        alone = len(documents) == 1
        labels = {name: label if alone else Path(name).stem for name in documents}
        return tuple(run for name, told in documents.items() for run in read(labels[name], told))

    return read_each


READERS = {
    "vllm": Reader(vllm.is_result, lambda label, found, _rows: vllm.read(label, list(found.values()))),
    "standardized": Reader(is_standardized, _single(lambda label, told: vllm.read(label, [native_of(told)]))),
    "inference-perf": Reader(inference_perf.is_result, inference_perf.read),
    REPORT: Reader(
        benchmark_report.is_result, lambda label, found, _rows: benchmark_report.read(label, list(found.values()))
    ),
    "suite": Reader(suite.is_documented, _single(suite.read_documented)),
    "suite, as its code wrote it": Reader(suite.is_wild, _single(suite.read_wild)),
    "suite comparison": Reader(suite.is_comparison, _single(suite.read_comparison)),
}


def read(path: Path) -> tuple[RunData, ...]:
    """The runs in a result file of another tool, or in a folder of such files.

    Results of vLLM in one folder, or in one file of lines, are the stages of one run; so are the reports of
    inference-perf. The label is the name of the file or folder.

    Raises:
        UserError: nothing there can be read, or is a result that this program knows, or there are several formats.
    """
    if not path.exists():
        raise UserError(f"no such file or folder: {path}")
    found, kinds = _recognised(sorted(path.glob("*.json")) if path.is_dir() else [path], whole=path.is_dir())
    if not kinds and path.is_dir():
        found, kinds = _recognised(sorted(path.glob("*.yaml")), whole=True)
    if set(kinds.values()) > {REPORT}:  # they say the same as what they were made of
        kinds = {name: kind for name, kind in kinds.items() if kind != REPORT}
    formats = sorted(set(kinds.values()))
    if not formats:
        known = "; ".join(READERS)
        raise UserError(f"{path}: not a run directory, and no result of another tool that can be read ({known})")
    if len(formats) > 1:
        raise UserError(
            f"{path} has results of several tools ({'; '.join(formats)}): name one file, or a folder of one"
        )
    label = path.stem if path.is_file() else path.resolve().name
    known_documents = {name: found[name] for name in kinds}
    try:
        return READERS[formats[0]].read(label, known_documents, _rows(path, formats[0]))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} looks like a result of {formats[0]} and is not one: {error!r}") from None


def _recognised(paths: Sequence[Path], *, whole: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """All documents of these files by name, and the formats of those that are known."""
    found = {f"{path.name}{part}": told for path in paths for part, told in _documents(path, whole=whole)}
    return found, {name: kind for name, told in found.items() if (kind := _kind(told)) is not None}


def _kind(told: Any) -> str | None:
    return next((name for name, reader in READERS.items() if reader.knows(told)), None)


def _documents(path: Path, *, whole: bool) -> list[tuple[str, Any]]:
    """The document of a file, or its lines. Of a folder, files that are no JSON objects are left out."""
    if whole and path.name == PER_REQUEST:
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    if path.suffix in (".yaml", ".yml"):
        return _yaml(path, text, whole=whole)
    try:
        return [("", json.loads(text))]
    except (ValueError, RecursionError) as error:
        lines = _lines(text)
        if not lines and not whole:
            raise UserError(f"{path} is not JSON: {error}") from None
        return lines


def _yaml(path: Path, text: str, *, whole: bool) -> list[tuple[str, Any]]:
    try:
        return [("", yaml.safe_load(text))]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if whole:
            return []
        raise UserError(f"{path} is not YAML: {error}".splitlines()[0]) from None


def _lines(text: str) -> list[tuple[str, Any]]:
    """Objects one after the other, as ``--append-result`` leaves them, whole or cut off at the end."""
    decoder, place = json.JSONDecoder(), 0
    found: list[tuple[str, Any]] = []
    while (start := text.find("{", place)) >= 0:
        try:
            told, place = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            break
        found.append((f"#{len(found)}", told))
    return found


def _rows(path: Path, kind: str) -> list[inference_perf.Row]:
    rows = (path if path.is_dir() else path.parent) / PER_REQUEST
    if kind != "inference-perf" or not path.is_dir() or not rows.exists():
        return []
    try:
        return inference_perf.rows_of(rows.read_bytes())
    except (OSError, msgspec.MsgspecError, RecursionError) as error:
        raise UserError(f"cannot read {rows}: {error}") from None
