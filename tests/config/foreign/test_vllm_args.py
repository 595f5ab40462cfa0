"""A ``vllm bench serve`` command line as a plan."""

from __future__ import annotations

import argparse
import math

import pytest

from inferometer.cli import Parser
from inferometer.cli.export import save_flags
from inferometer.config.flags import add_flags, plan_from_flags
from inferometer.config.foreign import vllm_args
from inferometer.config.models import Plan
from inferometer.errors import UserError


def plan(text: str) -> Plan:
    parser = Parser(allow_abbrev=False, argument_default=argparse.SUPPRESS)
    add_flags(parser)
    save_flags(parser)
    return plan_from_flags(vars(parser.parse_args(list(vllm_args.words(text).words))), {})


def test_what_vllm_does_when_it_is_told_nothing() -> None:
    found = plan("vllm bench serve")
    (stage,) = found.scenario.stages
    workload = found.scenario.workload
    assert (found.target.base_url, found.target.api) == ("http://127.0.0.1:8000", "openai-completions")
    assert (stage.num_requests, stage.load.rate) == (1000, math.inf)
    assert (workload.input_tokens.mean, workload.output_tokens.mean, workload.ignore_eos) == (1024, 128, True)
    assert found.seed == 0
    assert found.report.percentile_metrics == ("ttft", "tpot", "itl")
    assert found.report.percentiles == (99.0,)


def test_a_command_line_as_people_write_it() -> None:
    found = plan(
        "vllm bench serve --backend openai-chat --endpoint /v1/chat/completions --host 10.0.0.1 --port=9000 \\\n"
        " --model org/m --served_model_name m --dataset-name random --random-input-len 256 --random-output-len 64"
        " --num-prompts 40 --max-concurrency 8 --seed 42 --temperature 0.5 --top-k 20 --extra-body '{\"a\": 1}'"
        " --percentile-metrics ttft,e2el,client_queue_time --metric-percentiles 50,95 --goodput ttft:100 e2el:900"
    )
    (stage,) = found.scenario.stages
    assert (found.target.base_url, found.target.model, found.target.api) == ("http://10.0.0.1:9000", "m", "openai-chat")
    assert (stage.load.type, stage.load.concurrency, stage.num_requests) == ("closed", 8, 40)
    assert found.scenario.workload.extra_body == {"a": 1, "temperature": 0.5, "top_k": 20}
    assert found.report.percentile_metrics == ("ttft", "e2el")
    assert [(slo.metric, slo.limit_ms) for slo in found.scenario.slos] == [("ttft", 100), ("e2el", 900)]


def test_rates_arrive_as_those_of_vllm() -> None:
    (stage,) = plan("--request-rate 4 --burstiness 0.5 --max-concurrency 9 --num-prompts 10").scenario.stages
    assert (stage.load.rate, stage.load.arrivals, stage.load.burstiness) == (4, "vllm", 0.5)
    assert stage.load.max_in_flight == 9
    ramp = plan("--ramp-up-strategy linear --ramp-up-start-rps 1 --ramp-up-end-rps 5 --num-prompts 10").scenario.stages
    assert (ramp[0].load.arrivals, ramp[0].load.rate.start, ramp[0].load.rate.end) == ("vllm", 1, 5)


def test_lengths_under_their_general_names() -> None:
    workload = plan("--input-len 7 --output-len 3").scenario.workload
    assert (workload.input_tokens.mean, workload.output_tokens.mean) == (7, 3)
    prefix = plan(
        "--dataset-name prefix_repetition --output-len 3 --prefix-repetition-num-prefixes 4"
    ).scenario.workload
    assert (prefix.type, prefix.groups, prefix.output_tokens.mean) == ("shared_prefix", 4, 3)


def test_what_means_nothing_is_named() -> None:
    strange = {one.key: one.sentence for one in vllm_args.words("--disable-tqdm --max-concurency 4").not_understood}
    assert "changes nothing" in strange["--disable-tqdm"]
    assert "did you mean 'max-concurrency'" in strange["--max-concurency"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("--model", "--model needs a value"),
        ("rm -rf --model x", "is no vllm bench serve"),
        ("--extra-body [1]", "not a JSON object"),
        ("--temperature hot", "'hot' is no number"),
        ("--model 'x", "No closing quotation"),
        ("""--random-range-ratio '{"input": 0.1, "output": 0.2}'""", "give one ratio"),
    ],
)
def test_command_lines_that_cannot_be(text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        vllm_args.words(text)
