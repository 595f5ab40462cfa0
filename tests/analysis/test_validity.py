from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from synthetic_run import MS, failure, frame, record, worker

from inferometer.analysis.figures import figures
from inferometer.analysis.validity import Finding, Verdict, judge
from inferometer.config.models import ClosedLoop, OpenLoop, Stage
from inferometer.records.record import Record, WorkerStage

CLOSED = ClosedLoop(concurrency=1)
OPEN = OpenLoop(rate=10, arrivals="constant")


def closed(count: int = 12, **changed: Any) -> list[Record]:
    return [record(i, sent_ms=80 * i, **changed) for i in range(count)]


def opened(late_ms: float = 0.0, count: int = 12, **changed: Any) -> list[Record]:
    return [record(i, sent_ms=100 * i + late_ms, scheduled_ms=100 * i, **changed) for i in range(count)]


def verdict(
    rows: Sequence[Record], load: ClosedLoop | OpenLoop = CLOSED, workers: Sequence[WorkerStage] = (worker(),)
) -> Verdict:
    is_open = isinstance(load, OpenLoop)
    return judge(frame(*rows, open_loop=is_open), workers, Stage(load=load, num_requests=1), (50.0,))


def found(judged: Verdict, name: str) -> Finding | None:
    return next((finding for finding in judged.findings if finding.name == name), None)


@pytest.mark.parametrize(("rows", "load"), [(closed(), CLOSED), (opened(), OPEN)])
def test_a_clean_stage_is_valid_without_a_word(rows: list[Record], load: ClosedLoop | OpenLoop) -> None:
    judged = verdict(rows, load)
    assert (judged.verdict, judged.findings) == ("VALID", ())


