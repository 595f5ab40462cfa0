"""Groups begin alike, questions never repeat unless asked to, counts and lengths are exact, everywhere the same."""

import hashlib
import subprocess
import sys
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_synthetic import source

from inferometer.config.models import Phase, Plan, SharedPrefixWorkload
from inferometer.workload.asks import Ask, Materials
from inferometer.workload.shared_prefix import known_prefixes, prefix_lengths, round_order
from inferometer.workload.sources import asks_of
from inferometer.workload.tokens import PromptSpec

SHAPE: dict[str, Any] = {
    "groups": 4,
    "prompts_per_group": 5,
    "prefix_tokens": {"mean": 96},
    "input_tokens": {"mean": 32},
    "output_tokens": {"mean": 3},
}
ROUND = 20


def plan_of(seed: int = 0, same_prompts: bool = False, **workload: Any) -> Plan:
    load = {"load": {"type": "closed", "concurrency": 1}, "num_requests": 1}
    stages = [load, load | {"same_prompts": same_prompts}]
    scenario = {"workload": {"type": "shared_prefix"} | SHAPE | workload, "stages": stages}
    return Plan.model_validate({"target": {}, "scenario": scenario, "seed": seed})


def asked(plan: Plan, stage: int = 0, phase: Phase = Phase.MEASURED, count: int = 2 * ROUND) -> list[Ask]:
    ask = source(plan, "token_ids")
    return [ask(stage, phase, index) for index in range(count)]


def digest(plan: Plan, kind: str) -> str:
    ask = source(plan, kind)
    parts = [(stage, phase, index) for stage in (0, 1) for phase in Phase for index in range(30)]
    return hashlib.sha256(repr([ask(*part) for part in parts]).encode()).hexdigest()


def beginning(ask: Ask, tokens: int = 96) -> tuple[int, ...]:
    return tuple(ask.prompt[:tokens])  # type: ignore[arg-type]


def question(ask: Ask, tokens: int = 96) -> tuple[int, ...]:
    return tuple(ask.prompt[tokens:])  # type: ignore[arg-type]


def test_lengths_are_exact_and_beginnings_are_those_of_the_groups() -> None:
    found = asked(plan_of())
    assert {(len(ask.prompt), ask.prompt_tokens, ask.output_tokens) for ask in found} == {(128, 128, 3)}
    assert len({beginning(ask) for ask in found}) == len({(ask.group, beginning(ask)) for ask in found}) == 4
    assert len({question(ask) for ask in found}) == 2 * ROUND
    assert len({beginning(ask, 1) for ask in found}) == 4  # groups differ from their first token on


@pytest.mark.parametrize("shuffle", [True, False])
def test_every_round_asks_each_group_equally_often(shuffle: bool) -> None:
    groups = [ask.group for ask in asked(plan_of(shuffle=shuffle))]
    for start in (0, ROUND):
        assert Counter(groups[start : start + ROUND]) == dict.fromkeys(range(4), 5)
    in_turn = [group for group in range(4) for _ in range(5)]
    assert (groups[:ROUND] == in_turn) is not shuffle
    assert (groups[:ROUND] == groups[ROUND:]) is not shuffle


def test_stages_share_beginnings_and_no_question() -> None:
    plan = plan_of()
    first, second, warmup = asked(plan), asked(plan, 1), asked(plan, 0, Phase.WARMUP)
    assert {(ask.group, beginning(ask)) for ask in first} == {(ask.group, beginning(ask)) for ask in second}
    assert len({question(ask) for ask in [*first, *second, *warmup]}) == 3 * 2 * ROUND
    assert [ask.group for ask in first] != [ask.group for ask in second]


@pytest.mark.parametrize("first", [1_000_000, 2_000_000])
def test_a_long_stage_asks_nothing_of_the_stages_after_it(first: int) -> None:
    ask = source(plan_of(), "token_ids")
    late = {question(ask(0, Phase.MEASURED, first + index)) for index in range(ROUND)}
    later = {question(ask(1, phase, index)) for phase in Phase for index in range(ROUND)}
    assert not late & later
    assert len(late) == ROUND


