"""inference-perf's ``config.yml``: what each key does, and what is wrong with a wrong one."""

from __future__ import annotations

from pathlib import Path
from textwrap import indent
from typing import Any

import pytest
import yaml
from translating import plans, strange, translated

from inferometer.config.models import (
    ClosedLoop,
    ConversationWorkload,
    DatasetWorkload,
    ModelShare,
    OpenLoop,
    Plan,
    RandomWorkload,
    SharedPrefixWorkload,
    TraceLoop,
    TraceWorkload,
)
from inferometer.errors import UserError

BASE: dict[str, Any] = {
    "load": {"type": "constant", "stages": [{"rate": 2, "duration": 10}]},
    "api": {"type": "completion", "streaming": True},
    "server": {"type": "vllm", "model_name": "org/some", "base_url": "http://10.0.0.7:8000", "ignore_eos": True},
    "data": {
        "type": "random",
        "input_distribution": {"mean": 50, "std_dev": 10, "min": 10, "max": 100},
        "output_distribution": {"type": "fixed", "mean": 64},
    },
}


def with_(**sections: Any) -> str:
    """The usual document with some sections merged over it."""
    merged = {name: {**BASE.get(name, {}), **section} for name, section in sections.items()}
    return yaml.safe_dump(BASE | merged, sort_keys=False)


def plan_with(tmp_path: Path, **sections: Any) -> Plan:
    (plan,) = plans(translated(with_(**sections), tmp_path, world="inference-perf"))
    return plan


def wrong(tmp_path: Path, text: str) -> str:
    with pytest.raises(UserError) as error:
        translated(text, tmp_path, world="inference-perf")
    return str(error.value)


def test_the_whole_of_a_plain_file(tmp_path: Path) -> None:
    plan = plan_with(tmp_path, tokenizer={"pretrained_model_name_or_path": "org/some"})
    target, scenario = plan.target, plan.scenario
    assert (target.base_url, target.model, target.api) == ("http://10.0.0.7:8000", "org/some", "openai-completions")
    assert target.tokenizer is None  # random prompts have their length without one, and without the hub
    workload = scenario.workload
    assert isinstance(workload, RandomWorkload)
    assert workload.ignore_eos
    assert workload.input_tokens.model_dump() == {"mean": 50, "std_dev": 10.0, "min": 10, "max": 100}
    assert workload.output_tokens.model_dump() == {"mean": 64}
    (stage,) = scenario.stages
    assert stage.load == OpenLoop(rate=2, arrivals="constant")
    assert (stage.duration_s, stage.num_requests, stage.pause_s) == (10, None, 0)


def test_stages_rest_for_the_interval(tmp_path: Path) -> None:
    stages = [{"rate": rate, "duration": 5} for rate in (1, 2, 3)]
    assert [stage.pause_s for stage in plan_with(tmp_path, load={"stages": stages}).scenario.stages] == [0, 1, 1]
    plan = plan_with(tmp_path, load={"type": "poisson", "stages": stages, "interval": 7})
    assert [stage.pause_s for stage in plan.scenario.stages] == [0, 7, 7]
    assert [stage.load for stage in plan.scenario.stages] == [OpenLoop(rate=r, arrivals="poisson") for r in (1, 2, 3)]


def test_concurrent_stages_are_exact(tmp_path: Path) -> None:
    stages = [{"num_requests": 32 * c, "concurrency_level": c, "rate": None, "duration": None} for c in (1, 4)]
    plan = plan_with(tmp_path, load={"type": "concurrent", "stages": stages})
    assert [stage.load for stage in plan.scenario.stages] == [ClosedLoop(concurrency=1), ClosedLoop(concurrency=4)]
    assert [stage.num_requests for stage in plan.scenario.stages] == [32, 128]


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"mean": 50, "std": 10, "min": 10, "max": 100}, {"mean": 50, "std_dev": 10.0, "min": 10, "max": 100}),
        ({"mean": 50, "variance": 25, "std_dev": 0}, {"mean": 50, "std_dev": 5.0, "min": 10, "max": 1024}),
        ({}, {"mean": 512, "std_dev": 200.0, "min": 10, "max": 1024}),
        ({"mean": 50, "std_dev": 0}, {"mean": 50}),
        ({"type": "uniform", "min": 5, "max": 9}, {"min": 5, "max": 9}),
        (
            {"type": "lognormal", "mean": 300, "std_dev": 120, "min": 0, "max": 900},
            {"distribution": "lognormal", "mean": 300, "std_dev": 120.0, "min": 1, "max": 900},
        ),
        ({"type": "poisson", "mean": 300}, {"distribution": "poisson", "mean": 300, "min": 10, "max": 1024}),
        ({"type": "fixed", "mean": 7, "total_count": 100}, {"mean": 7}),
        ({"type": "skew_normal", "mean": 99, "std_dev": 1}, {"mean": 99, "std_dev": 1.0, "min": 10, "max": 1024}),
    ],
)
def test_distributions(tmp_path: Path, given: dict[str, Any], meant: dict[str, Any]) -> None:
    workload = plan_with(tmp_path, data={"input_distribution": given}).scenario.workload
    assert isinstance(workload, RandomWorkload)
    assert workload.input_tokens.model_dump() == meant


