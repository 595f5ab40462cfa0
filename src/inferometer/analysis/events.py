"""The token events of successful requests, where they are in memory."""

from __future__ import annotations

import numpy as np

from inferometer.analysis.frame import Floats, Frame, Ints
from inferometer.analysis.metrics import carried_tokens, output_counts


def one_token_each(frame: Frame) -> bool:
    """Whether each token event of a successful request carries one token, as far as its request tells in total."""
    told = frame.tells_tokens & (frame.event_counts > 0)
    uneven = output_counts(frame) != frame.event_counts
    return not (frame.ok & (told | uneven)).any()


def token_events(frame: Frame) -> tuple[Ints, Floats | None]:
    """When the events of successful requests were (ns), and the tokens that each carries; None: one each. (events,)."""
    kept = slice(None) if frame.ok.all() else np.repeat(frame.ok, frame.event_counts)
    tokens = None if one_token_each(frame) else carried_tokens(frame)[kept]
    return frame.event_ns[kept], tokens


def tokens_in_buckets(frame: Frame, start_ns: float, width_ns: int, count: int) -> Floats:
    """Output tokens of successful requests in each of so many buckets of time from ``start_ns`` on. (count,)."""
    event_ns, tokens = token_events(frame)
    buckets = (event_ns - int(np.ceil(start_ns))) // width_ns
    if len(buckets) and not 0 <= buckets.min() <= buckets.max() < count:
        inside = (buckets >= 0) & (buckets < count)
        buckets, tokens = buckets[inside], tokens if tokens is None else tokens[inside]
    return np.bincount(buckets, tokens, count).astype(np.float64)
