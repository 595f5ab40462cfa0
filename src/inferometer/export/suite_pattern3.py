"""The comprehensive result of the suite's pattern 3: five tests of replicas behind one address. Pure.

Each test is told with what it asked and what it found; one whose stage was not played is None.
"""

from __future__ import annotations

from typing import Any

from inferometer.export import suite
from inferometer.export.run import Part, Run, parts

#: Requests per second that a throughput is held against.
BASELINE_PER_S = 1.0
#: Names of the stages in the scenario.
CACHE, DISTRIBUTION, THROUGHPUT, LATENCY = "prefix cache", "distribution", "throughput", "latency"
Json = dict[str, Any]


def document(run: Run) -> Json:
    """The suite's result of the run, and ``tests`` beside it."""
    by_name = {part.told["name"]: part for part in parts(run)}
    told = suite.document(run)
    tests = {
        "health": _health(run, told["results"]),
        "prefix_cache_routing": _cache(run, by_name.get(CACHE)),
        "load_distribution": _distribution(by_name.get(DISTRIBUTION)),
        "throughput": _throughput(run, by_name.get(THROUGHPUT)),
        "latency": _latency(run, by_name.get(LATENCY)),
    }
    return told | {"tests": tests}


def _health(run: Run, results: Json) -> Json:
    """Whether requests were answered, by as many replicas as the target is said to have. ``None``: nobody told."""
    seen = {one["replica"] for part in parts(run) for one in part.told["replicas"] or ()}
    told = run.plan.target.facts.get("replicas", "")
    expected = int(told) if told.isdigit() else None
    return {
        "replicas_expected": expected,
        "replicas_seen": len(seen) or None,
        "successful": results["successful"],
        "passed": results["successful"] > 0 and (not seen or expected in (None, len(seen))),
    }


def _cache(run: Run, part: Part | None) -> Json | None:
    """Requests whose prefix was new beside those whose prefix had been answered before."""
    if part is None:
        return None
    found = {one["part"]: one for one in part.told["prefixes"] or ()}
    cold, warm, both = (found.get(name) for name in ("cold", "warm", "all"))
    slow, quick = _p50(cold), _p50(warm)
    return {
        **_asked(part),
        "prefixes": getattr(run.plan.scenario.workload, "groups", None),
        "cold": _group(cold),
        "warm": _group(warm),
        "cold_to_warm_ttft_ratio": slow / quick if slow is not None and quick else None,
        **{key: both and both[key] for key in ("hit_rate", "perfect_hit_rate", "same_replica_share")},
    }


def _group(found: Json | None) -> Json | None:
    if found is None:
        return None
    ttft = found["metrics"].get("ttft")
    percentiles = ttft["percentiles_ms"] if ttft else {}
    told = {"mean": ttft["mean_ms"]["value"] if ttft else None}
    told |= {f"p{key}": percentiles[key]["value"] if key in percentiles else None for key in ("50", "95")}
    return {"requests": found["requests"], "ttft_ms": told}


def _p50(found: Json | None) -> float | None:
    told = _group(found)
    return told["ttft_ms"]["p50"] if told else None


def _distribution(part: Part | None) -> Json | None:
    if part is None:
        return None
    replicas = part.told["replicas"] or ()
    return {
        **_asked(part),
        "requests_by_replica": {one["replica"]: one["requests"] for one in replicas},
        "evenness": part.told["evenness"],
    }


def _throughput(run: Run, part: Part | None) -> Json | None:
    if part is None:
        return None
    rates = suite.results([part], run.plan)["throughput"]
    rate = rates["requests_per_sec"]
    return {
        **_asked(part),
        **rates,
        "baseline_requests_per_sec": BASELINE_PER_S,
        "improvement_factor": None if rate is None else rate / BASELINE_PER_S,
    }


def _latency(run: Run, part: Part | None) -> Json | None:
    if part is None:
        return None
    told = suite.results([part], run.plan)
    return {**_asked(part), **{key: told[key] for key in ("ttft_ms", "tpot_ms", "latency_s")}}


def _asked(part: Part) -> Json:
    counts = part.told["counts"]
    return {"load": part.told["load"], "successful": counts["ok"], "failed": counts["failed"]}
