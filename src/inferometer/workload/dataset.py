"""Data files of prompts, of any size: found once, before any clock starts, then read one by one by every worker.

``prepare`` walks through the file in bounded memory, checks every record that will be used, and leaves an index on
disk: 24 bytes a record, in the order of sending. ``Items`` reads record i with one system call, so that a worker
touches its stride and nothing else, and a record costs microseconds between two reads of a running stage. What cannot
be read that way (gzip, Parquet) is copied once, as plain lines, as far as it is needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from weakref import finalize

import msgspec
import numpy as np
import numpy.typing as npt

from inferometer.errors import UserError
from inferometer.workload.datafile import Stream, opened
from inferometer.workload.dataset_formats import Item, Reading, parse
from inferometer.workload.dataset_kind import Kind, find_reading
from inferometer.workload.dataset_records import Place, Places, csv_rows, elements, lines, parquet_rows
from inferometer.workload.tally import BadRecordError, DroppedError, Report, Tally, sentences

#: One record of the index; token counts are -1 where nobody has said or counted them.
ENTRY = np.dtype(
    [("start", "<i8"), ("size", "<u4"), ("number", "<u4"), ("prompt_tokens", "<i4"), ("output_tokens", "<i4")]
)
Entry = tuple[int, int, int, int, int]
#: Entries that are in memory at once.
CHUNK = 1 << 14
#: Says more of an item (its token counts), or drops it with a ``DroppedError``. Runs once for each item.
Refine = Callable[[Item], Item]


class DatasetSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to take from a file. Without ``shuffle_seed`` the order is that of the file; ``limit`` is on items used."""

    kind: Kind = "auto"
    prompt_key: str | None = None
    output_tokens_key: str | None = None
    whole_conversation: bool = False
    skip_bad_lines: bool = False
    shuffle_seed: int | None = None
    limit: int | None = None


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """A prepared file, as workers need it. ``path`` and ``index`` must stay as they are while ``Items`` read them."""

    source: str
    path: str
    index: str
    reading: Reading
    size_bytes: int
    modified_ns: int
    report: Report
    answers: int
    without_output_tokens: int


def prepare(source: Path, spec: DatasetSpec, scratch: Path, refine: Refine | None = None) -> Dataset:
    """Check and index a file. ``scratch``, an empty folder, takes the index and the copy of a packed file.

    Shuffled, the order depends on the seed and the numbers of the records alone, so that the first n of it are the
    same for any limit. That takes some 45 bytes of memory for each record of the file, the mapped index included
    (measured: 460 MiB for 9.4 million records in 10 GB); without it, memory does not grow with the file.

    Raises:
        UserError: the file cannot be read, its kind cannot be told, a record is bad, or no record can be used.
    """
    reading = find_reading(
        source, spec.kind, spec.prompt_key, spec.output_tokens_key, whole_conversation=spec.whole_conversation
    )
    index, copy = scratch / "items.index", scratch / "rows"
    chosen = _Chosen(source, reading, spec, refine)
    shuffled = spec.shuffle_seed is not None
    # whoever wants some of a shuffled file need not decode all of it
    later = shuffled and spec.limit is not None
    with opened(source, copy) as stream, closing(_places(stream, reading, copy)) as places:
        path = copy if reading.container == "parquet" else stream.path
        entries = (_unchecked(place) for place in places) if later else chosen.entries(places)
        _write(index, islice(entries, None if shuffled else spec.limit))
        whole = next(places, None) is None
    if spec.shuffle_seed is not None:
        _shuffle(index, spec.shuffle_seed)
    if later:
        with closing(_indexed(path, index)) as places:
            _write(scratch / "chosen.index", islice(chosen.entries(places), spec.limit))
            whole = next(places, None) is None
        (scratch / "chosen.index").replace(index)
    report = chosen.tally.report(whole_file=whole)
    if not report.kept:
        raise UserError(f"{source} has nothing to send: {'; '.join(sentences(report))}")
    return Dataset(
        source=str(source),
        path=str(path),
        index=str(index),
        reading=reading,
        size_bytes=path.stat().st_size,
        modified_ns=path.stat().st_mtime_ns,
        report=report,
        answers=chosen.answers,
        without_output_tokens=chosen.without_output_tokens,
    )


