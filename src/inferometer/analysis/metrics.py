"""The definition of every latency, in one table; ``docs/metrics.md`` is made from it.

A metric is a function from a frame to samples in milliseconds. Only successful requests have latencies, and a value
that is undefined is absent, never zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

import msgspec
import numpy as np

from inferometer.analysis.frame import Bools, Floats, Frame, Ints
from inferometer.analysis.stats import Samples
from inferometer.analysis.streamed import Histogram, pooled
from inferometer.config.models import Slo

_MS_PER_NS = 1e-6


class Metric(msgspec.Struct, frozen=True):
    """One latency: its names, its definition in words and in code.

    ``from_send``: counted from the send of the last try, where that is not the start.
    """

    name: str
    label: str
    title: str
    unit: Literal["ms"]
    direction: Literal["lower"]
    definition: str
    absent: str
    samples: Callable[[Frame], Samples | Histogram]
    from_send: bool = False


def output_counts(frame: Frame) -> Floats:
    """Output tokens of each request: what the record says, else its number of token events. Shape (requests,)."""
    return np.where(np.isnan(frame.output_tokens), frame.event_counts, frame.output_tokens)


def carried_tokens(frame: Frame) -> Floats:
    """Tokens that each token event carries. Shape (events,).

    Where the server did not tell: one each if the counts agree; else one in the first event, and the rest evenly over
    the later ones, so that the mean gap per token stays TPOT. All of them, if there is only one event.
    """
    events, tokens = frame.event_counts, output_counts(frame)
    spread = tokens != events
    later = np.where(spread, (tokens - 1) / np.maximum(events - 1, 1), 1.0)
    guess = np.repeat(np.maximum(later, 0), events)
    guess[_first_events(frame)] = np.where(spread & (events == 1), tokens, 1.0)[events > 0]
    return np.where(np.isnan(frame.event_tokens), guess, frame.event_tokens)


def guessed_rows(frame: Frame) -> Bools:
    """Requests whose tokens per event had to be spread evenly. Shape (requests,)."""
    unknown: Bools = ~frame.tells_tokens & (frame.event_counts > 0) & (output_counts(frame) != frame.event_counts)
    return unknown


def connects(frame: Frame) -> Bools:
    """Requests that began with opening a connection of their own, and were not tried again. Shape (requests,)."""
    own: Bools = (frame.connected_ns > frame.first_try_ns) & (frame.attempts == 1)
    return own


def met(frame: Frame, slos: Iterable[Slo]) -> Bools:
    """Successful requests whose every value of every SLO's metric is at most its limit. Shape (requests,).

    A limit on a metric that is undefined for a request (TPOT of one token) does not apply to that request.
    """
    good = frame.ok.copy()
    for slo in slos:
        good &= _worst(frame, slo.metric) <= slo.limit_ms
    return good


def unjudged(frame: Frame, slos: Iterable[Slo]) -> Bools:
    """Successful requests to which at least one of the SLOs does not apply. Shape (requests,)."""
    missing = np.zeros(len(frame), np.bool_)
    for slo in slos:
        missing |= np.isneginf(_worst(frame, slo.metric))
    return missing & frame.ok


def _worst(frame: Frame, metric: str) -> Floats:
    """The largest value of a metric in each request, -inf where it has none."""
    samples = BY_NAME[metric].samples(frame)
    if isinstance(samples, Histogram):
        return samples.worst
    worst = np.full(len(frame), -np.inf)
    np.maximum.at(worst, samples.rows, samples.values)
    return worst


def _first_events(frame: Frame) -> Ints:
    return frame.event_offsets[:-1][frame.event_counts > 0]


def _per_request(frame: Frame, values_ns: Floats) -> Samples:
    rows = np.flatnonzero(frame.ok & np.isfinite(values_ns))
    return Samples(values_ns[rows] * _MS_PER_NS, rows)


def _ttft(frame: Frame) -> Samples:
    return _per_request(frame, frame.first_token_ns - frame.start_ns)


def _ttft_from_send(frame: Frame) -> Samples:
    return _per_request(frame, frame.first_token_ns - frame.sent_ns)


def _e2el(frame: Frame) -> Samples:
    return _per_request(frame, frame.last_token_ns - frame.start_ns)


def _e2el_from_send(frame: Frame) -> Samples:
    return _per_request(frame, frame.last_token_ns - frame.sent_ns)


def _tpot(frame: Frame) -> Samples:
    tokens = output_counts(frame)
    steps = np.where(tokens >= 2, tokens - 1, np.nan)
    return _per_request(frame, (frame.last_token_ns - frame.first_token_ns) / steps)


def _per_token(frame: Frame, elapsed_ns: Floats) -> Samples:
    tokens = output_counts(frame)
    return _per_request(frame, elapsed_ns / np.where(tokens >= 1, tokens, np.nan))


def _ntpot(frame: Frame) -> Samples:
    return _per_token(frame, frame.last_token_ns - frame.start_ns)


def _ntpot_from_send(frame: Frame) -> Samples:
    return _per_token(frame, frame.last_token_ns - frame.sent_ns)


def _connect(frame: Frame) -> Samples:
    return _per_request(frame, np.where(connects(frame), frame.connected_ns - frame.first_try_ns, np.nan))


def _ttfb(frame: Frame) -> Samples:
    return _per_request(frame, frame.first_byte_ns - frame.sent_ns)


def _itl(frame: Frame) -> Samples | Histogram:
    return pooled(frame, _itl_in_memory)


def _event_gap(frame: Frame) -> Samples | Histogram:
    return pooled(frame, _event_gap_in_memory)


def _itl_in_memory(frame: Frame) -> Samples:
    values, rows, tokens = _gaps(frame, carried_tokens(frame))
    return Samples(values / tokens, rows, tokens)


def _event_gap_in_memory(frame: Frame) -> Samples:
    return Samples(*_gaps(frame, np.ones(len(frame.event_ns))))


def _gaps(frame: Frame, tokens: Floats) -> tuple[Floats, Ints, Floats]:
    """Times between events in ms, their requests, and the tokens of the later event. Shape (gaps,) each.

    An event that adds no token (part of a character) ends no gap: its time belongs to the next token.
    """
    keep = (tokens > 0) & frame.ok[frame.event_rows]
    first = _first_events(frame)
    keep[first] = frame.ok[frame.event_counts > 0]
    rows, times_ns = frame.event_rows[keep], frame.event_ns[keep]
    same = rows[1:] == rows[:-1]
    return np.diff(times_ns)[same] * _MS_PER_NS, rows[1:][same], tokens[keep][1:][same]


METRICS = (
    Metric(
        "ttft",
        "TTFT",
        "Time to First Token",
        "ms",
        "lower",
        "first token event - start",
        "the request has no token event, or its answer was not streamed",
        _ttft,
    ),
    Metric(
        "tpot",
        "TPOT",
        "Time per Output Token (excl. 1st token)",
        "ms",
        "lower",
        "(last token event - first token event) / (output tokens - 1), one value per request",
        "the answer has fewer than two tokens",
        _tpot,
    ),
    Metric(
        "itl",
        "ITL",
        "Inter-token Latency",
        "ms",
        "lower",
        "gap between two token events of a request / tokens that the later one carries, counted once per token",
        "the answer came in one event",
        _itl,
    ),
    Metric(
        "event_gap",
        "event gap",
        "Gap between Token Events",
        "ms",
        "lower",
        "gap between two token events of a request, whatever number of tokens they carry, counted once per event",
        "the answer came in one event",
        _event_gap,
    ),
    Metric(
        "e2el",
        "E2EL",
        "End-to-end Latency",
        "ms",
        "lower",
        "last token event - start",
        "the request has no token event",
        _e2el,
    ),
    Metric(
        "ntpot",
        "NTPOT",
        "Normalised Time per Output Token",
        "ms",
        "lower",
        "E2EL / output tokens, one value per request",
        "the answer has no token",
        _ntpot,
    ),
    Metric(
        "ttft_from_send",
        "TTFT from send",
        "Time to First Token from Send",
        "ms",
        "lower",
        "first token event - send of the last try",
        "a closed loop without retries, the request has no token event, or its answer was not streamed",
        _ttft_from_send,
        from_send=True,
    ),
    Metric(
        "e2el_from_send",
        "E2EL from send",
        "End-to-end Latency from Send",
        "ms",
        "lower",
        "last token event - send of the last try",
        "a closed loop without retries, or the request has no token event",
        _e2el_from_send,
        from_send=True,
    ),
    Metric(
        "ntpot_from_send",
        "NTPOT from send",
        "Normalised Time per Token from Send",
        "ms",
        "lower",
        "E2EL from send / output tokens, one value per request",
        "a closed loop without retries, or the answer has no token",
        _ntpot_from_send,
        from_send=True,
    ),
    Metric(
        "connect",
        "connect",
        "Connection Time",
        "ms",
        "lower",
        "connection ready, TLS included - start of the first try, where each request opens its own",
        "connections are kept alive, or the request was tried again",
        _connect,
    ),
    Metric(
        "ttfb",
        "TTFB",
        "Time to First Byte",
        "ms",
        "lower",
        "first byte of the answer - send of the last try",
        "no byte came",
        _ttfb,
    ),
)
BY_NAME = {metric.name: metric for metric in METRICS}
