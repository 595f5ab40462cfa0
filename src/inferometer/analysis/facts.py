"""What is known of each stage of a sweep: the figures that its reading rests on. What nobody measured is None."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

#: Gauges with fewer samples tell no mean.
LEAST_SAMPLES = 10
#: Token counts of client and server that differ by more than this: gauges are not of all our requests, or of others'.
TOKENS_DIFFER = 0.05

#: Peaks of an engine that had requests: samples between which all of them ran have 0 there.
MISSED = ("running_peak", "waiting_peak", "kv_cache_usage_peak")


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What the server said of one stage; shares are of 1, None: not told."""

    kv_cache_usage_peak: float | None = None
    preemptions: float | None = None
    waiting_mean: float | None = None
    waiting_peak: float | None = None
    running_mean: float | None = None
    running_peak: float | None = None
    gpu_utilisation_peak: float | None = None
    gpu_utilisation_mean: float | None = None


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """One stage. ``load`` is its concurrency or its rate per s, ``unit`` says which; times are in ms."""

    load: float
    unit: str = "concurrency"
    verdict: str = "VALID"
    requests_per_s: float | None = None
    output_tokens_per_s: float | None = None
    ttft_p50_ms: float | None = None
    ttft_p95_ms: float | None = None
    itl_p50_ms: float | None = None
    itl_p95_ms: float | None = None
    tpot_p50_ms: float | None = None
    e2el_p50_ms: float | None = None
    e2el_p95_ms: float | None = None
    output_tokens_mean: float | None = None
    in_flight_mean: float | None = None
    server: Server = Server()

    @property
    def rate(self) -> float | None:
        """Throughput in tokens, or in requests where tokens are unknown."""
        return self.output_tokens_per_s if self.output_tokens_per_s is not None else self.requests_per_s

    @property
    def gap_ms(self) -> float | None:
        """The usual time between two tokens of a request."""
        return self.itl_p50_ms if self.itl_p50_ms is not None else self.tpot_p50_ms

    @property
    def outside(self) -> float | None:
        """Requests that the client had in flight and the engine did not know of, as a share; None if not known."""
        running, waiting = self.server.running_mean, self.server.waiting_mean
        if not self.in_flight_mean or running is None or waiting is None:
            return None
        return 1 - (running + waiting) / self.in_flight_mean


def facts_of(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Facts of the stages of a summary that have a load to place them at and some success.

    The server's side is read from ``stage["server"]`` if it is there, by the names of ``Server``.
    """
    return [_facts(stage) for stage in summary["stages"] if _load(stage["load"]) and stage["counts"]["ok"]]


def _facts(stage: Mapping[str, Any]) -> dict[str, Any]:
    load, unit = _load(stage["load"]) or (0.0, "")
    rates, metrics = stage["throughput"] or {}, stage["metrics"]
    latencies = {
        f"{metric}_p{percent}_ms": metrics[metric]["percentiles_ms"][percent]["value"]
        for metric in ("ttft", "itl", "tpot", "e2el")
        for percent in ("50", "95")
        if metric in metrics
    }
    told = stage.get("server") or {}
    return {
        "load": load,
        "unit": unit,
        "verdict": stage["verdict"]["verdict"],
        "requests_per_s": rates.get("requests_per_s"),
        "output_tokens_per_s": rates.get("output_tokens_per_s"),
        **{name: value for name, value in latencies.items() if name in Facts.__struct_fields__},
        "output_tokens_mean": stage["lengths"]["output_tokens"]["got_mean_tokens"],
        "in_flight_mean": rates.get("mean_in_flight") if _of_ours(told) else None,
        "server": {name: value for name, value in _shown(told).items() if name in Server.__struct_fields__},
    }


def _shown(told: Mapping[str, Any]) -> dict[str, Any]:
    """What samples of a stage with successes show: where none of them saw a request run, peaks of 0 show nothing."""
    unseen = MISSED if told.get("running_peak") == 0 else ()
    return {name: value for name, value in told.items() if value != 0 or name not in unseen}


def _of_ours(told: Mapping[str, Any]) -> bool:
    """Whether the engine's gauges have enough samples, and are of our requests, of all of them and of no others'."""
    engine = (told.get("engines") or {}).get(told.get("compared_with")) or {}
    samples = engine.get("gauges", {}).get("requests_running", {}).get("samples", 0)
    tokens = (told.get("compared") or {}).get("output_tokens")
    return samples >= LEAST_SAMPLES and tokens is not None and _near(tokens["client"], tokens["server"])


def _near(client: float, server: float) -> bool:
    return abs(client - server) <= TOKENS_DIFFER * max(client, server)


def _load(load: Mapping[str, Any]) -> tuple[float, str] | None:
    if load["type"] in _LEVELS:
        return float(load[_LEVELS[load["type"]]]), _LEVELS[load["type"]]
    rate = load.get("rate_per_s")
    return (float(rate), "req/s") if isinstance(rate, float | int) else None


#: Type of a load -> its level, which is its unit, too.
_LEVELS = {"closed": "concurrency", "users": "users"}
