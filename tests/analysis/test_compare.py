from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from drawn_runs import drawn, drawn_tokens, plan_of, rows_of, summary_of
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import record, table, worker

from inferometer.analysis.alike import refusal
from inferometer.analysis.compare import Row, check, compare, from_summary, parse_rule, with_rows
from inferometer.analysis.frame import from_table
from inferometer.analysis.run_data import RunData, StageData
from inferometer.analysis.stats import Estimate
from inferometer.analysis.summary import summarise
from inferometer.errors import UserError

CHANGED = ("regression", "improvement", "slightly worse", "slightly better")


def figures(label: str, key: str = "concurrency 8", **values: float | tuple[float, float, float]) -> RunData:
    """A run of which only figures are known: a value, or a value with its interval."""
    found = {
        name: Estimate(value, None, None, 1) if isinstance(value, float) else Estimate(*value, 100)
        for name, value in values.items()
    }
    return RunData(label, (StageData(key, found),))


def pairs(count: int, seed: int, slower: float = 1.0, **drawing: float) -> list[tuple[Row, ...]]:
    rng = np.random.default_rng(seed)
    return [
        compare([[drawn(rng, "before", **drawing)], [drawn(rng, "after", slower=slower, **drawing)]]).rows
        for _ in range(count)
    ]


def share_with(rows: Sequence[tuple[Row, ...]], outcomes: tuple[str, ...], figure: str = "") -> float:
    return float(
        np.mean([any(row.outcome in outcomes and row.figure.startswith(figure) for row in one) for one in rows])
    )


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_runs_that_differ_in_nothing_are_called_different_in_at_most_5_per_cent(rho: float) -> None:
    found = pairs(200, seed=7, rho=rho)
    assert share_with(found, ("regression",)) <= 0.05
    assert share_with(found, CHANGED) <= 0.05


@pytest.mark.parametrize(("cv", "rho"), [(0.1, 0.0), (0.2, 0.0), (0.1, 0.5)])
def test_a_true_slowdown_of_10_per_cent_is_found_with_200_requests(cv: float, rho: float) -> None:
    found = pairs(200, seed=8, slower=1.1, cv=cv, rho=rho)
    assert share_with(found, ("regression",), "ttft") >= 0.9


def pairs_of_tokens(count: int, seed: int, slower: float = 1.0, rho: float = 0.0) -> list[tuple[Row, ...]]:
    rng = np.random.default_rng(seed)
    both = ((drawn_tokens(rng, "a", rho=rho), drawn_tokens(rng, "b", slower=slower, rho=rho)) for _ in range(count))
    return [compare([[one], [other]], ("itl_mean_ms", "itl_p50_ms", "itl_p95_ms")).rows for one, other in both]


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_tokens_of_one_request_are_no_proof_of_a_change(rho: float) -> None:
    """Every request has a speed of its own, so 200 requests of 64 tokens are 200 values, and fewer with ``rho``."""
    found = pairs_of_tokens(200, seed=7, rho=rho)
    assert share_with(found, CHANGED) <= 0.05


def test_a_true_slowdown_of_itl_is_found() -> None:
    assert share_with(pairs_of_tokens(100, seed=8, slower=1.1), ("regression",)) >= 0.9


def test_a_speedup_is_an_improvement_and_throughput_counts_the_other_way() -> None:
    before = figures("a", ttft_p50_ms=(100.0, 99.0, 101.0), output_tokens_per_s=(1000.0, 990.0, 1010.0))
    after = figures("b", ttft_p50_ms=(80.0, 79.0, 81.0), output_tokens_per_s=(800.0, 790.0, 810.0))
    ttft, tokens = compare([[before], [after]]).rows
    assert (ttft.outcome, tokens.outcome) == ("improvement", "regression")
    assert ttft.change == pytest.approx(-0.2)
    assert "20.0 % faster" in ttft.sentence
    assert "20.0 % lower" in tokens.sentence


def test_the_sentence_has_both_figures_the_change_and_its_interval() -> None:
    base, other = (
        figures(name, ttft_p95_ms=ends) for name, ends in (("a", (100.0, 98.0, 102.0)), ("b", (110.0, 108.0, 112.0)))
    )
    row = compare([[base], [other]]).rows[0]
    assert re.fullmatch(
        r"concurrency 8: TTFT p95 100\.0 ms -> 110\.0 ms, 10\.0 % slower \(95 % interval 7\.\d % to 13\.\d %\): "
        r"worse by more than the limit of 5\.0 % and the noise\.",
        row.sentence,
    )


