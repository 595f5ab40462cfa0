"""Conversations: all messages of the user are written before the clock starts; answers are put in as they come."""

from __future__ import annotations

import numpy as np

from inferometer.config.models import ConversationWorkload, Phase, Plan
from inferometer.workload.asks import Ask, Asks, Materials, Turn
from inferometer.workload.lengths import draw, sizes
from inferometer.workload.pauses import draw_pause
from inferometer.workload.synthetic import asked_stage, generator, serial
from inferometer.workload.tokens import composer

#: The serial number of a system message, and the first one of messages after the first: no prompt has either.
_SYSTEM, _LATER, _OWN = 2**40, 2**41, 2**52


def asks(plan: Plan, materials: Materials) -> Asks:
    """The conversations of a plan. Messages have the tokens asked for; what a chat template adds comes on top."""
    workload = plan.scenario.workload
    assert isinstance(workload, ConversationWorkload)  # noqa: S101
    compose, added_tokens = composer(materials.prompts), materials.prompts.overhead_tokens

    def message(tokens: int, random: np.random.Generator, number: int) -> str:
        return str(compose(tokens + added_tokens, random, number))

    def shared(group: int) -> str:
        seed = plan.seed if group == 0 else [plan.seed, group]
        return message(workload.system_tokens, np.random.Generator(np.random.PCG64(seed)), _SYSTEM + group)

    systems = [shared(group) for group in range(workload.system_groups)] if workload.system_tokens else [""]

    def opening(index: int, number: int, random: np.random.Generator) -> list[dict[str, str]]:
        """The system message: what the conversation shares, then what is its own."""
        own = message(draw(workload.own_system_tokens, random), random, number) if workload.own_system_tokens else ""
        content = " ".join(filter(None, (systems[index % len(systems)], own)))
        return [{"role": "system", "content": content}] if content else []

    def later(index: int, number: int, stage: int, random: np.random.Generator) -> Turn:
        size = sizes(plan.scenario, stage, random)
        tool = number > 0 and random.random() < workload.tool_share
        pause_s = draw_pause(workload.tool_pause if tool else workload.think, random)
        content = message(size.prompt_tokens, random, _LATER + index * 1000 + number)
        return Turn(content, size.prompt_tokens, size.output_tokens, pause_s, "tool" if tool else None)

    def ask(stage: int, phase: Phase, index: int) -> Ask:
        stage = asked_stage(plan, stage)
        random = generator(plan.seed, stage, phase, index)
        size, turns = sizes(plan.scenario, stage, random), draw(workload.turns, random)
        first = message(size.prompt_tokens, random, serial(stage, phase, index))
        before = opening(index, _OWN + serial(stage, phase, index), random)
        return Ask(
            prompt=[*before, {"role": "user", "content": first}],
            prompt_tokens=None if before else size.prompt_tokens + added_tokens,
            output_tokens=size.output_tokens,
            conversation=index,
            later=tuple(later(serial(stage, phase, index), number, stage, random) for number in range(1, turns)),
        )

    return ask


def follow(ask: Ask, answer: str) -> Ask:
    """The next turn of a conversation: everything that was said, then its first message that was not sent yet.

    How long its prompt is, nobody can say: a chat template adds something to each message, and some drop reasoning.
    """
    turn, *later = ask.later
    said = ask.prompt if isinstance(ask.prompt, list) else [{"role": "user", "content": ask.prompt}]
    return ask._replace(
        prompt=[*said, {"role": "assistant", "content": answer}, {"role": "user", "content": turn.content}],
        prompt_tokens=None,
        output_tokens=turn.output_tokens,
        request_class=turn.request_class,
        turn=ask.turn + 1,
        later=tuple(later),
        images=(),
    )
