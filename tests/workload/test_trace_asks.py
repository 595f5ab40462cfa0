"""Prompts of a trace: as long as recorded, with the recorded beginnings, and new text wherever nothing was shared."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dataset_files import FIXTURES
from trace_files import read

from inferometer.config.models import Phase, Plan
from inferometer.workload.asks import Asks, Materials
from inferometer.workload.sources import asks_of, recorded_ns
from inferometer.workload.tokens import PromptSpec
from inferometer.workload.trace import save

SPEC = PromptSpec(kind="calibrated_text", overhead_tokens=2)
REPLAY = {"load": {"type": "trace"}}
CLOSED = {"load": {"type": "closed", "concurrency": 1}, "num_requests": 9}


@pytest.fixture
def materials(tmp_path: Path) -> Materials:
    """Of the trace in Mooncake's format: 1300 tokens [0 1 2], 1100 [0 1 3], 512 [9], and 20 [4], in blocks of 512."""
    save(read(FIXTURES / "mooncake.jsonl"), tmp_path)
    return Materials(prompts=SPEC, trace=str(tmp_path))


def made(materials: Materials, *stages: dict[str, Any]) -> Asks:
    scenario = {"workload": {"type": "trace", "path": "f"}, "stages": list(stages)}
    return asks_of(Plan.model_validate({"target": {}, "scenario": scenario, "seed": 3}), materials)


def words(ask: Asks, stage: int, index: int, phase: Phase = Phase.MEASURED) -> list[str]:
    return str(ask(stage, phase, index).prompt).split()


def shared(one: list[str], other: list[str]) -> int:
    """How many words both begin with."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def test_lengths_are_those_recorded(materials: Materials) -> None:
    ask = made(materials, REPLAY)
    found = [ask(0, Phase.MEASURED, index) for index in range(4)]
    assert [(one.prompt_tokens, one.output_tokens) for one in found] == [(1300, 40), (1100, 12), (512, 7), (20, 3)]
    assert [len(str(one.prompt).split()) for one in found] == [1298, 1098, 510, 18]
    times_ns = recorded_ns(materials)
    assert isinstance(times_ns, np.memmap)  # a trace may have millions of them, and there are many workers
    assert times_ns.tolist() == [0, 250_000_000, 250_000_000, 3_000_500_000]


def test_equal_ids_are_equal_text_and_the_rest_is_not(materials: Materials) -> None:
    ask = made(materials, REPLAY)
    prompts = [words(ask, 0, index) for index in range(4)]
    assert shared(prompts[0], prompts[1]) == 1024
    assert shared(prompts[0], prompts[2]) < 10
    assert prompts[0] == words(made(materials, REPLAY), 0, 0)


def test_nobody_warms_the_cache_for_somebody_else(materials: Materials) -> None:
    """Another stage, a warm-up and a second round through the trace have beginnings of their own."""
    ask = made(materials, CLOSED, CLOSED)
    firsts = [words(ask, 0, 0), words(ask, 1, 0), words(ask, 0, 0, Phase.WARMUP), words(ask, 0, 4), words(ask, 0, 8)]
    assert [len(first) for first in firsts] == [1298] * 5
    assert max(shared(one, other) for one in firsts for other in firsts if one is not other) < 10
    assert shared(words(ask, 0, 4), words(ask, 0, 5)) == 1024


def test_a_stage_may_ask_what_the_one_before_asked(materials: Materials) -> None:
    ask = made(materials, REPLAY, {"load": {"type": "trace", "speed": 2.0}, "same_prompts": True})
    assert words(ask, 0, 1) == words(ask, 1, 1)


def test_a_window_begins_with_its_first_arrival(materials: Materials) -> None:
    ask = made(materials, {"load": {"type": "trace", "start_s": 0.25}}, {"load": {"type": "trace", "start_s": 0.2501}})
    assert [ask(0, Phase.MEASURED, index).prompt_tokens for index in range(3)] == [1100, 512, 20]
    assert ask(1, Phase.MEASURED, 0).prompt_tokens == 20


def test_other_loads_take_all_in_order(materials: Materials) -> None:
    ask = made(materials, CLOSED)
    assert [ask(0, Phase.MEASURED, index).prompt_tokens for index in range(6)] == [1300, 1100, 512, 20, 1300, 1100]
