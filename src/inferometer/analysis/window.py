"""Over which time rates are taken, and how much was in flight."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import numpy as np

from inferometer.analysis.events import tokens_in_buckets
from inferometer.analysis.frame import Bools, Floats, Frame
from inferometer.analysis.metrics import carried_tokens, output_counts
from inferometer.config.models import Load, Open, Stage, Users

#: A closed loop is at its full level from this share of its concurrency on.
FULL_LEVEL = 0.95
_NS_PER_S = 1_000_000_000


class Window(msgspec.Struct, frozen=True):
    """A span of time since the run's epoch; it is never empty."""

    start_ns: float
    end_ns: float

    @property
    def length_s(self) -> float:
        """Its length in seconds, above zero."""
        return (self.end_ns - self.start_ns) / _NS_PER_S


class Rate(msgspec.Struct, frozen=True):
    """One throughput: the part of each request (or its tokens) that falls into a window, summed / window length."""

    name: str
    title: str
    unit: str
    direction: Literal["higher"]
    definition: str
    amounts: Callable[[Frame, Window], Floats]


def whole_window(frame: Frame) -> Window | None:
    """From the first send to the last completion, be it a success or a failure; None if nothing was sent."""
    sent = np.isfinite(frame.first_try_ns)
    if not sent.any():
        return None
    return _window(float(frame.first_try_ns[sent].min()), float(frame.end_ns.max()))


def counted(frame: Frame, stage: Stage) -> Frame:
    """Without the requests of the stage's first ``warmup_s`` and last ``cooldown_s`` seconds, by their start."""
    if not len(frame) or not (stage.warmup_s or stage.cooldown_s):
        return frame
    first_ns = frame.scheduled_ns.min() + stage.warmup_s * _NS_PER_S
    last_ns = frame.scheduled_ns.max() - stage.cooldown_s * _NS_PER_S
    return frame.where((frame.scheduled_ns >= first_ns) & (frame.scheduled_ns <= last_ns))


def steady_window(frame: Frame, load: Load, *, pausing: bool = False) -> Window | None:
    """The time during which the load was at its full level; None if it never was.

    Closed loop: from the first moment with at least 95 % of the concurrency in flight to the last time that this
    level is left; dips inside stay in. Open loop: from the first to the last scheduled time. Where users pause between
    requests (``pausing``): from the moment when all of them are there to the last send.
    """
    if isinstance(load, Open):
        return _window(float(frame.scheduled_ns.min()), float(frame.scheduled_ns.max())) if len(frame) else None
    if pausing or isinstance(load, Users):
        sent_ns = frame.first_try_ns[np.isfinite(frame.first_try_ns)]
        there_ns = load.users / load.spawn_rate * _NS_PER_S if isinstance(load, Users) else 0.0
        return _window(float(sent_ns.min()) + there_ns, float(sent_ns.max())) if len(sent_ns) else None
    times_ns, in_flight = in_flight_steps(frame)
    full = np.flatnonzero(in_flight >= FULL_LEVEL * load.concurrency)
    if not len(full):
        return None
    return _window(float(times_ns[full[0]]), float(times_ns[full[-1] + 1]))


def in_flight_steps(frame: Frame) -> tuple[Floats, Floats]:
    """Times (ns) at which the number of requests in flight changes, and the number from then on. Shape (changes,) each.

    In flight is from the send to the end; where one ends in the nanosecond in which another starts, the end is first.
    """
    sent = np.isfinite(frame.first_try_ns)
    times_ns = np.concatenate([frame.end_ns[sent], frame.first_try_ns[sent]])
    steps = np.repeat([-1.0, 1.0], int(sent.sum()))
    by_time = np.argsort(times_ns, kind="stable")
    return times_ns[by_time], np.cumsum(steps[by_time])


def peak_in_flight(frame: Frame) -> int:
    """The largest number of requests in flight at one moment."""
    return int(in_flight_steps(frame)[1].max(initial=0))


def mean_in_flight(frame: Frame, window: Window) -> float:
    """Requests in flight, averaged over the time of the window."""
    return float(np.nansum(_overlap_ns(frame, window)) / (window.end_ns - window.start_ns))


