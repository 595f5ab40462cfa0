"""The workload ``dataset``: which item of a prepared file each request asks, and whole conversations as turns.

Stages take the items one after the other, warm-up first, so that none is sent twice before all were sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from inferometer.config.models import DatasetWorkload, Phase, Plan, Stage
from inferometer.workload.asks import Ask, Asks, Materials, Turn
from inferometer.workload.dataset import Items, texts
from inferometer.workload.dataset_formats import Item
from inferometer.workload.pauses import draw_pause
from inferometer.workload.synthetic import asked_stage, generator
from inferometer.workload.tally import DroppedError
from inferometer.workload.tokens import load_tokenizer, text_tokens

Count = Callable[[str], int]


class Begin(NamedTuple):
    """Where in the order of sending the items of a stage begin: those of its warm-up, and those that count."""

    warmup: int
    measured: int


def asks(plan: Plan, materials: Materials) -> Asks:
    """The requests of a prepared file. It is opened here, and a tokenizer loaded where answers need counting."""
    workload, dataset = plan.scenario.workload, materials.dataset
    assert isinstance(workload, DatasetWorkload)  # noqa: S101
    assert dataset is not None  # noqa: S101
    items = Items(dataset)
    begins = beginnings(plan, len(items))
    count = counter(plan) if workload.multi_turn else None
    added_tokens = materials.prompts.overhead_tokens

    def ask(stage: int, phase: Phase, index: int) -> Ask:
        stage = asked_stage(plan, stage)
        first = begins[stage].warmup if phase is Phase.WARMUP else begins[stage].measured
        item = items.item((first + index) % len(items))
        if workload.multi_turn and _talks(item):
            talk = _conversation(plan, workload, item, count, (stage, phase, index))
            return (
                talk if talk.prompt_tokens is None else talk._replace(prompt_tokens=talk.prompt_tokens + added_tokens)
            )
        of_text = item.prompt_tokens is not None and not _is_ids(item.prompt)
        return Ask(
            prompt=item.prompt,
            prompt_tokens=(item.prompt_tokens or 0) + added_tokens if of_text else item.prompt_tokens,
            output_tokens=workload.output_tokens or item.output_tokens or workload.default_output_tokens,
            overrides=dict(item.overrides) or None,
        )

    return ask


def counter(plan: Plan) -> Count | None:
    """Counts the tokens of a text, if the target has a tokenizer."""
    if plan.target.tokenizer is None:
        return None
    tokenizer = load_tokenizer(plan.target.tokenizer)
    return lambda text: text_tokens(tokenizer, text)


# --- which item ------------------------------------------------------------------------------------------------------


def items_needed(stages: Sequence[Stage]) -> int | None:
    """Items that all stages ask for together, warm-up included; None where a stage ends by time alone."""
    needs = [_need(stages, one) for one in _asking(stages)]
    known = [warmup + measured for warmup, measured in needs if measured is not None]
    return sum(known) if len(known) == len(needs) else None


def beginnings(plan: Plan, items: int) -> list[Begin]:
    """Where each stage begins. Where nobody knows how many items a stage needs, they begin as far apart as can be."""
    stages = plan.scenario.stages
    asking = _asking(stages)
    total = items_needed(stages)
    begins, at = dict[int, Begin](), 0
    for place, one in enumerate(asking):
        warmup, measured = _need(stages, one)
        at = at if total is not None else place * items // len(asking)
        begins[one] = Begin(at, at + warmup)
        at += warmup + (measured or 0)
    return [begins[asked_stage(plan, stage)] for stage in range(len(stages))]


def _asking(stages: Sequence[Stage]) -> list[int]:
    """Stages that ask something of their own."""
    return [number for number, stage in enumerate(stages) if not (number and stage.same_prompts)]


def _need(stages: Sequence[Stage], first: int) -> tuple[int, int | None]:
    """Items for warm-up and load of a stage and of those after it that ask the same."""
    after = (number for number in range(first + 1, len(stages)) if not stages[number].same_prompts)
    alike = stages[first : next(after, len(stages))]
    numbers = [stage.num_requests for stage in alike]
    known = [number for number in numbers if number is not None]
    return max(stage.warmup_requests for stage in alike), max(known) if len(known) == len(numbers) else None


# --- conversations ---------------------------------------------------------------------------------------------------


def check_turns(item: Item) -> None:
    """Raise ``DroppedError`` if a conversation cannot be played with other answers than the recorded ones."""
    if not _talks(item):
        return
    messages: list[Any] = list(item.prompt)
    talk = messages[_opening(messages) :]
    if any(message["role"] != ("user", "assistant")[at % 2] for at, message in enumerate(talk)) or len(talk) % 2 == 0:
        raise DroppedError("user and model do not take turns")
    if any(message.get("tool_calls") or not isinstance(message.get("content"), str) for message in talk[1:]):
        raise DroppedError("later messages that are not text")


def _conversation(
    plan: Plan, workload: DatasetWorkload, item: Item, count: Count | None, request: tuple[int, Phase, int]
) -> Ask:
    """Messages up to the first of the user, then a turn for each later one; recorded answers say how long ours are."""
    messages: list[Any] = list(item.prompt)
    opening = _opening(messages) + 1
    random = generator(plan.seed, *request)
    questions = [message["content"] for message in messages[opening + 1 :: 2]]
    answers = [*(message["content"] for message in messages[opening::2]), item.answer]

    def output_tokens(answer: str | None) -> int:
        counted = max(1, count(answer)) if count is not None and answer is not None else None
        return workload.output_tokens or counted or item.output_tokens or workload.default_output_tokens

    return Ask(
        prompt=messages[:opening],
        prompt_tokens=sum(map(count, texts(messages[:opening]))) if count is not None else None,
        output_tokens=output_tokens(answers[0]),
        overrides=dict(item.overrides) or None,
        conversation=request[2],
        later=tuple(
            Turn(
                content=question,
                tokens=count(question) if count is not None else None,
                output_tokens=output_tokens(answer),
                pause_s=draw_pause(workload.think, random),
            )
            for question, answer in zip(questions, answers[1:], strict=True)
        ),
    )


def _opening(messages: list[Any]) -> int:
    """How many messages come before the user's first."""
    return next((at for at, message in enumerate(messages) if message["role"] == "user"), len(messages))


def _talks(item: Item) -> bool:
    return isinstance(item.prompt, list) and isinstance(item.prompt[0], dict)


def _is_ids(prompt: Any) -> bool:
    return isinstance(prompt, list) and isinstance(prompt[0], int)
