"""Repeats of a stage as one: percentiles of all requests, and the spread between repeats."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from drawn_runs import lognormal
from synthetic_run import record, table, worker

from inferometer.analysis import rounds
from inferometer.analysis.compare import compare, from_summary, with_rows
from inferometer.analysis.frame import from_table
from inferometer.analysis.history import points
from inferometer.analysis.summary import summarise
from inferometer.config.models import Plan
from inferometer.errors import UserError

REQUESTS = 40


def plan(**scenario: Any) -> Plan:
    stages = [{"load": {"type": "closed", "concurrency": level}, "num_requests": REQUESTS} for level in (4, 1)]
    slos = [{"metric": "ttft", "limit_ms": 60.0}]
    return Plan.model_validate({"target": {}, "scenario": {"stages": stages, "repeats": 3, "slos": slos} | scenario})


def ttfts(seed: int = 1, wobble: float = 0.05) -> list[np.ndarray]:
    """TTFT of each stage as played: around 50 ms, and from round to round a little off."""
    rng = np.random.default_rng(seed)
    return [lognormal(rng, 50.0 * float(np.exp(wobble * rng.standard_normal())), 0.1, REQUESTS) for _ in range(6)]


def summary(made: Plan, drawn: list[np.ndarray], stages: int = 6) -> tuple[dict[str, Any], Any]:
    rows = [
        record(number, stage=stage, sent_ms=20_000.0 * stage + 200 * number, ttft_ms=float(ttft))
        for stage, values in enumerate(drawn[:stages])
        for number, ttft in enumerate(values)
    ]
    workers = [worker(stage=stage, sent=REQUESTS, planned=REQUESTS) for stage in range(stages)]
    told = summarise(made, table(rows), workers)
    json.dumps(told, allow_nan=False)
    return told, table(rows)


@pytest.fixture(scope="module")
def repeated() -> dict[str, Any]:
    return summary(plan(thresholds=["ttft_p50<=60", "success_rate>=99%", "requests_per_s>=4 @ 1"]), ttfts())[0]


def test_percentiles_are_those_of_all_requests(repeated: dict[str, Any]) -> None:
    group = repeated["repeats"][0]
    assert (group["stages"], group["repeats"], group["load"]["concurrency"]) == ([0, 2, 4], 3, 4)
    together = np.rint(np.concatenate(ttfts()[0::2]) * 1e6) / 1e6
    told = group["figures"]
    assert told["ttft_p95_ms"]["value"] == pytest.approx(np.percentile(together, 95))
    assert told["ttft_mean_ms"]["value"] == pytest.approx(together.mean())
    assert told["ttft_p95_ms"]["count"] == 3 * REQUESTS
    assert told["success_rate"]["value"] == 1
    assert group["metrics"]["ttft"]["percentiles_ms"]["95"]["low"] == told["ttft_p95_ms"]["low"]


def test_intervals_are_students_t_between_repeats(repeated: dict[str, Any]) -> None:
    told = repeated["repeats"][1]["figures"]["ttft_mean_ms"]
    means = [float((np.rint(values * 1e6) / 1e6).mean()) for values in ttfts()[1::2]]
    assert told["values"] == pytest.approx(means)
    half = 4.303 * np.std(means, ddof=1) / np.sqrt(3)
    assert (told["low"], told["high"]) == pytest.approx((np.mean(means) - half, np.mean(means) + half))


def test_rates_are_means_and_counts_are_sums(repeated: dict[str, Any]) -> None:
    group = repeated["repeats"][0]
    rates = [repeated["stages"][number]["throughput"]["requests_per_s"] for number in group["stages"]]
    assert group["throughput"]["requests_per_s"] == pytest.approx(np.mean(rates))
    assert group["counts"]["ok"] == group["counts"]["planned"] == 3 * REQUESTS
    assert group["slos"]["attainment"] == pytest.approx((np.concatenate(ttfts()[0::2]) <= 60).mean())


def test_shares_without_failures_are_not_taken_for_certain(repeated: dict[str, Any]) -> None:
    told = repeated["repeats"][0]["figures"]["success_rate"]
    assert told["high"] == 1
    assert 0.9 < told["low"] < 0.98  # Wilson's interval of 120 requests


def test_thresholds_are_about_repeats_together(repeated: dict[str, Any]) -> None:
    judged = repeated["thresholds"]
    assert [one["stage"] for one in judged] == [*(2 * ["concurrency 4", "concurrency 1"]), "concurrency 1"]
    assert judged[0]["value"] == repeated["repeats"][0]["figures"]["ttft_p50_ms"]["value"]
    assert judged[-1]["certain"]  # a rate has an interval between repeats


def test_a_run_without_repeats_has_none() -> None:
    made = plan(repeats=1)
    told, _ = summary(made, ttfts(), stages=2)
    assert told["repeats"] == []
    assert rounds.view(told) == told


def test_shuffled_stages_stand_by_rising_load() -> None:
    made = plan(shuffle_stages=True)
    told, _ = summary(made, ttfts())
    assert [group["load"]["concurrency"] for group in told["repeats"]] == [1, 4]


def test_a_rate_without_limit_stands_last() -> None:
    stages = [{"load": {"type": "open", "rate": rate}, "num_requests": REQUESTS} for rate in ("inf", 20, 40)]
    made = plan(stages=stages, shuffle_stages=True, slos=[])
    told, _ = summary(made, [*ttfts(), *ttfts()[:3]], stages=9)
    assert [group["load"]["rate_per_s"] for group in told["repeats"]] == [20, 40, "inf"]


def test_stages_that_are_the_same_are_repeated_each_for_itself() -> None:
    stages = [{"load": {"type": "closed", "concurrency": 4}, "num_requests": REQUESTS}] * 2
    told, _ = summary(plan(stages=stages), ttfts())
    assert [group["stages"] for group in told["repeats"]] == [[0, 2, 4], [1, 3, 5]]


def test_a_comparison_of_shuffled_rounds_goes_by_rising_load() -> None:
    made = plan(shuffle_stages=True)
    played = [stage.load.concurrency for stage in made.scenario.stages]
    told, rows = summary(made, ttfts())
    one = with_rows(from_summary("a", told), told, made, from_table(rows))
    assert [stage.key for stage in one.stages] == [*3 * ["concurrency 1"], *3 * ["concurrency 4"]]
    first, last = played.index(1), len(played) - 1 - played[::-1].index(4)
    drawn = [np.rint(ttfts()[number] * 1e6) / 1e6 for number in (first, last)]
    assert one.stages[0].series["ttft"] == pytest.approx(drawn[0])
    assert one.stages[-1].series["ttft"] == pytest.approx(drawn[1])
    assert list(dict.fromkeys(row.stage for row in compare([[one], [one]]).rows)) == ["concurrency 1", "concurrency 4"]


def test_a_run_that_was_cut_has_what_it_came_to() -> None:
    told, _ = summary(plan(), ttfts(), stages=3)
    assert [group["repeats"] for group in told["repeats"]] == [2, 1]
    alone = told["repeats"][1]["figures"]["ttft_mean_ms"]
    assert (alone["low"], alone["high"]) == (None, None)


def test_when_figures_are_known_well_enough() -> None:
    told, _ = summary(plan(), ttfts(wobble=0.002))
    assert rounds.settled(told, ["ttft_mean:50%"]) == "3 rounds are enough: mean TTFT is known to ±2.4 %"
    assert rounds.settled(told, ["ttft_mean:50%", "ttft_mean:0.01%"]) is None
    assert rounds.settled(told, []) is None
    assert rounds.settled(told, ["goodput_per_s:99% @ 1", "itl_p50:1%"]) is not None
    assert rounds.settled(summary(plan(), ttfts(wobble=0.002), stages=4)[0], ["ttft_mean:50%"]) is None


def test_a_precision_of_any_percentile_can_be_reached() -> None:
    asked = ["ttft_p75:50%"]
    told, _ = summary(plan(until_precision=asked), ttfts(wobble=0.002))
    assert (rounds.settled(told, asked) or "").startswith("3 rounds are enough: TTFT p75")


def test_a_precision_about_no_stage_is_a_mistake() -> None:
    rounds.check_stages(plan(until_precision=["ttft_p95:5% @ concurrency 1"]))
    with pytest.raises(UserError, match=r"no such stage \(there are concurrency 4, concurrency 1\)"):
        rounds.check_stages(plan(until_precision=["ttft_p95:5% @ 16"]))


def test_a_comparison_goes_by_the_spread_of_repeats_in_one_run() -> None:
    made = plan()
    runs = []
    for label, seed in (("a", 1), ("b", 2)):
        told, rows = summary(made, ttfts(seed))
        runs.append([with_rows(from_summary(label, told), told, made, from_table(rows))])
    row = next(row for row in compare(runs).rows if row.figure == "ttft_mean_ms")
    assert row.runs == (3, 3)
    assert row.base.value == pytest.approx(np.concatenate(ttfts(1)[0::2]).mean(), rel=1e-6)


def test_a_comparison_has_the_figures_of_the_report(repeated: dict[str, Any]) -> None:
    rows = compare([[from_summary(label, repeated)] for label in "ab"], ["ttft_p95_ms"]).rows
    for row, group in zip(rows, repeated["repeats"], strict=True):
        told = group["figures"]["ttft_p95_ms"]
        assert told["value"] != pytest.approx(np.mean(told["values"]), rel=1e-4)
        assert (row.base.value, row.base.low, row.base.high) == (told["value"], told["low"], told["high"])


def test_repeats_are_one_point_of_a_history(tmp_path: Any, repeated: dict[str, Any]) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "summary.json").write_text(json.dumps(repeated))
    files = [str(tmp_path / name / "summary.json") for name in ("a", "b")]
    found = points(files, [], ["ttft_p50_ms"])
    assert [(point.run, point.stage) for point in found] == [
        (name, stage) for name in ("a", "b") for stage in ("concurrency 4", "concurrency 1")
    ]
    assert found[0].value == repeated["repeats"][0]["figures"]["ttft_p50_ms"]["value"]
