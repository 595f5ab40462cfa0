"""What flags mean, as in ``vllm bench serve`` where the names are its own, and that mistakes name the flag."""

import argparse
import copy
import math
from typing import Any

import pytest

from inferometer.config.flags import DEFAULT_LADDER, add_flags, merge, plan_from_flags, put
from inferometer.config.models import ClosedLoop, OpenLoop, Plan, Stage
from inferometer.errors import UserError

INF = math.inf


def parsed(line: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser)
    return vars(parser.parse_args(line.split()))


def plan_of(line: str, base: dict[str, Any] | None = None) -> Plan:
    return plan_from_flags(parsed(line), base or {})


def closed(concurrency: int, requests: int | None, **stop: Any) -> Stage:
    return Stage(load=ClosedLoop(concurrency=concurrency), num_requests=requests, **stop)


def open_(rate: float, requests: int | None = None, duration_s: float | None = None, **load: Any) -> Stage:
    return Stage(load=OpenLoop(rate=rate, **load), num_requests=requests, duration_s=duration_s)


LADDER = [closed(c, max(20, min(20 * c, 320))) for c in DEFAULT_LADDER]
LOADS: dict[str, list[Stage]] = {
    "": LADDER,
    "--num-warmups 3": [stage.model_copy(update={"warmup_requests": 3}) for stage in LADDER],
    "--duration 5": [closed(c, None, duration_s=5) for c in DEFAULT_LADDER],
    "--num-prompts 9": [open_(INF, 9)],
    "--request-rate inf": [open_(INF, 100)],
    "--request-rate inf --num-prompts 9": [open_(INF, 9)],
    "--max-concurrency 4 --num-prompts 9": [closed(4, 9)],
    "--request-rate inf --max-concurrency 4 --num-prompts 9": [closed(4, 9)],
    "--max-concurrency 4": [closed(4, 80)],
    "--max-concurrency 64": [closed(64, 320)],
    "--max-concurrency 4 --duration 10": [closed(4, None, duration_s=10)],
    "--max-concurrency 1 8 --num-prompts 9": [closed(1, 9), closed(8, 9)],
    "--request-rate 2.5": [open_(2.5, duration_s=30)],
    "--request-rate 2.5 --num-prompts 9": [open_(2.5, 9)],
    "--request-rate 2.5 --num-prompts 9 --duration 3": [open_(2.5, 9, 3)],
    "--request-rate 2 --max-concurrency 4 --num-prompts 9": [open_(2, 9, max_in_flight=4)],
    "--request-rate 1 2 inf --num-prompts 9": [open_(1, 9), open_(2, 9), open_(INF, 9)],
    "--request-rate 1 inf --max-concurrency 4 --num-prompts 9": [open_(1, 9, max_in_flight=4), closed(4, 9)],
    "--request-rate 1 --max-concurrency 2 4 --num-prompts 9": [
        open_(1, 9, max_in_flight=2),
        open_(1, 9, max_in_flight=4),
    ],
    "--request-rate 2 --num-prompts 9 --burstiness 1": [open_(2, 9, arrivals="poisson")],
    "--request-rate 2 --num-prompts 9 --burstiness 0.5": [open_(2, 9, arrivals="gamma", burstiness=0.5)],
    "--request-rate 2 --num-prompts 9 --burstiness inf": [open_(2, 9, arrivals="constant")],
    "--request-rate 2 --num-prompts 9 --arrivals constant": [open_(2, 9, arrivals="constant")],
    "--request-rate 2 --num-prompts 9 --num-warmups 5": [
        open_(2, 9).model_copy(update={"warmup_requests": 5}),
    ],
}


@pytest.mark.parametrize("line", LOADS)
def test_loads(line: str) -> None:
    assert list(plan_of(line).scenario.stages) == LOADS[line]


FIELDS: dict[str, tuple[str, Any]] = {
    "--base-url http://h:1": ("target.base_url", "http://h:1"),
    "--backend vllm": ("target.api", "openai-completions"),
    "--backend openai": ("target.api", "openai-completions"),
    "--backend openai-chat": ("target.api", "openai-chat"),
    "--endpoint /v1/completions": ("target.api", "openai-completions"),
    "--endpoint /api/v1/chat/completions": ("target.api", "openai-chat"),
    "--header A=b C=d=e": ("target.headers", {"A": "b", "C": "d=e"}),
    "--insecure": ("target.verify_tls", False),
    "--timeout-between-tokens 1.5": ("target.timeouts.between_tokens_s", 1.5),
    "--random-input-len 77": ("scenario.workload.input_tokens.mean", 77),
    "--random-output-len 7": ("scenario.workload.output_tokens.mean", 7),
    "--random-input-std 9": ("scenario.workload.input_tokens.std_dev", 9),
    "--random-output-max 999": ("scenario.workload.output_tokens.max", 999),
    "--random-range-ratio 0.25": ("scenario.workload.output_tokens.range_ratio", 0.25),
    "--ignore-eos": ("scenario.workload.ignore_eos", True),
    '--extra-body {"temperature":0}': ("scenario.workload.extra_body", {"temperature": 0}),
    "--seed 9": ("seed", 9),
    "--workers 3": ("workers", 3),
    "--stamps userland": ("stamps", "userland"),
    "--metric-percentiles 50,99.9": ("report.percentiles", (50.0, 99.9)),
    "--percentile-metrics ttft,tpot": ("report.percentile_metrics", ("ttft", "tpot")),
}


