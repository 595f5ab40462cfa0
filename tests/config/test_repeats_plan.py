"""Repeats in a plan: rounds of all stages, in orders that a seed decides."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from inferometer.config import files
from inferometer.config.flags import plan_from_flags
from inferometer.config.models import Plan
from inferometer.errors import UserError


def plan(levels: tuple[int, ...] = (1, 2, 4), seed: int = 7, **scenario: Any) -> Plan:
    stages = [{"load": {"type": "closed", "concurrency": level}, "num_requests": 10} for level in levels]
    return Plan.model_validate({"target": {}, "scenario": {"stages": stages} | scenario, "seed": seed})


def played(made: Plan) -> list[tuple[int | None, Any]]:
    return [(stage.repeat, stage.load.model_dump()["concurrency"]) for stage in made.scenario.stages]


def test_each_round_has_all_stages_in_order() -> None:
    assert played(plan(repeats=2)) == [(1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (2, 4)]
    assert played(plan()) == [(None, 1), (None, 2), (None, 4)]


def test_an_order_is_drawn_for_each_round_from_the_seed() -> None:
    levels = (1, 2, 3, 4, 5, 6)
    made = played(plan(levels, repeats=4, shuffle_stages=True))
    orders = [tuple(level for number, level in made if number == wanted) for wanted in range(1, 5)]
    assert all(sorted(order) == list(levels) for order in orders)
    assert len(set(orders)) > 1
    assert made == played(plan(levels, repeats=4, shuffle_stages=True))
    assert made != played(plan(levels, seed=8, repeats=4, shuffle_stages=True))
    assert made[:6] == [(1, level) for level in (3, 5, 2, 4, 1, 6)]  # the same on every machine


def test_a_plan_that_was_written_down_is_played_as_it_was(tmp_path: Path) -> None:
    made = plan(repeats=3, shuffle_stages=True, until_precision=("ttft_p95:5%",))
    (tmp_path / "plan.yaml").write_text(files.dump(made))
    assert files.read_plan(tmp_path / "plan.yaml") == made
    once = plan(shuffle_stages=True)
    assert Plan.model_validate(yaml.safe_load(files.dump(once))) == once


def test_lengths_of_a_grid_are_repeated_too() -> None:
    made = plan((1,), repeats=2, grid={"output_tokens": [10, 20]})
    names = Counter(stage.name for stage in made.scenario.stages)
    assert set(names.values()) == {2}
    assert len(names) == 2


def test_flags_repeat_the_stages_that_they_make() -> None:
    options = {"scenario.repeats": 3, "max_concurrency": [1, 8], "num_prompts": 5}
    made = plan_from_flags(options, {})
    assert [number for number, _ in played(made)] == [1, 1, 2, 2, 3, 3]
    again = plan_from_flags({"max_concurrency": [2]}, made.model_dump(mode="json"))
    assert played(again) == [(1, 2), (2, 2), (3, 2)]


@pytest.mark.parametrize(
    ("scenario", "told"),
    [
        ({"repeats": 0}, "greater than or equal to 1"),
        ({"repeats": 2, "until_precision": ["ttft_p95:5%"]}, "needs repeats of 3 or more"),
        ({"repeats": 3, "until_precision": ["ttft_p95"]}, "no precision: write FIGURE:PER CENT%"),
        ({"repeats": 3, "until_precision": ["ttft_p95:0%"]}, "above 0 %"),
        ({"repeats": 3, "until_precision": ["ttfx_p95:5%"]}, "did you mean"),
    ],
)
def test_mistakes(scenario: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        plan(**scenario)


def test_rounds_that_do_not_fit() -> None:
    made = plan(repeats=3).model_dump(mode="json")
    with pytest.raises(UserError, match="repeats is 5, but the stages stand there as 3 rounds"):
        plan_from_flags({"scenario.repeats": 5}, made)
    stages = [{"load": {"type": "closed", "concurrency": 1}, "num_requests": 1, "same_prompts": True}]
    with pytest.raises(ValidationError, match="shuffled stages have no fixed one"):
        Plan.model_validate({"target": {}, "scenario": {"stages": stages, "repeats": 2, "shuffle_stages": True}})
