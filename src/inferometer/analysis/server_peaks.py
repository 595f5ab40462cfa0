"""The highest that servers said of themselves over a whole run: of all replicas together at one moment.

It is the highest of samples, about one a second: what came and went between two of them is not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from inferometer.analysis.server_metrics import SERVER_METRICS

#: Gauges of an engine that are 0 in every sample if all requests ran between two of them.
MISSED = ("requests_running", "requests_waiting", "kv_cache_usage")


class Peak(NamedTuple):
    """The highest value of a gauge in ``unit``, of its replicas (GPUs, engines) together, and where it was.

    ``stage`` is the number of the stage. ``of_one`` is the highest value of a single one, where the whole is their
    mean and thus lower; else None.
    """

    value: float
    unit: str
    stage: int
    of_one: float | None = None


def peaks(summary: Mapping[str, Any]) -> dict[str, Peak]:
    """The peak of each gauge over the stages of a summary; how replicas add up is a column of ``SERVER_METRICS``.

    Where no sample saw a request run though some succeeded, 0 is no peak, and is left out.
    Of engines it is the one that is compared with the client, of GPUs the first source that told of them.
    """
    told = [(stage["stage"], _seen(stage)) for stage in summary["stages"] if stage.get("server")]
    found: dict[str, Peak] = {}
    for name, metric in SERVER_METRICS.items():
        values = [(gauges[name]["peak"], stage) for stage, gauges in told if name in gauges]
        if not values:
            continue
        value, stage = max(values, key=lambda one: one[0])  # of equal ones the first
        of_one = max(gauges[name]["peak_of_one"] for _, gauges in told if name in gauges)
        apart = metric.combine == "mean" and of_one > value
        found[name] = Peak(value, metric.unit, stage, of_one if apart else None)
    return found


def _seen(stage: Mapping[str, Any]) -> dict[str, Any]:
    """The gauges of a stage, less those whose samples missed all of its requests."""
    gauges = _gauges(stage["server"])
    running = gauges.get("requests_running")
    if running is None or running["peak"] > 0 or not stage["counts"]["ok"]:
        return gauges
    return {name: gauge for name, gauge in gauges.items() if name not in MISSED or gauge["peak"] > 0}


def _gauges(view: Mapping[str, Any]) -> dict[str, Any]:
    engine = view["engines"].get(view["compared_with"]) or {}
    gpus: Mapping[str, Any] = next(iter(view["gpus"].values()), {})
    return {**gpus.get("gauges", {}), **engine.get("gauges", {})}
