"""The environment of the in-cluster Job, and limits of MLPerf by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferometer.config.catalog import mlperf
from inferometer.config.flags import plan_from_flags
from inferometer.config.foreign import platform
from inferometer.config.foreign.detect import from_environment
from inferometer.config.foreign.translated import Where
from inferometer.config.models import Plan
from inferometer.config.thresholds import checked
from inferometer.errors import UserError

WHERE = Where(Path("environment"), {})


def plan(**environment: str) -> Plan:
    return plan_from_flags({}, platform.translate({}, WHERE, environment).plans[0])


def test_the_sweep_of_the_job() -> None:
    found = plan()
    assert [stage.load.concurrency for stage in found.scenario.stages] == [1, 2, 4, 8, 16, 32]
    assert [stage.num_requests for stage in found.scenario.stages] == [20, 40, 80, 160, 320, 320]
    workload = found.scenario.workload
    assert (workload.input_tokens.mean, workload.output_tokens.mean, workload.ignore_eos) == (256, 128, True)
    assert (found.seed, found.target.api, found.target.api_key_env) == (42, "openai-chat", "OPENAI_API_KEY")
    assert (found.target.base_url, found.target.model) == ("http://raw-vllm:8000", "qwen2.5-0.5b-instruct")


def test_every_variable_does_something() -> None:
    found = plan(BASE_URL="http://x:1", BENCH_MODEL="m", TOKENIZER="tok", ENDPOINT="/v1/completions").target
    assert (found.base_url, found.model, found.tokenizer) == ("http://x:1", "m", "tok")
    assert (found.endpoint, found.api) == ("/v1/completions", "openai-completions")


def test_one_variable_alone_is_not_enough_to_send_load_somewhere() -> None:
    assert from_environment({}) is None
    for told, missing in (("BASE_URL", "BENCH_MODEL"), ("BENCH_MODEL", "BASE_URL")):
        with pytest.raises(UserError, match=f"{told} is set and {missing} is not"):
            from_environment({told: "x"})
    assert from_environment({"BASE_URL": "http://x:1", "BENCH_MODEL": "m"}) == "platform"


@pytest.mark.parametrize("model", mlperf.LIMITS)
def test_limits_of_mlperf_are_thresholds(model: str) -> None:
    for level in mlperf.LIMITS[model]:
        for text in mlperf.thresholds(f"{model}/{level}"):
            assert checked(text)


def test_limits_of_mlperf_by_name() -> None:
    assert mlperf.thresholds("llama3.1-8b") == ["ttft_p99_ms<=2000", "tpot_p99_ms<=100"]
    assert mlperf.thresholds("llama3.1-8b/interactive") == ["ttft_p99_ms<=500", "tpot_p99_ms<=30"]
    with pytest.raises(UserError, match="did you mean 'llama2-70b'"):
        mlperf.thresholds("llama2-7b")
    with pytest.raises(UserError, match="it has server"):
        mlperf.thresholds("mixtral-8x7b/interactive")
