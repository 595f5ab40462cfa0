"""Traces: when requests of a real service arrived, how long they were, and which beginnings they shared.

A trace is read once, into arrays (16 bytes a request, 12 more a block), and left on disk, where every worker maps them.
When it is played, and which part of it, is a matter of the load (``schedule/arrivals.py``).
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from inferometer.errors import UserError
from inferometer.workload.datafile import opened
from inferometer.workload.tally import BadRecordError, DroppedError, Report, Tally, sentences
from inferometer.workload.trace_formats import FORMATS, UNITS_NS, Arrival, TraceFormat, TraceKind
from inferometer.workload.trace_records import Record, find_trace_kind, records

Longs = npt.NDArray[np.int64]
Ints = npt.NDArray[np.int32]

#: Sizes of blocks that traces are published with, in tokens.
BLOCK_SIZES = (512, 16, 64, 32, 128, 256, 1024)


class TraceSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What to take from a file. ``unit`` and ``block_tokens`` are those of the format if not given.

    ``model``: only requests to this one, where rows name one (BurstGPT and our own format).
    """

    kind: TraceKind | Literal["auto"] = "auto"
    skip_bad_lines: bool = False
    model: str | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None
    block_tokens: int | None = None


class Trace(NamedTuple):
    """Arrivals in the order of time: n offsets in ns, the first of them 0, and n pairs of lengths in tokens.

    The prompt of arrival i begins with the blocks from ``block_ends[i]`` up to ``block_ends[i + 1]`` (n + 1 numbers).
    Each block has an id and a number of tokens; equal ids are equal text. The rest of a prompt is its own.
    """

    at_ns: Longs
    input_tokens: Ints
    output_tokens: Ints
    block_ids: Longs
    block_tokens: Ints
    block_ends: Longs
    report: Report

    def blocks(self, index: int) -> list[tuple[int, int]]:
        """(id, tokens) of the blocks that the prompt of arrival ``index`` begins with."""
        first, end = self.block_ends[index : index + 2].tolist()
        return list(zip(self.block_ids[first:end].tolist(), self.block_tokens[first:end].tolist(), strict=True))


_ARRAYS = Trace._fields[:-1]


class _Columns(NamedTuple):
    """A trace while it is read."""

    at_ns: array[int]
    input_tokens: array[int]
    output_tokens: array[int]
    block_ids: array[int]
    block_counts: array[int]
    prefix_tokens: array[int]

    def append(self, arrival: Arrival) -> None:
        self.at_ns.append(arrival.at_ns)
        self.input_tokens.append(arrival.input_tokens)
        self.output_tokens.append(arrival.output_tokens)
        self.block_ids.extend(arrival.blocks)
        self.block_counts.append(len(arrival.blocks))
        self.prefix_tokens.append(-1 if arrival.prefix_tokens is None else arrival.prefix_tokens)


def read_trace(path: Path, spec: TraceSpec) -> Trace:
    """All arrivals of a file; ``report`` says what was left out and how times and blocks were read.

    Raises ``UserError`` if the file cannot be read, its kind cannot be told, a row is bad, or nothing is left.
    """
    kind = find_trace_kind(path) if spec.kind == "auto" else spec.kind
    shape = FORMATS[kind]
    tally = Tally(skip_bad=spec.skip_bad_lines)
    columns = _Columns(*(array(code) for code in "qiiqii"))
    unit = spec.unit or shape.unit
    in_sessions = 0
    with opened(path) as stream:
        for number, record in records(stream, shape):
            arrival = _arrival(record, f"{path}:{number}", shape, UNITS_NS[unit], tally)
            if arrival is None:
                continue
            if spec.model is not None and arrival.model != spec.model:
                tally.dropped["a request to another model"] += 1
                continue
            tally.kept += 1
            in_sessions += arrival.in_session
            columns.append(arrival)
    if not tally.kept:
        raise UserError(f"{path} has nothing to replay: {'; '.join(sentences(tally.report()))}")
    tally.notes.append(f"a trace of the kind {kind}" + ("" if kind == "azure" else f", its times read as {unit}"))
    if in_sessions:
        tally.notes.append(f"turns of sessions: {in_sessions}; they are sent at their recorded times all the same")
    return _trace(columns, spec.block_tokens, shape, tally)


def _arrival(record: Record, where: str, shape: TraceFormat, unit_ns: int, tally: Tally) -> Arrival | None:
    if record is None:
        tally.empty_lines += 1
        return None
    try:
        if isinstance(record, BadRecordError):
            raise record
        return shape.read(record, unit_ns)
    except BadRecordError as error:
        tally.note_bad(where, error)
    except DroppedError as error:
        tally.dropped[str(error)] += 1
    return None


# --- arrays ----------------------------------------------------------------------------------------------------------


