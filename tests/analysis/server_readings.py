"""Samples of servers as telemetry has them, and the view that comes of them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from inferometer.analysis.server_metrics import UP
from inferometer.analysis.server_samples import Span, from_table
from inferometer.analysis.server_view import Seen, server_view
from inferometer.records.telemetry import SCHEMA, Reading, batch

S = 1_000_000_000
BOUNDS = (0.1, 0.2, math.inf)
STAGE = Span(10 * S, 20 * S)


def up(*times_s: float, replica: str = "a", value: float = 1.0) -> list[Reading]:
    return [Reading(round(t * S), "page", replica, "", UP, value) for t in times_s]


def told(
    name: str,
    samples: dict[float, float],
    *,
    source: str = "vllm",
    replica: str = "a",
    series: str = "",
) -> list[Reading]:
    return [Reading(round(t * S), source, replica, series, name, value) for t, value in samples.items()]


def histogram(name: str, samples: dict[float, Sequence[float]], replica: str = "a") -> list[Reading]:
    """Samples by time: sum, then the cumulative buckets of ``BOUNDS``."""
    return [
        Reading(round(t * S), "vllm", replica, "", name, total, buckets[-1], BOUNDS, buckets)
        for t, (total, *buckets) in samples.items()
    ]


def view(*readings: list[Reading], span: Span = STAGE, seen: Seen | None = None) -> dict[str, Any]:
    import pyarrow as pa

    rows = [row for part in readings for row in part]
    found = server_view(from_table(pa.Table.from_batches([batch(rows)], SCHEMA)), span, seen or Seen())
    assert found is not None
    json.dumps(found, allow_nan=False)
    return found


def counters(found: dict[str, Any], source: str = "vllm") -> dict[str, float]:
    return {name: one["gain"] for name, one in found["engines"][source]["counters"].items()}
