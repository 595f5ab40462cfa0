"""The same seed gives the same bytes everywhere; nothing else about a prompt is ever the same."""

import hashlib
import subprocess
import sys
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.config.models import Lengths, Phase, Plan
from inferometer.workload.synthetic import Ask, compose_ask, draw
from inferometer.workload.tokens import PromptSpec, composer


def plan_of(seed: int = 0, **workload: Any) -> Plan:
    stages = [{"load": {"type": "closed", "concurrency": 1}, "num_requests": 1}]
    return Plan.model_validate({"target": {}, "scenario": {"workload": workload, "stages": stages}, "seed": seed})


def asks(plan: Plan, kind: str, count: int = 40) -> list[Ask]:
    """Every request of a run with two stages and a warm-up before each."""
    compose = composer(msgspec.convert({"kind": kind}, PromptSpec))
    parts = [(stage, phase) for stage in (0, 1) for phase in Phase]
    return [compose_ask(plan, compose, stage, phase, index) for stage, phase in parts for index in range(count)]


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
    compose = composer(msgspec.convert({"kind": kind}, PromptSpec))
    plan = plan_of(**SPREAD)
    forwards = [compose_ask(plan, compose, 0, Phase.MEASURED, index) for index in range(20)]
    backwards = [compose_ask(plan, compose, 0, Phase.MEASURED, index) for index in reversed(range(20))]
    assert forwards == backwards[::-1]


def test_the_lengths_are_those_that_were_asked() -> None:
    plan = plan_of(input_tokens={"mean": 17}, output_tokens={"mean": 5})
    for ask in asks(plan, "token_ids"):
        assert (len(ask.prompt), ask.prompt_tokens, ask.output_tokens) == (17, 17, 5)


def many(lengths: Lengths, count: int = 5000) -> np.ndarray[Any, np.dtype[np.int64]]:
    random = np.random.Generator(np.random.PCG64(3))
    return np.array([draw(lengths, random) for _ in range(count)])


def test_a_mean_alone_is_fixed() -> None:
    assert set(many(Lengths(mean=12, min=3, max=20), 50)) == {12}


@pytest.mark.parametrize(("ratio", "low", "high"), [(0.5, 50, 150), (0.999, 1, 200), (0.004, 99, 101)])
def test_a_ratio_is_uniform_to_both_ends(ratio: float, low: int, high: int) -> None:
    drawn = many(Lengths(mean=100, range_ratio=ratio))
    assert (drawn.min(), drawn.max()) == (low, high)
    assert drawn.mean() == pytest.approx((low + high) / 2, rel=0.05)
    assert drawn.std() == pytest.approx(np.sqrt(((high - low + 1) ** 2 - 1) / 12), rel=0.05)


def test_a_deviation_is_normal() -> None:
    drawn = many(Lengths(mean=500, std_dev=50))
    assert drawn.mean() == pytest.approx(500, rel=0.01)
    assert drawn.std() == pytest.approx(50, rel=0.1)
    assert np.mean(abs(drawn - 500) < 50) == pytest.approx(0.683, abs=0.04)


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(0, 5000), st.integers(0, 5000), st.floats(0.1, 1e4), st.integers(0, 2**32))
def test_limits_are_kept(mean: int, below: int, above: int, std_dev: float, seed: int) -> None:
    lengths = Lengths(mean=mean, min=max(1, mean - below), max=mean + above, std_dev=std_dev)
    assert lengths.min is not None
    assert lengths.max is not None
    assert lengths.min <= draw(lengths, np.random.Generator(np.random.PCG64(seed))) <= lengths.max


@settings(deadline=None)
@given(st.integers(1, 5000), st.floats(0, 1e5), st.floats(0, 0.99), st.integers(0, 2**32))
def test_a_length_is_never_below_one(mean: int, std_dev: float, ratio: float, seed: int) -> None:
    random = np.random.Generator(np.random.PCG64(seed))
    assert draw(Lengths(mean=mean, std_dev=std_dev), random) >= 1
    assert draw(Lengths(mean=mean, range_ratio=ratio), random) >= 1
