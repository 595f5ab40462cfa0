"""Kinds of workload, one row each: the function that writes its requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from inferometer.config.models import Plan
from inferometer.workload import conversation, dataset_asks, shared_prefix, synthetic, trace, trace_asks
from inferometer.workload.asks import Asks, Materials
from inferometer.workload.images import illustrated

SOURCES: dict[str, Callable[[Plan, Materials], Asks]] = {
    "random": synthetic.asks,
    "shared_prefix": shared_prefix.asks,
    "conversation": conversation.asks,
    "dataset": dataset_asks.asks,
    "trace": trace_asks.asks,
}


def recorded_ns(materials: Materials) -> trace.Longs | None:
    """When the requests of the workload's trace came: offsets in ns from the first; None if there is no trace."""
    return None if materials.trace is None else trace.load(Path(materials.trace)).at_ns


def asks_of(plan: Plan, materials: Materials) -> Asks:
    """The requests of a plan. Tokenizers and files are opened here, before any clock starts."""
    return illustrated(plan, SOURCES[plan.scenario.workload.type](plan, materials))