def _places(stream: Stream, reading: Reading, copy: Path) -> Places:
    if reading.container == "parquet":
        return parquet_rows(stream.source, reading.columns, copy)
    if reading.container == "csv":
        return csv_rows(stream, reading.delimiter)
    return elements(stream) if reading.container == "list" else lines(stream)


class _Chosen:
    """Decides record by record, and counts."""

    def __init__(self, source: Path, reading: Reading, spec: DatasetSpec, refine: Refine | None) -> None:
        self._where = f"{source}:" if reading.container in ("lines", "text", "csv") else f"{source}: "
        self._unit = {"list": "record ", "parquet": "row "}.get(reading.container, "")
        self._reading = reading
        self._refine = refine
        self.tally = Tally(skip_bad=spec.skip_bad_lines)
        self.answers = 0
        self.without_output_tokens = 0

    def entries(self, places: Iterable[Place]) -> Iterator[Entry]:
        """Index entries of the records that can be used. Raises ``UserError`` at a bad one, unless they are skipped."""
        in_lines = self._reading.container != "list"
        for place in places:
            if in_lines and (not place.raw or place.raw.isspace()):
                self.tally.empty_lines += 1
                continue
            item = self._item(place)
            if item is not None:
                yield (
                    place.start,
                    place.size,
                    place.number,
                    _or_unknown(item.prompt_tokens),
                    _or_unknown(item.output_tokens),
                )

    def _item(self, place: Place) -> Item | None:
        tally = self.tally
        try:
            item, ignored = parse(place.raw, place.number, self._reading)
            item = self._refine(item) if self._refine is not None else item
        except BadRecordError as error:
            tally.note_bad(f"{self._where}{self._unit}{place.number}", error)
            return None
        except DroppedError as error:
            tally.dropped[str(error)] += 1
            return None
        tally.kept += 1
        tally.ignored_keys.update(ignored)
        self.answers += item.answer is not None
        self.without_output_tokens += item.output_tokens is None
        return item


def _unchecked(place: Place) -> Entry:
    return place.start, place.size, place.number, -1, -1


def _or_unknown(tokens: int | None) -> int:
    return -1 if tokens is None else tokens


def _write(index: Path, entries: Iterator[Entry]) -> None:
    with index.open("wb") as file:
        while chunk := list(islice(entries, CHUNK)):
            np.array(chunk, ENTRY).tofile(file)


def _read_index(index: Path) -> npt.NDArray[np.void]:
    if not index.stat().st_size:
        return np.empty(0, ENTRY)
    return np.memmap(index, ENTRY, mode="r")


def _indexed(path: Path, index: Path) -> Places:
    entries = _read_index(index)
    with path.open("rb") as file:
        for first in range(0, len(entries), CHUNK):
            for start, size, number, *_ in entries[first : first + CHUNK].tolist():
                yield Place(start, size, number, os.pread(file.fileno(), size, start))


def _shuffle(index: Path, seed: int) -> None:
    entries = _read_index(index)
    order = shuffled_order(entries["number"], seed)
    shuffled = index.with_suffix(".shuffled")
    with shuffled.open("wb") as file:
        for first in range(0, len(order), CHUNK):
            entries[order[first : first + CHUNK]].tofile(file)
    shuffled.replace(index)


def shuffled_order(numbers: npt.NDArray[Any], seed: int) -> npt.NDArray[np.intp]:
    """Positions of ``numbers`` in a random order. Each number has a place of its own: leaving out others moves nothing.

    The order is that of the numbers' hashes (SplitMix64: Steele, Lea and Flood, 2014): plain integer arithmetic, equal
    on every machine and in every version of numpy.
    """
    base = _mix(np.array([seed % 2**64], np.uint64))
    return np.argsort(_mix(numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + base), kind="stable")


