"""The workload ``random``: request i of a stage is a function of (seed, stage, phase, i) alone.

So any worker can write its stride of the requests, and the same seed sends the same bytes on every machine.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from inferometer.config.models import Lengths, Phase, Plan
from inferometer.workload.tokens import Compose, Prompt

_PHASE_SEED = {Phase.WARMUP: 0, Phase.MEASURED: 1}


class Ask(NamedTuple):
    """What one request asks: a prompt of ``prompt_tokens``, for an answer of ``output_tokens``."""

    prompt: Prompt
    prompt_tokens: int
    output_tokens: int


def draw(lengths: Lengths, random: np.random.Generator) -> int:
    """One token count. Uniform between floor(mean(1-r)) and ceil(mean(1+r)) as in vLLM, or normal and clipped."""
    low, high = lengths.min or 1, lengths.max or 2**31
    if lengths.range_ratio:
        low = max(1, math.floor(lengths.mean * (1 - lengths.range_ratio)))
        return int(random.integers(low, math.ceil(lengths.mean * (1 + lengths.range_ratio)), endpoint=True))
    if lengths.std_dev:
        return min(high, max(low, round(random.normal(lengths.mean, lengths.std_dev))))
    return lengths.mean


def compose_ask(plan: Plan, compose: Compose, stage: int, phase: Phase, index: int) -> Ask:
    """Request ``index`` of one phase of a stage."""
    workload = plan.scenario.workload
    random = np.random.Generator(np.random.PCG64([plan.seed, stage, _PHASE_SEED[phase], index]))
    prompt_tokens = draw(workload.input_tokens, random)
    output_tokens = draw(workload.output_tokens, random)
    return Ask(compose(prompt_tokens, random, _serial(stage, phase, index)), prompt_tokens, output_tokens)


def _serial(stage: int, phase: Phase, index: int) -> int:
    """A number that no other request of the run has (up to a million requests a stage)."""
    return index + 1_000_000 * (2 * stage + _PHASE_SEED[phase])
