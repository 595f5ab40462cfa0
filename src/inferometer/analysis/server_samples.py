"""What servers said, as arrays: gauges at every moment, and what counters and histograms gained between two moments.

A counter that falls was reset: its server was started anew, and has counted what it shows since. A counter that was
not there yet at a moment at which its server answered had counted nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inferometer.analysis.frame import Bools, Floats, Ints
from inferometer.analysis.server_metrics import EDGE, SERVER_METRICS, UP

if TYPE_CHECKING:
    import pyarrow as pa

#: A sample holds for this long, or this many intervals, whichever is more; then its server counts as silent.
HOLD_S = 2.5
HOLD_INTERVALS = 2.5
#: After the end of a stage a server may still count for this long what the client has received already.
SETTLE_NS = 5_000_000_000
_NS_PER_S = 1e9


class Key(NamedTuple):
    """Whose figure: of which engine or tool, which server, which part of it."""

    source: str
    replica: str
    series: str
    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One figure over time, by rising time. Shape (samples,) each.

    ``values`` are those of gauges and counters and the sums of histograms; histograms have ``counts``, too, and their
    ``bounds`` and cumulative ``buckets`` per sample, or None where a sample has none.
    """

    t_ns: Ints
    values: Floats
    counts: Floats
    bounds: Sequence[tuple[float, ...] | None]
    buckets: Sequence[tuple[float, ...] | None]


class Asked(NamedTuple):
    """When a replica was asked, whether it answered, and whether at the edge of a load. Shape (samples,) each."""

    t_ns: Ints
    answered: Bools
    at_edge: Bools


class Told(NamedTuple):
    """All of a run: tracks by key, and when each replica was asked."""

    tracks: dict[Key, Track]
    asked: dict[str, Asked]


class Span(NamedTuple):
    """A stage: its window, and when the next request of anyone was sent, in ns since the run's epoch."""

    start_ns: float
    end_ns: float
    until_ns: float = math.inf


class Gain(NamedTuple):
    """What a counter, or a histogram, gained. ``buckets`` are per bucket, not cumulative; None if unknown."""

    value: float
    observations: float
    resets: int
    bounds: tuple[float, ...] | None = None
    buckets: Floats | None = None


def from_table(table: pa.Table) -> Told:
    """Readings as ``records.telemetry`` keeps them, in any order."""
    columns = {name: table[name].to_pylist() for name in table.column_names}
    rows: dict[Key, list[int]] = defaultdict(list)
    keys = map(Key._make, zip(*(columns[name] for name in Key._fields), strict=True))
    for row, key in enumerate(keys):
        rows[key].append(row)
    tracks = {key: _track(columns, own) for key, own in rows.items() if key.name in SERVER_METRICS}
    asked: dict[str, list[int]] = defaultdict(list)
    for key, own in rows.items():
        if key.name == UP:
            asked[key.replica] += own
    known = {key.replica for key in tracks} - set(asked)  # a Prometheus was asked about it, not the replica itself
    times = {replica: _times(track for key, track in tracks.items() if key.replica == replica) for replica in known}
    return Told(
        tracks,
        {replica: _asked(columns, own) for replica, own in asked.items()}
        | {
            replica: Asked(t_ns, np.full(len(t_ns), fill_value=True), np.zeros(len(t_ns), np.bool_))
            for replica, t_ns in times.items()
        },
    )


def _asked(columns: dict[str, list[Any]], rows: list[int]) -> Asked:
    track = _track(columns, rows)
    at_edge = {columns["t_ns"][row] for row in rows if columns["series"][row] == EDGE}
    return Asked(track.t_ns, track.values > 0, np.isin(track.t_ns, list(at_edge)))


def _track(columns: dict[str, list[Any]], rows: list[int]) -> Track:
    times = np.array([columns["t_ns"][row] for row in rows], np.int64)
    order = np.argsort(times, kind="stable")
    chosen = [rows[place] for place in order]
    bounds, buckets = ([_tuple(columns[name][row]) for row in chosen] for name in ("bounds", "buckets"))
    values, counts = (
        np.array([columns[name][row] for row in chosen], np.float64) for name in ("value", "observations")
    )
    return Track(times[order], values, counts, bounds, buckets)


def _tuple(value: Any) -> tuple[float, ...] | None:
    return None if value is None else tuple(value)


def _times(tracks: Iterable[Track]) -> Ints:
    return np.unique(np.concatenate([track.t_ns for track in tracks]))


# --- which samples belong to a stage ---------------------------------------------------------------------------------


def edges(asked: Asked, span: Span) -> tuple[int, int] | None:
    """The moments between which a stage is counted: the last sample before it, and the one at its end.

    Of a source that knows no edges that is the last one before anything else was sent. Where there is none, the nearest
    inside, or (of a source that is asked rarely) the first behind the end; None with fewer than two moments.
    """
    times_ns, at_end = asked.t_ns[asked.answered], asked.t_ns[asked.answered & asked.at_edge]
    before, after = times_ns[times_ns <= span.start_ns], times_ns[times_ns >= span.end_ns]
    latest_ns = min(span.until_ns, span.end_ns + SETTLE_NS)
    own, marked = (times[times <= latest_ns] for times in (after, at_end[at_end >= span.end_ns]))
    inside = times_ns[(times_ns > span.start_ns) & (times_ns < span.end_ns)]
    firsts, lasts = (before[-1:], inside[:1], after[:1]), (marked[:1], own[-1:], after[:1], inside[-1:])
    first = next((int(found[0]) for found in firsts if len(found)), None)
    last = next((int(found[0]) for found in lasts if len(found)), None)
    return None if first is None or last is None or last <= first else (first, last)


