"""GuideLLM's scenario files in both forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from translating import plans, strange, translated

from inferometer.config.models import (
    ClosedLoop,
    ConversationWorkload,
    DatasetWorkload,
    OpenLoop,
    Plan,
    Ramp,
    RandomWorkload,
    SharedPrefixWorkload,
)
from inferometer.errors import UserError

FLAT: dict[str, Any] = {
    "target": "http://10.0.0.7:8000",
    "model": "org/some",
    "request_type": "text_completions",
    "profile": "constant",
    "rate": [1, 5],
    "max_seconds": 30,
    "data": {"prompt_tokens": 50, "output_tokens": 60},
}
SPEC: dict[str, Any] = {
    "backend": {"kind": "openai_http", "target": "http://10.0.0.7:8000", "model": "org/some"},
    "profile": {"kind": "concurrent", "streams": [1, 2]},
    "constraints": [{"kind": "max_duration", "seconds": 60}],
    "data": [{"kind": "synthetic_text", "prompt_tokens": 100, "output_tokens": 200}],
}


def flat(tmp_path: Path, **changes: Any) -> Plan:
    (plan,) = plans(translated(yaml.safe_dump(FLAT | changes), tmp_path, world="guidellm"))
    return plan


def nested(tmp_path: Path, benchmarks: list[Any] | None = None, **changes: Any) -> list[Plan]:
    document = {"metadata": {"labels": {"name": "x"}}, "spec": SPEC | changes}
    document |= {"benchmarks": benchmarks} if benchmarks else {}
    return plans(translated(yaml.safe_dump(document, sort_keys=False), tmp_path, world="guidellm"))


def test_the_whole_of_a_flat_file(tmp_path: Path) -> None:
    plan = flat(tmp_path)
    assert (plan.target.base_url, plan.target.model, plan.target.api) == (
        "http://10.0.0.7:8000",
        "org/some",
        "openai-completions",
    )
    assert [stage.load for stage in plan.scenario.stages] == [OpenLoop(rate=r, arrivals="constant") for r in (1, 5)]
    assert [stage.duration_s for stage in plan.scenario.stages] == [30, 30]
    workload = plan.scenario.workload
    assert isinstance(workload, RandomWorkload)
    assert workload.ignore_eos
    assert (workload.input_tokens.model_dump(), workload.output_tokens.model_dump()) == ({"mean": 50}, {"mean": 60})


@pytest.mark.parametrize(
    ("profile", "rate", "loads"),
    [
        ("synchronous", None, [ClosedLoop(concurrency=1)]),
        ("concurrent", [4, 8], [ClosedLoop(concurrency=4), ClosedLoop(concurrency=8)]),
        ("throughput", 64, [ClosedLoop(concurrency=64)]),
        ("poisson", 2.5, [OpenLoop(rate=2.5, arrivals="poisson")]),
        ("async", 3, [OpenLoop(rate=3, arrivals="constant")]),
    ],
)
def test_profiles(tmp_path: Path, profile: str, rate: Any, loads: list[Any]) -> None:
    plan = flat(tmp_path, profile=profile, rate=rate, max_seconds=None, max_requests=40)
    assert [stage.load for stage in plan.scenario.stages] == loads
    assert {stage.num_requests for stage in plan.scenario.stages} == {40}


@pytest.mark.parametrize(
    ("more", "meant"),
    [
        ({"prompt_tokens_stdev": 10, "prompt_tokens_min": 10}, {"mean": 50, "std_dev": 10.0, "min": 10}),
        ({"prompt_tokens_min": 10, "prompt_tokens_max": 100}, {"min": 10, "max": 100}),
    ],
)
def test_lengths(tmp_path: Path, more: dict[str, int], meant: dict[str, Any]) -> None:
    workload = flat(tmp_path, data=FLAT["data"] | more).scenario.workload
    assert isinstance(workload, RandomWorkload)
    assert workload.input_tokens.model_dump() == meant


def test_kinds_of_data(tmp_path: Path) -> None:
    plan = flat(tmp_path, data="prompt_tokens=7,output_tokens=8")
    assert isinstance(plan.scenario.workload, RandomWorkload)
    assert plan.scenario.workload.input_tokens.mean == 7
    plan = flat(tmp_path, data='{"prompt_tokens": 7, "output_tokens": 8, "prefix_tokens": 30}')
    assert isinstance(plan.scenario.workload, RandomWorkload)
    assert plan.scenario.workload.prefix_tokens == 30
    plan = flat(tmp_path, data=FLAT["data"] | {"prefix_tokens": 30, "prefix_count": 4})
    assert isinstance(plan.scenario.workload, SharedPrefixWorkload)
    assert (plan.scenario.workload.groups, plan.scenario.workload.prefix_tokens.mean) == (4, 30)
    plan = flat(tmp_path, data=FLAT["data"] | {"turns": 5})
    assert isinstance(plan.scenario.workload, ConversationWorkload)
    assert plan.scenario.workload.turns.mean == 5
    plan = flat(tmp_path, data="prompts.jsonl")
    assert isinstance(plan.scenario.workload, DatasetWorkload)
    assert plan.scenario.workload.path == "prompts.jsonl"


def test_every_benchmark_of_a_nested_file_is_a_stage(tmp_path: Path) -> None:
    overrides = [{"profile.streams": 30, "constraints[0].seconds": 9}, None, {"profile": {"kind": "synchronous"}}]
    (plan,) = nested(tmp_path, overrides)
    assert plan.target.api == "openai-chat"
    loads = [(stage.load.model_dump()["concurrency"], stage.duration_s) for stage in plan.scenario.stages]
    assert loads == [(30, 9), (1, 60), (2, 60), (1, 60)]


def test_benchmarks_with_other_data_are_plans_of_their_own(tmp_path: Path) -> None:
    small, large = nested(tmp_path, [None, {"data[0].prompt_tokens": 4000}])
    means = [plan.scenario.workload.model_dump()["input_tokens"]["mean"] for plan in (small, large)]
    assert means == [100, 4000]


def test_the_rest_of_a_nested_file(tmp_path: Path) -> None:
    backend = SPEC["backend"] | {
        "request_format": "/v1/completions",
        "timeout": 90,
        "timeout_connect": 3,
        "extras": {"body": {"temperature": 0}, "headers": {"x-a": "b"}},
    }
    profile = {"kind": "constant", "rate": 4, "max_concurrency": 50, "rampup_duration": 5, "warmup": 0.1}
    constraints = [*SPEC["constraints"], {"kind": "max_global_error_rate", "rate": 0.2, "minimum": 12}]
    profile["cooldown"] = {"value": 2}
    (plan,) = nested(tmp_path, backend=backend, profile=profile, constraints=constraints, seed=11)
    assert (plan.target.timeouts.total_s, plan.target.timeouts.connect_s) == (90, 3)
    assert (plan.target.headers, plan.scenario.workload.extra_body) == ({"x-a": "b"}, {"temperature": 0})
    (stage,) = plan.scenario.stages
    assert isinstance(stage.load, OpenLoop)
    assert stage.load.rate == Ramp(type="linear", start=0, end=4, over_s=5)
    assert (stage.load.max_in_flight, stage.warmup_s, stage.cooldown_s) == (50, 6, 2)
    assert (plan.scenario.stop_early.failed_share, plan.scenario.stop_early.after_requests) == (0.2, 12)
    assert plan.seed == 11


def test_answers_are_streamed_unless_the_file_says_no(tmp_path: Path) -> None:
    assert flat(tmp_path).scenario.workload.stream
    (plan,) = nested(tmp_path, backend={**SPEC["backend"], "stream": False})
    assert not plan.scenario.workload.stream


@pytest.mark.parametrize(
    ("document", "line", "sentence"),
    [
        (FLAT | {"profile": "sweep"}, 6, "sweep cannot be played"),
        (FLAT | {"profile": "constnat"}, 6, "did you mean 'constant'?"),
        (FLAT | {"rate": None}, 7, "'rate' is missing: the profile constant needs it"),
        (FLAT | {"profile": "concurrent", "rate": 1.5}, 7, "which are whole"),
        (FLAT | {"data": {"prompt_tokens": 5}}, 1, "'output_tokens' is missing"),
        ({"spec": SPEC, "benchmarks": [{"constraints[4].count": 1}]}, 2, "there is no 4 in spec to override"),
        ({"spec": SPEC, "benchmarks": [{"profile.streams": "many"}]}, 18, "spec.profile.streams"),
        ({"spec": SPEC | {"data": [{"kind": "weka"}]}}, 10, "cannot be sent; what can be"),
    ],
)
def test_wrong_files(tmp_path: Path, document: Any, line: int, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        translated(yaml.safe_dump(document), tmp_path, world="guidellm")
    assert sentence in str(error.value)
    assert f"given.yaml:{line}: " in str(error.value)


def test_unknown_keys_are_named(tmp_path: Path) -> None:
    found = translated(yaml.safe_dump(FLAT | {"max_second": 3}), tmp_path)
    assert list(strange(found)) == ["max_second"]
    assert "did you mean 'max_seconds'?" in found.not_understood[0].sentence
