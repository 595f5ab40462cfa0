"""A run with everything that a report can show: several stages, failures, SLOs, a verdict that is not VALID."""

from __future__ import annotations

import random
from functools import cache
from typing import Any

import pyarrow as pa

from inferometer.analysis import server_samples
from inferometer.analysis.frame import from_table
from inferometer.analysis.pictures import pictures
from inferometer.analysis.summary import summarise
from inferometer.config.models import Plan
from inferometer.records import store, telemetry
from inferometer.records.record import Record
from inferometer.report.content import Content, Judged

MS = 1_000_000
#: Text that would run, or end a script or a table, if a page did not escape it.
HOSTILE = "</script><script>document.title='taken'</script><img src=http://evil.example/x onerror=alert(1)> | *x* `y`"


def _record(stage: int, index: int, level: int, rng: random.Random) -> Record:
    import numpy as np

    sent = 20_000 * stage + 60 * index
    ttft = 20 + 4 * level + rng.expovariate(1 / 6)
    events = np.cumsum([sent + ttft, *(rng.gauss(6 + level / 8, 0.4) for _ in range(20))])
    told: dict[str, Any] = {
        "stage": stage,
        "worker": 0,
        "index": index,
        "phase": "measured",
        "scheduled_ns": sent * MS,
        "sent_ns": sent * MS,
        "asked_prompt_tokens": 256,
        "asked_output_tokens": 21,
        "clock": "kernel",
    }
    if index % 19 == 18:
        broken = {"outcome": "http_5xx", "detail": HOSTILE, "event_ns": np.zeros(0, np.int64)}
        return Record(**told, **broken, end_ns=(sent + 12) * MS)
    events_ns = (events * MS).astype(np.int64)
    return Record(
        **told,
        outcome="ok",
        event_ns=events_ns,
        first_token_ns=int(events_ns[0]),
        last_token_ns=int(events_ns[-1]),
        end_ns=int(events_ns[-1]),
        prompt_tokens=256,
        output_tokens=21,
        prompt_tokens_source="usage",
        output_tokens_source="usage",
        model="tiny",
        model_answered="tiny",
        reads=22,
    )


@cache
def plan(levels: tuple[int, ...] = (1, 4, 16)) -> Plan:
    stages = [{"load": {"type": "closed", "concurrency": level}, "num_requests": 120} for level in levels]
    slos = [{"metric": "ttft", "limit_ms": 60.0}, {"metric": "tpot", "limit_ms": 20.0}]
    scenario = {"name": "evening", "stages": stages, "slos": slos}
    target = {"base_url": "http://lab:8000", "model": HOSTILE}
    return Plan.model_validate({"target": target, "scenario": scenario, "seed": 7})


@cache
def rows(levels: tuple[int, ...] = (1, 4, 16)) -> pa.Table:
    rng = random.Random(5)
    records = [_record(stage, i, level, rng) for stage, level in enumerate(levels) for i in range(120)]
    return pa.Table.from_batches([store.batch(records)], store.SCHEMA)


#: What two replicas say: at 42 s one is at its highest, at 44 s the other.
GAUGES = {
    "requests_running": {"a": {42: 10.0, None: 2.0}, "b": {44: 9.0, None: 3.0}},
    "kv_cache_usage": {"a": {42: 0.9, None: 0.2}, "b": {None: 0.1}},
    "gpu_memory_used_bytes": {"a": {None: 14.0 * 2**30}, "b": {None: 15.0 * 2**30}},
    "gpu_temperature_c": {"a": {None: 60.0}, "b": {43: 71.0, None: 55.0}},
}


def told() -> server_samples.Told:
    """``GAUGES`` once a second; memory and temperature by way of their GPUs."""
    readings = [
        telemetry.Reading(t * 1000 * MS, "dcgm" if name.startswith("gpu") else "vllm", replica, "", name, value)
        for t in range(50)
        for name, replicas in GAUGES.items()
        for replica, values in replicas.items()
        for value in (values.get(t, values[None]),)
    ]
    return server_samples.from_table(pa.Table.from_batches([telemetry.batch(readings)], telemetry.SCHEMA))


def served() -> Content:
    """The run with ``told``."""
    plain = content()
    summary = summarise(plan(), from_table(rows()), [], told=told())
    return content(summary=plain.summary | summary)


def content(levels: tuple[int, ...] = (1, 4, 16), **changed: Any) -> Content:
    """The run; ``levels`` are the concurrencies of its stages."""
    frame = from_table(rows(levels))
    told = {"state": "complete", "sessions": 1, "prompts": {"note": "token ids"}}
    server = [
        {"t_s": float(t), "replica": replica, "name": name, "value": value}
        for t in range(0, 40, 2)
        for replica in ("a", "b")
        for name, value in (("requests_running", t / 4), ("kv_cache_usage", 0.011), ("gpu_memory_used_bytes", 14.9e9))
    ]
    fields: dict[str, Any] = {
        "summary": summarise(plan(levels), frame, []) | told,
        "context": {
            "started": "2026-10-01T12:34:56+00:00",
            "plan_sha256": "ab" * 32,
            "client": {"cpus": 8, "cpus_allowed": 4, "system": "Linux", "python": "3.12.1"},
            "run_context": {"gpu": "NVIDIA L4", "kubernetes": None},
        },
        "plan": plan(levels).model_dump(mode="json"),
        "pictures": pictures(plan(levels), frame),
        "server": server,
        "reading": ("**TTFT degrades first.** It grows 3 times from 1 to 16.",),
        "thresholds": (Judged("ttft_p95_ms<=50", "16", "TTFT p95 97 ms", met=False),),
    }
    return Content(**(fields | changed))
