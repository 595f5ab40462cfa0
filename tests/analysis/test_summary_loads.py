"""What a summary and a verdict say of rates that change, of traces, and of stages with names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from synthetic_run import record, table, worker

from inferometer.analysis.summary import summarise
from inferometer.config.models import Plan

STEPS = {"type": "steps", "steps": [{"rate": 5.0, "duration_s": 1.0}, {"rate": 20.0, "duration_s": 1.0}]}


def summary_of(load: dict[str, Any], **stage: Any) -> dict[str, Any]:
    """Of 40 requests whose latency doubles in the end."""
    stages = [{"load": load, "num_requests": 40, **stage}]
    plan = Plan.model_validate({"target": {}, "scenario": {"stages": stages}})
    records = [record(i, sent_ms=100 * i + 20, scheduled_ms=100 * i, ttft_ms=50 if i < 20 else 200) for i in range(40)]
    made = summarise(plan, table(records), [worker(planned=40)])
    json.dumps(made, allow_nan=False)
    found: dict[str, Any] = made["stages"][0]
    return found


@pytest.mark.parametrize(
    ("load", "words"),
    [
        ({"type": "open", "rate": {"type": "linear", "start": 1, "end": 20}}, "1 to 20"),
        ({"type": "open", "rate": STEPS}, "5, 20"),
        ({"type": "trace", "times_s": [0, 4], "speed": 2}, "trace x 2"),
    ],
)
def test_a_rate_that_changes_is_an_open_loop_in_words(load: dict[str, Any], words: str) -> None:
    stage = summary_of(load)
    assert stage["load"]["rate_per_s"] == words
    assert stage["metrics"]["ttft"]["mean_ms"]["value"] > stage["metrics"]["ttft_from_send"]["mean_ms"]["value"]
    assert stage["steady_window"]["length_s"] == pytest.approx(3.9)
    assert stage["verdict"]["figures"]["asked_rate_per_s"] is None
    assert stage["verdict"]["figures"]["scheduled_rate_per_s"] == pytest.approx(10)


def test_the_course_is_kept() -> None:
    assert summary_of({"type": "open", "rate": STEPS})["load"]["course"]["steps"] == STEPS["steps"]
    assert summary_of({"type": "open", "rate": 10})["load"]["course"] is None


def test_a_name_is_kept() -> None:
    assert summary_of({"type": "open", "rate": 10}, name="quiet")["name"] == "quiet"
    assert summary_of({"type": "open", "rate": 10})["name"] is None


def findings(load: dict[str, Any]) -> set[str]:
    return {finding["name"] for finding in summary_of(load)["verdict"]["findings"]}


def test_latency_that_rises_with_the_rate_is_no_finding() -> None:
    assert "late / early e2el" in findings({"type": "open", "rate": 10})
    assert "late / early e2el" not in findings({"type": "open", "rate": STEPS})
    assert "late / early e2el" not in findings({"type": "trace", "times_s": [0, 4]})
