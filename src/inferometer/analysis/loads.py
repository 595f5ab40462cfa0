"""The load of a stage as plain data for a summary."""

from __future__ import annotations

import math
from typing import Any

from inferometer.config.models import ClosedLoop, Load, TraceLoop, Users


def load_of(load: Load) -> dict[str, Any]:
    """``rate_per_s`` is a number; in words ("inf", "1 to 20") where it is infinite or changes, as ``course`` says."""
    if isinstance(load, ClosedLoop):
        return {"type": load.type, "concurrency": load.concurrency}
    if isinstance(load, Users):
        spawn_rate = load.spawn_rate if math.isfinite(load.spawn_rate) else None
        return {"type": load.type, "users": load.users, "spawn_rate_per_s": spawn_rate, "think": load.think.text}
    told = {"type": load.type, "rate_per_s": load.text if load.steady_rate is None else load.steady_rate}
    if isinstance(load, TraceLoop):
        return {**told, "speed": load.speed, "max_in_flight": load.max_in_flight}
    return {
        **told,
        "course": None if isinstance(load.rate, float) else load.rate.model_dump(mode="json"),
        "arrivals": load.arrivals,
        "burstiness": load.burstiness,
        "max_in_flight": load.max_in_flight,
    }
