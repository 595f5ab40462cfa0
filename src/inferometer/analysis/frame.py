"""The records of a run as columns, ready for arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from inferometer.records.record import COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]

_EVENTS = frozenset({"event_ns", "event_tokens", "event_offsets"})


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One row per request, one array per column of ``records.record.Record``.

    Numbers are float64 of shape (requests,) with NaN for "did not happen" or "was not told"; whole nanoseconds stay
    exact up to 104 days. Texts are objects with None. The token events of row ``i`` are
    ``event_offsets[i]:event_offsets[i + 1]`` of ``event_ns`` and ``event_tokens`` (NaN where the number of tokens is
    unknown). ``start_ns`` is where latencies start: the send (of the first try), or the scheduled time in an open loop.
    """

    stage: Floats
    worker: Floats
    scheduled_ns: Floats
    first_try_ns: Floats
    sent_ns: Floats
    connected_ns: Floats
    first_token_ns: Floats
    last_token_ns: Floats
    end_ns: Floats
    attempts: Floats
    asked_prompt_tokens: Floats
    asked_output_tokens: Floats
    prompt_tokens: Floats
    output_tokens: Floats
    cached_tokens: Floats
    reads: Floats
    merged_reads: Floats
    read_lag_max_ns: Floats
    outcome: Texts
    retried: Texts
    detail: Texts
    prompt_tokens_source: Texts
    output_tokens_source: Texts
    model: Texts
    model_answered: Texts
    clock: Texts
    ok: Bools
    measured: Bools
    start_ns: Floats
    event_ns: Ints
    event_tokens: Floats
    event_offsets: Ints

    def __len__(self) -> int:
        return len(self.stage)

    @property
    def event_counts(self) -> Ints:
        """Token events per request, shape (requests,)."""
        return np.diff(self.event_offsets)

    @property
    def event_rows(self) -> Ints:
        """The row that owns each event, shape (events,)."""
        return np.repeat(np.arange(len(self)), self.event_counts)

    def where(self, mask: Bools) -> Frame:
        """The rows where ``mask`` is true, in the same order, with their events."""
        kept_events = np.repeat(mask, self.event_counts)
        columns = {f.name: getattr(self, f.name)[mask] for f in fields(self) if f.name not in _EVENTS}
        return Frame(
            **columns,
            event_ns=self.event_ns[kept_events],
            event_tokens=self.event_tokens[kept_events],
            event_offsets=_offsets(self.event_counts[mask]),
        )


def from_table(table: pa.Table) -> Frame:
    """Columns of an Arrow table that has those of ``records.record.COLUMNS`` and both event lists, order kept."""
    wanted = {f.name for f in fields(Frame)}
    columns = {name: _READ[kind](table[name]) for name, kind in COLUMNS if name in wanted}
    # NaN where nothing was sent: a try that never got a connection has no latency
    columns["first_try_ns"] = np.fmin(columns["first_try_ns"], columns["sent_ns"]) + 0 * columns["sent_ns"]
    event_counts, event_ns = _lists(table["event_ns"])
    known_counts, known_tokens = _lists(table["event_tokens"])
    return Frame(
        **columns,
        ok=np.equal(columns["outcome"], "ok").astype(np.bool_),
        measured=np.equal(_texts(table["phase"]), "measured").astype(np.bool_),
        start_ns=columns["first_try_ns"],
        event_ns=event_ns.astype(np.int64),
        event_tokens=_per_event(event_counts, known_counts, known_tokens),
        event_offsets=_offsets(event_counts),
    )


def stage_of(frame: Frame, stage: int, *, open_loop: bool) -> Frame:
    """The measured requests of one stage. In an open loop their latencies start at the scheduled time."""
    chosen = frame.where((frame.stage == stage) & frame.measured)
    if not open_loop:
        return chosen
    columns = {f.name: getattr(chosen, f.name) for f in fields(chosen)}
    return Frame(**{**columns, "start_ns": chosen.scheduled_ns})


def _numbers(column: Any) -> Floats:
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _texts(column: Any) -> Texts:
    return np.asarray(column.to_numpy(), dtype=np.object_)


_READ: dict[str, Callable[[Any], Any]] = {"int32": _numbers, "int64": _numbers, "string": _texts}


def _lists(column: Any) -> tuple[Ints, Floats | Ints]:
    """Length of each list (0 for null), and all their items in a row."""
    if not column.num_chunks:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    lengths = [chunk.value_lengths().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    items = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.nan_to_num(np.concatenate(lengths)).astype(np.int64), np.concatenate(items)


def _per_event(event_counts: Ints, known_counts: Ints, known_tokens: Floats | Ints) -> Floats:
    """Tokens of each event: NaN for requests that do not tell one number per event."""
    told = known_counts == event_counts
    tokens = np.full(int(event_counts.sum()), np.nan)
    tokens[np.repeat(told, event_counts)] = known_tokens[np.repeat(told, known_counts)]
    return tokens


def _offsets(counts: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
