"""The four shapes of the suite's scenarios: every number that they say is in the plan."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inferometer.config.catalog.scenarios import NAMES, scenarios
from inferometer.config.foreign.suite_scenarios import Read, read
from inferometer.config.foreign.tables import Table
from inferometer.config.foreign.translated import Where
from inferometer.config.levels import Level, Levels
from inferometer.config.models import Plan, Scenario
from inferometer.errors import UserError
from inferometer.workload.lengths import sizes

WHERE = Where(Path("test_scenarios.yaml"), {("scenarios", "s", "concurrency"): 7})


def of(values: dict[str, Any], most: int | None = None) -> Read:
    return read("s", Table(values, ("scenarios", "s"), WHERE), most)


def planned(values: dict[str, Any], most: int | None = None) -> Scenario:
    return Plan.model_validate({"target": {}, "scenario": of(values, most).scenario}).scenario


def named(name: str) -> Scenario:
    return planned(scenarios()[name])


def pairs(scenario: Scenario) -> list[tuple[int | None, int | None]]:
    assert scenario.workload.mix_in_turn
    return [(one.input_tokens.mean, one.output_tokens.mean) for one in scenario.workload.mix]


def test_quick_validation_is_what_its_page_says() -> None:
    found = named("quick_validation")
    (stage,) = found.stages
    assert pairs(found) == [(50, 100), (100, 100), (500, 100)]
    assert (stage.load.concurrency, stage.num_requests, stage.duration_s, stage.warmup_requests) == (1, 10, 60, 2)


def test_latency_benchmark_asks_every_pair_of_lengths() -> None:
    found = named("latency_benchmark")
    prompts, outputs = [10, 50, 100, 500, 1000, 2000], [50, 100, 200, 500]
    assert pairs(found) == [(asked, answered) for asked in prompts for answered in outputs]
    assert [(stage.num_requests, stage.warmup_requests) for stage in found.stages] == [(100, 5)]
    assert [(slo.metric, slo.limit_ms) for slo in found.slos] == [("ttft", 2000), ("tpot", 100)]


def test_throughput_benchmark_shares_its_total_among_its_levels() -> None:
    found = named("throughput_benchmark")
    assert [stage.load.concurrency for stage in found.stages] == [1, 5, 10, 20, 50]
    assert [(stage.num_requests, stage.duration_s) for stage in found.stages] == [(100, 60)] * 5
    mix = found.workload.mix
    assert [(one.input_tokens.mean, one.output_tokens.mean) for one in mix] == [
        (100, 100), (100, 200), (500, 100), (500, 200)
    ]  # fmt: skip
    assert found.stop_early.failed_share == 0.05


def test_load_test_has_its_users_and_its_mix() -> None:
    found = named("load_test")
    assert [stage.load.users for stage in found.stages] == [10, 25, 50, 75, 100]
    assert {(stage.load.spawn_rate, stage.duration_s) for stage in found.stages} == {(10, 120)}
    shares: Counter[tuple[int, int]] = Counter()
    answers: Counter[tuple[int, int]] = Counter()
    for one in found.workload.mix:
        shares[one.input_tokens.bounds] += one.share
        answers[one.output_tokens.bounds] += one.share
    assert dict(shares) == pytest.approx({(50, 100): 0.4, (200, 500): 0.4, (1000, 2000): 0.2})
    assert dict(answers) == pytest.approx({(50, 100): 0.5, (200, 500): 0.5})


def test_stress_test_stops_by_its_thresholds() -> None:
    found = named("stress_test")
    assert [stage.load.users for stage in found.stages] == [1, 5, 10, 25, 50, 100, 150, 200]
    assert {(stage.load.spawn_rate, stage.duration_s) for stage in found.stages} == {(5, 120)}
    assert (found.workload.input_tokens.mean, found.workload.output_tokens.mean) == (500, 200)
    assert (found.stop_early.failed_share, found.stop_early.e2el_p95_ms) == (0.05, 10_000)


def test_every_scenario_of_the_catalog_has_a_description() -> None:
    assert set(scenarios()) == set(NAMES)
    assert all(values["description"] for values in scenarios().values())


def test_pairs_are_asked_in_turn() -> None:
    found = planned({"num_requests": 7, "prompt_tokens": [10, 20], "max_tokens": [1, 2, 3]})
    random = np.random.default_rng(1)
    asked = [sizes(found, 0, random, index)[:2] for index in range(7)]
    assert asked == [*[(p, o) for p in (10, 20) for o in (1, 2, 3)], (10, 1)]


def test_several_at_once_mix_the_pairs_in_one_stage() -> None:
    found = planned({"num_requests": 40, "concurrency": 8, "prompt_tokens": [10, 20], "max_tokens": 5})
    assert [(stage.load.concurrency, stage.num_requests) for stage in found.stages] == [(8, 40)]
    assert [one.input_tokens.mean for one in found.workload.mix] == [10, 20]


def test_the_target_cuts_outputs() -> None:
    found = planned({"num_requests": 4, "max_tokens": [50, 100, 4000], "prompt_tokens": 5}, 100)
    assert pairs(found) == [(5, 50), (5, 100)]


def test_limits_of_a_scenario_win_over_those_of_the_page() -> None:
    found = planned({"num_requests": 1, "mlperf_targets": {"ttft_max": 1.5, "tpot_interactive": 0.01}})
    assert found.levels == Levels(
        standard=Level(ttft_p95_ms=1500, tpot_p95_ms=100),
        interactive=Level(ttft_p95_ms=500, tpot_p95_ms=10),
        decisive=True,
    )
    assert planned({"num_requests": 1}).levels == Levels()
    assert not Levels().decisive


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"concurrency": "two"}, r"test_scenarios.yaml:7: scenarios.s.concurrency: whole numbers from 1 on .* 'two'"),
        ({"num_requests": 0}, "num_requests: whole numbers from 1 on are needed, not 0"),
        ({"num_requests": True}, "num_requests: whole numbers"),
        ({"num_requests": [1, 2]}, "one number is needed"),
        ({"concurrency_levels": []}, "a list of concurrencies"),
        ({"concurrency_levels": [1, 2]}, "num_requests, duration or both"),
        ({"concurrency_levels": [1, 2, 3], "num_requests": 2}, "2 requests are fewer than the 3 levels"),
        ({"num_users": [1]}, "step_duration or duration"),
        ({"error_threshold": 5}, "5 is not 0 or more and at most 1"),
        ({"prompt_distribution": {"short": 0, "long": 0}}, "every weight is 0"),
        ({"prompt_distribution": {"short": -1}}, "-1 is not 0 or more"),
        ({"prompt_distribution": {"huge": 1}}, "huge: is none of short, medium, long"),
        ({"mlperf_targets": {"ttft": 1}}, "did you mean 'ttft_max'"),
        ({"mlperf_targets": [1]}, "a mapping is needed"),
        ({"duration": float("nan")}, "a number is needed"),
    ],
)
def test_values_that_cannot_be(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        of(values)


def test_unknown_keys_are_named() -> None:
    (found,) = of({"num_requests": 1, "spawn_rates": 1}).not_understood
    assert found.key == "scenarios.s.spawn_rates"
    assert "did you mean 'spawn_rate'" in found.sentence
