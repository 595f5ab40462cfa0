"""Levels of service that a whole run is held against: limits on TTFT and TPOT over all its stages together."""

from __future__ import annotations

from pydantic import Field

from inferometer.config.frozen import Frozen


class Level(Frozen):
    """Limits on the 95th percentiles, in ms; both have to be kept."""

    ttft_p95_ms: float = Field(gt=0)
    tpot_p95_ms: float = Field(gt=0)


class Levels(Frozen):
    """The two levels of the inference benchmarking suite, with the limits of its page unless a scenario has its own."""

    standard: Level = Level(ttft_p95_ms=2000, tpot_p95_ms=100)
    interactive: Level = Level(ttft_p95_ms=500, tpot_p95_ms=30)
    decisive: bool = Field(False, description="whether a run that misses the standard level ends in code 1")
