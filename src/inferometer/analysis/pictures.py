"""The data of charts, reduced from rows: their size is bounded, however many requests a run has.

Rows for charts are flat dictionaries with units in the keys; times are seconds since the first send of the run.
Percentiles of ITL come from bins of ``BIN_WIDTH``, enough for a picture; the numbers of a report are those of
``summary``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from inferometer.analysis.events import tokens_in_buckets
from inferometer.analysis.frame import Floats, Frame, Ints, stage_of
from inferometer.analysis.metrics import BY_NAME
from inferometer.analysis.stats import Samples
from inferometer.analysis.window import counted
from inferometer.config.models import Open, Plan

#: The metrics that have a distribution in the charts.
DRAWN = ("ttft", "itl", "tpot", "e2el")
#: Metrics that have a heat map over time.
HEATED = ("ttft", "e2el")
#: Distributions and timelines of at most so many stages are drawn: the first, the last, and some between.
MOST_STAGES = 12
MOST_BUCKETS = 240
HEAT_COLUMNS, HEAT_ROWS = 96, 32
#: Requests of a stage in its timeline.
MOST_SPANS = 64
MOST_SAMPLES = 240
HISTOGRAM_BINS = 48
#: Relative width of a bin for ITL, the smallest value (ms) that has one, and their number.
BIN_WIDTH = 0.005
_LEAST_MS = 1e-3
_BINS = 1 + math.ceil(math.log(1e8 / _LEAST_MS) / math.log1p(BIN_WIDTH))
#: Shares at which a CDF is drawn: denser in the tail, where latencies differ.
SHARES = np.unique([*np.linspace(0.01, 0.99, 50), *np.linspace(0.9, 0.99, 19), *np.linspace(0.99, 0.999, 10)])
#: Histograms have their first and last edge at these shares; what lies beyond is counted in the outermost bins.
OUTERMOST = (0.01, 0.995)
_MS_PER_NS, _S_PER_NS = 1e-6, 1e-9
_WIDTHS_S = tuple(step * 10.0**power for power in range(-1, 7) for step in (1, 2, 5))

Row = dict[str, Any]


class Pictures(msgspec.Struct, frozen=True):
    """What the charts of one run show.

    ``cdfs``: stage, metric, share, value_ms. ``histograms``: stage, metric, low_ms, high_ms, share.
    ``heat``: metric, start_s, end_s, low_ms, high_ms, requests. ``series``: start_s, end_s, in_flight (mean),
    requests_per_s, failed_per_s, output_tokens_per_s. ``failures``: start_s, end_s, kind, requests.
    ``spans``: stage, order, scheduled_s, sent_s, first_token_s (None: no token), end_s, outcome.
    ``windows``: stage, start_s, end_s. ``drawn_stages`` are those in ``cdfs``, ``histograms`` and ``spans``.
    """

    start_ns: float
    end_ns: float
    bucket_s: float
    cdfs: list[Row]
    histograms: list[Row]
    heat: list[Row]
    series: list[Row]
    failures: list[Row]
    spans: list[Row]
    windows: list[Row]
    drawn_stages: tuple[int, ...]


class _Stage(msgspec.Struct, frozen=True):
    """One stage: its rows, and the bins of its ITL (None: not drawn)."""

    number: int
    rows: Frame
    itl_bins: Floats


def pictures(plan: Plan, frame: Frame) -> Pictures | None:
    """Reduce the measured rows of a run that count: as in its summary, without what a stage leaves out at its edges.

    None if no such request was sent. Times begin with the first send of the run, be it counted or not.
    """
    measured = frame.measured & np.isfinite(frame.first_try_ns)
    if not measured.any():
        return None
    start_ns, end_ns = float(frame.first_try_ns[measured].min()), float(frame.end_ns[measured].max())
    width_s = bucket_width_s((end_ns - start_ns) * _S_PER_NS, MOST_BUCKETS)
    count = max(1, math.ceil((end_ns - start_ns) * _S_PER_NS / width_s))
    edges_ns: Floats = start_ns + width_s * 1e9 * np.arange(1.0 + count)
    stages, tokens = _stages(plan, frame, edges_ns)
    if not stages:
        return None
    drawn = [stages[i] for i in spread(len(stages), MOST_STAGES)]
    return Pictures(
        start_ns=start_ns,
        end_ns=end_ns,
        bucket_s=width_s,
        cdfs=[row for stage in drawn for row in _cdfs(stage)],
        histograms=_histograms(drawn),
        heat=[row for metric in HEATED for row in _heat(metric, stages, start_ns, end_ns)],
        series=_series(stages, tokens, edges_ns),
        failures=_failures(stages, edges_ns),
        spans=[row for stage in drawn for row in _spans(stage, start_ns)],
        windows=[_window(stage, start_ns) for stage in stages],
        drawn_stages=tuple(stage.number for stage in drawn),
    )


def bucket_width_s(span_s: float, most: int) -> float:
    """The smallest of 0.1, 0.2, 0.5, 1 ... s of which at most so many cover the span."""
    return next((width for width in _WIDTHS_S if span_s <= width * most), _WIDTHS_S[-1])


def spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers below ``count``, evenly: the first and the last are among them."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(count, most)).round()}) if count else []


def samples(t_ns: Ints, replica: Sequence[str], name: Sequence[str], value: Floats, start_ns: float) -> list[Row]:
    """What the server said, reduced: t_s, replica, name, value (the mean of a bucket); at most 240 of each series."""
    keys = np.array([f"{one}\0{other}" for one, other in zip(name, replica, strict=True)], np.object_)
    known = np.isfinite(value)
    found: list[Row] = []
    for key in sorted(set(keys[known])):
        mine = known & (keys == key)
        times_s, values = (t_ns[mine] - start_ns) * _S_PER_NS, value[mine]
        first_s = float(times_s.min())
        width_s = bucket_width_s(float(times_s.max()) - first_s, MOST_SAMPLES)
        places = ((times_s - first_s) / width_s).astype(np.int64)
        count, sums = np.bincount(places), np.bincount(places, values)
        when = np.bincount(places, times_s)
        which, whose = key.split("\0")
        found += [
            {"t_s": _r(when[i] / count[i]), "replica": whose, "name": which, "value": _r(sums[i] / count[i])}
            for i in np.flatnonzero(count)
        ]
    return found


def _stages(plan: Plan, frame: Frame, edges_ns: Floats) -> tuple[list[_Stage], Floats]:
    """The stages that have rows that count, and the output tokens of each bucket; events are read once."""
    tokens, width_ns = np.zeros(len(edges_ns) - 1), round(edges_ns[1] - edges_ns[0])
    stages = []
    for number, stage in enumerate(plan.scenario.stages):
        rows = counted(stage_of(frame, number, open_loop=isinstance(stage.load, Open)), stage)
        if not np.isfinite(rows.first_try_ns).any():
            continue
        bins = np.zeros(_BINS)
        for _, part in rows.parts():
            itl = BY_NAME["itl"].samples(part)
            bins += np.bincount(_places(itl.values), itl.weights, _BINS)
            tokens += tokens_in_buckets(part, float(edges_ns[0]), width_ns, len(tokens))
        stages.append(_Stage(number, rows, bins))
    return stages, tokens


def _places(values_ms: Floats) -> Ints:
    steps = np.maximum(values_ms, _LEAST_MS)
    steps /= _LEAST_MS
    np.log(steps, out=steps)
    steps /= math.log1p(BIN_WIDTH)
    return np.minimum(steps.astype(np.int64), _BINS - 1)


def _centres() -> Floats:
    return np.asarray(_LEAST_MS * (1 + BIN_WIDTH) ** (np.arange(_BINS) + 0.5))


def _values(stage: _Stage, metric: str) -> tuple[Floats, Floats]:
    """Rising values (ms) of a metric and their weights."""
    if metric == "itl":
        held = np.flatnonzero(stage.itl_bins)
        return _centres()[held], stage.itl_bins[held]
    values = np.sort(BY_NAME[metric].samples(stage.rows).values)
    return values, np.ones(len(values))


def _at(values: Floats, weights: Floats, shares: Sequence[float] | Floats) -> Floats:
    """The smallest value that so large a share of the weight is at most."""
    reached = np.cumsum(weights) / weights.sum()
    return values[np.minimum(np.searchsorted(reached, np.asarray(shares) - 1e-12), len(values) - 1)]


def _cdfs(stage: _Stage) -> Iterator[Row]:
    for metric in DRAWN:
        values, weights = _values(stage, metric)
        if not len(values):
            continue
        for share, value in zip(SHARES.tolist(), _at(values, weights, SHARES).tolist(), strict=True):
            yield {"stage": stage.number, "metric": metric, "share": _r(share), "value_ms": _r(value)}


def _histograms(stages: Sequence[_Stage]) -> list[Row]:
    """Shares of the values of each stage in bins of equal ratio, which all stages have in common."""
    found: list[Row] = []
    for metric in DRAWN:
        held = [(stage.number, *_values(stage, metric)) for stage in stages]
        held = [(number, values, weights) for number, values, weights in held if len(values)]
        if not held:
            continue
        ends = np.concatenate([_at(values, weights, OUTERMOST) for _, values, weights in held])
        edges = _edges(ends, HISTOGRAM_BINS)
        for number, values, weights in held:
            shares = np.histogram(np.clip(values, edges[0], edges[-1]), edges, weights=weights)[0] / weights.sum()
            found += [
                {"stage": number, "metric": metric, "low_ms": _r(low), "high_ms": _r(high), "share": _r(share)}
                for low, high, share in zip(edges, edges[1:], shares, strict=False)
            ]
    return found


def _edges(values_ms: Floats, bins: int) -> Floats:
    """Edges in ms, each a fixed ratio above the one before, that enclose the values."""
    low, high = max(float(values_ms.min()), _LEAST_MS), max(float(values_ms.max()), _LEAST_MS)
    return np.asarray(np.geomspace(low / 1.02, high * 1.02, bins + 1))


def _heat(metric: str, stages: Sequence[_Stage], start_ns: float, end_ns: float) -> Iterator[Row]:
    """Successful requests by start and latency."""
    pairs = [(stage.rows.start_ns, BY_NAME[metric].samples(stage.rows)) for stage in stages]
    held = [(starts, found) for starts, found in pairs if isinstance(found, Samples)]  # one value per request: always
    values = np.concatenate([found.values for _, found in held])
    if not len(values):
        return
    times_s = (np.concatenate([starts[found.rows] for starts, found in held]) - start_ns) * _S_PER_NS
    width_s = bucket_width_s((end_ns - start_ns) * _S_PER_NS, HEAT_COLUMNS)
    columns = np.floor(np.maximum(times_s, 0) / width_s).astype(np.int64)  # due before the first send: a late one
    edges = _edges(values, HEAT_ROWS)
    rows = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, HEAT_ROWS - 1)
    first = columns.min()
    counts = np.bincount((columns - first) * HEAT_ROWS + rows)
    for place in np.flatnonzero(counts):
        column, row = divmod(int(place), HEAT_ROWS)
        yield {
            "metric": metric,
            "start_s": _r((column + first) * width_s),
            "end_s": _r((column + first + 1) * width_s),
            "low_ms": _r(edges[row]),
            "high_ms": _r(edges[row + 1]),
            "requests": int(counts[place]),
        }


def _series(stages: Sequence[_Stage], tokens: Floats, edges_ns: Floats) -> list[Row]:
    """Rates and load in each bucket of the whole run."""
    width_s = float(edges_ns[1] - edges_ns[0]) * _S_PER_NS
    sent = [np.isfinite(stage.rows.first_try_ns) for stage in stages]
    starts = np.concatenate([stage.rows.first_try_ns[mask] for stage, mask in zip(stages, sent, strict=True)])
    ends = np.concatenate([stage.rows.end_ns[mask] for stage, mask in zip(stages, sent, strict=True)])
    ok = np.concatenate([stage.rows.ok[mask] for stage, mask in zip(stages, sent, strict=True)])
    in_flight = np.diff(_begun_ns(starts, edges_ns) - _begun_ns(ends, edges_ns)) / (width_s * 1e9)
    done, failed = (np.histogram(ends[mask], edges_ns)[0] / width_s for mask in (ok, ~ok))
    return [
        {
            "start_s": _r(i * width_s),
            "end_s": _r((i + 1) * width_s),
            "in_flight": _r(max(0.0, in_flight[i])),
            "requests_per_s": _r(done[i]),
            "failed_per_s": _r(failed[i]),
            "output_tokens_per_s": _r(tokens[i] / width_s),
        }
        for i in range(len(tokens))
    ]


def _begun_ns(times_ns: Floats, edges_ns: Floats) -> Floats:
    """Up to each edge: the time since each of the times, summed."""
    ordered = np.sort(times_ns)
    sums = np.concatenate([np.zeros(1), np.cumsum(ordered - edges_ns[0])])
    before = np.searchsorted(ordered, edges_ns)
    begun: Floats = before * (edges_ns - edges_ns[0]) - sums[before]
    return begun


def _failures(stages: Sequence[_Stage], edges_ns: Floats) -> list[Row]:
    ends = np.concatenate([stage.rows.end_ns[~stage.rows.ok] for stage in stages])
    kinds = np.concatenate([stage.rows.outcome[~stage.rows.ok] for stage in stages])
    width_s = float(edges_ns[1] - edges_ns[0]) * _S_PER_NS
    found: list[Row] = []
    for kind in sorted(set(kinds)):
        counts = np.histogram(ends[kinds == kind], edges_ns)[0]
        found += [
            {"start_s": _r(i * width_s), "end_s": _r((i + 1) * width_s), "kind": kind, "requests": int(counts[i])}
            for i in np.flatnonzero(counts)
        ]
    return found


def _spans(stage: _Stage, start_ns: float) -> Iterator[Row]:
    """Requests of a stage by the time of their send, evenly chosen."""
    rows = stage.rows
    by_time = np.argsort(rows.first_try_ns, kind="stable")
    sent = by_time[: int(np.isfinite(rows.first_try_ns).sum())]
    for order, place in enumerate(spread(len(sent), MOST_SPANS)):
        i = sent[place]
        times = (rows.start_ns[i], rows.first_try_ns[i], rows.first_token_ns[i], rows.end_ns[i])
        start_s, sent_s, first_s, end_s = ((float(each) - start_ns) * _S_PER_NS for each in times)
        yield {
            "stage": stage.number,
            "order": order,
            "scheduled_s": _r(min(start_s, sent_s)),
            "sent_s": _r(sent_s),
            "first_token_s": _r(first_s) if math.isfinite(first_s) else None,
            "end_s": _r(end_s),
            "outcome": str(rows.outcome[i]),
        }


def _window(stage: _Stage, start_ns: float) -> Row:
    return {
        "stage": stage.number,
        "start_s": _r((float(np.nanmin(stage.rows.first_try_ns)) - start_ns) * _S_PER_NS),
        "end_s": _r((float(stage.rows.end_ns.max()) - start_ns) * _S_PER_NS),
    }


def _r(value: Any) -> float:
    """Six significant digits: a pixel needs no more."""
    return float(f"{float(value):.6g}")