def test_std_is_said_to_be_std_dev(tmp_path: Path) -> None:
    found = translated(with_(data={"input_distribution": {"mean": 50, "std": 10}}), tmp_path)
    assert any("std is read as std_dev" in note for note in found.notes)


@pytest.mark.parametrize(
    "names",
    [("num_groups", "num_prompts_per_group"), ("num_unique_system_prompts", "num_users_per_system_prompt")],
)
def test_shared_prefixes_by_both_names(tmp_path: Path, names: tuple[str, str]) -> None:
    given = {names[0]: 8, names[1]: 16, "system_prompt_len": 1024, "question_len": {"mean": 100, "std": 5}, "seed": 9}
    plan = plan_with(tmp_path, data={"type": "shared_prefix", "shared_prefix": given})
    workload = plan.scenario.workload
    assert isinstance(workload, SharedPrefixWorkload)
    assert (workload.groups, workload.prompts_per_group, workload.prefix_tokens.mean) == (8, 16, 1024)
    assert (workload.input_tokens.mean, workload.input_tokens.std_dev, workload.output_tokens.mean) == (100, 5, 50)
    assert plan.seed == 9


def test_users_that_go_on_talking(tmp_path: Path) -> None:
    """60 s at 4 requests/s for 12 users: 20 requests each, in conversations of which 4/20 begin in a second."""
    given = {"num_groups": 1, "num_prompts_per_group": 12, "system_prompt_len": 90, "enable_multi_turn_chat": True}
    load = {"stages": [{"rate": 4, "duration": 60}]}
    plan = plan_with(tmp_path, load=load, data={"type": "shared_prefix", "shared_prefix": given})
    workload = plan.scenario.workload
    assert isinstance(workload, ConversationWorkload)
    assert (workload.turns.mean, workload.system_tokens) == (20, 90)
    assert plan.scenario.stages[0].load == OpenLoop(rate=0.2, arrivals="constant")
    plan = plan_with(tmp_path, load=load, data={"type": "shared_prefix", "shared_prefix": given | {"num_groups": 2}})
    assert isinstance(plan.scenario.workload, ConversationWorkload)
    assert (plan.scenario.workload.system_groups, plan.scenario.workload.turns.mean) == (2, 10)


def test_conversations(tmp_path: Path) -> None:
    given = {
        "shared_system_prompt_len": 300,
        "dynamic_system_prompt_len": {"type": "uniform", "min": 10, "max": 90},
        "turns_per_conversation": {"type": "normal", "min": 2, "max": 20, "mean": 6, "std_dev": 3},
        "input_tokens_per_turn": {"type": "lognormal", "mean": 100, "std_dev": 50},
        "tool_call_latency_sec": {"type": "uniform", "min": 1, "max": 3},
    }
    stage = {"num_requests": 192, "concurrency_level": 32}
    plan = plan_with(
        tmp_path,
        load={"type": "concurrent", "stages": [stage]},
        data={"type": "conversation_replay", "conversation_replay": given},
    )
    workload = plan.scenario.workload
    assert isinstance(workload, ConversationWorkload)
    assert (workload.turns.mean, workload.turns.max, workload.system_tokens) == (6, 20, 300)
    assert workload.own_system_tokens is not None
    assert workload.own_system_tokens.model_dump() == {"min": 10, "max": 90}
    assert workload.output_tokens.mean == 256
    assert (workload.think.min_s, workload.think.max_s) == (1, 3)
    assert plan.scenario.stages[0].num_requests == 32  # conversations, of 6 requests each


