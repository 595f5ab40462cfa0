"""Records with known times, and the frames made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from inferometer.analysis.frame import Frame, from_table, stage_of
from inferometer.records import store
from inferometer.records.record import Record, WorkerStage

MS = 1_000_000


def record(
    index: int = 0,
    *,
    sent_ms: float = 0.0,
    scheduled_ms: float | None = None,
    ttft_ms: float = 50.0,
    gaps_ms: Sequence[float] = (10.0, 10.0, 10.0),
    event_tokens: Sequence[int] | None = None,
    **changed: Any,
) -> Record:
    """A successful request with its first token after ``ttft_ms`` and more events after ``gaps_ms``."""
    events_ns = np.rint((sent_ms + ttft_ms + np.cumsum([0.0, *gaps_ms])) * MS).astype(np.int64)
    fields = {
        "stage": 0,
        "worker": 0,
        "index": index,
        "phase": "measured",
        "scheduled_ns": round((sent_ms if scheduled_ms is None else scheduled_ms) * MS),
        "sent_ns": round(sent_ms * MS),
        "first_token_ns": int(events_ns[0]),
        "last_token_ns": int(events_ns[-1]),
        "end_ns": int(events_ns[-1]),
        "event_ns": events_ns,
        "event_tokens": None if event_tokens is None else np.array(event_tokens, np.int32),
        "outcome": "ok",
        "asked_prompt_tokens": 100,
        "asked_output_tokens": len(events_ns),
        "prompt_tokens": 100,
        "output_tokens": len(events_ns),
        "prompt_tokens_source": "usage",
        "output_tokens_source": "usage",
        "model": "tiny",
        "model_answered": "tiny",
        "clock": "kernel",
        "reads": len(events_ns) + 1,
    }
    return Record(**{**fields, **changed})


def failure(index: int = 0, *, sent_ms: float = 0.0, end_ms: float = 5.0, **changed: Any) -> Record:
    """A request that ended without an answer."""
    nothing = {"first_token_ns": None, "last_token_ns": None, "output_tokens": None, "prompt_tokens": None}
    fields = {**nothing, "end_ns": round(end_ms * MS), "event_ns": np.zeros(0, np.int64), "outcome": "http_5xx"}
    return record(index, sent_ms=sent_ms, **{**fields, **changed})


def table(records: Sequence[Record]) -> pa.Table:
    return pa.Table.from_batches([store.batch(list(records))] if records else [], store.SCHEMA)


def frame(*records: Record, open_loop: bool = False) -> Frame:
    return stage_of(from_table(table(records)), 0, open_loop=open_loop)


def worker(**changed: Any) -> WorkerStage:
    """A worker that had nothing to complain about."""
    fields = {
        "stage": 0,
        "worker": 0,
        "started_ns": 0,
        "ended_ns": 10_000 * MS,
        "planned": None,
        "sent": 1,
        "cap_hits": 0,
        "late_builds": 0,
        "cpu_ns": 1_000 * MS,
        "loop_lag_p50_ns": 0,
        "loop_lag_p99_ns": 0,
        "loop_lag_max_ns": 0,
        "clock_steps": 0,
        "steal_ns": 0,
    }
    return WorkerStage(**{**fields, **changed})


def whole(index: int, *, began_ms: float, connect_ms: float, wait_ms: float, **changed: Any) -> Record:
    """Not streamed: sent as soon as its connection was open, answered at once, 4 ms after the first byte."""
    sent_ms = began_ms + connect_ms
    own = {
        "first_try_ns": round(began_ms * MS),
        "connected_ns": round(sent_ms * MS),
        "first_byte_ns": round((sent_ms + wait_ms) * MS),
        "first_token_ns": None,
        "event_tokens": [8],
        "output_tokens": 8,
    }
    return record(index, sent_ms=sent_ms, scheduled_ms=began_ms, ttft_ms=wait_ms + 4, gaps_ms=[], **{**own, **changed})