@pytest.mark.parametrize(
    ("after", "outcome"),
    [
        ((103.0, 102.0, 104.0), "slightly worse"),
        ((97.0, 96.0, 98.0), "slightly better"),
        ((100.0, 99.0, 101.0), "same"),
        ((100.05, 100.05, 100.05), "same"),
        ((110.0, 60.0, 160.0), "unclear"),
        (110.0, "not judged"),
    ],
)
def test_outcomes_between(after: float | tuple[float, float, float], outcome: str) -> None:
    width = 0.0 if after == (100.05, 100.05, 100.05) else 0.5
    base = figures("a", ttft_p50_ms=(100.0, 100.0 - width, 100.0 + width))
    row = compare([[base], [figures("b", ttft_p50_ms=after)]]).rows[0]
    assert row.outcome == outcome


def test_a_change_from_nothing_has_no_size_but_a_share_has() -> None:
    before = figures("a", requests_per_s=(0.0, 0.0, 0.0), success_rate=(0.0, 0.0, 0.01))
    after = figures("b", requests_per_s=(5.0, 4.0, 6.0), success_rate=(1.0, 0.99, 1.0))
    rate, success = compare([[before], [after]]).rows
    assert rate.change is None
    assert rate.outcome == "not judged"
    assert (success.change, success.outcome) == (1.0, "improvement")
    assert "100.0 points higher" in success.sentence


@given(st.floats(1, 1e4), st.floats(0.5, 2), st.floats(0.001, 0.3))
def test_swapping_the_runs_swaps_the_change(value: float, ratio: float, width: float) -> None:
    ends = [(x, x / (1 + width), x * (1 + width)) for x in (value, value * ratio)]
    a, b = (figures(name, e2el_p50_ms=each) for name, each in zip("ab", ends, strict=True))
    there, back = compare([[a], [b]]).rows[0], compare([[b], [a]]).rows[0]
    assert there.change is not None
    assert back.change is not None
    assert (1 + there.change) * (1 + back.change) == pytest.approx(1)
    assert there.p == pytest.approx(back.p)
    assert there.low is not None
    assert there.high is not None
    assert there.low - 1e-12 <= there.change <= there.high + 1e-12


# --- repeats ---------------------------------------------------------------------------------------------------------


def repeated(
    rng: np.random.Generator, label: str, runs: int, slower: float = 1.0, wobble: float = 0.04
) -> list[RunData]:
    """Runs whose level differs from one to the next, as those of real servers do."""
    return [drawn(rng, label, slower=slower * float(np.exp(wobble * rng.standard_normal()))) for _ in range(runs)]


def test_the_spread_between_runs_decides_where_there_are_repeats() -> None:
    rng = np.random.default_rng(3)
    single = [compare([repeated(rng, "a", 1), repeated(rng, "b", 1)]).rows for _ in range(100)]
    several = [compare([repeated(rng, "a", 5), repeated(rng, "b", 5)]).rows for _ in range(100)]
    assert share_with(single, CHANGED) > 0.15  # what single runs cannot know
    assert share_with(several, CHANGED) <= 0.07
    assert several[0][0].runs == (5, 5)


def test_a_new_run_against_a_repeated_baseline_is_taken_to_spread_as_it_does() -> None:
    rng = np.random.default_rng(4)
    alike = [compare([repeated(rng, "a", 6), repeated(rng, "b", 1)]).rows for _ in range(100)]
    worse = [compare([repeated(rng, "a", 6), repeated(rng, "b", 1, slower=1.4)]).rows for _ in range(100)]
    assert share_with(alike, CHANGED) <= 0.07
    assert share_with(worse, ("regression",), "ttft") >= 0.9


def test_percentiles_of_repeats_are_those_of_all_requests() -> None:
    rng = np.random.default_rng(0)
    runs = [drawn(rng, "a", requests=50), drawn(rng, "a", requests=150, slower=2)]
    row = next(row for row in compare([runs, [drawn(rng, "b")]]).rows if row.figure == "ttft_p50_ms")
    pooled = np.concatenate([run.stages[0].series["ttft"] for run in runs])
    assert row.base.value == pytest.approx(np.median(pooled))


def test_stages_with_the_same_load_in_one_run_are_repeats() -> None:
    rng = np.random.default_rng(0)
    twice = replace(drawn(rng, "a"), stages=(drawn(rng).stages[0], drawn(rng).stages[0]))
    assert compare([[twice], [drawn(rng, "b")]]).rows[0].runs == (2, 1)


# --- matching and alikeness ------------------------------------------------------------------------------------------


