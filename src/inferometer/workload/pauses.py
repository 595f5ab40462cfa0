"""How long a user thinks, drawn from the distribution of a plan."""

from __future__ import annotations

import numpy as np

from inferometer.config.models import Pause


def draw_pause(pause: Pause, random: np.random.Generator) -> float:
    """Seconds of one pause."""
    if pause.kind == "uniform":
        return float(random.uniform(pause.min_s or 0.0, pause.max_s or 0.0))
    return float(random.exponential(pause.expected_s)) if pause.kind == "exponential" else pause.expected_s