def test_files_of_prompts(tmp_path: Path) -> None:
    data = {"type": "shareGPT", "path": "chats.json", "input_distribution": {"min": 4, "max": 1024}}
    plan = plan_with(tmp_path, data=data | {"output_distribution": {"min": 9}}, tokenizer=TOKENIZER)
    workload = plan.scenario.workload
    assert isinstance(workload, DatasetWorkload)
    assert (workload.path, workload.format) == ("chats.json", "sharegpt")
    limits = (workload.min_prompt_tokens, workload.max_prompt_tokens, workload.min_output_tokens)
    assert limits == (4, 1024, 9)
    assert plan.target.tokenizer == "org/some"  # these have to be counted
    for kind in ("infinity_instruct", "billsum_conversations", "cnn_dailymail"):
        workload = plan_with(tmp_path, data={"type": kind, "path": "some.json"}).scenario.workload
        assert isinstance(workload, DatasetWorkload)
        assert "'path' is missing" in wrong(tmp_path, with_(data={"type": kind}))


TOKENIZER = {"pretrained_model_name_or_path": "org/some"}


def test_traces(tmp_path: Path) -> None:
    trace = {"file": "azure.csv", "format": "AzurePublicDataset"}
    dummy = [{"rate": 1, "duration": 1}]
    plan = plan_with(tmp_path, load={"type": "trace_replay", "trace": trace, "stages": dummy}, data={"trace": trace})
    assert isinstance(plan.scenario.workload, TraceWorkload)
    assert isinstance(plan.scenario.stages[0].load, TraceLoop)
    assert (plan.scenario.workload.path, plan.scenario.workload.format) == ("azure.csv", "azure")


def test_what_is_said_of_every_request(tmp_path: Path) -> None:
    api = {
        "type": "chat",
        "headers": {"x-slo-ttft-ms": "200", "x-other": "1"},
        "session_id_header_key": "x-session",
        "response_format": {"json_schema": {"type": "object"}},
    }
    plan = plan_with(tmp_path, api=api, server={"ignore_eos": False})
    assert plan.target.api == "openai-chat"
    assert plan.target.headers == {"x-slo-ttft-ms": "200", "x-other": "1"}
    assert plan.scenario.workload.headers == {"x-session": "{conversation}"}
    assert plan.scenario.workload.json_schema == {"type": "object"}
    assert not plan.scenario.workload.ignore_eos
    assert [(slo.metric, slo.limit_ms) for slo in plan.scenario.slos] == [("ttft", 200)]
    plan = plan_with(tmp_path, api={"type": "anthropic_messages", "response_format": {"type": "json_object"}})
    assert plan.target.api == "anthropic"
    assert plan.scenario.workload.extra_body == {"response_format": {"type": "json_object"}}


@pytest.mark.parametrize(
    ("api", "streamed"),
    [
        ({"streaming": True}, True),
        ({"streaming": False}, False),
        ({"streaming": None}, False),
        ({"type": "embeddings", "streaming": None}, True),
    ],
)
def test_answers_are_streamed_where_the_file_says_so(tmp_path: Path, api: dict[str, Any], streamed: bool) -> None:
    """inference-perf's own default is no stream; embeddings have no other form."""
    assert plan_with(tmp_path, api=api).scenario.workload.stream is streamed


def test_limits_retries_adapters_and_seed(tmp_path: Path) -> None:
    load = {
        "request_timeout": 45,
        "request_retries": 2,
        "request_retry_backoff_sec": 0.25,
        "base_seed": 7,
        "lora_traffic_split": [{"name": "a", "split": 0.7}, {"name": "b", "split": 0.3}],
        "circuit_breakers": ["dead"],
    }
    breaker = {"name": "dead", "triggers": [{"type": "consecutive", "threshold": 5}]}
    text = with_(load=load, report={"goodput": {"constraints": {"ttft": 0.2, "request_latency": 5}}})
    (plan,) = plans(translated(text + yaml.safe_dump({"circuit_breakers": [breaker]}), tmp_path))
    assert plan.target.timeouts.total_s == 45
    assert (plan.target.retries.attempts, plan.target.retries.backoff_s, plan.seed) == (3, 0.25, 7)
    assert plan.target.models == (ModelShare(name="a", share=0.7), ModelShare(name="b", share=0.3))
    assert {slo.metric: slo.limit_ms for slo in plan.scenario.slos} == {"ttft": 200, "e2el": 5000}
    assert plan.scenario.stop_early.consecutive_failures == 5


def test_a_prometheus_is_asked(tmp_path: Path) -> None:
    source = {"url": "http://prom:9090", "scrape_interval": 5, "filters": ["namespace='lab'", "pod=~'x.*'"]}
    found = translated(with_(metrics={"type": "prometheus", "prometheus": source}), tmp_path)
    (plan,) = plans(found)
    asked = plan.target.telemetry.prometheus
    assert asked is not None
    assert (asked.url, asked.selectors, asked.settle_s) == ("http://prom:9090", {"namespace": "lab"}, 7)
    assert "metrics.prometheus.filters" in strange(found)


