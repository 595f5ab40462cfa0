"""Rows for ClickHouse, and regressions against the runs before."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from inferometer.export import clickhouse
from inferometer.export.foreign.evaluation import Result

NOW = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
NATIVE: dict[str, Any] = {
    "date": "20260302-091500",
    "model_id": "org/some-model",
    "num_prompts": 10,
    "completed": 9,
    "failed": 1,
    "request_throughput": 0.8,
    "output_throughput": 100.0,
    "p95_ttft_ms": 70.0,
    "mean_tpot_ms": None,
    "p99.9_itl_ms": float("nan"),
}


def result(scenario: str = "light", run: str = "20260302_091500", **changes: Any) -> Result:
    return Result(scenario, run, "f.json", NATIVE | changes, NOW)


def rows(*results: Result, tag: str | None = "release-1") -> list[dict[str, Any]]:
    return clickhouse.rows(results, tag, None, "1.0.0", NOW)


def test_a_row_has_the_columns_of_the_table_in_their_order() -> None:
    found = rows(result())
    assert all(list(row) == list(clickhouse.COLUMNS) for row in found)
    assert re.findall(r"^    (\w+) ", clickhouse.SCHEMA, re.MULTILINE) == list(clickhouse.COLUMNS)
    assert clickhouse.INSERT.startswith("INSERT INTO vllm_eval.results (run_id, model_tag, metric_name,")


def test_figures_that_are_known_have_a_row_each_and_others_none() -> None:
    values = {row["metric_name"]: row["metric_value"] for row in rows(result())}
    assert values == {
        "light_success_rate": 0.9,
        "light_request_throughput": 0.8,
        "light_output_throughput": 100.0,
        "light_completed": 9.0,
        "light_failed": 1.0,
        "light_ttft_p95_ms": 70.0,
    }
    first = rows(result())[0]
    assert first["timestamp"] == "2026-03-02 09:15:00.000"
    assert (first["metric_category"], first["evaluation_framework"]) == ("performance", "vllm_benchmark")
    assert json.loads(first["metadata"])["num_prompts"] == 10


def test_the_run_id_is_that_of_the_run() -> None:
    both = rows(result("light"), result("heavy"))
    assert len({row["run_id"] for row in both}) == 1
    assert both == rows(result("light"), result("heavy"))
    other = rows(result(run="20260303_091500"))
    assert other[0]["run_id"] != both[0]["run_id"]
    assert clickhouse.rows([result()], None, "mine", "1", NOW)[0]["run_id"] == "mine"
    assert rows(result(), tag=None)[0]["model_tag"] == "org/some-model"


@pytest.mark.parametrize(
    ("change", "severity"),
    [
        ({"p95_ttft_ms": 77.0}, None),
        ({"p95_ttft_ms": 78.0}, "medium"),
        ({"p95_ttft_ms": 85.0}, "high"),
        ({"p95_ttft_ms": 10.0}, None),
        ({"output_throughput": 91.0}, None),
        ({"output_throughput": 89.0}, "medium"),
        ({"output_throughput": 70.0}, "high"),
        ({"output_throughput": 500.0}, None),
        ({"duration": 500.0}, None),
    ],
)
def test_worse_is_higher_for_latencies_and_lower_for_rates(change: dict[str, float], severity: str | None) -> None:
    past = rows(result(run="20260301_000000", duration=1.0))
    found = clickhouse.regressions(rows(result(**change)), past)
    assert [one["severity"] for one in found] == ([severity] if severity else [])


def test_a_run_is_not_part_of_its_own_past() -> None:
    current = rows(result(p95_ttft_ms=700.0))
    assert clickhouse.regressions(current, current) == []


def test_only_the_last_thirty_days_of_the_same_model_count() -> None:
    past = rows(result(run="20260301_000000"))
    current = rows(result(p95_ttft_ms=700.0))
    long_ago = (NOW - timedelta(days=31)).strftime(clickhouse.TIME)
    assert clickhouse.regressions(current, [row | {"timestamp": long_ago} for row in past]) == []
    assert clickhouse.regressions(current, [row | {"model_tag": "other"} for row in past]) == []
    assert clickhouse.regressions(current, [row | {"metric_value": 0.0} for row in past]) == []
    assert len(clickhouse.regressions(current, past)) == 1


def test_prometheus_gets_a_gauge_for_each_figure() -> None:
    page = clickhouse.as_prometheus(rows(result(), result("heavy")))
    assert "# TYPE vllm_benchmark_ttft_p95_ms gauge\n" in page
    assert 'vllm_benchmark_ttft_p95_ms{scenario="heavy",model_tag="release-1"} 70.0\n' in page
