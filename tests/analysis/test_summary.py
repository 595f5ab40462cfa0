from __future__ import annotations

import json
from typing import Any

import pytest
from synthetic_run import failure, record, table, worker

from inferometer.analysis.summary import summarise
from inferometer.config.models import ClosedLoop, OpenLoop, Plan, ReportOptions, Scenario, Slo, Stage, Target
from inferometer.records.record import Record


def plan(*loads: ClosedLoop | OpenLoop, **scenario: Any) -> Plan:
    stages = tuple(Stage(load=load, num_requests=20) for load in loads)
    return Plan(
        target=Target(name="lab", base_url="http://lab:8000/v1?key=s3cret", model="tiny"),
        scenario=Scenario(name="ladder", stages=stages, **scenario),
        report=ReportOptions(percentiles=(50.0, 99.9)),
    )


def one_stage(*records: Record, load: ClosedLoop | OpenLoop | None = None, **scenario: Any) -> dict[str, Any]:
    made = summarise(plan(load or ClosedLoop(concurrency=1), **scenario), table(records), [worker(planned=20)])
    json.dumps(made, allow_nan=False)
    stage: dict[str, Any] = made["stages"][0]
    return stage


def test_the_top_says_what_was_run_and_no_password() -> None:
    made = summarise(plan(ClosedLoop(concurrency=1)), table([record()]), [])
    assert made["schema_version"] == 1
    assert made["plan"] == "ladder"
    assert made["target"] == {
        "name": "lab",
        "base_url": "http://lab:8000/v1",
        "api": "openai-chat",
        "model": "tiny",
    }
    assert made["report"]["percentiles"] == ["50", "99.9"]


def test_counts_and_failures() -> None:
    stage = one_stage(
        record(0), failure(1), failure(2, detail="boom"), failure(3, outcome="connect_refused", sent_ns=None)
    )
    assert stage["counts"] == {
        "planned": 20,
        "sent": 3,
        "left_out": 0,
        "ok": 1,
        "failed": 3,
        "failures": [
            {"kind": "http_5xx", "count": 2, "first_example": "boom"},
            {"kind": "connect_refused", "count": 1, "first_example": None},
        ],
    }


def test_metrics_carry_units_intervals_and_counts() -> None:
    stage = one_stage(*(record(i, sent_ms=80 * i, ttft_ms=50 + i % 5) for i in range(20)))
    ttft = stage["metrics"]["ttft"]
    assert ttft["count"] == 20
    assert ttft["mean_ms"]["value"] == pytest.approx(52)
    assert ttft["median_ms"] == ttft["percentiles_ms"]["50"]
    assert list(ttft["percentiles_ms"]) == ["50", "90", "95", "99", "99.9"]
    assert ttft["percentiles_ms"]["99"]["low"] is None
    assert stage["metrics"]["itl"]["count"] == 60
    assert "ttft_from_send" not in stage["metrics"]


def test_an_open_loop_has_both_series() -> None:
    records = [record(i, sent_ms=100 * i + 20, scheduled_ms=100 * i) for i in range(20)]
    stage = one_stage(*records, load=OpenLoop(rate=10))
    assert stage["metrics"]["ttft"]["mean_ms"]["value"] == pytest.approx(70)
    assert stage["metrics"]["ttft_from_send"]["mean_ms"]["value"] == pytest.approx(50)
    assert stage["load"]["rate_per_s"] == 10
    assert one_stage(record(), load=OpenLoop(rate=float("inf")))["load"]["rate_per_s"] == "inf"


def test_windows_and_throughput() -> None:
    stage = one_stage(*(record(i, sent_ms=80 * i) for i in range(20)))
    assert stage["window"] == pytest.approx({"start_s": 0, "end_s": 1.6, "length_s": 1.6})
    assert stage["steady_window"] == stage["window"]
    assert stage["throughput"]["requests_per_s"] == pytest.approx(12.5)
    assert stage["throughput"]["total_tokens_per_s"] == pytest.approx(12.5 * 104)
    assert stage["throughput"]["peak_in_flight"] == 1
    assert stage["throughput"]["peak_output_tokens_per_s"] == 48  # the 12 requests that ended in the first second


def test_lengths_asked_and_got() -> None:
    stage = one_stage(record(0, asked_output_tokens=8), record(1, output_tokens_source="events"))
    assert stage["lengths"]["output_tokens"] == {
        "asked_mean_tokens": 6,
        "got_mean_tokens": 4,
        "got_total_tokens": 8,
        "max_relative_error": 0.5,
        "sources": {"usage": 1, "events": 1},
    }


def test_goodput_and_attainment_count_failures() -> None:
    slos = (Slo(metric="ttft", limit_ms=50),)
    stage = one_stage(record(0), record(1, ttft_ms=51), failure(2), failure(3), slos=slos)
    assert stage["slos"]["good"] == 1
    assert stage["slos"]["attainment"] == 0.25
    assert stage["slos"]["goodput_per_s"] == pytest.approx(1 / 0.081)
    assert one_stage(record())["slos"] is None


def test_only_stages_that_left_a_trace() -> None:
    made = summarise(
        plan(*(ClosedLoop(concurrency=c) for c in (1, 2, 4, 8))),
        table([record(0), record(0, stage=1, phase="warmup")]),
        [worker(stage=2)],
    )
    assert [stage["stage"] for stage in made["stages"]] == [0, 1, 2]
    json.dumps(made, allow_nan=False)
    assert [stage["verdict"]["verdict"] for stage in made["stages"][1:]] == ["INVALID", "INVALID"]


@pytest.mark.parametrize("records", [[failure(sent_ns=None)], [failure()], [record(prompt_tokens=None)]])
def test_whatever_happened_is_strict_json(records: list[Record]) -> None:
    for load in (ClosedLoop(concurrency=3), OpenLoop(rate=5)):
        assert one_stage(*records, load=load, slos=(Slo(metric="tpot", limit_ms=1),))


def test_a_killed_run_falls_back_to_the_plan() -> None:
    made = summarise(plan(ClosedLoop(concurrency=1)), table([record()]), [])
    assert made["stages"][0]["counts"]["planned"] == 20
