"""Flags of data files and traces: what they mean in a plan, and that mistakes name them."""

import argparse
from typing import Any

import pytest

from inferometer.config.file_flags import DATASET_NAMES
from inferometer.config.flags import add_flags, plan_from_flags
from inferometer.config.loads import TraceLoop
from inferometer.config.models import ClosedLoop, DatasetWorkload, OpenLoop, Plan, Stage, TraceWorkload
from inferometer.errors import UserError


def parsed(line: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_flags(parser)
    return vars(parser.parse_args(line.split()))


def plan_of(line: str, base: dict[str, Any] | None = None) -> Plan:
    return plan_from_flags(parsed(line), base or {})


def workload(line: str, base: dict[str, Any] | None = None) -> Any:
    return plan_of(line, base).scenario.workload


@pytest.mark.parametrize("name", [name for name, fields in DATASET_NAMES.items() if fields["type"] == "dataset"])
def test_names_of_data_sets(name: str) -> None:
    assert workload(f"--dataset-name {name} --dataset-path f") == DatasetWorkload(
        path="f", format=DATASET_NAMES[name].get("format", "auto")
    )


@pytest.mark.parametrize("name", [name for name, fields in DATASET_NAMES.items() if fields["type"] == "trace"])
def test_names_of_traces(name: str) -> None:
    plan = plan_of(f"--dataset-name {name} --dataset-path f")
    assert plan.scenario.workload == TraceWorkload(path="f", format=DATASET_NAMES[name].get("format", "auto"))
    assert plan.scenario.stages == (Stage(load=TraceLoop()),)


def test_a_path_alone_is_a_data_set() -> None:
    assert workload("--dataset-path f") == DatasetWorkload(path="f")
    assert workload("--dataset-path f", {"scenario": {"workload": {"type": "trace", "path": "g"}}}).type == "trace"


D, T = "--dataset-name custom --dataset-path f", "--dataset-name trace --dataset-path f"
FIELDS: dict[str, dict[str, Any]] = {
    f"{D} --skip-bad-lines": {"skip_bad_lines": True},
    f"{D} --dataset-prompt-key q --dataset-output-key n": {"prompt_key": "q", "output_tokens_key": "n"},
    f"{D} --disable-shuffle --no-oversample": {"shuffle": False, "oversample": False},
    f"{D} --custom-output-len 9": {"output_tokens": 9},
    f"{D} --custom-output-len -1": {"output_tokens": None},
    f"{D} --sharegpt-output-len 8": {"output_tokens": 8},
    f"{D} --default-output-len 7": {"default_output_tokens": 7},
    f"{D} --min-prompt-tokens 2 --max-total-tokens 5": {"min_prompt_tokens": 2, "max_total_tokens": 5},
    f"{D} --multi-turn --ignore-eos": {"multi_turn": True, "ignore_eos": True},
    f"{T} --trace-block-tokens 32": {"block_tokens": 32},
    f"{T} --timed-trace-chunk-hash-size 512": {"block_tokens": 512},
    f"{T} --trace-unit us --trace-model m --trace-max-tokens 99": {"unit": "us", "model": "m", "max_tokens": 99},
    f"{T} --timed-trace-sec-multiplier 0.001": {"unit": "ms"},
    f"{T} --timed-trace-sec-multiplier 1": {"unit": "s"},
}


@pytest.mark.parametrize("line", FIELDS)
def test_fields(line: str) -> None:
    found = workload(line)
    assert {name: getattr(found, name) for name in FIELDS[line]} == FIELDS[line]


def test_sharegpt_has_the_limits_of_vllm_where_tokens_can_be_counted() -> None:
    line = "--dataset-name sharegpt --dataset-path f"
    limits = ("min_prompt_tokens", "min_output_tokens", "max_prompt_tokens", "max_total_tokens")
    assert [getattr(workload(line), name) for name in limits] == [None] * 4
    assert [getattr(workload(f"{line} --tokenizer t"), name) for name in limits] == [4, 4, 1024, 2048]
    assert workload(f"{line} --tokenizer t --max-prompt-tokens 5").max_prompt_tokens == 5


def test_another_kind_of_workload_leaves_only_what_all_kinds_have() -> None:
    base = {"scenario": {"workload": {"input_tokens": {"mean": 5}, "ignore_eos": True}}}
    assert workload("--dataset-name text --dataset-path f", base) == DatasetWorkload(
        path="f", format="text", ignore_eos=True
    )
    base = {"scenario": {"workload": {"type": "dataset", "path": "f", "format": "csv", "shuffle": False}}}
    assert workload("--dataset-name text", base) == DatasetWorkload(path="f", format="text", shuffle=False)
    assert workload("--dataset-name random", base).type == "random"


LOADS: dict[str, list[Stage]] = {
    "--num-prompts 5 --num-warmups 2": [Stage(load=TraceLoop(), num_requests=5, warmup_requests=2)],
    "--trace-speed 2 --trace-start 10 --trace-end 60": [Stage(load=TraceLoop(speed=2, start_s=10, end_s=60))],
    "--trace-speed 1 4 --duration 9": [Stage(load=TraceLoop(speed=speed), duration_s=9) for speed in (1, 4)],
    "--trace-speed 1 --max-concurrency 3 6": [Stage(load=TraceLoop(max_in_flight=cap)) for cap in (3, 6)],
    "--max-concurrency 3 --num-prompts 5": [Stage(load=ClosedLoop(concurrency=3), num_requests=5)],
    "--request-rate 3 --num-prompts 5": [Stage(load=OpenLoop(rate=3), num_requests=5)],
}


@pytest.mark.parametrize("line", LOADS)
def test_loads_of_traces(line: str) -> None:
    assert list(plan_of(f"{T} {line}").scenario.stages) == LOADS[line]


def test_stages_of_a_file_stay_unless_the_flags_make_new_ones() -> None:
    base = {
        "scenario": {
            "workload": {"type": "trace", "path": "f"},
            "stages": [{"load": {"type": "closed", "concurrency": 2}, "num_requests": 4}],
        }
    }
    assert plan_of("--num-prompts 6", base).scenario.stages == (Stage(load=ClosedLoop(concurrency=2), num_requests=6),)
    assert plan_of("--trace-speed 3", base).scenario.stages == (Stage(load=TraceLoop(speed=3)),)


#: Line -> what the sentence begins with.
MISTAKES = {
    "--dataset-name csv": "--dataset-path is missing",
    "--dataset-name random --dataset-path f": "--dataset-path: a workload of the type random has no path",
    f"{D} --trace-block-tokens 5": "--trace-block-tokens: a workload of the type dataset has no block_tokens",
    f"{D} --timed-trace-chunk-hash-size 5": "--timed-trace-chunk-hash-size: ",
    f"{T} --multi-turn": "--multi-turn: a workload of the type trace has no multi_turn",
    "--skip-bad-lines": "--skip-bad-lines: a workload of the type random",
    f"{D} --custom-output-len 0": "--custom-output-len: ",
    f"{D} --sharegpt-output-len 0": "--sharegpt-output-len: ",
    f"{T} --trace-unit days": "--trace-unit: ",
    f"{T} --trace-max-tokens 1": "--trace-max-tokens: ",
    f"{T} --trace-speed 0": "--trace-speed: ",
    f"{T} --trace-start -1": "--trace-start: ",
    f"{T} --trace-end 0": "--trace-end: ",
    f"{T} --trace-speed 1 2 --max-concurrency 1 2": "give several values of --trace-speed or of --max-concurrency",
    f"{T} --trace-speed 2 --request-rate 5": "--trace-speed, --trace-start and --trace-end keep recorded times",
    f"{D} --trace-speed 2": "--trace-speed, --trace-start and --trace-end need a trace",
    f"{D} --custom-output-len 5 --random-output-len 5": "the file says how long prompts are",
    f"{D} --random-range-ratio 0.5": "the file says how long prompts are",
    f"{T} --traffic-scenario D(1,2)": "the file says how long prompts are",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_names_its_flag(line: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_of(line)
    assert str(caught.value).startswith(MISTAKES[line])


@pytest.mark.parametrize(
    ("line", "hint"),
    [("--dataset-name sonnet", "sharegpt, custom"), ("--timed-trace-sec-multiplier 60", "1, 0.001")],
)
def test_a_word_that_cannot_be_read_says_how_it_should_be(line: str, hint: str) -> None:
    with pytest.raises(argparse.ArgumentError) as caught:
        parsed(line)
    assert hint in str(caught.value)
    assert line.partition(" ")[0] in str(caught.value)
