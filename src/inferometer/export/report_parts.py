"""What the schemas of the llm-d benchmark reports share: statistics with units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

QUANTITY = ("count", "pixels")
PORTION = ("percent", "fraction")
TIME = ("ms", "s")
MEMORY = ("bytes", "MB", "GB", "TB", "MiB", "GiB", "TiB")
BANDWIDTH = ("Mbit/s", "Gbit/s", "Tbit/s", "MB/s", "GB/s", "TB/s")
GENERATION_LATENCY = ("ms/token", "s/token")

Units = Literal[
    "count", "pixels", "percent", "fraction", "ratio", "ms", "s", "bytes", "MB", "GB", "TB", "MiB", "GiB", "TiB",
    "Mbit/s", "Gbit/s", "Tbit/s", "MB/s", "GB/s", "TB/s", "GiB/s", "ms/token", "s/token", "tokens/s", "queries/s",
    "images/s", "videos/s", "audios/s", "Watts",
]  # fmt: skip


NotNegative = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


class Open(BaseModel):
    """Keys that are not known are left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Closed(BaseModel):
    """Keys that are not known are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Statistics(Open):
    """A distribution with its units; ``p0p1`` is the 0.1st percentile."""

    units: Units
    mean: float
    mode: float | None = None
    stddev: float | None = Field(None, ge=0)
    min: float | None = None
    p0p1: float | None = None
    p1: float | None = None
    p5: float | None = None
    p10: float | None = None
    p25: float | None = None
    p50: float | None = None
    p75: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99p9: float | None = None
    max: float | None = None


def _in(*units: str) -> Callable[[Statistics], Statistics]:
    def check(found: Statistics) -> Statistics:
        if found.units not in units:
            raise ValueError(f"units are one of {', '.join(units)}, not {found.units}")
        return found

    return check


Quantity = Annotated[Statistics, AfterValidator(_in(*QUANTITY))]
Portion = Annotated[Statistics, AfterValidator(_in(*PORTION))]
Time = Annotated[Statistics, AfterValidator(_in(*TIME))]
Memory = Annotated[Statistics, AfterValidator(_in(*MEMORY))]
Bandwidth = Annotated[Statistics, AfterValidator(_in(*BANDWIDTH))]
GenerationLatency = Annotated[Statistics, AfterValidator(_in(*GENERATION_LATENCY))]
TokenRate = Annotated[Statistics, AfterValidator(_in("tokens/s"))]
QueryRate = Annotated[Statistics, AfterValidator(_in("queries/s"))]
Power = Annotated[Statistics, AfterValidator(_in("Watts"))]