@pytest.mark.parametrize("line", FIELDS)
def test_fields(line: str) -> None:
    path, value = FIELDS[line]
    found: Any = plan_of(line)
    for name in path.split("."):
        found = getattr(found, name)
    assert found == value


def test_goodput_is_slos() -> None:
    slos = plan_of("--goodput ttft:200 e2el:5e3").scenario.slos
    assert [(slo.metric, slo.limit_ms) for slo in slos] == [("ttft", 200), ("e2el", 5000)]


#: Line -> what the sentence begins with.
MISTAKES = {
    "--max-concurrency 0": "--max-concurrency: ",
    "--request-rate 0": "--request-rate: ",
    "--request-rate -1 --num-prompts 5": "--request-rate: ",
    "--num-prompts 0": "--num-prompts: ",
    "--duration -3": "--duration: ",
    "--num-warmups -1": "--num-warmups: ",
    "--burstiness 0 --request-rate 1": "--burstiness: ",
    "--arrivals sometimes --request-rate 1": "--arrivals: ",
    "--seed -1": "--seed: ",
    "--workers 0": "--workers: ",
    "--stamps sundial": "--stamps: ",
    "--backend tgi2": "--backend: ",
    "--goodput tttf:3": "--goodput: ",
    "--random-input-len 0": "--random-input-len: ",
    "--random-output-std -1": "--random-output-std: ",
    "--random-input-max 3": "--random-input-len, -std, -min, -max: the mean of 256 tokens",
    "--random-range-ratio 1.5": "--random-range-ratio: ",
    "--random-range-ratio 0.5 --random-input-std 3": "--random-input-len, -std, -min, -max: range_ratio excludes",
    "--timeout-total 0": "--timeout-total: ",
    "--metric-percentiles half": "--metric-percentiles: ",
    "--duration 5 --request-rate inf": "--num-prompts: an infinite rate needs num_requests",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_names_its_flag(line: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_of(line)
    assert str(caught.value).startswith(MISTAKES[line])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("--header novalue", "NAME=VALUE"),
        ("--goodput ttft", "ttft:200"),
        ("--goodput ttft:fast", "ttft:200"),
        ("--extra-body [1]", "JSON object"),
        ("--extra-body {", "not JSON"),
    ],
)
def test_a_word_that_cannot_be_read_says_how_it_should_be(line: str, hint: str) -> None:
    with pytest.raises(argparse.ArgumentError) as caught:
        parsed(line)
    assert hint in str(caught.value)
    assert line.partition(" ")[0] in str(caught.value)


def test_one_sweep_at_a_time() -> None:
    with pytest.raises(UserError, match="one sweep at a time"):
        plan_of("--request-rate 1 2 --max-concurrency 1 2")


BASE: dict[str, Any] = {
    "target": {"name": "n", "timeouts": {"total_s": 5}},
    "scenario": {
        "workload": {"input_tokens": {"mean": 64}},
        "stages": [{"load": {"type": "closed", "concurrency": 3}, "num_requests": 4}],
    },
    "seed": 42,
}


def test_flags_win_over_a_file_and_leave_the_rest() -> None:
    plan = plan_of("--random-input-std 3 --timeout-connect 2 --random-range-ratio 0", BASE)
    assert plan.scenario.workload.input_tokens.mean == 64
    assert plan.scenario.workload.input_tokens.std_dev == 3
    assert (plan.target.timeouts.total_s, plan.target.timeouts.connect_s) == (5, 2)
    assert (plan.target.name, plan.seed) == ("n", 42)
    assert plan.scenario.stages == (closed(3, 4),)
    assert plan_of("--max-concurrency 2 --num-prompts 3", BASE).scenario.stages == (closed(2, 3),)


def test_a_base_is_not_changed() -> None:
    before = copy.deepcopy(BASE)
    plan_of("--model m --random-input-len 5 --timeout-total 9", BASE)
    assert before == BASE


def test_merge_and_put() -> None:
    assert merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3}, "d": [2]}) == {"a": {"b": 3, "c": 2}, "d": [2]}
    document: dict[str, Any] = {}
    put(document, "a.b.c", 1)
    put(document, "a.d", 2)
    assert document == {"a": {"b": {"c": 1}, "d": 2}}


def test_only_a_concurrency_or_a_rate_makes_new_stages() -> None:
    """The other load flags change the stages that a file or a target has."""
    base = {"scenario": {"stages": [{"load": {"type": "closed", "concurrency": 8}, "num_requests": 5}]}}
    assert plan_of("--num-prompts 20", base).scenario.stages == (closed(8, 20),)
    assert plan_of("--duration 5", base).scenario.stages == (closed(8, None, duration_s=5),)
    assert plan_of("--num-warmups 2", base).scenario.stages == (closed(8, 5, warmup_requests=2),)
    assert plan_of("--max-concurrency 3 --num-prompts 7", base).scenario.stages == (closed(3, 7),)


@pytest.mark.parametrize(
    "line", ["--arrivals constant", "--burstiness 2 --max-concurrency 4", "--arrivals gamma --request-rate inf"]
)
def test_gaps_need_a_rate(line: str) -> None:
    with pytest.raises(UserError, match="--request-rate"):
        plan_of(line)


def test_flags_that_take_lists_add_up() -> None:
    plan = plan_of("--header A=b --header C=d --goodput ttft:10 --goodput tpot:5")
    assert plan.target.headers == {"A": "b", "C": "d"}
    assert [slo.metric for slo in plan.scenario.slos] == ["ttft", "tpot"]
