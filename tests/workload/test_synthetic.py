"""The same seed gives the same bytes everywhere; nothing else about a prompt is ever the same."""

import hashlib
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from inferometer.config.models import Phase, Plan
from inferometer.workload.asks import Ask, Asks, Materials
from inferometer.workload.sources import asks_of
from inferometer.workload.tokens import PromptSpec


def plan_of(seed: int = 0, **workload: Any) -> Plan:
    stages = [{"load": {"type": "closed", "concurrency": 1}, "num_requests": 1}] * 2
    return Plan.model_validate({"target": {}, "scenario": {"workload": workload, "stages": stages}, "seed": seed})


def source(plan: Plan, kind: str) -> Asks:
    return asks_of(plan, Materials(prompts=msgspec.convert({"kind": kind}, PromptSpec)))


def asks(plan: Plan, kind: str, count: int = 40) -> list[Ask]:
    """Every request of a run with two stages and a warm-up before each."""
    ask = source(plan, kind)
    parts = [(stage, phase) for stage in (0, 1) for phase in Phase]
    return [ask(stage, phase, index) for stage, phase in parts for index in range(count)]


def digest(plan: Plan, kind: str) -> str:
    return hashlib.sha256(msgspec.json.encode(asks(plan, kind))).hexdigest()


SPREAD: dict[str, Any] = {
    "input_tokens": {"mean": 50, "std_dev": 20.0, "min": 8},
    "output_tokens": {"mean": 9, "range_ratio": 0.5},
}
KINDS = ["token_ids", "calibrated_text"]


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_write_the_same_bytes(kind: str) -> None:
    code = f"from test_synthetic import *; print(digest(plan_of(7, **SPREAD), {kind!r}))"
    here = __file__.rpartition("/")[0]
    other = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest(plan_of(7, **SPREAD), kind)


@pytest.mark.parametrize("kind", KINDS)
def test_another_seed_is_another_workload(kind: str) -> None:
    first, second = asks(plan_of(1, **SPREAD), kind), asks(plan_of(2, **SPREAD), kind)
    assert [ask.prompt_tokens for ask in first] != [ask.prompt_tokens for ask in second]
    shared = {str(ask.prompt) for ask in first} & {str(ask.prompt) for ask in second}
    assert not shared


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tokens", [4, 300])
def test_no_prompt_comes_twice_in_a_run(kind: str, tokens: int) -> None:
    """Neither in one stage nor across stages and warm-ups: a prefix cache has nothing to find."""
    prompts = [str(ask.prompt) for ask in asks(plan_of(input_tokens={"mean": tokens}), kind, 250)]
    assert len(set(prompts)) == len(prompts) == 1000
    assert len({prompt[:24] for prompt in prompts}) > 900


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_does_not_depend_on_the_others(kind: str) -> None:
    ask = source(plan_of(**SPREAD), kind)
    forwards = [ask(0, Phase.MEASURED, index) for index in range(20)]
    backwards = [ask(0, Phase.MEASURED, index) for index in reversed(range(20))]
    assert forwards == backwards[::-1]


def test_the_lengths_are_those_that_were_asked() -> None:
    plan = plan_of(input_tokens={"mean": 17}, output_tokens={"mean": 5})
    for ask in asks(plan, "token_ids"):
        assert (len(ask.prompt), ask.prompt_tokens, ask.output_tokens) == (17, 17, 5)


def test_a_stage_may_have_lengths_of_its_own() -> None:
    load = {"load": {"type": "closed", "concurrency": 1}, "num_requests": 1}
    stages = [load | {"input_tokens": {"mean": 9}}, load | {"output_tokens": {"mean": 3}}]
    workload = {"input_tokens": {"mean": 17}, "output_tokens": {"mean": 5}}
    plan = Plan.model_validate({"target": {}, "scenario": {"workload": workload, "stages": stages}})
    found = {(ask.prompt_tokens, ask.output_tokens, ask.request_class) for ask in asks(plan, "token_ids", 5)}
    assert found == {(9, 5, None), (17, 3, None)}


MIX = [
    {"name": "short", "share": 2, "input_tokens": {"min": 50, "max": 100}},
    {"name": "medium", "share": 2, "input_tokens": {"min": 200, "max": 500}, "output_tokens": {"mean": 70}},
    {"name": "long", "share": 1, "input_tokens": {"min": 1000, "max": 2000}, "output_tokens": {"mean": 300}},
    {"name": "never", "share": 0},
]


def test_a_mix_has_its_shares_and_each_class_its_lengths() -> None:
    plan = plan_of(mix=MIX, output_tokens={"mean": 5})
    ask = source(plan, "token_ids")
    found = [ask(0, Phase.MEASURED, index) for index in range(4000)]
    shares = {name: sum(one.request_class == name for one in found) / 4000 for name in ("short", "medium", "long")}
    # four standard errors of a share of 4000
    assert shares == pytest.approx({"short": 0.4, "medium": 0.4, "long": 0.2}, abs=0.031)
    bounds = {"short": (50, 100, 5), "medium": (200, 500, 70), "long": (1000, 2000, 300)}
    for one in found:
        low, high, output = bounds[str(one.request_class)]
        assert low <= (one.prompt_tokens or 0) <= high
        assert one.output_tokens == output


def test_a_mix_is_a_function_of_the_seed_and_the_number() -> None:
    plan = plan_of(mix=MIX)
    assert digest(plan, "token_ids") == digest(plan, "token_ids")
    ask = source(plan, "token_ids")
    backwards = [ask(0, Phase.MEASURED, index) for index in reversed(range(30))]
    assert backwards[::-1] == [ask(0, Phase.MEASURED, index) for index in range(30)]