def test_stages_are_matched_by_name_and_load_not_by_position() -> None:
    low, high = (
        figures("a", "concurrency 2", ttft_p50_ms=(10.0, 9.9, 10.1)),
        figures("a", ttft_p50_ms=(20.0, 19.9, 20.1)),
    )
    both = RunData("a", (*low.stages, *high.stages))
    turned = RunData("b", (*high.stages, *low.stages))
    found = compare([[both], [turned]])
    assert [(row.stage, row.change) for row in found.rows] == [("concurrency 2", 0.0), ("concurrency 8", 0.0)]
    assert compare([[both], [high]]).unmatched == ("concurrency 2",)
    with pytest.raises(UserError, match=r"no stage in common.*concurrency 2"):
        compare([[low], [high]])


def test_another_workload_is_refused_and_another_client_warned_of() -> None:
    base = drawn(np.random.default_rng(0), "a", **{"output tokens asked": 128.0})
    longer = drawn(np.random.default_rng(0), "b", **{"output tokens asked": 256.0})
    near = replace(
        drawn(np.random.default_rng(0), "b", **{"output tokens asked": 128.5}), context={"client": "Linux-6"}
    )
    refused = refusal(compare([[base], [longer]]).differing)
    assert refused is not None
    assert refused.values == ("128", "256")
    other = compare([[replace(base, context={"client": "Linux-5"})], [near]]).differing
    assert refusal(other) is None
    assert refusal(other, strict=True) is not None
    assert compare([[base], [base]]).differing == ()
    among = refusal(compare([[base, longer], [base]]).differing)  # no repeats of each other
    assert among is not None
    assert among.values == ("128, 256", "128")


def test_an_interval_is_told_in_the_direction_of_the_word() -> None:
    base = figures("a", ttft_p95_ms=(100.0, 99.0, 101.0), requests_per_s=(10.0, 9.9, 10.1))
    other = figures("b", ttft_p95_ms=(80.0, 79.0, 81.0), requests_per_s=(12.0, 11.9, 12.1))
    sentences = {row.figure: row.sentence for row in compare([[base], [other]]).rows}
    assert re.search(r"20\.0 % faster \(95 % interval 18\.\d % to 21\.\d %\)", sentences["ttft_p95_ms"])
    assert re.search(r"20\.0 % higher \(95 % interval 18\.\d % to 21\.\d %\)", sentences["requests_per_s"])


def test_repeats_of_which_one_came_to_nothing_are_not_taken_for_steady() -> None:
    steady = [figures("a", goodput_per_s=rate) for rate in (10.0, 10.1, 9.9)]
    shaky = [figures("b", goodput_per_s=rate) for rate in (0.0, 9.0, 10.0)]
    for groups in ([steady, shaky], [shaky, steady]):
        (row,) = compare(groups, ["goodput_per_s"]).rows
        assert (row.outcome, row.low, row.high) == ("not judged", None, None)


def test_what_is_known_of_the_servers_is_compared() -> None:
    summary = summary_of(np.random.default_rng(3), 4)
    known = {"engine": "vLLM 0.22.0", "gpu": "unknown", "server_args": "max_num_seqs=256", "plan_sha256": "a"}
    known |= {"load_pattern": "closed loop", "rack": "7", "model": "chat (weights a)"}
    newer = known | {"engine": "vLLM 0.23.0", "gpu": "H100", "model": "chat (weights b)", "plan_sha256": "b"}
    groups = [[from_summary(label, summary, {"run_context": told})] for label, told in (("a", known), ("b", newer))]
    named = {one.fact: one.values for one in compare(groups).differing if one.severity == "note"}
    assert named == {
        "model": ("chat (weights a)", "chat (weights b)"),
        "engine": ("vLLM 0.22.0", "vLLM 0.23.0"),
        "gpu": ("unknown", "H100"),
    }
    assert groups[0][0].context["server args"] == "max_num_seqs=256"
    assert groups[0][0].context["rack"] == "7"


def test_stages_that_are_not_valid_are_named() -> None:
    base, other = (drawn(np.random.default_rng(0), name) for name in "ab")
    bad = replace(other, stages=(replace(other.stages[0], verdict="INVALID"),))
    (found,) = compare([[base], [bad]]).differing
    assert (found.severity, found.fact, found.values) == ("warn", "INVALID", ("-", "concurrency 8"))


# --- rules -----------------------------------------------------------------------------------------------------------