USERLAND: dict[str, Any] = {"clock": "userland"}
CASES: list[tuple[str, str, list[Record], ClosedLoop | OpenLoop, dict[str, Any]]] = [
    ("INVALID", "successful requests", [failure(i) for i in range(9)], CLOSED, {}),
    ("INVALID", "successful requests", [], CLOSED, {}),
    ("INVALID", "successful requests", closed(5), CLOSED, {}),
    ("INVALID", "impossible times", [*closed(), record(12, sent_ms=960, ttft_ms=-1)], CLOSED, {}),
    ("INVALID", "clock steps", closed(), CLOSED, {"clock_steps": 1}),
    ("VALID", "clock steps", closed(**USERLAND), CLOSED, {"clock_steps": 1}),
    ("INVALID", "answers of another model", [*closed(), record(12, model_answered="other")], CLOSED, {}),
    ("VALID", "answers of another model", closed(model_answered="alias"), CLOSED, {}),
    ("CLIENT-LIMITED", "schedule lag p99", opened(5), OPEN, {}),
    ("CLIENT-LIMITED", "in-flight cap hits", opened(5), OPEN, {"cap_hits": 2}),
    ("VALID", "in-flight cap hits", opened(count=200), OPEN, {"cap_hits": 1}),
    ("CLIENT-LIMITED", "in flight / concurrency", [record(i, sent_ms=90 * i) for i in range(12)], CLOSED, {}),
    ("CLIENT-LIMITED", "event loop lag p99", closed(**USERLAND), CLOSED, {"loop_lag_p99_ns": 3 * MS}),
    ("VALID", "event loop lag p99", closed(), CLOSED, {"loop_lag_p99_ns": 3 * MS}),
    ("VALID", "read lag p99", closed(read_lag_max_ns=3 * MS), CLOSED, {}),
    ("CLIENT-LIMITED", "client CPU", closed(**USERLAND), CLOSED, {"cpu_ns": 9_500 * MS}),
    ("VALID", "client CPU", closed(), CLOSED, {"cpu_ns": 9_500 * MS}),
    ("VALID", "merged reads", closed(merged_reads=2), CLOSED, {}),
    ("CLIENT-LIMITED", "merged reads", closed(merged_reads=2, read_lag_max_ns=11 * MS), CLOSED, {}),
    ("CLIENT-LIMITED", "merged reads", closed(merged_reads=2, **USERLAND), CLOSED, {"loop_lag_p99_ns": 11 * MS}),
    ("VALID", "failed requests", [*closed(), failure(12)], CLOSED, {}),
    ("VALID", "unfinished requests", [*closed(), failure(12, outcome="client_aborted")], CLOSED, {}),
    ("VALID", "requests sent again", closed(attempts=2), CLOSED, {}),
    ("CLIENT-LIMITED", "longest standstill", closed(), CLOSED, {"loop_lag_max_ns": 2_000 * MS}),
    (
        "VALID",
        "in flight / concurrency",
        [*(record(i, sent_ms=90 * i) for i in range(12)), failure(12, sent_ns=None, outcome="connect_refused")],
        CLOSED,
        {},
    ),
    ("VALID", "requests tried again", closed(attempts=3, retried="http_5xx,http_5xx"), CLOSED, {}),
    ("VALID", "wait for a core", closed(), CLOSED, {"run_wait_ns": 900 * MS, "time_slices": 9, "cpu_ns": 100 * MS}),
    ("VALID", "segments sent again", closed(), CLOSED, {"retransmits": 2}),
    ("VALID", "full receive buffers", closed(), CLOSED, {"zero_windows": 1}),
    ("VALID", "open files", closed(), CLOSED, {"connections_max": 950, "files_limit": 1024}),
    ("VALID", "ports in use", closed(), CLOSED, {"ports_used_share": 0.9}),
    ("VALID", "new connections", closed(connected_ns=0), CLOSED, {}),
    ("VALID", "kernel stamps", [*closed(), record(12, sent_ms=960, **USERLAND)], CLOSED, {}),
    ("VALID", "steal", closed(), CLOSED, {"steal_ns": 1_000 * MS}),
    ("VALID", "late bodies", closed(), CLOSED, {"late_builds": 1}),
    ("VALID", "output length error", closed(asked_output_tokens=8), CLOSED, {}),
    ("VALID", "prompt length error", closed(asked_prompt_tokens=80), CLOSED, {}),
    ("VALID", "cached prompt tokens", closed(cached_tokens=50), CLOSED, {}),
    ("VALID", "unknown tokens per event", closed(output_tokens=5), CLOSED, {}),
]


@pytest.mark.parametrize(("expected", "name", "rows", "load", "told"), CASES)
def test_findings(
    expected: str, name: str, rows: list[Record], load: ClosedLoop | OpenLoop, told: dict[str, Any]
) -> None:
    judged = verdict(rows, load, [worker(**told)])
    finding = found(judged, name)
    assert finding is not None, judged.findings
    assert judged.verdict == expected
    assert (finding.severity == "note") == (expected == "VALID")
    assert finding.advice


def test_counters_of_the_whole_machine_are_not_put_on_the_client_alone() -> None:
    judged = verdict(closed(), CLOSED, [worker(retransmits=2, zero_windows=1)])
    told = [found(judged, name) for name in ("segments sent again", "full receive buffers")]
    assert ["on this machine, all programs together" in one.advice for one in told if one] == [True, True]


def test_the_rate_is_compared_with_the_schedule_and_not_with_the_mean_rate() -> None:
    slowing = [record(i, sent_ms=110 * i, scheduled_ms=100 * i) for i in range(12)]
    judged = verdict(slowing, OPEN)
    assert found(judged, "sent / scheduled rate") is not None
    assert judged.figures["asked_rate_per_s"] == 10
    assert judged.figures["scheduled_rate_per_s"] == pytest.approx(10)
    assert judged.figures["sent_rate_per_s"] == pytest.approx(1 / 0.11)
    thin = OpenLoop(rate=20, arrivals="poisson")  # a sparse draw is not the client's fault
    assert verdict(opened(), thin).verdict == "VALID"


