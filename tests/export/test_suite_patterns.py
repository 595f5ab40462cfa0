"""The suite's results of unreliable routing and of replicas, its comparison of targets, and its hints."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from exported_runs import failure, record, run

from inferometer.config.loads import ClosedLoop
from inferometer.config.models import ModelShare, Stage
from inferometer.export import suite, suite_hints, suite_pattern3
from inferometer.export.run import Run
from inferometer.export.suite_targets import ratios, sentences
from inferometer.records.record import Record

MS = 1_000_000
PAIR = (ModelShare(name="org/a"), ModelShare(name="b"))


def tried(index: int, *, model: str = "org/a", tries: int = 1, **changed: Any) -> Record:
    """A request that began at 100 ms x index, and whose last try was sent 2 s later if it had several."""
    begun_ms = 100.0 * index
    again = {"retried": ",".join(["wrong_model"] * (tries - 1)), "sent_ms": begun_ms + 2000} if tries > 1 else {}
    told = {"model": model, "model_answered": model, "first_try_ns": int(begun_ms * MS), "attempts": tries}
    return record(index, **{"sent_ms": begun_ms, **told, **again, **changed})


def pattern2(*records: Record) -> Run:
    made = run(records)
    target = made.plan.target
    retries = target.retries.model_copy(update={"attempts": 10})
    changed = target.model_copy(update={"models": PAIR, "retries": retries, "check_model": True})
    return replace(made, plan=made.plan.model_copy(update={"target": changed}))


def test_retries_are_told_and_latencies_are_those_of_the_last_try() -> None:
    told = suite.document(pattern2(tried(0), tried(1, model="b", tries=4), tried(2), tried(3, model="b")))
    stats = told["results"]["retry_stats"]
    assert (stats["avg_attempts"], stats["max_attempts"], stats["first_try_success_rate"]) == (1.75, 4, 75.0)
    assert stats["elapsed_s"]["p99"] == pytest.approx(2.0782, rel=0.05)
    assert told["results"]["latency_s"]["p99"] == pytest.approx(0.08)
    assert told["results"]["ttft_ms"]["mean"] == pytest.approx(50)
    json.dumps(told, allow_nan=False)


def test_each_of_several_models_has_its_numbers_and_the_routing_is_checked() -> None:
    told = suite.document(pattern2(tried(0), tried(1, model="b", tries=3), tried(2, model_answered="b")))
    assert list(told["models"]) == ["org/a", "b"]
    assert [one["total_requests"] for one in told["models"].values()] == [2, 1]
    assert told["models"]["b"]["retry_stats"]["max_attempts"] == 3
    assert told["routing"] == {"answered": 3, "by_the_model_asked_for": 2, "tries_of_another_model": 2}


def test_without_retries_there_is_nothing_to_tell_of_them() -> None:
    told = suite.document(run([record(0)]))
    assert "retry_stats" not in told["results"]
    assert not {"models", "routing"} & told.keys()


def of_stages(names: list[str], records: list[Record]) -> Run:
    made = run(records, *(ClosedLoop(concurrency=1) for _ in names))
    stages = tuple(Stage(name=name, load=ClosedLoop(concurrency=1), num_requests=20) for name in names)
    target = made.plan.target.model_copy(update={"facts": {"replicas": "2"}})
    scenario = made.plan.scenario.model_copy(update={"stages": stages})
    told = [one | {"name": name} for one, name in zip(made.summary["stages"], names, strict=False)]
    plan = made.plan.model_copy(update={"target": target, "scenario": scenario})
    return replace(made, plan=plan, summary=made.summary | {"stages": told})


def test_five_tests_of_replicas() -> None:
    cold = [
        record(i, sent_ms=300 * i, ttft_ms=200 if i < 2 else 50, prefix_group=i % 2, replica=f"r{i % 2}")
        for i in range(8)
    ]
    spread = [record(i, stage=1, sent_ms=4000 + 100 * i, replica=f"r{int(i > 3)}") for i in range(6)]
    fast = [record(i, stage=2, sent_ms=6000 + 100 * i) for i in range(10)]
    slow = [record(i, stage=3, sent_ms=9000 + 100 * i) for i in range(5)]
    names = ["prefix cache", "distribution", "throughput", "latency"]
    told = suite_pattern3.document(of_stages(names, [*cold, *spread, *fast, *slow]))
    tests = told["tests"]
    assert list(tests) == ["health", "prefix_cache_routing", "load_distribution", "throughput", "latency"]
    assert tests["health"] == {"replicas_expected": 2, "replicas_seen": 2, "successful": 29, "passed": True}
    cache = tests["prefix_cache_routing"]
    assert (cache["cold"]["requests"], cache["warm"]["requests"]) == (2, 6)
    assert cache["cold"]["ttft_ms"]["p50"] == pytest.approx(200)
    assert cache["cold_to_warm_ttft_ratio"] == pytest.approx(4)
    assert cache["same_replica_share"] == pytest.approx(6 / 8)
    assert tests["load_distribution"]["requests_by_replica"] == {"r0": 4, "r1": 2}
    rate = tests["throughput"]["requests_per_sec"]
    assert (tests["throughput"]["baseline_requests_per_sec"], rate) == (1.0, pytest.approx(10 / 0.98))
    assert tests["throughput"]["improvement_factor"] == pytest.approx(rate)
    assert tests["latency"]["latency_s"]["p95"] == pytest.approx(0.08)
    json.dumps(told, allow_nan=False)


def test_a_replica_that_nobody_saw_fails_the_health_test_and_stages_not_played_are_none() -> None:
    told = suite_pattern3.document(of_stages(["prefix cache"], [record(0, replica="r0"), record(1, replica="r0")]))
    assert told["tests"]["health"]["passed"] is False
    assert told["tests"]["latency"] is None


@pytest.mark.parametrize(
    ("gap_ms", "ratio", "reading"),
    [
        (10.0, 1.0, "their throughput is similar"),
        (5.0, None, "tpu has the higher throughput"),
        (20.0, None, "gpu has the higher throughput"),
    ],
)
def test_targets_are_compared_with_the_first(gap_ms: float, ratio: float | None, reading: str) -> None:
    made = [
        suite.document(run([record(i, sent_ms=1000 * i, ttft_ms=gap, gaps_ms=[gap] * 3) for i in range(1)]))
        for gap in (10.0, gap_ms)
    ]
    found = ratios(made, ["gpu", "tpu"])
    assert found["tpu"]["tpot_p50"] == pytest.approx(gap_ms / 10)
    assert found["tpu"]["throughput"] == pytest.approx(ratio or 10 / gap_ms)
    (line,) = sentences(found, "gpu")
    assert line.startswith(f"tpu / gpu: TTFT p50 {gap_ms / 10:.2f}, TPOT p50")
    assert line.endswith(reading)


def test_what_was_not_measured_is_not_compared() -> None:
    made = [suite.document(run([record(0)])), suite.document(run([failure(0)]))]
    (line,) = sentences(ratios(made, ["gpu", "tpu"]), "gpu")
    assert "TTFT p50 not measured" in line


WARM = [record(i, sent_ms=100 * i) for i in range(1, 20)]


@pytest.mark.parametrize(
    ("records", "words"),
    [
        (WARM, None),
        ([record(0, ttft_ms=900), *WARM], "first request waited 900 ms for its first token, the others 50 ms"),
        ([failure(0), failure(1, outcome="wrong_model"), *WARM], "--retry-on http_5xx wrong_model"),
        ([failure(0, outcome="timeout_total"), *WARM], "1 of 20 requests ran into a timeout"),
        ([failure(0, outcome="connect_refused"), *WARM], "inferometer check http://lab:8000"),
        (
            [record(i, sent_ms=9000 + i, ttft_ms=400, asked_prompt_tokens=2000) for i in range(20, 30)] + WARM,
            "TTFT grows with the prompt: 50 ms (median) for 100 tokens, 400 ms for 2000",
        ),
        ([record(i, first_token_ns=None, asked_prompt_tokens=20 + 200 * (i % 2)) for i in range(20)], None),
    ],
)
def test_hints_say_what_a_run_shows(records: list[Record], words: str | None) -> None:
    found = suite_hints.hints(run(records))
    assert len(found) == (words is not None), found
    assert words is None or words in found[0]


def test_a_router_that_is_retried_needs_no_hint() -> None:
    assert suite_hints.hints(pattern2(*(tried(i) for i in range(5)), failure(6), failure(7))) == []
