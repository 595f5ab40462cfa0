"""Stages that are played several times in one run: in rounds, each in an order of its own if that is asked for."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from inferometer.config.thresholds import sign

#: Rounds before a run may end because its figures are known well enough: two say next to nothing about a spread.
FEWEST_ROUNDS = 3
_PRECISION = re.compile(r"\s*([\w.]+)\s*:\s*(\d+(?:\.\d+)?)\s*%\s*(?:@\s*(.+?)\s*)?")


class Precision(NamedTuple):
    """``figure`` is known well enough when half of its 95 % interval is at most ``share`` of it.

    ``stage`` is the one that this is about; None: all of them.
    """

    figure: str
    share: float
    stage: str | None


def precision(text: str) -> Precision:
    """``ttft_p95:5%``, with ``@ STAGE`` for one stage. Raises ``ValueError``: what is wrong with it, in a sentence."""
    match = _PRECISION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no precision: write FIGURE:PER CENT%, such as ttft_p95:5%")
    name, percent, stage = match.groups()
    sign(name)  # knows the names of all figures
    if not 0 < float(percent) <= 100:
        raise ValueError(f"{text!r}: a precision is above 0 % and at most 100 %")
    return Precision(name, float(percent) / 100, stage)


def rounds(stages: Sequence[dict[str, Any]], count: int, seed: int | None) -> list[dict[str, Any]]:
    """All stages once for each round, as plain data with the number of their round.

    Args:
        stages: as they are listed.
        count: of rounds.
        seed: of the order in each round; None: that of the list.
    """
    played = []
    for number in range(1, count + 1):
        own = [stage | {"repeat": number} for stage in stages]
        if seed is not None:
            random.Random(f"order of stages/{seed}/{number}").shuffle(own)
        played += own
    return played


def check(numbers: Sequence[int | None], count: int) -> None:
    """Do the numbers of rounds, one for each stage as it is played, fit their count? Raises ``ValueError``."""
    known = [number for number in numbers if number is not None]
    if not known:
        return
    if len(known) < len(numbers) or known != sorted(known) or set(known) != set(range(1, count + 1)):
        told = f"{max(known)} round{'s' if max(known) > 1 else ''}"
        raise ValueError(f"repeats is {count}, but the stages stand there as {told}: list them once, without repeat")