def test_keys_that_mean_nothing_are_named_with_their_lines(tmp_path: Path) -> None:
    text = """\
    load:
      type: constant
      num_workers: 4
      intervall: 3
      stages:
      - {rate: 1, duration: 2, comment: slow}
    api: {streaming: true}
    server: {base_url: "http://h:1"}
    data:
      type: random
      input_distribution: {type: fixed, mean: 5}
      output_distribution: {type: fixed, mean: 5}
    storage: {google_cloud_storage: {bucket_name: b}}
    """
    found = translated(text, tmp_path, world="inference-perf")
    lines = {"load.intervall": 4, "load.stages.0.comment": 6, "load.num_workers": 3, "storage.google_cloud_storage": 13}
    assert strange(found) == lines
    assert "did you mean 'interval'" in next(one.sentence for one in found.not_understood if one.line == 4)


@pytest.mark.parametrize(
    ("sections", "line", "sentence"),
    [
        ({"load": {"type": "constnat"}}, 2, "did you mean 'constant'?"),
        ({"load": {"stages": [{"rate": -1, "duration": 10}]}}, 4, "load.stages.0.rate: input should be greater than 0"),
        ({"load": {"stages": [{"rate": 1, "durations": 10}]}}, 4, "'duration' is missing"),
        ({"load": {"stages": []}}, 1, "'stages' is missing or empty"),
        ({"load": {"type": "concurrent"}}, 4, "has num_requests and concurrency_level instead"),
        ({"load": {"type": "concurrent", "stages": [{"num_requests": 3}]}}, 4, "'concurrency_level' is missing"),
        ({"load": {"sweep": {"type": "linear"}}}, 6, "give stages with a rate and a duration"),
        ({"load": {"type": "trace_session_replay"}}, 2, "cannot be played"),
        ({"data": {"type": "visionarena"}}, 15, "visionarena cannot be sent; what can be: mock, random"),
        ({"data": {"input_distribution": {"mean": 4096}}}, 16, "the mean of 4096 tokens is not between min, 10, and"),
        ({"data": {"input_distribution": {"type": "skew_normal", "skew": 2}}}, 17, "skew_normal is not known here"),
        ({"data": {"input_distribution": {"std": 5, "std_dev": 6}}}, 16, "std_dev and std say different things"),
        ({"data": {"input_distribution": None}}, 14, "'input_distribution' is missing"),
        ({"server": {"api_key": "sk-1"}}, 14, "put it into OPENAI_API_KEY"),
        ({"api": {"headers": {"Authorization": "Bearer x"}}}, 9, "is a secret"),
        ({"load": {"lora_traffic_split": [{"name": "a", "split": 0.5}]}}, 6, "add up to 0.5, not to 1"),
    ],
)
def test_wrong_values(tmp_path: Path, sections: dict[str, Any], line: int, sentence: str) -> None:
    told = wrong(tmp_path, with_(**sections))
    assert sentence in told
    assert f"given.yaml:{line}: " in told


def test_a_section_inside_another_is_refused(tmp_path: Path) -> None:
    inner = indent(yaml.safe_dump({"data": BASE["data"]}), "  ")
    kept = yaml.safe_dump({name: BASE[name] for name in ("load", "api", "server")}, sort_keys=False)
    told = wrong(tmp_path, kept + "tokenizer:\n  pretrained_model_name_or_path: m\n" + inner)
    assert "tokenizer.data: 'data' is a section of its own: it must stand beside 'tokenizer'" in told


def test_variables_and_tokens_are_filled_in(tmp_path: Path) -> None:
    server = {"base_url": "REPLACE_ENV_STACK_URL", "model_name": "${MODEL}"}
    text = with_(server=server, load={"base_seed": "${SEED}"})
    environment = {"STACK_URL": "http://h:80/v1/", "MODEL": "org/m", "SEED": "12"}
    (plan,) = plans(translated(text, tmp_path, environment))
    assert (plan.target.base_url, plan.target.model, plan.seed) == ("http://h:80", "org/m", 12)
    found = translated(text, tmp_path, {})
    assert {"server.base_url", "server.model_name", "load.base_seed"} == set(strange(found))
    assert "base_url" not in found.plans[0]["target"]  # --base-url can still say it
