"""Latencies by the number of the turn: prompts of conversations grow, and their beginnings may be cached."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferometer.analysis.frame import Frame
from inferometer.analysis.parts import Percents, part, tells_cached

METRICS = ("ttft", "tpot", "e2el")
#: Later turns are shown together.
MOST_TURNS = 20


def turns(rows: Frame, percents: Percents, seed: int = 0) -> list[dict[str, Any]] | None:
    """One entry for each turn from 0 on; None if no conversation has a second one.

    The last entry has everything from turn ``MOST_TURNS`` on, and says so by ``and_later``.
    """
    if not np.nanmax(rows.turn, initial=0.0) > 0:
        return None
    cached = tells_cached(rows)
    number = np.minimum(rows.turn, MOST_TURNS)
    return [
        {"turn": int(turn), "and_later": turn == MOST_TURNS}
        | part(rows.where(number == turn), METRICS, percents, seed, tells_cached=cached)
        for turn in np.unique(number).tolist()
    ]
