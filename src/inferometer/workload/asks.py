"""What requests ask, whatever kind of workload they belong to, and what preparation leaves for those who write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from inferometer.config.models import Phase
from inferometer.workload.dataset import Dataset
from inferometer.workload.tokens import Messages, Prompt, PromptSpec


class Turn(NamedTuple):
    """A later message of a conversation: sent ``pause_s`` after the answer to the one before it."""

    content: str
    tokens: int | None
    output_tokens: int
    pause_s: float
    request_class: str | None = None


class Ask(NamedTuple):
    """One request: a prompt of ``prompt_tokens`` (None: not counted) for an answer of ``output_tokens``.

    ``overrides`` are merged into its body last of all. ``group`` says which beginning it shares with others. ``later``
    are the turns that follow in its conversation; ``images`` data URLs that go with the prompt.
    """

    prompt: Prompt | Messages
    prompt_tokens: int | None
    output_tokens: int
    request_class: str | None = None
    group: int | None = None
    overrides: dict[str, Any] | None = None
    conversation: int | None = None
    turn: int = 0
    later: tuple[Turn, ...] = ()
    images: tuple[str, ...] = ()


#: (stage, phase, index) -> what that request asks, the same in every process and on every machine.
Asks = Callable[[int, Phase, int], Ask]


class Materials(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out and laid ready before the clock starts. ``trace`` is the folder of a prepared trace."""

    prompts: PromptSpec
    dataset: Dataset | None = None
    trace: str | None = None
