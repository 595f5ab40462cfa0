from __future__ import annotations

from typing import Any

import pytest
from synthetic_run import MS, failure, frame, record, table, whole, worker

from inferometer.analysis.connection_times import PERCENTS, connection_times
from inferometer.analysis.summary import summarise
from inferometer.config.models import ClosedLoop, Load, OpenLoop, Plan, Scenario, Stage, Target
from inferometer.records.record import Record

ROWS = [whole(i, began_ms=100 * i, connect_ms=1 + i, wait_ms=50) for i in range(5)]


def summary(load: Load, records: list[Record]) -> dict[str, Any]:
    stages = (Stage(load=load, num_requests=len(records)),)
    plan = Plan(target=Target(base_url="http://lab", model="tiny"), scenario=Scenario(stages=stages))
    found: dict[str, Any] = summarise(plan, table(records), [worker(sent=len(records))])["stages"][0]
    return found


def test_each_step_is_described() -> None:
    told = connection_times(frame(*ROWS))
    steps = {entry.pop("step"): entry for entry in told["connection_times"]}
    assert steps["connect"] == pytest.approx({"min_ms": 1, "mean_ms": 3, "std_ms": 2**0.5, "median_ms": 3, "max_ms": 5})
    assert steps["TTFB"] == pytest.approx({"min_ms": 50, "mean_ms": 50, "std_ms": 0, "median_ms": 50, "max_ms": 50})
    assert steps["total"]["max_ms"] == pytest.approx(59)
    assert list(told["served_within_ms"]) == [str(percent) for percent in PERCENTS]
    assert told["served_within_ms"]["100"] == pytest.approx(59)
    assert told["ms_per_request"] == pytest.approx(459 / 5)  # from 0 to the end of the last


def test_of_streams_over_kept_connections_there_is_nothing_to_tell() -> None:
    assert set(connection_times(frame(record(), record(1))).values()) == {None}
    assert set(connection_times(frame(failure())).values()) == {None}
    streamed = record(first_try_ns=0, connected_ns=1, sent_ms=1)
    assert [entry["step"] for entry in connection_times(frame(streamed))["connection_times"]] == ["connect", "total"]


def test_tokens_of_whole_answers_count_in_throughput() -> None:
    stage = summary(ClosedLoop(concurrency=1), ROWS)
    assert stage["throughput"]["output_tokens_per_s"] == pytest.approx(40 / 0.459)
    assert stage["throughput"]["requests_per_s"] == pytest.approx(5 / 0.459)
    assert "ttft" not in stage["metrics"]
    assert stage["metrics"]["ttfb"]["count"] == stage["metrics"]["connect"]["count"] == 5
    assert stage["verdict"]["figures"]["spread_tokens_share"] == 0


def test_opening_connections_is_neither_lag_nor_a_remark_where_each_request_has_its_own() -> None:
    stage = summary(OpenLoop(rate=10), ROWS)
    assert stage["verdict"]["figures"]["schedule_lag_max_ms"] == 0
    assert stage["verdict"]["figures"]["new_connections_share"] == 0
    late = [whole(i, began_ms=100 * i + 7, connect_ms=1, wait_ms=50, scheduled_ns=100 * i * MS) for i in range(5)]
    assert summary(OpenLoop(rate=10), late)["verdict"]["figures"]["schedule_lag_p50_ms"] == pytest.approx(7)
