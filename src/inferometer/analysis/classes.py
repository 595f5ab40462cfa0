"""Latencies of each class of requests, where a workload is a mix."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferometer.analysis.frame import Frame
from inferometer.analysis.parts import Percents, named, part, tells_cached, with_text

METRICS = ("ttft", "tpot", "e2el")


def classes(rows: Frame, percents: Percents, seed: int = 0) -> list[dict[str, Any]] | None:
    """One entry for each class, by name, then one for requests without a class; None if no request has one."""
    names = named(rows.request_class)
    if not names:
        return None
    cached = tells_cached(rows)
    chosen = [(name, with_text(rows.request_class, name)) for name in names]
    rest = ~np.logical_or.reduce([mask for _, mask in chosen])
    return [
        {"request_class": name} | part(rows.where(mask), METRICS, percents, seed, tells_cached=cached)
        for name, mask in [*chosen, (None, rest)]
        if mask.any()
    ]