def peak_output_tokens_per_s(frame: Frame, windows: Sequence[Window]) -> list[float]:
    """Most output tokens of successful requests in one bucket of 1 s, counted from the start of each window."""
    starts_ns = [window.start_ns for window in windows]
    latest_ns = [float(frame.end_ns.max(initial=start_ns)) for start_ns in starts_ns]
    seconds = [np.zeros(1 + int((last - first) // _NS_PER_S)) for first, last in zip(starts_ns, latest_ns, strict=True)]
    for _, part in frame.parts() if windows else ():
        for number, start_ns in enumerate(starts_ns):
            seconds[number] += tokens_in_buckets(part, start_ns, _NS_PER_S, len(seconds[number]))
    return [float(tokens.max()) for tokens in seconds]


def throughput(frame: Frame, window: Window) -> dict[str, float]:
    """Every rate of ``RATES`` in a window, by name; a rate whose tokens nobody counted is absent.

    In the whole window each successful request counts once, with all its tokens. At the edges of a narrower window
    it counts in part, so that numerator and denominator cover the same time.
    """
    chosen = frame.where(frame.ok)
    sums = {rate.name: float(rate.amounts(chosen, window).sum()) for rate in RATES}
    return {name: total / window.length_s for name, total in sums.items() if np.isfinite(total)}


def per_second(selected: Bools, window: Window) -> float:
    """Selected requests / window length."""
    return float(np.count_nonzero(selected) / window.length_s)


def _window(start_ns: float, end_ns: float) -> Window | None:
    return Window(start_ns, end_ns) if end_ns > start_ns else None


def _overlap_ns(frame: Frame, window: Window) -> Floats:
    ends, starts = np.minimum(frame.end_ns, window.end_ns), np.maximum(frame.first_try_ns, window.start_ns)
    overlap: Floats = np.maximum(ends - starts, 0)
    return overlap


def _requests(frame: Frame, window: Window) -> Floats:
    """The share of each request's time in flight that lies in the window."""
    return _overlap_ns(frame, window) / np.maximum(frame.end_ns - frame.first_try_ns, 1)


def _prompt_tokens(frame: Frame, window: Window) -> Floats:
    return _requests(frame, window) * frame.prompt_tokens


def _output_tokens(frame: Frame, window: Window) -> Floats:
    """Output tokens of each request by the time at which its events arrived; only at the edges are these needed."""
    whole = (frame.first_token_ns >= window.start_ns) & (frame.last_token_ns <= window.end_ns)
    apart = (frame.first_token_ns > window.end_ns) | (frame.last_token_ns < window.start_ns)
    amounts = np.where(whole, output_counts(frame), 0.0)
    cut = ~(whole | apart)
    shares = [_share_inside(part, window) for _, part in frame.where(cut).parts()]
    amounts[cut] = output_counts(frame)[cut] * np.concatenate([np.zeros(0), *shares])
    return amounts


def _share_inside(frame: Frame, window: Window) -> Floats:
    """The share of each request's tokens that arrived in the window."""
    weights = carried_tokens(frame)
    inside = (frame.event_ns >= window.start_ns) & (frame.event_ns <= window.end_ns)
    arrived = np.bincount(frame.event_rows, weights * inside, minlength=len(frame))
    total = np.bincount(frame.event_rows, weights, minlength=len(frame))
    return arrived / np.where(total > 0, total, 1)


def _total_tokens(frame: Frame, window: Window) -> Floats:
    return _prompt_tokens(frame, window) + _output_tokens(frame, window)


RATES = (
    Rate("requests_per_s", "Request throughput", "req/s", "higher", "successful requests / window length", _requests),
    Rate(
        "output_tokens_per_s",
        "Output token throughput",
        "tok/s",
        "higher",
        "output tokens of successful requests / window length",
        _output_tokens,
    ),
    Rate(
        "total_tokens_per_s",
        "Total token throughput",
        "tok/s",
        "higher",
        "prompt and output tokens of successful requests / window length",
        _total_tokens,
    ),
)