def _trace(columns: _Columns, block_tokens: int | None, shape: TraceFormat, tally: Tally) -> Trace:
    at_ns, inputs, outputs, ids, counts, prefixes = (np.frombuffer(column, column.typecode) for column in columns)
    size = block_tokens or _block_size(inputs, counts, prefixes, shape.block_tokens, tally)
    backwards = int(np.count_nonzero(np.diff(at_ns) < 0))
    if backwards:
        tally.notes.append(f"the file is not in the order of time ({backwards} steps back): it was sorted")
    trace = Trace(
        at_ns=at_ns - at_ns.min(),
        input_tokens=inputs,
        output_tokens=outputs,
        block_ids=ids,
        block_tokens=_lengths(inputs, counts, prefixes, size),
        block_ends=_ends(counts),
        report=tally.report(),
    )
    return _take(trace, np.argsort(at_ns, kind="stable")) if backwards else trace


def _block_size(inputs: Ints, counts: Ints, prefixes: Ints, usual: int, tally: Tally) -> int:
    """The format's usual size, unless another one alone fits every prompt: a wrong one would change every prefix."""
    has = (counts > 0) & (prefixes < 0)
    length, count = inputs[has].astype(np.int64), counts[has].astype(np.int64)
    if not len(length):
        return usual
    fits = {size: int(np.sum((length + size - 1) // size == count)) for size in (usual, *BLOCK_SIZES)}
    size = next((size for size, prompts in fits.items() if prompts == len(length)), usual)
    told = "" if size == usual else f", not {usual} as usual: that fits the lengths of the prompts"
    tally.notes.append(f"blocks of {size} tokens{told}")
    if fits[size] < len(length):
        odd = len(length) - fits[size]
        tally.notes.append(f"{odd} prompts have more blocks than they are long, or fewer: the rest is their own text")
    return size


def _lengths(inputs: Ints, counts: Ints, prefixes: Ints, size: int) -> Ints:
    """Tokens of every block: ``size``, less for the last one of a prompt; a prefix has the length that it says."""
    ends = _ends(counts)
    before = (np.arange(ends[-1]) - np.repeat(ends[:-1], counts)) * size
    lengths = np.clip(np.repeat(inputs, counts) - before, 0, size)
    prefix = np.repeat(prefixes, counts)
    return np.where(prefix >= 0, prefix, lengths).astype(np.int32)


def _ends(counts: Ints) -> Longs:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)))


def _take(trace: Trace, order: npt.NDArray[Any]) -> Trace:
    """Those arrivals, in that order."""
    counts = np.diff(trace.block_ends)[order]
    ends = _ends(counts)
    places = np.arange(ends[-1]) + np.repeat(trace.block_ends[:-1][order] - ends[:-1], counts)
    at_ns = trace.at_ns[order]
    return Trace(
        at_ns=at_ns - at_ns[0],
        input_tokens=trace.input_tokens[order],
        output_tokens=trace.output_tokens[order],
        block_ids=trace.block_ids[places],
        block_tokens=trace.block_tokens[places],
        block_ends=ends,
        report=trace.report,
    )


# --- what is done to a trace -----------------------------------------------------------------------------------------


def fitting(trace: Trace, max_tokens: int) -> Trace:
    """Without the requests that are longer than ``max_tokens``, prompt and answer together; they are counted.

    The first of the others is at 0. Raises ``UserError`` if nothing is left.
    """
    fits = np.flatnonzero(trace.input_tokens.astype(np.int64) + trace.output_tokens <= max_tokens)
    if not len(fits):
        raise UserError(f"every request of the trace is longer than {max_tokens} tokens")
    longer = len(trace.at_ns) - len(fits)
    if not longer:
        return trace
    dropped = trace.report.dropped | {f"longer than {max_tokens} tokens": longer}
    return _take(trace, fits)._replace(report=msgspec.structs.replace(trace.report, kept=len(fits), dropped=dropped))


def described(trace: Trace) -> str:
    """One line in which a wrong unit of time shows: how many requests, in what time, how long they are."""
    count, span_s = len(trace.at_ns), float(trace.at_ns[-1]) / 1e9
    rate = f", {(count - 1) / span_s:.4g} a second" if span_s else ""
    inputs, outputs = float(trace.input_tokens.mean()), float(trace.output_tokens.mean())
    blocks = f"; {_repeated(trace):.0%} of the prompt tokens repeat a block" if len(trace.block_ids) else ""
    return f"{count} requests in {span_s:.3f} s{rate}; {inputs:.0f} tokens in, {outputs:.0f} out on average{blocks}"


def _repeated(trace: Trace) -> float:
    """The share of prompt tokens in blocks that came before: what an endless prefix cache could save."""
    first = np.unique(trace.block_ids, return_index=True)[1]
    repeated = trace.block_tokens.sum(dtype=np.int64) - trace.block_tokens[first].sum(dtype=np.int64)
    return float(repeated / trace.input_tokens.sum(dtype=np.int64))


# --- on disk ---------------------------------------------------------------------------------------------------------


def save(trace: Trace, directory: Path) -> None:
    """Leave a trace in ``directory``, for ``load`` in other processes."""
    for name in _ARRAYS:
        np.save(directory / f"{name}.npy", getattr(trace, name))
    (directory / "report.json").write_bytes(msgspec.json.encode(trace.report))


def load(directory: Path) -> Trace:
    """A trace that ``save`` left. Its arrays are mapped: each worker has in memory what it touches."""
    arrays: dict[str, Any] = {name: np.load(directory / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    return Trace(**arrays, report=msgspec.json.decode((directory / "report.json").read_bytes(), type=Report))
