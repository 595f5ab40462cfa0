import pytest
from pydantic import BaseModel, ValidationError

from inferometer.config import models
from inferometer.config.models import Lengths, Plan, Stage, Target

MODELS = [kind for kind in vars(models).values() if isinstance(kind, type) and issubclass(kind, BaseModel)]


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind is not BaseModel], ids=lambda kind: kind.__name__)
def test_plans_are_frozen_and_know_their_keys(kind: type[BaseModel]) -> None:
    assert kind.model_config.get("frozen")
    assert kind.model_config.get("extra") == "forbid"


@pytest.mark.parametrize(
    "stage",
    [
        {"load": {"type": "closed", "concurrency": 1}},
        {"load": {"type": "open", "rate": 1}},
        {"load": {"type": "open", "rate": float("inf")}, "duration_s": 5},
        {"load": {"type": "users"}, "num_requests": 1},
        {"load": {"concurrency": 1}, "num_requests": 1},
    ],
)
def test_a_stage_that_would_not_end_or_means_nothing(stage: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Stage.model_validate(stage)


@pytest.mark.parametrize(
    "lengths",
    [
        {},
        {"mean": 0},
        {"mean": 5, "min": 6},
        {"mean": 5, "max": 4},
        {"mean": 5, "range_ratio": 1.0},
        {"mean": 5, "range_ratio": 0.5, "std_dev": 1},
        {"mean": 5, "range_ratio": 0.5, "max": 9},
    ],
)
def test_lengths_have_one_distribution(lengths: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Lengths.model_validate(lengths)


def test_the_schema_is_for_editors() -> None:
    schema = Plan.model_json_schema()
    assert schema["additionalProperties"] is False
    assert {"target", "scenario", "seed"} <= set(schema["properties"])


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("Authorization", "Bearer abcdef", r"Authorization is a secret, and plans are stored: .*--header"),
        ("x-api-key", "$KEY", "is a secret"),  # the header of the target is the one that reads the environment
        ("X-User", "Łukasz", "no HTTP header can carry"),
        ("X-User", "a\r\nX-Other: b", "no HTTP header can carry"),
        ("X User", "a", "no HTTP header can carry"),
        ("content-Length", "5", "comes with the body of each request"),
        ("X-Session-Token", "user-{conversation}", None),
        ("X-Session", "user-7", None),
    ],
)
def test_headers_of_requests_hold_no_secret_and_no_line_break(name: str, value: str, said: str | None) -> None:
    workload = {"headers": {name: value}}
    stage = {"load": {"type": "closed", "concurrency": 1}, "num_requests": 1}
    plan = {"target": {}, "scenario": {"workload": workload, "stages": [stage]}}
    if said is None:
        assert Plan.model_validate(plan).scenario.workload.headers == workload["headers"]
        return
    with pytest.raises(ValidationError, match=said):
        Plan.model_validate(plan)


def test_blanks_around_an_address_are_no_part_of_it() -> None:
    assert Target(base_url=" http://127.0.0.1:8000 \n").base_url == "http://127.0.0.1:8000"