def test_new_prefixes_are_new_in_every_stage_and_warm_up() -> None:
    plan = plan_of(new_prefixes=True)
    parts = [asked(plan, stage, phase) for stage in (0, 1) for phase in Phase]
    assert len({beginning(ask) for part in parts for ask in part}) == 4 * 4
    assert len({ask.group for part in parts for ask in part}) == 4 * 4


def test_repeated_questions_are_those_of_the_first_round() -> None:
    plan = plan_of(repeat_questions=True, input_tokens={"min": 10, "max": 40})
    first, second = asked(plan), asked(plan, 1)
    prompts = Counter(tuple(ask.prompt) for ask in [*first, *second])
    assert len(prompts) == ROUND
    assert set(prompts.values()) == {4}
    assert known_prefixes(plan, 0) is None


def test_a_stage_of_the_same_prompts_asks_them_again() -> None:
    plan = plan_of(same_prompts=True)
    assert asked(plan) == asked(plan, 1)
    assert known_prefixes(plan, 0) is not None
    assert known_prefixes(plan, 1) is None


@given(st.integers(1, 40), st.integers(1, 10), st.floats(0.1, 3), st.integers(0, 2**32))
def test_popular_groups_get_their_share_in_every_round(
    groups: int, per_group: int, popularity: float, seed: int
) -> None:
    workload = SharedPrefixWorkload(groups=groups, prompts_per_group=per_group, popularity=popularity)
    found = round_order(workload, np.random.default_rng(seed))
    counts = np.bincount(found.group, minlength=groups)
    weights = np.arange(1, groups + 1) ** -popularity
    assert len(found.group) == groups * per_group
    assert np.abs(counts - groups * per_group * weights / weights.sum()).max() < 1 + 1e-6
    assert len(set(zip(found.group.tolist(), found.question.tolist(), strict=True))) == len(found.group)


def test_popularity_is_exact_on_average() -> None:
    workload = SharedPrefixWorkload(groups=8, prompts_per_group=1, popularity=1.5)
    random = np.random.default_rng(0)
    counts = sum(np.bincount(round_order(workload, random).group, minlength=8) for _ in range(4000))
    weights = np.arange(1, 9) ** -1.5
    # a count differs from its share by less than 1 in a round: four standard errors of 4000 of them
    assert counts / 4000 == pytest.approx(8 * weights / weights.sum(), abs=4 * 0.5 / 4000**0.5)


def test_lengths_of_prefixes_are_drawn_once_for_each_group() -> None:
    plan = plan_of(prefix_tokens={"min": 50, "max": 500}, new_prefixes=True)
    length = prefix_lengths(plan)
    found = [*asked(plan), *asked(plan, 1)]
    assert {ask.prompt_tokens for ask in found} == {length(group) + 32 for group in range(4)}
    assert len({length(group) for group in range(4)}) > 1
    assert [length(group) for group in range(8)] == 2 * [length(group) for group in range(4)]


def test_a_template_of_the_server_is_taken_off_the_question_which_keeps_a_token() -> None:
    prompts = PromptSpec(kind="token_ids", overhead_tokens=20)
    for tokens, sent in ((32, 96 + 12), (5, 96 + 1)):
        found = asks_of(plan_of(input_tokens={"mean": tokens}), Materials(prompts=prompts))(0, Phase.MEASURED, 7)
        assert (len(found.prompt), found.prompt_tokens) == (sent, 96 + tokens)


@pytest.mark.parametrize("kind", ["token_ids", "calibrated_text"])
def test_two_processes_write_the_same_bytes(kind: str) -> None:
    code = f"from test_shared_prefix import *; print(digest(plan_of(7, popularity=1.0), {kind!r}))"
    here = __file__.rpartition("/")[0]
    other = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(plan_of(7, popularity=1.0), kind)
    assert other.stdout.strip() != digest(plan_of(8, popularity=1.0), kind)


def test_a_request_does_not_depend_on_the_others() -> None:
    ask = source(plan_of(popularity=0.8), "token_ids")
    forwards = [ask(0, Phase.MEASURED, index) for index in range(50)]
    assert [ask(0, Phase.MEASURED, index) for index in reversed(range(50))] == forwards[::-1]
    stride = [ask(1, Phase.MEASURED, index) for index in range(1, 50, 3)]
    assert stride == asked(plan_of(popularity=0.8), 1, count=50)[1::3]
