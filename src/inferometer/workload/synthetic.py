"""The workload ``random``: request i of a stage is a function of (seed, stage, phase, i) alone.

So any worker can write its stride of the requests, and the same seed sends the same bytes on every machine.
"""

from __future__ import annotations

import numpy as np

from inferometer.config.models import Phase, Plan, RandomWorkload
from inferometer.workload.asks import Ask, Asks, Materials
from inferometer.workload.block_prompts import blocks_composer
from inferometer.workload.lengths import sizes
from inferometer.workload.tokens import composer

#: Serial numbers of other kinds (``conversation``, ``shared_prefix``) are below this power of 2.
_MILLIONS_BITS = 60
_PHASE_SEED = {Phase.WARMUP: 0, Phase.MEASURED: 1}


def asks(plan: Plan, materials: Materials) -> Asks:
    """The requests of a random workload."""
    compose = composer(materials.prompts)
    workload = plan.scenario.workload
    assert isinstance(workload, RandomWorkload)  # noqa: S101
    behind_prefix = blocks_composer(materials.prompts, plan.seed) if workload.prefix_tokens else None
    prefix = [(0, workload.prefix_tokens)]

    def ask(stage: int, phase: Phase, index: int) -> Ask:
        stage = asked_stage(plan, stage)
        random = generator(plan.seed, stage, phase, index)
        prompt_tokens, output_tokens, request_class = sizes(plan.scenario, stage, random, index)
        number = serial(stage, phase, index)
        if behind_prefix is None:
            return Ask(compose(prompt_tokens, random, number), prompt_tokens, output_tokens, request_class)
        prompt_tokens += workload.prefix_tokens
        return Ask(behind_prefix(prefix, prompt_tokens, number), prompt_tokens, output_tokens, request_class, group=0)

    return ask


def asked_stage(plan: Plan, stage: int) -> int:
    """The stage whose prompts a stage asks: its own, or those of the stage before it."""
    stages = plan.scenario.stages
    while stage and stages[stage].same_prompts:
        stage -= 1
    return stage


def generator(seed: int, stage: int, phase: Phase, index: int) -> np.random.Generator:
    """The chance of one request."""
    return np.random.Generator(np.random.PCG64([seed, stage, _PHASE_SEED[phase], index]))


def serial(stage: int, phase: Phase, index: int) -> int:
    """A number that no other request of the run has. Those of a million requests of each part lie side by side."""
    millions, rest = divmod(index, 1_000_000)
    return (millions << _MILLIONS_BITS) + rest + 1_000_000 * (2 * stage + _PHASE_SEED[phase])
