"""The workload ``random``: request i of a stage is a function of (seed, stage, phase, i) alone.

So any worker can write its stride of the requests, and the same seed sends the same bytes on every machine.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from inferometer.config.models import Phase, Plan
from inferometer.workload.lengths import sizes
from inferometer.workload.tokens import Compose, Prompt

_PHASE_SEED = {Phase.WARMUP: 0, Phase.MEASURED: 1}


class Ask(NamedTuple):
    """What one request asks: a prompt of ``prompt_tokens``, for an answer of ``output_tokens``."""

    prompt: Prompt
    prompt_tokens: int
    output_tokens: int
    request_class: str | None = None


def compose_ask(plan: Plan, compose: Compose, stage: int, phase: Phase, index: int) -> Ask:
    """Request ``index`` of one phase of a stage."""
    random = np.random.Generator(np.random.PCG64([plan.seed, stage, _PHASE_SEED[phase], index]))
    prompt_tokens, output_tokens, request_class = sizes(plan.scenario, stage, random)
    prompt = compose(prompt_tokens, random, _serial(stage, phase, index))
    return Ask(prompt, prompt_tokens, output_tokens, request_class)


def _serial(stage: int, phase: Phase, index: int) -> int:
    """A number that no other request of the run has (up to a million requests a stage)."""
    return index + 1_000_000 * (2 * stage + _PHASE_SEED[phase])