def _mix(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


# --- reading ---------------------------------------------------------------------------------------------------------


class Items:
    """Random access to the items of a prepared file, which is closed with the last use of this object.

    Raises ``UserError`` if the file is no longer what it was.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._path = path = Path(dataset.path)
        try:
            self._file = os.open(path, os.O_RDONLY)
            self.close = finalize(self, os.close, self._file)
            self._entries = _read_index(Path(dataset.index))
        except OSError as error:
            raise UserError(f"cannot read {path}: {error}") from None
        told = os.fstat(self._file)
        if (told.st_size, told.st_mtime_ns) != (dataset.size_bytes, dataset.modified_ns):
            self.close()
            raise UserError(f"{path} has changed since this run was prepared; start the run again")
        self._reading = dataset.reading

    def __len__(self) -> int:
        return len(self._entries)

    def item(self, index: int) -> Item:
        """Item ``index``, from 0. Token counts that were found when the file was prepared are filled in."""
        start, size, number, prompt_tokens, output_tokens = self._entries[index].item()
        try:
            item, _ = parse(os.pread(self._file, size, start), number, self._reading)
        except (BadRecordError, DroppedError):  # it could be read when the file was prepared
            raise UserError(f"{self._path} has changed during the run; start the run again") from None
        return item._replace(
            prompt_tokens=prompt_tokens if prompt_tokens >= 0 else None,
            output_tokens=output_tokens if output_tokens >= 0 else None,
        )


# --- lengths ---------------------------------------------------------------------------------------------------------


class TokenLimits(NamedTuple):
    """What may be sent, in tokens, both ends included. The defaults are those of vLLM's ``sharegpt``."""

    min_prompt: int = 4
    min_output: int = 4
    max_prompt: int = 1024
    max_total: int = 2048


def sized(
    item: Item, count: Callable[[str], int], limits: TokenLimits | None, output_tokens: int | None = None
) -> Item:
    """The item with its lengths: the prompt's counted, the output's given, or the record's own, or the answer's.

    ``count`` counts the tokens of a text; what a chat template adds is not among them. For use as ``refine``.
    Raises ``DroppedError`` outside of ``limits``.
    """
    prompt_tokens = item.prompt_tokens if item.prompt_tokens is not None else sum(map(count, texts(item.prompt)))
    own = output_tokens if output_tokens is not None else item.output_tokens
    if own is None and item.answer is not None:
        own = max(1, count(item.answer))
    if limits is not None:
        _check(limits, prompt_tokens, own, fixed=output_tokens is not None)
    return item._replace(prompt_tokens=prompt_tokens, output_tokens=own)


def _check(limits: TokenLimits, prompt_tokens: int, output_tokens: int | None, *, fixed: bool) -> None:
    if prompt_tokens < limits.min_prompt:
        raise DroppedError(f"a prompt below {limits.min_prompt} tokens")
    if prompt_tokens > limits.max_prompt:
        raise DroppedError(f"a prompt above {limits.max_prompt} tokens")
    if output_tokens is None:
        return
    if output_tokens < limits.min_output and not fixed:
        raise DroppedError(f"an answer below {limits.min_output} tokens")
    if prompt_tokens + output_tokens > limits.max_total:
        raise DroppedError(f"prompt and answer above {limits.max_total} tokens together")


def texts(prompt: Any) -> Iterator[str]:
    """The text of a prompt, or the texts of its messages."""
    if isinstance(prompt, str):
        yield prompt
        return
    for message in prompt:
        content = message.get("content") if isinstance(message, dict) else None
        parts: list[dict[str, Any]] = content if isinstance(content, list) else [{"text": content}]
        yield from (str(part["text"]) for part in parts if isinstance(part.get("text"), str))
