"""``vllm_benchmark.json`` and the environment of the evaluation pipeline: what each key and variable does."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferometer.config import files
from inferometer.config.flags import plan_from_flags
from inferometer.config.foreign import detect, pipeline
from inferometer.config.foreign.translated import Translated, Where
from inferometer.config.models import ClosedLoop, OpenLoop, Plan, RandomWorkload
from inferometer.errors import UserError

NIGHTLY: dict[str, Any] = {
    "name": "Nightly",
    "version": "1.2.0",
    "description": "두 가지 부하",
    "defaults": {
        "backend": "openai-chat",
        "endpoint_path": "/v1/chat/completions",
        "dataset_type": "random",
        "percentile_metrics": "ttft,tpot",
        "metric_percentiles": "50,95,99.9",
        "random_output_len": 32,
    },
    "scenarios": [
        {"name": "light", "description": "one user", "max_concurrency": 1, "num_prompts": 10, "random_input_len": 512},
        {"name": "heavy load", "max_concurrency": 8, "random_input_len": 2048, "random_output_len": 512},
    ],
    "thresholds": {"ttft_p95_ms": 200, "tpot_mean_ms": 50, "throughput_min": 10, "success_rate": 0.95},
}


VARIABLES = ("MODEL_ENDPOINT", "REQUEST_RATE", "DURATION", "CONCURRENCY_LEVELS", "TOKENIZER", "MODEL_NAME", "BACKEND")


def translated(document: Any, tmp_path: Path, **environment: str) -> Translated:
    path = tmp_path / "vllm_benchmark.json"
    path.write_text(json.dumps(document, indent=1))
    told, lines, text = files.document(path)
    return pipeline.translate(told, Where(path, lines, text), environment)


def plans(document: Any, tmp_path: Path, **environment: str) -> list[Plan]:
    return [plan_from_flags({}, plan) for plan in translated(document, tmp_path, **environment).plans]


def first(tmp_path: Path, scenario: dict[str, Any] | None = None, **environment: str) -> Plan:
    """The plan of one scenario without defaults."""
    return plans({"scenarios": [{"name": "one", **(scenario or {})}]}, tmp_path, **environment)[0]


def changed(**changes: Any) -> dict[str, Any]:
    return NIGHTLY | changes


def test_scenarios_are_merged_over_the_defaults(tmp_path: Path) -> None:
    light, heavy = plans(NIGHTLY, tmp_path)
    assert (light.scenario.name, heavy.scenario.name) == ("light", "heavy_load")
    sizes = []
    for plan in (light, heavy):
        workload, stage = plan.scenario.workload, plan.scenario.stages[0]
        assert isinstance(workload, RandomWorkload)
        assert isinstance(stage.load, ClosedLoop)
        sizes.append((workload.input_tokens.mean, workload.output_tokens.mean, stage.load.concurrency))
        assert plan.report.percentile_metrics == ("ttft", "tpot")
        assert plan.report.percentiles == (50.0, 95.0, 99.9)
        assert plan.scenario.thresholds == (
            "ttft_p95_ms<=200",
            "tpot_mean_ms<=50",
            "throughput_min>=10",
            "success_rate>=0.95",
        )
        assert plan.target.base_url == "http://localhost:8000"
        assert plan.target.facts["benchmark_version"] == "1.2.0"
    assert sizes == [(512, 32, 1), (2048, 512, 8)]
    assert [plan.scenario.stages[0].num_requests for plan in (light, heavy)] == [10, 16]  # twice the concurrency


def test_folders_have_the_names_of_the_scenarios(tmp_path: Path) -> None:
    assert translated(NIGHTLY, tmp_path).names == ("scenario_light_{time}", "scenario_heavy_load_{time}")


def test_what_is_left_out_has_the_documented_defaults(tmp_path: Path) -> None:
    plan = first(tmp_path)
    workload, stage = plan.scenario.workload, plan.scenario.stages[0]
    assert isinstance(workload, RandomWorkload)
    assert (workload.input_tokens.mean, workload.output_tokens.mean) == (1024, 128)
    assert stage.load == ClosedLoop(concurrency=1)
    assert stage.num_requests == 2
    assert (plan.target.api, plan.target.model, plan.target.tokenizer) == ("openai-chat", None, None)
    assert plan.scenario.thresholds == ()
    assert plan.report.percentiles == (25.0, 50.0, 75.0, 90.0, 95.0, 99.0)


def test_the_other_nesting_is_read_too(tmp_path: Path) -> None:
    assert plans({"vllm_benchmark": NIGHTLY}, tmp_path) != []
    assert pipeline.looks_like({"vllm_benchmark": NIGHTLY})
    with pytest.raises(UserError, match=r":\d+: vllm_benchmark.scenarios.0.num_prompts: "):
        translated({"vllm_benchmark": {"scenarios": [{"name": "a", "num_prompts": 0}]}}, tmp_path)


@pytest.mark.parametrize(
    ("environment", "path", "value"),
    [
        ({"MODEL_ENDPOINT": "http://gpu:8080/"}, "target.base_url", "http://gpu:8080"),
        ({"MODEL_ENDPOINT": "http://gpu:8080/v1"}, "target.base_url", "http://gpu:8080"),
        ({"MODEL_NAME": "org/m"}, "target.model", "org/m"),
        ({"MODEL_NAME": "org/m", "SERVED_MODEL_NAME": "m"}, "target.model", "m"),
        ({"MODEL_NAME": "org/m", "SERVED_MODEL_NAME": "m"}, "target.facts.model_name", "org/m"),
        ({"TOKENIZER": "some/folder"}, "target.tokenizer", "some/folder"),
        ({"TOKENIZER": "gpt2"}, "target.tokenizer", None),
        ({"BACKEND": "tgi", "ENDPOINT_PATH": "/generate_stream"}, "target.api", "tgi"),
        ({"BACKEND": "openai", "ENDPOINT_PATH": "/v1/completions"}, "target.api", "openai-completions"),
        ({"ENDPOINT_PATH": "/x/v1/chat/completions"}, "target.endpoint", "/x/v1/chat/completions"),
        ({"REQUEST_RATE": "2.5"}, "scenario.stages.0.load.rate", 2.5),
        ({"REQUEST_RATE": "2.5"}, "scenario.stages.0.load.max_in_flight", 1),
        ({"REQUEST_RATE": "inf"}, "scenario.stages.0.load.type", "closed"),
        ({"MAX_CONCURRENCY": "7"}, "scenario.stages.0.load.concurrency", 7),
        ({"NUM_PROMPTS": "33"}, "scenario.stages.0.num_requests", 33),
        ({"RANDOM_INPUT_LEN": "5"}, "scenario.workload.input_tokens.mean", 5),
        ({"RANDOM_OUTPUT_LEN": "6"}, "scenario.workload.output_tokens.mean", 6),
        ({"CONCURRENCY_LEVELS": "50,100"}, "scenario.stages.1.load.concurrency", 100),
        ({"CONCURRENCY_LEVELS": "50,100"}, "scenario.stages.1.name", "light_c100"),
        ({"DURATION": "600"}, "scenario.stages.0.duration_s", 600.0),
        ({"DURATION": "600"}, "scenario.stages.0.num_requests", None),
        ({"DURATION": "600", "NUM_PROMPTS": "9"}, "scenario.stages.0.num_requests", 9),
        ({"MODEL_NAME": " "}, "target.model", None),
    ],
)
def test_every_variable_does_something(environment: dict[str, str], path: str, value: Any, tmp_path: Path) -> None:
    told: Any = plans(NIGHTLY, tmp_path, **environment)[0].model_dump(mode="json")
    for key in path.split("."):
        told = told[int(key)] if isinstance(told, list) else told[key]
    assert told == value


def test_the_environment_is_named(tmp_path: Path) -> None:
    notes = translated(NIGHTLY, tmp_path, REQUEST_RATE="1", DURATION="5", TOKENIZER="gpt2", HOME="/root").notes
    assert notes[0] == "from the environment, over the file: TOKENIZER, REQUEST_RATE, DURATION"
    assert any("DURATION ends each load" in note for note in notes)
    assert any("gpt2 stands for any" in note for note in notes)


def test_keys_that_the_original_never_read(tmp_path: Path) -> None:
    plan = first(tmp_path, {"request_rate": 4, "burstiness": 0.5, "num_warmups": 3, "model": "m"})
    stage = plan.scenario.stages[0]
    assert stage.load == OpenLoop(rate=4, arrivals="gamma", burstiness=0.5, max_in_flight=1)
    assert stage.warmup_requests == 3
    assert plan.target.model == "m"
    assert first(tmp_path, {"metric_percentiles": [95, 50.5], "percentile_metrics": ["e2el"]}).report.percentiles == (
        50.5,
        95.0,
    )


@pytest.mark.parametrize(
    ("scenario", "api", "note"),
    [
        ({"backend": "openai", "endpoint_path": "/v1/chat/completions"}, "openai-chat", "openai does not go with"),
        ({"backend": "tgi", "endpoint_path": "/v1/chat/completions"}, "tgi", "/generate_stream is asked"),
        ({"backend": "vllm"}, "openai-completions", None),
        ({"dataset_type": "synthetic"}, "openai-chat", None),
    ],
)
def test_backends_and_paths(scenario: dict[str, Any], api: str, note: str | None, tmp_path: Path) -> None:
    found = translated({"scenarios": [{"name": "one", **scenario}]}, tmp_path)
    assert plan_from_flags({}, found.plans[0]).target.api == api
    assert [note in said for said in found.notes] == ([True] if note else []) if note else found.notes == ()


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        (changed(scenarios=[]), r":\d+: scenarios: must be a list with at least one"),
        (changed(scenarios=["light"]), r":\d+: scenarios.0: a scenario is an object"),
        (changed(scenarios=[{"name": "a"}, {"name": "a"}]), r":\d+: scenarios.1.name: there is another scenario 'a'"),
        (changed(scenarios=[{"name": 3}]), r":\d+: scenarios.0.name: a name is a text"),
        (changed(scenarios=[{"num_prompts": "many"}]), r":\d+: scenarios.0.num_prompts: must be a whole number"),
        (changed(scenarios=[{"max_concurrency": True}]), r":\d+: scenarios.0.max_concurrency: must be a whole number"),
        (changed(scenarios=[{"backend": "openai-chta"}]), r"backend: .* did you mean 'openai-chat'\?"),
        (changed(scenarios=[{"dataset_type": "sharegpt"}]), r"dataset_type: 'sharegpt' is none of random, synthetic"),
        (changed(scenarios=[{"request_rate": -1}]), r"request_rate: must be a number above 0"),
        (changed(scenarios=[{"metric_percentiles": "50,100"}]), r"metric_percentiles: a percentile is below 100"),
        (changed(scenarios=[{"percentile_metrics": "ttft,tpott"}]), r"percentile_metrics: .* did you mean 'tpot'\?"),
        (changed(defaults=[1]), r":\d+: defaults: must be an object"),
        (changed(defaults={"random_output_len": 0.5}), r":\d+: defaults.random_output_len: must be a whole number"),
        (changed(thresholds={"ttft_p95": 200, "tpto_mean_ms": 5}), r":\d+: thresholds.tpto_mean_ms: .*tpot_mean_ms\?"),
        (changed(thresholds={"success_rate": 95}), r":\d+: thresholds.success_rate: .* share from 0 to 1"),
        (changed(thresholds={"success_rate": "high"}), r":\d+: thresholds.success_rate: a limit is a number"),
        (changed(thresholds=[200]), r":\d+: thresholds: must be an object"),
    ],
)
def test_wrong_values_are_named_with_their_line(document: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        translated(document, tmp_path)


def test_a_scenario_that_says_both_has_a_path_that_fits(tmp_path: Path) -> None:
    given = changed(scenarios=[{"name": "a", "backend": "openai", "endpoint_path": "/v1/completions"}])
    assert not [note for note in translated(given, tmp_path).notes if "does not go with" in note]


def test_a_share_may_be_in_per_cent(tmp_path: Path) -> None:
    given = changed(thresholds={"success_rate": "95%"})
    path = tmp_path / "b.json"
    assert pipeline.thresholds(given, Where(path, {})) == ("success_rate>=0.95",)


def test_variables_that_mean_nothing_here_are_named(tmp_path: Path) -> None:
    found = pipeline.translate(NIGHTLY, Where(tmp_path / "b.json", {}), {"BACKEND_API": "http://b", "BATCH_SIZE": "4"})
    assert [note.split(" is set")[0] for note in found.notes if "changes nothing" in note] == [
        "BACKEND_API",
        "BATCH_SIZE",
    ]


def test_wrong_variables_are_named() -> None:
    where = Where(Path("f.json"), {})
    for name, text in (("DURATION", "long"), ("REQUEST_RATE", "0"), ("CONCURRENCY_LEVELS", "1,x"), ("BACKEND", "grpc")):
        with pytest.raises(UserError, match=f"the environment variable {name}: "):
            pipeline.translate(NIGHTLY, where, {name: text})


def test_unknown_keys_are_named_and_change_nothing(tmp_path: Path) -> None:
    odd = changed(scenarios=[{"name": "light", "random_input_length": 5}], notes="x")
    found = translated(odd, tmp_path)
    assert [(one.key, "did you mean 'random_input_len'" in one.sentence) for one in found.not_understood] == [
        ("notes", False),
        ("scenarios.0.random_input_length", True),
    ]
    assert all(one.line > 1 for one in found.not_understood)


def test_it_is_recognised() -> None:
    assert detect.detect(NIGHTLY) == "vllm-eval"
    assert detect.detect({"scenarios": [{"name": "a", "max_concurrency": 2}]}) == "vllm-eval"
    assert not pipeline.looks_like({"scenarios": {"a": {"max_concurrency": 2}}})


PLAIN = st.one_of(st.none(), st.booleans(), st.integers(-3, 10**20), st.floats(), st.text(max_size=5))
ODD = st.one_of(PLAIN, st.lists(PLAIN, max_size=2), st.dictionaries(st.text(max_size=3), PLAIN, max_size=1))
PLACES: list[tuple[Any, ...]] = [
    *((key,) for key in NIGHTLY),
    *(("defaults", key) for key in (*NIGHTLY["defaults"], "request_rate", "model", "burstiness", "num_warmups")),
    *(("scenarios", 0, key) for key in (*NIGHTLY["scenarios"][0], "backend", "tokenizer", "served_model_name")),
    *(("thresholds", key) for key in NIGHTLY["thresholds"]),
    ("scenarios", 0),
]


@given(st.sampled_from(PLACES), ODD, st.dictionaries(st.sampled_from(VARIABLES), st.text(max_size=5), max_size=2))
def test_whatever_stands_there_is_a_plan_or_a_sentence(
    place: tuple[Any, ...], value: Any, environment: dict[str, str]
) -> None:
    document = copy.deepcopy(NIGHTLY)
    inner: Any = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    where = Where(Path("f.json"), {("scenarios",): 3})
    try:
        found = pipeline.translate(document, where, environment)
        named = {plan_from_flags({}, plan).scenario.name for plan in found.plans}
    except UserError:
        return  # a sentence, and no traceback
    assert len(named) == len(found.plans) >= 1


@pytest.mark.skipif(
    "INFEROMETER_WILD" not in os.environ, reason="INFEROMETER_WILD names no folder of files in the wild"
)
def test_files_in_the_wild() -> None:
    found = sorted(Path(os.environ["INFEROMETER_WILD"]).rglob("vllm_benchmark*.json"))
    assert found
    for path in found:
        told, lines, text = files.document(path)
        assert detect.detect(told) == "vllm-eval"
        result = pipeline.translate(told, Where(path, lines, text), {})
        assert len(result.plans) == len(told["scenarios"])
        assert all(plan_from_flags({}, plan) for plan in result.plans)