def test_lag_limits_follow_the_metric_that_they_spoil() -> None:
    assert found(verdict(opened(2), OPEN), "schedule lag p99") is None  # 5 % of 52 ms
    assert found(verdict(opened(2, ttft_ms=10), OPEN), "schedule lag p99") is not None
    assert found(verdict(opened(0.9, ttft_ms=1), OPEN), "schedule lag p99") is None  # the floor of 1 ms


def test_connecting_is_not_lag() -> None:
    slow = [record(i, sent_ms=100 * i + 40, scheduled_ms=100 * i, connected_ns=(100 * i + 40) * MS) for i in range(9)]
    assert verdict(slow, OPEN).figures["schedule_lag_max_ms"] == 0


def test_waiting_below_a_cap_is_said_once() -> None:
    judged = verdict(opened(5), OPEN, [worker(cap_hits=3)])
    assert found(judged, "schedule lag p99") is None
    assert found(judged, "in-flight cap hits") is not None


def test_a_client_that_waits_for_a_core_now_and_then_is_not_told_off() -> None:
    """Beside a simulator on two quiet cores it does so for 20 to 42 % of the time."""
    quiet = worker(run_wait_ns=420 * MS, time_slices=9, cpu_ns=580 * MS)
    assert found(verdict(closed(), CLOSED, [quiet]), "wait for a core") is None
    crowded = worker(run_wait_ns=520 * MS, time_slices=9, cpu_ns=480 * MS)
    assert found(verdict(closed(), CLOSED, [quiet, crowded]), "wait for a core") is not None


def test_worst_findings_come_first() -> None:
    judged = verdict([*closed(**USERLAND), failure(12)], CLOSED, [worker(cpu_ns=9_900 * MS, steal_ns=9_000 * MS)])
    assert [finding.severity for finding in judged.findings][:1] == ["client-limited"]
    assert {finding.severity for finding in judged.findings[1:]} == {"note"}


def test_percentiles_without_interval_are_a_note() -> None:
    judged = judge(frame(*closed(80)), [worker()], Stage(load=CLOSED, num_requests=80), (50.0, 95.0, 99.0))
    finding = found(judged, "samples")
    assert finding is not None
    assert (finding.spoils, finding.figure, finding.limit) == ("p99", 80, 368)
    assert judged.verdict == "VALID"


def test_a_killed_run_has_no_reports() -> None:
    judged = verdict(closed(), CLOSED, [])
    assert found(judged, "workers reporting") is not None
    assert judged.verdict == "VALID"


def test_rising_latency_is_a_note_in_open_loops_only() -> None:
    rising = [record(i, sent_ms=100 * i, scheduled_ms=100 * i, ttft_ms=50 + 20 * i) for i in range(40)]
    assert found(verdict(rising, OPEN), "late / early e2el") is not None
    assert found(verdict(rising, ClosedLoop(concurrency=99)), "late / early e2el") is None


@pytest.mark.parametrize(
    ("asked", "answered", "same"),
    [
        ("Qwen/Qwen2.5-0.5B", "qwen2.5-0.5b", True),
        ("gpt-x", "gpt-x-2026-01-01", True),
        ("tiny", "large", False),
        ("tiny", None, True),
    ],
)
def test_a_path_or_a_version_is_the_same_model(asked: str, answered: str | None, *, same: bool) -> None:
    rows = frame(record(model=asked, model_answered=answered))
    assert (figures(rows, [], CLOSED)["other_model_share"] == 0) is same


def test_the_worst_worker_counts() -> None:
    told = figures(frame(*closed()), [worker(cpu_ns=MS), worker(cpu_ns=5_000 * MS, loop_lag_p99_ns=MS)], CLOSED)
    assert told["client_cpu_share_max"] == pytest.approx(0.5)
    assert told["loop_lag_p99_ms"] == 1
    assert told["workers_reporting"] == 2