def test_a_rule_is_broken_beyond_its_limit_and_the_noise_only() -> None:
    base = figures("a", ttft_p95_ms=(100.0, 98.0, 102.0))
    cases = {
        (115.0, 113.0, 117.0): "regression",
        (108.0, 106.0, 110.0): "slightly worse",
        (115.0, 80.0, 150.0): "unclear",
    }
    for ends, outcome in cases.items():
        ((rule, row),) = check([[base], [figures("b", ttft_p95_ms=ends)]], [parse_rule("ttft_p95>10%")])
        assert (rule.limit, row.outcome) == (0.1, outcome)


def test_a_rule_that_cannot_be_checked_is_a_mistake() -> None:
    runs = [[figures(name, ttft_p95_ms=(100.0, 98.0, 102.0))] for name in "ab"]
    for text in ("itl_p95>10%", "ttft_p95>10% @ 16"):
        with pytest.raises(UserError, match="cannot be checked"):
            check(runs, [parse_rule(text)])
    for text in ("ttft_p95<10%", "ttft_p95>10", "ttfb>10%"):
        with pytest.raises(UserError):
            parse_rule(text)


# --- from rows -------------------------------------------------------------------------------------------------------


def test_a_run_from_rows_has_series_and_intervals_of_its_rates() -> None:
    rng = np.random.default_rng(2)
    rows = rows_of(rng, stages=2)
    summary = summarise(plan_of(2, 8), table(rows), [worker(stage=stage, sent=100) for stage in (0, 1)])
    frame = from_table(table(rows))
    mixed = from_table(table(rows[::-1]))
    whole, split = (
        with_rows(from_summary("a", summary), summary, plan_of(2, 8), rows_of_run) for rows_of_run in (frame, mixed)
    )
    assert [stage.key for stage in whole.stages] == ["concurrency 2", "concurrency 8"]
    for one, other in zip(whole.stages, split.stages, strict=True):
        assert {name: values.tolist() for name, values in one.series.items()} == {
            name: values.tolist() for name, values in other.series.items()
        }
        assert one.figures["requests_per_s"].low is not None
        assert len(one.series["ttft"]) == 100
    assert {row.outcome for row in compare([[whole], [split]]).rows} <= {"same", "unclear"}


def test_itl_of_a_server_that_was_slow_for_a_while_is_known_less_well_than_its_tokens_say() -> None:
    """The first half of the run takes 20 ms for a token, the second 10: its requests are two values, not sixty."""
    rows = [record(n, sent_ms=200.0 * n, gaps_ms=[20.0 if n < 30 else 10.0] * 8, ttft_ms=5) for n in range(60)]
    plan = plan_of(4)
    summary = summarise(plan, table(rows), [worker(sent=60)])
    alone = from_summary("a", summary)
    run = with_rows(alone, summary, plan, from_table(table(rows[::-1])))
    before, after = alone.stages[0].figures["itl_mean_ms"], run.stages[0].figures["itl_mean_ms"]
    assert after.value == before.value == pytest.approx(15)
    assert (after.high or 0) - (after.low or 0) > 2 * ((before.high or 0) - (before.low or 0))
    assert run.stages[0].freedoms["itl_mean_ms"] < 10
    assert set(run.stages[0].freedoms) >= {"itl_p50_ms", "event_gap_p50_ms"}


def test_the_tokenizer_of_a_run_is_known() -> None:
    rows = rows_of(np.random.default_rng(2))
    summary = summary_of(np.random.default_rng(2), 4)
    runs = [
        with_rows(from_summary(label, summary), summary, plan_of(4, **told), from_table(table(rows)))
        for label, told in (("a", {"tokenizer": "smollm2"}), ("b", {"tokenizer": "smollm2"}), ("c", {}))
    ]
    alike, unlike = (
        {one.fact: one.values for one in compare([[runs[0]], [other]]).differing if one.severity == "note"}
        for other in runs[1:]
    )
    assert (alike, unlike) == ({}, {"tokenizer": ("smollm2", "none")})


def test_a_summary_alone_can_be_compared_by_its_intervals() -> None:
    runs = [from_summary(name, summary_of(np.random.default_rng(seed), 4)) for seed, name in enumerate("ab")]
    slow = from_summary("c", summary_of(np.random.default_rng(9), 4, slower=1.5))
    found = compare([[runs[0]], [runs[1]], [slow]])
    outcome = {(row.label, row.figure): row.outcome for row in found.rows}
    assert outcome["b", "ttft_p50_ms"] != "regression"
    assert outcome["c", "ttft_p50_ms"] == "regression"
    assert outcome["c", "requests_per_s"] == "not judged"
