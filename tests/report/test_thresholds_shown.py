"""Thresholds of a plan: judged in the summary of its run, and shown on the console."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).parent.parent / "analysis"))  # records with known times are made there

from synthetic_run import record, table, worker

from inferometer.analysis.summary import summarise
from inferometer.config.models import ClosedLoop, Plan, Scenario, Stage, Target
from inferometer.report.console import render


def summary(*thresholds: str) -> dict[str, Any]:
    """Two stages of 20 requests: TTFT 50 to 69 ms and 60 to 79 ms, TPOT 10 ms."""
    stages = tuple(Stage(load=ClosedLoop(concurrency=c), num_requests=20) for c in (1, 2))
    plan = Plan(
        target=Target(name="lab", base_url="http://lab:8000"),
        scenario=Scenario(name="ladder", stages=stages, thresholds=thresholds),
    )
    rows = [
        record(i, stage=stage, sent_ms=3000 * stage + 90 * i, ttft_ms=50 + 10 * stage + i)
        for stage in (0, 1)
        for i in range(20)
    ]
    made = summarise(plan, table(rows), [worker(stage=0, planned=20), worker(stage=1, planned=20)])
    json.dumps(made, allow_nan=False)
    return made


def test_without_thresholds_nothing_is_said() -> None:
    made = summary()
    assert made["thresholds"] == []
    assert "Thresholds" not in render(made)


@pytest.mark.parametrize(
    ("threshold", "met"),
    [
        ("ttft_p50_ms<=65", [True, False]),
        ("ttft_p50_ms<=65 @ concurrency 2", [False]),
        ("tpot_mean_ms<=10.5", [True, True]),
        ("success_rate>=100%", [True, True]),
        ("ttft_p33_ms<=60", [True, False]),  # a percentile that nobody else asked for
        ("goodput_per_s>=1", [False, False]),  # not measured: there are no SLOs
        ("ttft_p50_ms<=1000 @ concurrency 9", [False]),  # there is no such stage
    ],
)
def test_every_stage_is_judged(threshold: str, met: list[bool]) -> None:
    assert [one["met"] for one in summary(threshold)["thresholds"]] == met


def test_each_has_a_tick_or_a_cross_below_the_stages() -> None:
    made = summary("ttft_p50_ms<=65", "tpot_mean_ms<=10.5")
    shown = render(made)
    assert "Thresholds: 1 of 4 missed." in shown
    assert "✓ concurrency 1: TTFT p50 59.5 ms, is at most 65.0 ms" in shown
    assert "✗ concurrency 2: TTFT p50 69.5 ms, should be at most 65.0 ms" in shown
    assert "Thresholds: all met.\n+ " in render(summary("tpot_mean_ms<=10.5"), unicode=False)
