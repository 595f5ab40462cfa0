"""Which distribution is meant by what is given, and grids and mixes of lengths."""

from typing import Any

import pytest
from pydantic import ValidationError

from inferometer.config.files import dump, read_plan
from inferometer.config.models import Grid, Lengths, Plan, RandomWorkload, Scenario
from inferometer.errors import UserError

KINDS: list[tuple[dict[str, Any], str, str]] = [
    ({"mean": 100}, "fixed", "100"),
    ({"mean": 100, "min": 3, "max": 200}, "fixed", "100"),
    ({"mean": 480, "std_dev": 240}, "normal", "N(480,240)"),
    ({"mean": 100, "range_ratio": 0.5}, "uniform", "U(50,150)"),
    ({"min": 50, "max": 100}, "uniform", "U(50,100)"),
    ({"values": [5, 9], "weights": [1, 3]}, "empirical", "empirical(2)"),
    ({"distribution": "normal", "mean": 7}, "normal", "N(7,0)"),
    ({"distribution": "lognormal", "mean": 300, "std_dev": 120.5}, "lognormal", "lognormal(300,120.5)"),
    ({"distribution": "exponential", "mean": 300, "max": 900}, "exponential", "exponential(300)"),
    ({"distribution": "poisson", "mean": 300}, "poisson", "poisson(300)"),
    ({"distribution": "zipf", "min": 16, "max": 4096, "exponent": 1.2}, "zipf", "zipf(16,4096)"),
]


@pytest.mark.parametrize(("given", "kind", "text"), KINDS)
def test_what_is_given_says_what_is_meant(given: dict[str, Any], kind: str, text: str) -> None:
    lengths = Lengths.model_validate(given)
    assert (lengths.kind, lengths.text) == (kind, text)
    assert lengths.model_dump() == {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
    assert Lengths.model_validate(lengths.model_dump(mode="json")) == lengths


MISTAKES: dict[str, dict[str, Any]] = {
    "fixed need mean": {},
    "uniform need max and min": {"distribution": "uniform"},
    "lognormal need std_dev": {"distribution": "lognormal", "mean": 9},
    "exponential have no std_dev": {"distribution": "exponential", "mean": 9, "std_dev": 3},
    "zipf need max": {"distribution": "zipf", "min": 9},
    "zipf have no mean": {"distribution": "zipf", "mean": 9, "min": 1, "max": 99},
    "empirical have no mean": {"values": [1, 2], "mean": 9},
    "fixed have no weights": {"mean": 9, "weights": [1]},
    "is above the largest": {"min": 9, "max": 3},
    "at most 1,000,000 lengths": {"distribution": "zipf", "min": 1, "max": 10**9},
    "one number for each": {"values": [1, 2], "weights": [1]},
    "not all zero": {"values": [1, 2], "weights": [0, 0]},
    "greater than or equal to 0": {"values": [1, 2], "weights": [2, -1]},
    "greater than or equal to 1": {"values": [0]},
    "'fixed', 'uniform'": {"distribution": "bell", "mean": 9},
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_lengths_that_mean_nothing(sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Lengths.model_validate(MISTAKES[sentence])
    assert sentence in str(caught.value)


CLOSED = {"load": {"type": "closed", "concurrency": 1}, "num_requests": 4}


def scenario(**parts: Any) -> Scenario:
    return Scenario.model_validate({"stages": [CLOSED], **parts})


def cells_of(found: Scenario) -> list[tuple[str | None, str, str]]:
    default = RandomWorkload()
    sides = [(stage, stage.input_tokens or default.input_tokens) for stage in found.stages]
    return [(s.name, asked.text, (s.output_tokens or default.output_tokens).text) for s, asked in sides]


def test_a_grid_is_a_stage_for_each_pair() -> None:
    """As many as suites of 6 prompt lengths and 4 output lengths have."""
    grid = {"input_tokens": [10, 50, 100, 500, 1000, 2000], "output_tokens": [50, 100, 200, 500]}
    found = scenario(grid=grid)
    assert len(found.stages) == 24
    assert cells_of(found)[:5] == [
        ("10/50", "10", "50"),
        ("10/100", "10", "100"),
        ("10/200", "10", "200"),
        ("10/500", "10", "500"),
        ("50/50", "50", "50"),
    ]
    assert {stage.num_requests for stage in found.stages} == {4}
    assert found.grid is None


def test_every_stage_is_played_in_each_cell() -> None:
    named = CLOSED | {"name": "quiet", "warmup_requests": 2}
    found = scenario(grid={"output_tokens": [5, {"min": 6, "max": 7}]}, stages=[named, CLOSED])
    assert cells_of(found) == [
        ("quiet 5 out", "256", "5"),
        ("5 out", "256", "5"),
        ("quiet U(6,7) out", "256", "U(6,7)"),
        ("U(6,7) out", "256", "U(6,7)"),
    ]
    assert [stage.warmup_requests for stage in found.stages] == [2, 0, 2, 0]


def test_a_resolved_grid_is_not_resolved_again(tmp_path: Any) -> None:
    plan = Plan.model_validate({"target": {}, "scenario": {"stages": [CLOSED], "grid": {"input_tokens": [3, 4]}}})
    file = tmp_path / "plan.yaml"
    file.write_text(dump(plan))
    assert "grid" not in file.read_text()
    assert read_plan(file) == plan
    assert len(plan.scenario.stages) == 2


@pytest.mark.parametrize(
    ("scenario_yaml", "sentence"),
    [
        ("grid: {}", ":2: scenario.grid: a grid needs input_tokens, output_tokens or both"),
        ("grid: {input_tokens: [5, 0]}", ":2: scenario.grid.input_tokens.1: "),
        ("grid: {prompt_tokens: [5]}", ":2: unknown key 'scenario.grid.prompt_tokens'; did you mean"),
        ("workload: {mix: [{name: a, share: -1}]}", ":2: scenario.workload.mix.0.share: "),
        ("workload: {mix: [{name: a, share: 0}]}", ":2: scenario.workload.mix: every class has a share of 0"),
        ("workload: {mix: [{name: a, share: 1}, {name: a, share: 1}]}", "two classes have the same name"),
        ("workload: {mix: [{name: a, share: 1}]}, grid: {input_tokens: [5]}", "cannot have their own beside it"),
    ],
)
def test_a_mistake_has_its_line(scenario_yaml: str, sentence: str, tmp_path: Any) -> None:
    file = tmp_path / "plan.yaml"
    stages = "stages: [{load: {type: closed, concurrency: 1}, num_requests: 4}]"
    file.write_text(f"target: {{}}\nscenario: {{{scenario_yaml}, {stages}}}\n")
    with pytest.raises(UserError) as caught:
        read_plan(file)
    assert sentence in str(caught.value)


def test_editors_know_grids() -> None:
    assert "grid" in Scenario.model_json_schema()["properties"]
    assert set(Grid.model_json_schema()["properties"]) == {"input_tokens", "output_tokens"}
