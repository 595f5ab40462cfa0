"""The workload ``shared_prefix``: groups of prompts that begin alike, in rounds; request i needs no other request.

Request i of a stage is slot ``i % n`` of round ``i // n``, with n = groups x prompts per group. What a round asks of
each group is fixed before its order is drawn, so counts are exact at the end of each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from inferometer.config.models import Phase, Plan, RandomWorkload, SharedPrefixWorkload
from inferometer.workload.asks import Ask, Asks, Materials
from inferometer.workload.block_prompts import blocks_composer
from inferometer.workload.lengths import draw, sizes
from inferometer.workload.synthetic import asked_stage, generator, serial

Ints = npt.NDArray[np.int64]

#: Streams of chance that no request draws from: five numbers, where a request has four.
_ORDER, _LENGTH, _QUESTION = 2, 3, 4
#: The serial number of the first repeated question: no other prompt has one as high.
_REPEATED = 2**42


class Round(NamedTuple):
    """The group of each slot, and which of its group's questions in this round it is. Shape (slots,) each."""

    group: Ints
    question: Ints


def asks(plan: Plan, materials: Materials) -> Asks:
    """The requests of a plan. What the server adds to a prompt is taken off the question, which keeps a token."""
    workload = _workload(plan)
    write = blocks_composer(materials.prompts, plan.seed)
    overhead_tokens = materials.prompts.overhead_tokens
    prefix_tokens = prefix_lengths(plan)
    slots = workload.groups * workload.prompts_per_group

    @lru_cache(maxsize=4)
    def order(stage: int, phase: Phase, number: int) -> Round:
        return round_order(workload, _stream(plan.seed, serial(stage, phase, 0), number, _ORDER))

    def ask(stage: int, phase: Phase, index: int) -> Ask:
        stage = asked_stage(plan, stage)
        turn = order(stage, phase, index // slots)
        place, question = int(turn.group[index % slots]), int(turn.question[index % slots])
        random, number = generator(plan.seed, stage, phase, index), serial(stage, phase, index)
        if workload.repeat_questions:
            random = _stream(plan.seed, place, question, _QUESTION)
            number = _REPEATED + place * slots + question
        size = sizes(plan.scenario, stage, random)
        group = _first_group(workload, stage, phase) + place
        begin_tokens = prefix_tokens(group)
        asked_tokens = begin_tokens + size.prompt_tokens
        whole_tokens = max(asked_tokens, begin_tokens + overhead_tokens + 1)
        prompt = write([(group, begin_tokens)], whole_tokens, number)
        return Ask(prompt, asked_tokens, size.output_tokens, group=group)

    return ask


def round_order(workload: SharedPrefixWorkload, random: np.random.Generator) -> Round:
    """One round. With a popularity, groups get their share to within one request, and on average exactly it."""
    per_group = workload.prompts_per_group
    slots = workload.groups * per_group
    group = np.repeat(np.arange(workload.groups), per_group)
    if workload.popularity:
        # systematic sampling: evenly spaced places on the line of shares, with one drawn offset
        weights = np.arange(1.0, workload.groups + 1) ** -workload.popularity
        rising = np.cumsum(weights / weights.sum())
        places = (np.arange(slots) + random.random()) / slots
        group = np.minimum(np.searchsorted(rising, places, side="right"), workload.groups - 1)
    question = np.arange(slots) - np.searchsorted(group, group)
    drawn = random.permutation(slots) if workload.shuffle else np.arange(slots)
    return Round(group[drawn], question[drawn])


def prefix_lengths(plan: Plan) -> Callable[[int], int]:
    """Group -> tokens of its beginning. Groups at the same place have the same length in all stages."""
    workload, seed = _workload(plan), plan.seed

    @lru_cache(maxsize=65_536)
    def length(place: int) -> int:
        return draw(workload.prefix_tokens, _stream(seed, place, 0, _LENGTH))

    return lambda group: length(group % workload.groups)


def known_prefixes(plan: Plan, stage: int) -> Callable[[int], int] | None:
    """As ``prefix_lengths``, where prefixes are all that requests of a stage share with earlier ones; else None."""
    workload = plan.scenario.workload
    if asked_stage(plan, stage) != stage:
        return None
    if isinstance(workload, RandomWorkload):
        return lambda _: workload.prefix_tokens
    questions_differ = isinstance(workload, SharedPrefixWorkload) and not workload.repeat_questions
    return prefix_lengths(plan) if questions_differ else None


def _first_group(workload: SharedPrefixWorkload, stage: int, phase: Phase) -> int:
    """Beginnings of their own are groups of their own, in the warm-up of a stage as well: it would warm them."""
    return workload.groups * (2 * stage + (phase is Phase.MEASURED)) if workload.new_prefixes else 0


def _stream(seed: int, first: int, second: int, kind: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, first, second, 0, kind]))


def _workload(plan: Plan) -> SharedPrefixWorkload:
    workload = plan.scenario.workload
    assert isinstance(workload, SharedPrefixWorkload)  # noqa: S101
    return workload
