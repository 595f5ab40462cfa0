"""What the server wrote, what the product reported, and the difference."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

Times = npt.NDArray[np.int64]
Key = tuple[int, int]


@dataclass(frozen=True)
class Served:
    """One request as the server saw it, in ns of CLOCK_MONOTONIC."""

    arrival_ns: int
    written_ns: Times


@dataclass(frozen=True)
class Reported:
    """One successful, measured request as the product reported it, in ns of CLOCK_MONOTONIC."""

    key: Key
    scheduled_ns: int
    sent_ns: int
    first_token_ns: int
    event_ns: Times
    output_tokens: int
    merged_reads: int


def key_of(request_id: str) -> Key | None:
    """``(stage, index)`` of ``<something>-<stage>-<index>``; None for a request of another kind."""
    parts = request_id.rsplit("-", 2)
    if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
        return None
    return int(parts[1]), int(parts[2])


def read_served(dump: Path) -> list[tuple[Key | None, Served]]:
    """The server's dump, in order of arrival."""
    rows = [json.loads(line) for line in dump.read_text().splitlines()]
    return [(key_of(row["id"]), Served(row["arrival_ns"], np.array(row["written_ns"], np.int64))) for row in rows]


def read_run(folder: Path) -> list[Reported]:
    """A run directory.

    Raises:
        ValueError: A measured request failed: a benchmark that loses requests proves nothing.
    """
    epoch_ns = int(json.loads((folder / "context.json").read_text())["epoch_monotonic_ns"])
    table = pq.read_table(folder / "requests.parquet")
    table = table.filter(pc.equal(table["phase"], "measured"))
    failed = table.filter(pc.not_equal(table["outcome"], "ok"))
    if failed.num_rows:
        raise ValueError(f"{failed.num_rows} of {table.num_rows} requests failed, the first: {failed['outcome'][0]}")
    events = [np.asarray(value.values, np.int64) + epoch_ns for value in table["event_ns"]]
    names = ("stage", "index", "scheduled_ns", "sent_ns", "first_token_ns", "output_tokens", "merged_reads")
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    return [
        Reported((stage, index), scheduled + epoch_ns, sent + epoch_ns, first + epoch_ns, event_ns, tokens or 0, merged)
        for (stage, index, scheduled, sent, first, tokens, merged), event_ns in zip(rows, events, strict=True)
    ]


def pair(reported: list[Reported], served: list[tuple[Key | None, Served]]) -> list[tuple[Reported, Served]]:
    """Each report with its truth, the last attempt where there were several. Raises ValueError if one has none."""
    by_key = {key: one for key, one in served if key is not None}
    missing = [one.key for one in reported if one.key not in by_key]
    if missing:
        raise ValueError(f"{len(missing)} reported requests were not seen by the server, the first: {missing[0]}")
    return [(one, by_key[one.key]) for one in reported]


def stamp_errors_us(pairs: list[tuple[Reported, Served]]) -> npt.NDArray[np.float64]:
    """Reported minus written of every event. Raises ValueError if a request has not one event per token written."""
    uneven = [one.key for one, truth in pairs if len(one.event_ns) != len(truth.written_ns)]
    if uneven:
        raise ValueError(f"{len(uneven)} requests have not as many events as were written, the first: {uneven[0]}")
    return np.concatenate([one.event_ns - truth.written_ns for one, truth in pairs]) / 1e3


def mean_gap_ms(times: list[Times]) -> float:
    """Mean gap between events, pooled over requests; nan where no request has two."""
    gaps_ns = np.concatenate([np.diff(one) for one in times]) if times else np.empty(0)
    return float(gaps_ns.mean() / 1e6) if len(gaps_ns) else float("nan")


def third_medians(samples: tuple[tuple[float, int], ...], skip_s: float) -> tuple[float, float]:
    """Medians of the first and the last third of the (s, value) samples after ``skip_s``."""
    values = np.array([value for at_s, value in samples if at_s >= skip_s], np.float64)
    third = max(1, len(values) // 3)
    return float(np.median(values[:third])), float(np.median(values[-third:]))
