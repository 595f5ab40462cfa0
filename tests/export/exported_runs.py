"""Runs with known times, in memory and as directories, and results as other tools write them (made up)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent / "analysis"))  # records with known times are made there

from synthetic_run import failure, record, table, whole, worker

from inferometer.analysis.frame import from_table
from inferometer.analysis.summary import summarise
from inferometer.config import files
from inferometer.config.models import ClosedLoop, Load, Plan, ReportOptions, Scenario, Slo, Stage, Target
from inferometer.export.run import Run
from inferometer.records import store
from inferometer.records.record import Record

__all__ = ["failure", "record", "whole"]

#: Wall clock and monotonic clock at the run's epoch: 2026-03-02 08:15:00 UTC, and 1000 s after the start of the host.
CONTEXT = {
    "epoch_unix_ns": 1_772_439_300_000_000_000,
    "epoch_monotonic_ns": 1_000_000_000_000,
    "plan_sha256": "0" * 64,
    "started": "2026-03-02T08:15:00+00:00",
    "state": "complete",
}
LIMITS = (Slo(metric="ttft", limit_ms=100), Slo(metric="tpot", limit_ms=50))


def plan(*loads: Load, target: dict[str, Any] | None = None, warmup_s: float = 0.0, **scenario: Any) -> Plan:
    stages = tuple(Stage(load=load, num_requests=20, warmup_s=warmup_s) for load in loads)
    return Plan(
        target=Target(**{"name": "lab", "base_url": "http://lab:8000", "model": "org/tiny", **(target or {})}),
        scenario=Scenario(name="ladder", stages=stages, **scenario),
        report=ReportOptions(percentiles=(50.0, 95.0, 99.0)),
    )


def run(records: Sequence[Record], *loads: Load, context: Any = CONTEXT, **scenario: Any) -> Run:
    """A run of these loads, one closed loop if none is given."""
    made = plan(*(loads or (ClosedLoop(concurrency=4),)), **scenario)
    rows = table(records)
    reports = [worker(stage=stage) for stage in range(len(made.scenario.stages))]
    summary = summarise(made, rows, reports) | {"state": "complete"}
    return Run("here", made, context, summary, from_table(rows), lambda: iter([rows]))


def ladder() -> list[Record]:
    """Two stages of 20 requests of 4 tokens, and a failure in the second."""
    first = [record(i, sent_ms=90 * i, ttft_ms=50 + i) for i in range(20)]
    second = [record(i, stage=1, sent_ms=3000 + 50 * i, ttft_ms=60 + i, gaps_ms=(10, 12, 14)) for i in range(20)]
    return [*first, *second, failure(20, stage=1, sent_ms=4100, end_ms=4105, detail="HTTP 503: no room")]


LADDER = (ClosedLoop(concurrency=1), ClosedLoop(concurrency=2))


def directory(path: Path, records: Sequence[Record], *loads: Load, **scenario: Any) -> Path:
    """The same as a run directory."""
    path.mkdir()
    (path / store.PLAN).write_text(files.dump(plan(*(loads or LADDER), **scenario)))
    (path / store.CONTEXT).write_text(json.dumps(CONTEXT))
    writer = store.Writer(path, 0)
    writer.append(list(records))
    writer.close()
    store.finish(path)
    return path
