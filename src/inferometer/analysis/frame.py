"""The records of a run as columns, ready for arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from inferometer.records.record import COLUMNS

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]

_EVENTS = frozenset({"event_ns", "event_tokens", "event_offsets", "source"})


class Events(NamedTuple):
    """The token events of some rows: how many each row has, when they were, and their tokens (NaN: unknown)."""

    counts: Ints
    event_ns: Ints
    event_tokens: Floats


#: Reads the events of the rows with these rising numbers, in order, in pieces that fit into memory.
Source = Callable[[Ints], Iterator[Events]]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Frame:
    """One row per request, one array per column of ``records.record.Record``.

    Numbers are float64 of shape (requests,) with NaN for "did not happen" or "was not told"; whole nanoseconds stay
    exact up to 104 days. Texts are objects with None. The token events of row ``i`` are
    ``event_offsets[i]:event_offsets[i + 1]`` of ``event_ns`` and ``event_tokens`` (NaN where the number of tokens is
    unknown). ``start_ns`` is where latencies start: the send (of the first try), or the scheduled time in an open loop.

    The events of a large run stay on disk: then ``source`` reads those of rows by their numbers ``row``, and
    ``event_ns`` and ``event_tokens`` are empty. What needs events goes through ``parts``.
    """

    stage: Floats
    worker: Floats
    turn: Floats
    prefix_group: Floats
    scheduled_ns: Floats
    first_try_ns: Floats
    sent_ns: Floats
    connected_ns: Floats
    first_byte_ns: Floats
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
    request_class: Texts
    replica: Texts
    clock: Texts
    ok: Bools
    measured: Bools
    row: Ints
    tells_tokens: Bools
    start_ns: Floats
    event_ns: Ints
    event_tokens: Floats
    event_offsets: Ints
    source: Source | None = None

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
        if mask.all():
            return self
        kept_events = np.repeat(mask, self.event_counts) if self.source is None else slice(0)
        return Frame(
            **self._columns(mask),
            event_ns=self.event_ns[kept_events],
            event_tokens=self.event_tokens[kept_events],
            event_offsets=_offsets(self.event_counts[mask]),
            source=self.source,
        )

    def parts(self) -> Iterator[tuple[int, Frame]]:
        """The rows with their events in memory: as a whole, or in stretches, each with the place of its first row."""
        if self.source is None:
            yield 0, self
            return
        first = 0
        for counts, event_ns, event_tokens in self.source(self.row):
            columns = self._columns(slice(first, first + len(counts)))
            yield first, Frame(**columns, event_ns=event_ns, event_tokens=event_tokens, event_offsets=_offsets(counts))
            first += len(counts)

    def _columns(self, chosen: Bools | slice) -> dict[str, Any]:
        return {f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name not in _EVENTS}


_FIELDS = frozenset(f.name for f in fields(Frame))


def from_table(table: pa.Table) -> Frame:
    """Columns of an Arrow table that has those of ``records.record.COLUMNS`` and both event lists, order kept."""
    return _frame(table, events_of(table))


def events_of(table: pa.Table) -> Events:
    """The two event lists of a table."""
    event_counts, known_counts = (_list_lengths(table[name]) for name in ("event_ns", "event_tokens"))
    event_ns, known_tokens = (_items(table[name]) for name in ("event_ns", "event_tokens"))
    tokens = _per_event(event_counts, known_counts, known_tokens)
    return Events(event_counts, event_ns.astype(np.int64, copy=False), tokens)


def stored(pieces: Iterable[tuple[int, pa.Table]], source: Source) -> Frame:
    """The rows of all pieces without their events, which ``source`` reads again.

    Args:
        pieces: tables as for ``from_table``, each with the number of its first row; they may be large together.
        source: gives the events of rows by number.
    """
    no_ns, no_tokens = np.zeros(0, np.int64), np.zeros(0)
    rows = [
        (first, _frame(table, Events(_list_lengths(table["event_ns"]), no_ns, no_tokens), source))
        for first, table in pieces
    ]
    names = [f.name for f in fields(Frame) if f.name not in _EVENTS and f.name != "row"]
    return Frame(
        **{name: np.concatenate([getattr(frame, name) for _, frame in rows]) for name in names},
        row=np.concatenate([frame.row + first for first, frame in rows]),
        event_ns=no_ns,
        event_tokens=no_tokens,
        event_offsets=_offsets(np.concatenate([frame.event_counts for _, frame in rows])),
        source=source,
    )


def stage_of(frame: Frame, stage: int, *, open_loop: bool) -> Frame:
    """The measured requests of one stage. In an open loop their latencies start at the scheduled time."""
    chosen = frame.where((frame.stage == stage) & frame.measured)
    if not open_loop:
        return chosen
    columns = {f.name: getattr(chosen, f.name) for f in fields(chosen)}
    return Frame(**{**columns, "start_ns": chosen.scheduled_ns})


def _frame(table: pa.Table, events: Events, source: Source | None = None) -> Frame:
    """The columns of a table with these events."""
    columns = {name: _READ[kind](table[name]) for name, kind in COLUMNS if name in _FIELDS}
    # NaN where nothing was sent: a try that never got a connection has no latency
    columns["first_try_ns"] = np.fmin(columns["first_try_ns"], columns["sent_ns"]) + 0 * columns["sent_ns"]
    return Frame(
        **columns,
        ok=np.equal(columns["outcome"], "ok").astype(np.bool_),
        measured=np.equal(_texts(table["phase"]), "measured").astype(np.bool_),
        row=np.arange(table.num_rows),
        tells_tokens=_list_lengths(table["event_tokens"]) == events.counts,
        start_ns=columns["first_try_ns"],
        event_ns=events.event_ns,
        event_tokens=events.event_tokens,
        event_offsets=_offsets(events.counts),
        source=source,
    )


def _numbers(column: Any) -> Floats:
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _texts(column: Any) -> Texts:
    """Texts that are equal are one object: few differ, and there may be millions."""
    encoded = column.combine_chunks().dictionary_encode()
    names = np.array([*encoded.dictionary.to_pylist(), None], np.object_)
    places: Ints = encoded.indices.fill_null(len(names) - 1).to_numpy()
    return names[places]


_READ: dict[str, Callable[[Any], Any]] = {"int32": _numbers, "int64": _numbers, "string": _texts}


def _list_lengths(column: Any) -> Ints:
    """Length of each list, 0 for null."""
    lengths = [chunk.value_lengths().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    known: Ints = np.nan_to_num(np.concatenate([np.zeros(0), *lengths])).astype(np.int64)
    return known


def _items(column: Any) -> Floats | Ints:
    """The items of all lists in a row."""
    items = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(items) if len(items) > 1 else items[0] if items else np.zeros(0, np.int64)


def _per_event(event_counts: Ints, known_counts: Ints, known_tokens: Floats | Ints) -> Floats:
    """Tokens of each event: NaN for requests that do not tell one number per event."""
    told = known_counts == event_counts
    if not (told & (event_counts > 0)).any():
        return np.broadcast_to(np.nan, int(event_counts.sum()))
    tokens = np.full(int(event_counts.sum()), np.nan)
    tokens[np.repeat(told, event_counts)] = known_tokens[np.repeat(told, known_counts)]
    return tokens


def _offsets(counts: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
