"""What requests spend on connecting, waiting and in all, with the figures that ``ab`` (Apache Bench) shows.

Of runs whose answers were not streamed, or whose requests opened a connection each: elsewhere the times of tokens tell
more.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from inferometer.analysis.frame import Frame
from inferometer.analysis.metrics import BY_NAME, connects
from inferometer.analysis.window import whole_window

#: Percent of the requests that are served within a time; the last is all of them.
PERCENTS = (50, 66, 75, 80, 90, 95, 98, 99, 100)
_METRICS = {"connect": "connect", "ttfb": "TTFB", "e2el": "total"}


def connection_times(rows: Frame) -> dict[str, Any]:
    """Three keys of a stage, each None where there is nothing to tell.

    ``connection_times``: least, mean, standard deviation, median and most of each step, in ms. ``served_within_ms``:
    by percent of the successful requests. ``ms_per_request``: length of the window / successful requests.
    """
    streamed = np.isfinite(rows.first_token_ns[rows.ok]).any()
    window = whole_window(rows)
    if window is None or not rows.ok.any() or (streamed and not connects(rows).any()):
        return dict.fromkeys(("connection_times", "served_within_ms", "ms_per_request"))
    total_ms = BY_NAME["e2el"].samples(rows).values
    return {
        "connection_times": [entry for name in _METRICS if (entry := _step(rows, name)) is not None],
        "served_within_ms": {str(percent): float(np.percentile(total_ms, percent)) for percent in PERCENTS},
        "ms_per_request": 1e3 * window.length_s / int(np.count_nonzero(rows.ok)),
    }


def _step(rows: Frame, name: str) -> dict[str, Any] | None:
    values = BY_NAME[name].samples(rows).values
    if not len(values):
        return None
    return {
        "step": _METRICS[name],
        "min_ms": float(values.min()),
        "mean_ms": float(values.mean()),
        "std_ms": float(values.std()),
        "median_ms": float(np.median(values)),
        "max_ms": float(values.max()),
    }