# --- gauges ----------------------------------------------------------------------------------------------------------


def at_moments(tracks: Sequence[Track], start_ns: float, end_ns: float) -> tuple[Ints, Floats]:
    """Values of several tracks at every moment at which one of them was sampled in a span.

    Returns:
        Moments, shape (moments,), and values, shape (tracks, moments): the last known one, NaN where that is too old.
    """
    moments = _times(tracks)
    moments = moments[(moments >= start_ns) & (moments <= end_ns)]
    values = np.full((len(tracks), len(moments)), np.nan)
    for row, track in enumerate(tracks):
        place = np.searchsorted(track.t_ns, moments, side="right") - 1
        known = place >= 0
        age_ns = moments - track.t_ns[place]
        fresh = known & (age_ns <= hold_ns(track.t_ns))
        values[row, fresh] = track.values[place[fresh]]
    return moments, values


def hold_ns(times_ns: Ints) -> float:
    """For how long one of these samples stands for what came after it."""
    usual_ns = float(np.median(np.diff(times_ns))) if len(times_ns) > 1 else 0.0
    return max(HOLD_S * _NS_PER_S, HOLD_INTERVALS * usual_ns)


# --- counters and histograms -----------------------------------------------------------------------------------------


def gained(track: Track, first_ns: int, last_ns: int) -> Gain | None:
    """What a counter or histogram gained from one moment to another; None if it was not seen in between."""
    inside = np.flatnonzero((track.t_ns >= first_ns) & (track.t_ns <= last_ns))
    if not len(inside):
        return None
    seen_first = bool(track.t_ns[inside[0]] == first_ns)
    is_histogram = bool(np.isfinite(track.counts[inside]).all())
    rising = track.counts if is_histogram else track.values
    fell = np.concatenate([[not seen_first], np.diff(rising[inside]) < 0])
    # pieces between resets; what a piece begins with counts, unless it is what was there at the first moment
    value, count = _sum_of(track.values[inside], fell), _sum_of(track.counts[inside], fell)
    resets = int(np.count_nonzero(fell[1:]))
    if not is_histogram:
        return Gain(value, math.nan, resets)
    return Gain(value, count, resets, *_buckets(track, inside, fell))


def _sum_of(values: Floats, fell: Ints) -> float:
    steps = np.diff(values, prepend=values[0])
    return float(np.where(fell, values, steps).sum())


def _buckets(track: Track, inside: Ints, fell: Ints) -> tuple[tuple[float, ...] | None, Floats | None]:
    """Per bucket; None where a sample has none, its server came back with other bounds, or they contradict."""
    bounds = track.bounds[inside[0]]
    told = [track.buckets[place] for place in inside]
    if bounds is None or any(track.bounds[place] != bounds for place in inside) or any(one is None for one in told):
        return None, None
    cumulative = np.array(told, np.float64)
    steps = np.diff(cumulative, axis=0, prepend=cumulative[:1])
    total = np.where(fell[:, None], cumulative, steps).sum(axis=0)
    own = np.diff(total, prepend=0.0)
    return (bounds, own) if (own >= 0).all() else (None, None)


def together(gains: Sequence[Gain]) -> Gain | None:
    """The gains of several series or replicas as one; buckets only if all have the same bounds. None of none."""
    if not gains:
        return None
    value, count = math.fsum(one.value for one in gains), math.fsum(one.observations for one in gains)
    resets, bounds = sum(one.resets for one in gains), gains[0].bounds
    alike = [one.buckets for one in gains if one.bounds == bounds and one.buckets is not None]
    if len(alike) < len(gains):
        return Gain(value, count, resets)
    return Gain(value, count, resets, bounds, np.sum(alike, axis=0))


class Quantile(NamedTuple):
    """A quantile of a histogram: interpolated, and the bounds (of its bucket, or less) between which it is for sure."""

    value: float
    low: float
    high: float


def quantile(gain: Gain, share: float) -> Quantile | None:
    """A quantile by linear interpolation in its bucket, as ``histogram_quantile`` of PromQL does it.

    But never above what the mean allows: of times with a mean of 0.02 ms half are below 0.04 ms (Markov), though
    the first bucket ends at 300. None without values or buckets, and above the last finite bound, where nothing is
    known.
    """
    if gain.bounds is None or gain.buckets is None or not gain.buckets.sum() > 0:
        return None
    cumulative = np.cumsum(gain.buckets)
    rank = share * cumulative[-1]
    place = int(np.searchsorted(cumulative, rank, side="left"))
    low, high = 0.0 if place == 0 else gain.bounds[place - 1], gain.bounds[place]
    if not math.isfinite(high):
        return None
    below = 0.0 if place == 0 else float(cumulative[place - 1])
    inside = float(gain.buckets[place])
    value = low + (high - low) * ((rank - below) / inside if inside > 0 else 1.0)
    mean = gain.value / gain.observations if gain.value > 0 and gain.observations > 0 else math.inf
    most = max(low, mean / (1 - share)) if share < 1 else math.inf
    return Quantile(min(value, most), low, min(high, most))
