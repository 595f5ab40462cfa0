"""Run directories that are written here, with known latencies: no server is needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from inferometer.config import files
from inferometer.config.models import Plan
from inferometer.records import store
from inferometer.records.record import Record

MS = 1_000_000


def write_run(
    folder: Path,
    seed: int,
    *,
    slower: float = 1.0,
    output_tokens: int = 4,
    levels: tuple[int, ...] = (2, 8),
    failed: int = 0,
    repeats: int = 1,
    **scenario: Any,
) -> Path:
    """A finished run: 100 requests at each level, TTFT lognormal around 50 ms x ``slower``, gaps of 10 ms."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    stages = [{"load": {"type": "closed", "concurrency": level}, "num_requests": 100} for level in levels]
    plan = Plan.model_validate(
        {
            "target": {"name": "sim", "base_url": "http://127.0.0.1:1", "model": "tiny"},
            "scenario": {"stages": stages, "repeats": repeats} | scenario,
        }
    )
    (folder / store.PLAN).write_text(files.dump(plan))
    told = {"schema_version": 1, "state": "complete", "started": f"2026-01-{seed + 1:02}T00:00:00+00:00"}
    (folder / store.CONTEXT).write_text(json.dumps(told | {"client": {"system": "Linux", "cpus_allowed": 2}}))
    writer = store.Writer(folder, 0)
    ttft_ms = slower * 50 * np.exp(0.1 * rng.standard_normal(100 * len(levels) * repeats))
    writer.append(
        [_row(number, float(ttft), output_tokens, number % 100 < failed) for number, ttft in enumerate(ttft_ms)]
    )
    writer.close()
    store.finish(folder)
    return folder


def _row(number: int, ttft_ms: float, tokens: int, bad: bool) -> Record:
    sent_ns = number * 200 * MS
    events = (sent_ns + ttft_ms * MS + 10 * MS * np.arange(tokens)).astype(np.int64)
    times: dict[str, Any] = {"first_token_ns": int(events[0]), "last_token_ns": int(events[-1]), "event_ns": events}
    if bad:
        times = {"event_ns": np.zeros(0, np.int64)}
    return Record(
        stage=number // 100,
        worker=0,
        index=number % 100,
        phase="measured",
        scheduled_ns=sent_ns,
        sent_ns=sent_ns,
        end_ns=int(events[-1]),
        outcome="http_5xx" if bad else "ok",
        asked_prompt_tokens=100,
        asked_output_tokens=tokens,
        prompt_tokens=100,
        output_tokens=None if bad else tokens,
        prompt_tokens_source="usage",
        output_tokens_source="usage",
        model="tiny",
        model_answered="tiny",
        clock="kernel",
        reads=tokens,
        **times,
    )
