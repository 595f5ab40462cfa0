"""A plan in inference-perf's own words: read again it is the same plan, and what has no word is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from exported_runs import plan
from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.config.flags import plan_from_flags
from inferometer.config.foreign import inference_perf
from inferometer.config.foreign.translated import Where
from inferometer.config.models import (
    ClosedLoop,
    ConversationWorkload,
    Lengths,
    Open,
    OpenLoop,
    Pause,
    RandomWorkload,
    RequestClass,
    Users,
)
from inferometer.export.inference_perf_config import configuration

TOKENS = st.integers(10, 400)
LENGTHS = st.one_of(
    st.builds(lambda mean: {"type": "fixed", "mean": mean}, TOKENS),
    st.builds(lambda low, more: {"type": "uniform", "min": low, "max": low + more}, TOKENS, TOKENS),
    st.builds(
        lambda kind, mean, dev: {"type": kind, "mean": mean, "std_dev": dev, "min": 5, "max": 1000},
        st.sampled_from(["normal", "lognormal"]),
        TOKENS,
        st.integers(1, 90),
    ),
    st.builds(lambda mean: {"type": "poisson", "mean": mean, "min": 1, "max": 900}, TOKENS),
)
RATED = st.builds(
    lambda kind, stages, interval: {"type": kind, "stages": stages, "interval": interval},
    st.sampled_from(["constant", "poisson"]),
    st.lists(
        st.fixed_dictionaries({"rate": st.sampled_from([0.5, 2, 12.5]), "duration": st.integers(1, 60)}), min_size=1
    ),
    st.sampled_from([0, 1, 2.5]),
)
HELD = st.builds(
    lambda stages: {"type": "concurrent", "stages": stages},
    st.lists(
        st.fixed_dictionaries({"num_requests": st.integers(8, 90), "concurrency_level": st.integers(1, 9)}), min_size=1
    ),
)
GROUPS = st.fixed_dictionaries(
    {
        "num_groups": st.integers(1, 9),
        "num_prompts_per_group": st.integers(1, 9),
        "system_prompt_len": st.one_of(TOKENS, LENGTHS),
        "question_len": st.one_of(TOKENS, LENGTHS),
        "output_len": TOKENS,
    }
)
REPLAYED = st.fixed_dictionaries(
    {
        "shared_system_prompt_len": st.integers(0, 90),
        "dynamic_system_prompt_len": LENGTHS,
        "turns_per_conversation": st.builds(lambda mean: {"type": "fixed", "mean": mean}, st.sampled_from([1, 2, 4])),
        "input_tokens_per_turn": LENGTHS,
        "tool_call_latency_sec": st.builds(lambda mean: {"type": "fixed", "mean": mean}, st.sampled_from([0.5, 2])),
    }
)
DATA = st.one_of(
    st.builds(
        lambda asked, answered: {"type": "random", "input_distribution": asked, "output_distribution": answered},
        LENGTHS,
        LENGTHS,
    ),
    st.builds(lambda told: {"type": "shared_prefix", "shared_prefix": told}, GROUPS),
    st.builds(lambda told: {"type": "conversation_replay", "conversation_replay": told}, REPLAYED),
    st.just({"type": "shareGPT", "path": "chats.json", "input_distribution": {"min": 4, "max": 90}}),
    st.just({"type": "infinity_instruct", "path": "chats.jsonl"}),
    st.just({"type": "random", "trace": {"file": "azure.csv"}}),
    st.just(
        {
            "type": "random",
            "input_distribution": {"type": "fixed", "mean": 9},
            "output_distribution": {"type": "fixed", "mean": 9},
            "multimodal": {"image": {"count": 2, "resolutions": "720p"}},
        }
    ),
)
REST: dict[str, Any] = {
    "api": {
        "type": "chat",
        "streaming": True,
        "headers": {"x-team": "lab"},
        "response_format": {"json_schema": {"type": "object"}},
        "session_id_header_key": "x-session",
    },
    "server": {"type": "vllm", "model_name": "m", "base_url": "http://h:1", "ignore_eos": False, "cert_path": "/c.pem"},
    "tokenizer": {"pretrained_model_name_or_path": "./tokenizer.json"},
    "metrics": {
        "type": "prometheus",
        "prometheus": {"url": "http://p:9090", "scrape_interval": 5, "filters": ["a='b'"], "verify_ssl": False},
    },
    "report": {"goodput": {"constraints": {"ttft": 0.5, "request_latency": 2.5}}},
    "circuit_breakers": [
        {"name": "down", "metrics": {"matches": ["`true`"]}, "triggers": [{"type": "consecutive", "threshold": 7}]}
    ],
}
LOADED: dict[str, Any] = {
    "request_timeout": 90,
    "request_retries": 2,
    "request_retry_backoff_sec": 0.25,
    "lora_traffic_split": [{"name": "a", "split": 0.75}, {"name": "b", "split": 0.25}],
    "base_seed": 11,
    "circuit_breakers": ["down"],
}


def read(document: dict[str, Any]) -> dict[str, Any]:
    """The plan of a document as plain data, without what a report shows."""
    (partial,) = inference_perf.translate(document, Where(Path("config.yml"), {}), {}).plans
    told = plan_from_flags({}, partial).model_dump(mode="json")
    del told["report"]
    return told


@settings(max_examples=80)
@given(st.one_of(RATED, HELD), DATA, st.booleans())
def test_what_is_written_is_read_as_the_same_plan(load: Any, data: Any, whole: bool) -> None:
    server = {"server": {"base_url": "http://h:1", "model_name": "m"}, "api": {"streaming": True}}
    document = {"load": load | (LOADED if whole else {}), "data": data} | (REST if whole else server)
    (partial,) = inference_perf.translate(document, Where(Path("config.yml"), {}), {}).plans
    first = plan_from_flags({}, partial)
    said = configuration(first, "here")
    assert said.left_out == ()
    again, wanted = read(said.part), first.model_dump(mode="json")
    del wanted["report"]
    turns = data.get("conversation_replay", {}).get("turns_per_conversation", {}).get("mean", 1)
    for stage in [*again["scenario"]["stages"], *wanted["scenario"]["stages"]] if turns > 1 else ():
        stage["load"].pop("rate", None)  # the same but for the last digit
    assert again == wanted


def test_users_of_groups_come_back() -> None:
    shared = {"num_groups": 3, "num_prompts_per_group": 4, "system_prompt_len": 50, "enable_multi_turn_chat": True}
    stages = [{"num_requests": 48, "concurrency_level": 4}]
    document = {
        "load": {"type": "concurrent", "stages": stages},
        "data": {"type": "shared_prefix", "shared_prefix": shared},
        "server": {"base_url": "http://h:1"},
    }
    (partial,) = inference_perf.translate(document, Where(Path("c"), {}), {}).plans
    told = configuration(plan_from_flags({}, partial), "here").part["data"]["shared_prefix"]
    assert {name: told[name] for name in shared} == shared


def test_a_trace_is_replayed() -> None:
    document = {
        "load": {"type": "trace_replay", "trace": {"file": "azure.csv"}, "base_seed": 3},
        "data": {"type": "random"},
        "server": {"base_url": "http://h:1"},
    }
    (partial,) = inference_perf.translate(document, Where(Path("c"), {}), {}).plans
    told = configuration(plan_from_flags({}, partial), "here").part
    assert told["load"]["trace"] == told["data"]["trace"] == {"file": "azure.csv", "format": "AzurePublicDataset"}
    assert read(told) == read(document)


@pytest.mark.parametrize(
    ("loads", "scenario", "sentence"),
    [
        ([Users(users=3)], {}, "load is left out: there is no stage for a load of the type users (3 users)"),
        ([OpenLoop(rate=2, arrivals="gamma", burstiness=0.5)], {}, "load is left out: there is no stage"),
        ([ClosedLoop(concurrency=2), OpenLoop(rate=2)], {}, "load is left out: the stages are of several kinds"),
        (
            [ClosedLoop(concurrency=2)],
            {"workload": RandomWorkload(input_tokens=Lengths(min=1, max=9, distribution="zipf"))},
            "data is left out: there is no word for lengths that are zipf",
        ),
        (
            [ClosedLoop(concurrency=2)],
            {"workload": RandomWorkload(mix=(RequestClass(name="a", share=1),))},
            "data is left out: classes of requests have no word",
        ),
        (
            [ClosedLoop(concurrency=2)],
            {"workload": ConversationWorkload(think=Pause(mean_s=1, distribution="exponential"))},
            "data is left out: there is no word for pauses that are exponential",
        ),
        ([ClosedLoop(concurrency=2)], {"target": {"api": "ollama-chat"}}, "api is left out: there is no word for"),
        ([ClosedLoop(concurrency=2)], {"stop_early": {"failed_share": 0.5}}, "a share of failures has no window"),
        ([ClosedLoop(concurrency=2)], {"warmup_s": 1.0}, "no word for warm-up"),
        ([ClosedLoop(concurrency=2)], {"target": {"keep_alive": False}}, "no word for a connection for each request"),
        ([ClosedLoop(concurrency=2)], {"target": {"endpoint": "/own"}}, "no word for another path"),
        ([ClosedLoop(concurrency=2)], {"workload": RandomWorkload(extra_body={"top_k": 1})}, "no word for more keys"),
        ([ClosedLoop(concurrency=2)], {"workload": RandomWorkload(headers={"x-n": "{index}"})}, "no word for headers"),
    ],
)
def test_what_has_no_word_is_named(loads: list[Open], scenario: dict[str, Any], sentence: str) -> None:
    said = configuration(plan(*loads, **scenario), "here")
    assert len(said.left_out) == 1
    assert sentence in said.left_out[0]
    assert said.part["server"]["base_url"] == "http://lab:8000"


def test_a_plan_of_our_own_in_their_words_without_its_secrets() -> None:
    made = plan(OpenLoop(rate=4), target={"headers": {"authorization": "$KEY", "x-team": "lab", "x-run": "$RUN"}})
    said = configuration(made, "there")
    assert said.part["load"]["stages"] == [{"rate": 4, "duration": 5}]  # 20 requests
    assert said.part["storage"] == {"local_storage": {"path": "there"}}
    assert said.part["api"]["headers"] == {"x-team": "lab"}
    assert said.part["report"]["request_lifecycle"]["percentiles"] == [0.1, 1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9]
