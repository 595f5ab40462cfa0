"""What flags mean, as in ``vllm bench serve`` where the names are its own, and that mistakes name the flag."""

import argparse
import copy
import math
from typing import Any

import pytest

from inferometer.config.flags import add_flags, merge, plan_from_flags, put
from inferometer.config.models import ClosedLoop, OpenLoop, Plan, Ramp, Stage
from inferometer.config.stages import DEFAULT_LADDER
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


def open_(rate: float | Ramp, requests: int | None = None, duration_s: float | None = None, **load: Any) -> Stage:
    return Stage(load=OpenLoop(rate=rate, **load), num_requests=requests, duration_s=duration_s)


RAMP = "--ramp-up-strategy linear --ramp-up-start-rps 1 --ramp-up-end-rps 20"
LINEAR = Ramp(type="linear", start=1, end=20)
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
    "--request-rate 2 --num-prompts 9 --arrivals vllm": [open_(2, 9, arrivals="vllm")],
    "--request-rate 2 --num-prompts 9 --arrivals vllm --burstiness inf": [
        open_(2, 9, arrivals="vllm", burstiness=INF),
    ],
    "--request-rate 2 --arrivals inference-perf-constant": [
        open_(2, duration_s=30, arrivals="inference-perf-constant"),
    ],
    f"{RAMP} --duration 60": [open_(LINEAR, duration_s=60)],
    f"{RAMP}": [open_(LINEAR, duration_s=30)],
    f"{RAMP} --request-rate inf --num-prompts 99": [open_(LINEAR, 99)],
    f"{RAMP} --arrivals vllm --num-prompts 99": [open_(LINEAR, 99, arrivals="vllm")],
    f"{RAMP} --burstiness inf --num-prompts 99": [open_(LINEAR, 99, arrivals="constant")],
    f"{RAMP} --max-concurrency 2 4 --num-prompts 9": [
        open_(LINEAR, 9, max_in_flight=2),
        open_(LINEAR, 9, max_in_flight=4),
    ],
    "--ramp-up-strategy exponential --ramp-up-start-rps 0.5 --ramp-up-end-rps 64": [
        open_(Ramp(type="exponential", start=0.5, end=64), duration_s=30),
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
    "--random-input-min 5 --random-input-max 9": ("scenario.workload.input_tokens.text", "U(5,9)"),
    "--random-input-std 9 --random-input-min 5 --random-input-max 999": ("scenario.workload.input_tokens.mean", 256),
    "--random-output-distribution exponential": ("scenario.workload.output_tokens.text", "exponential(128)"),
    "--random-output-distribution zipf --random-output-min 5 --random-output-max 9": (
        "scenario.workload.output_tokens.text",
        "zipf(5,9)",
    ),
    "--random-input-distribution lognormal --random-input-std 50": (
        "scenario.workload.input_tokens.text",
        "lognormal(256,50)",
    ),
    "--traffic-scenario D(100,1000)": ("scenario.workload.output_tokens.mean", 1000),
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
    "--ramp-up-strategy linear": "--ramp-up-strategy, --ramp-up-start-rps and --ramp-up-end-rps make a ramp: give all",
    f"{RAMP} --request-rate 4": "a ramp has its own rates",
    f"{RAMP} --ramp-up-strategy cubic": "--ramp-up-strategy: linear or exponential, not 'cubic'",
    f"{RAMP} --ramp-up-start-rps -1": "--ramp-up-start-rps: ",
    f"{RAMP} --ramp-up-end-rps 0": "--ramp-up-end-rps: ",
    f"{RAMP} --ramp-up-start-rps 0 --ramp-up-strategy exponential": "--ramp-up-start-rps: an exponential ramp cannot",
    f"{RAMP} --arrivals inference-perf-poisson": "--arrivals: inference-perf-poisson has one rate",
    f"{RAMP} --arrivals vllm": "--num-prompts: a ramp of vllm goes by the number of the request",
    f"{RAMP} --arrivals vllm --num-prompts 5 --ramp-up-start-rps 0": "--arrivals: a ramp of vllm cannot start at 0",
    "--random-input-len 5 0": "--random-input-len, --random-output-len: ",
    "--random-input-len 5 50 --random-input-max 20": "--random-input-len, --random-output-len: the mean of 50 tokens",
    "--random-input-distribution bell": "--random-input-distribution: ",
    "--random-input-distribution lognormal": "--random-input-len, -std, -min, -max: lengths of",
    "--traffic-scenario D(1,2) --random-range-ratio 0.5": "--traffic-scenario says all lengths",
    "--traffic-scenario D(1,2) --random-input-std 5": "--traffic-scenario says all lengths",
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
        ("--traffic-scenario D(1)", "N(480,240)/(300,150)"),
        ("--traffic-scenario N(1,2)", "N(480,240)/(300,150)"),
        ("--traffic-scenario D(1,2)/(3,4)", "N(480,240)/(300,150)"),
        ("--traffic-scenario I(512,512)", "N(480,240)/(300,150)"),
        ("--traffic-scenario D(1,0)", "greater than or equal to 1"),
        ("--traffic-scenario U(50,20)/(1,2)", "is above the largest"),
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


#: Line -> name, prompt and output lengths of each stage; None is those of the workload.
CELLS: dict[str, list[tuple[str | None, str | None, str | None]]] = {
    "--random-input-len 10 50 --random-output-len 20 30": [
        ("10/20", "10", "20"),
        ("10/30", "10", "30"),
        ("50/20", "50", "20"),
        ("50/30", "50", "30"),
    ],
    "--random-input-len 10 50": [("10 in", "10", None), ("50 in", "50", None)],
    "--random-output-len 5 --random-output-len 9": [("5 out", None, "5"), ("9 out", None, "9")],
    "--random-input-len 10 50 --random-output-len 20": [("10/20", "10", "20"), ("50/20", "50", "20")],
    "--random-input-len 10 50 --random-input-std 3": [("N(10,3) in", "N(10,3)", None), ("N(50,3) in", "N(50,3)", None)],
    "--random-input-len 10 50 --random-range-ratio 0.5": [
        ("U(5,15) in", "U(5,15)", None),
        ("U(25,75) in", "U(25,75)", None),
    ],
    "--random-input-len 10 --random-output-len 20": [(None, None, None)],
    "--traffic-scenario D(100,200)": [(None, None, None)],
    "--traffic-scenario D(100,200) N(480,240)/(300,150) U(50,100)/(200,250) U(100,200)": [
        ("D(100,200)", "100", "200"),
        ("N(480,240)/(300,150)", "N(480,240)", "N(300,150)"),
        ("U(50,100)/(200,250)", "U(50,100)", "U(200,250)"),
        ("U(100,200)", "U(1,100)", "U(1,200)"),
    ],
    "--traffic-scenario D(1,2) --traffic-scenario U(0,2)/(0,3)": [
        ("D(1,2)", "1", "2"),
        ("U(0,2)/(0,3)", "U(1,2)", "U(1,3)"),
    ],
}


@pytest.mark.parametrize("line", CELLS)
def test_several_lengths_are_a_stage_for_each(line: str) -> None:
    stages = plan_of(f"{line} --max-concurrency 3 --num-prompts 4").scenario.stages
    sides = [(stage.name, stage.input_tokens, stage.output_tokens) for stage in stages]
    assert [(name, asked and asked.text, answered and answered.text) for name, asked, answered in sides] == CELLS[line]
    assert {stage.load for stage in stages} == {ClosedLoop(concurrency=3)}


def test_each_of_the_lengths_meets_each_of_the_loads() -> None:
    stages = plan_of("--traffic-scenario D(1,2) D(3,4) --max-concurrency 1 8").scenario.stages
    loads = [(stage.name, stage.load.concurrency) for stage in stages if isinstance(stage.load, ClosedLoop)]
    assert loads == [("D(1,2)", 1), ("D(1,2)", 8), ("D(3,4)", 1), ("D(3,4)", 8)]


def test_one_scenario_replaces_the_lengths_of_a_file() -> None:
    workload = plan_of("--traffic-scenario U(5,9)/(1,3)", BASE).scenario.workload
    assert (workload.input_tokens.text, workload.output_tokens.text) == ("U(5,9)", "U(1,3)")


@pytest.mark.parametrize(
    "own",
    [
        {"grid": {"input_tokens": [1, 2]}},
        {"workload": {"mix": [{"name": "a", "share": 1, "output_tokens": {"mean": 3}}]}},
        {"stages": [{"load": {"type": "closed", "concurrency": 3}, "num_requests": 4, "input_tokens": {"mean": 3}}]},
    ],
)
@pytest.mark.parametrize("line", ["--random-input-len 5", "--random-range-ratio 0.5", "--traffic-scenario D(1,2)"])
def test_flags_do_not_pretend_to_change_lengths_that_they_do_not(line: str, own: dict[str, Any]) -> None:
    base = {"scenario": BASE["scenario"] | own}
    with pytest.raises(UserError, match="the plan has lengths in its grid, its mix or its stages"):
        plan_of(line, base)
    assert plan_of("--num-prompts 7", base).scenario.stages[0].num_requests == 7


def test_a_written_plan_takes_flags_for_lengths() -> None:
    """What the file says by default is no distribution that a flag would contradict."""
    base = plan_of("--num-prompts 3 --random-input-len 64").model_dump(mode="json")
    assert plan_of("--random-input-std 5", base).scenario.workload.input_tokens.text == "N(64,5)"
    assert plan_of("--random-range-ratio 0.5", base).scenario.workload.input_tokens.text == "U(32,96)"
    assert plan_of("--random-input-len 8 9", base).scenario.stages[1].name == "9 in"
