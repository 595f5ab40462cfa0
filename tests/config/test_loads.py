"""Loads: what they mean, and that those which mean nothing are refused with a sentence."""

from typing import Any

import pytest
from pydantic import ValidationError

from inferometer.config.models import OpenLoop, Plan, Stage, TraceLoop

LINEAR = {"type": "linear", "start": 1, "end": 20}
STEPS = {"type": "steps", "steps": [{"rate": 5, "duration_s": 10}, {"rate": 0, "duration_s": 2.5}]}
SINE = {"type": "sine", "mean": 10, "amplitude": 8, "period_s": 60}


def open_(rate: Any, **load: Any) -> dict[str, Any]:
    return {"type": "open", "rate": rate, **load}


#: Sentence -> a stage that gets it.
MISTAKES: dict[str, dict[str, Any]] = {
    "Input should be greater than 0": {"load": open_(0)},
    "does not match any of the expected tags: 'linear', 'exponential', 'steps', 'sine'": {
        "load": open_({"type": "saw"})
    },
    "cannot start at 0": {"load": open_({"type": "exponential", "start": 0, "end": 9})},
    "no step sends anything": {"load": open_({"type": "steps", "steps": [{"rate": 0, "duration_s": 1}]})},
    "at least 1 item": {"load": open_({"type": "steps", "steps": []})},
    "amplitude is above the mean": {"load": open_(SINE | {"amplitude": 11})},
    "inference-perf-poisson has one rate": {"load": open_(LINEAR, arrivals="inference-perf-poisson")},
    "vllm knows one rate and ramps": {"load": open_(SINE, arrivals="vllm")},
    "ramps over the whole stage": {"load": open_(LINEAR | {"over_s": 3}, arrivals="vllm")},
    "a ramp of vllm cannot start at 0": {"load": open_(LINEAR | {"start": 0}, arrivals="vllm")},
    "it needs num_requests": {"load": open_(LINEAR, arrivals="vllm"), "num_requests": None},
    "finite number": {"load": open_({"type": "linear", "start": 1, "end": float("inf")})},
    "no time of the trace is between": {"load": {"type": "trace", "times_s": [3, 4], "start_s": 2}},
    "it would never end": {"load": open_(SINE), "num_requests": None, "duration_s": None},
}


@pytest.mark.parametrize("sentence", MISTAKES)
def test_a_load_that_means_nothing(sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Stage.model_validate({"num_requests": 5, "duration_s": 60} | MISTAKES[sentence])
    assert sentence in str(caught.value)


def test_a_rate_is_a_number_or_a_course() -> None:
    loads = [OpenLoop.model_validate({"rate": rate}) for rate in (2, "inf", LINEAR, STEPS, SINE)]
    assert [load.text for load in loads] == ["2", "inf", "1 to 20", "5, 0", "2 to 18 sine"]
    assert [load.steady_rate for load in loads] == [2, None, None, None, None]
    assert [load.at_once for load in loads] == [False, True, False, False, False]


def test_many_steps_are_told_in_short() -> None:
    steps = [{"rate": rate, "duration_s": 1} for rate in range(9)]
    assert OpenLoop.model_validate({"rate": {"type": "steps", "steps": steps}}).text == "0, 1, ..., 8"


def test_steps_and_traces_need_no_end() -> None:
    steps = Stage.model_validate({"load": open_(STEPS)})
    assert (steps.num_requests, steps.duration_s) == (None, 12.5)
    trace = Stage.model_validate({"load": {"type": "trace", "times_s": [7, 8, 8, 11], "end_s": 4}})
    assert (trace.num_requests, trace.duration_s) == (3, None)


def test_an_end_that_is_given_stays() -> None:
    assert Stage.model_validate({"load": open_(STEPS), "num_requests": 3}).duration_s is None
    assert Stage.model_validate({"load": open_(STEPS), "duration_s": 3}).duration_s == 3
    load = TraceLoop(times_s=(1, 2))
    assert Stage(load=load, num_requests=1).num_requests == 1


@pytest.mark.parametrize("rate", [2.5, LINEAR, LINEAR | {"type": "exponential", "over_s": 7}, STEPS, SINE])
def test_a_resolved_stage_is_itself(rate: Any) -> None:
    stage = Stage.model_validate({"load": open_(rate), "duration_s": 9, "name": "n", "input_tokens": {"mean": 3}})
    assert Stage.model_validate(stage.model_dump(mode="json")) == stage


def test_plans_of_the_first_version_are_read() -> None:
    """As ``--dry-run`` wrote them when a rate was a number and lengths had five fields."""
    lengths = {"mean": 64, "std_dev": 0.0, "min": None, "max": None, "range_ratio": 0.0}
    load = {"type": "open", "rate": "inf", "arrivals": "poisson", "burstiness": 1.0, "max_in_flight": None}
    stage = {"load": load, "num_requests": 3, "duration_s": None, "warmup_requests": 0}
    workload = {"type": "random", "input_tokens": lengths, "output_tokens": lengths | {"range_ratio": 0.5}}
    plan = Plan.model_validate({"target": {}, "scenario": {"workload": workload, "stages": [stage]}})
    assert plan.scenario.workload.input_tokens.kind == "fixed"
    assert plan.scenario.workload.output_tokens.bounds == (32, 96)
    assert plan.scenario.stages == (Stage(load=OpenLoop(rate=float("inf")), num_requests=3),)
