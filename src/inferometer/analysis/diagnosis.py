"""What the numbers of a sweep say: what the server is bound by, what degrades first, and what to try next.

Facts of each stage in, sentences out; every sentence has its figure, and what nobody measured is never taken as zero.
Rules look at the highest load; a rule is a function from evidence to a finding or None, the first one that fires wins.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import msgspec

from inferometer.analysis.facts import Facts, Server, facts_of
from inferometer.analysis.knee import degradations

__all__ = ["Diagnosis", "Evidence", "Facts", "Finding", "Server", "diagnose", "facts_of"]

Bound = Literal[
    "client-limited", "memory-bound", "queue-bound", "front-bound", "compute-bound", "under-used", "unclear"
]

#: KV-cache usage from which the cache counts as full: engines stop admitting before the last block.
KV_FULL = 0.9
#: Waiting requests, as a share of the running ones, that make a queue; fewer than one on average never do.
QUEUE_SHARE = 0.1
#: Share of the requests in flight that are outside the engine, from which something in front of it holds them: where
#: the share grew ``GROWN`` times with the load; and from which that is so whatever it was before.
OUTSIDE, OUTSIDE_MOST = 0.25, 0.5
#: GPU utilisation that counts as all of it, and below which much of it is free.
GPU_BUSY, GPU_FREE = 0.95, 0.7
#: Throughput gained / load added between two levels: below the first it levels off, above the second it follows.
FLAT, LINEAR = 0.5, 0.75
#: A latency that grew less than this over a sweep is flat.
GROWN = 1.5


class Evidence(msgspec.Struct, frozen=True):
    """A figure that a finding rests on."""

    name: str
    value: float | str
    unit: str = ""


class Finding(msgspec.Struct, frozen=True):
    """``name`` is one of a closed list; ``title`` and ``text`` are sentences; ``advice`` says what to try next."""

    name: str
    title: str
    text: str
    evidence: tuple[Evidence, ...]
    advice: str = ""


class Diagnosis(msgspec.Struct, frozen=True):
    """``bound`` is the reading at the highest load, ``stages`` that of each stage alone, by rising load."""

    bound: Bound
    findings: tuple[Finding, ...]
    stages: tuple[Bound, ...]


def diagnose(stages: Sequence[Mapping[str, Any]]) -> Diagnosis | None:
    """Read a sweep.

    Args:
        stages: plain data with the names of ``Facts`` (``server`` nested), in any order.

    Returns:
        None where there is no stage, or loads of different kinds, which make no sweep.

    Raises:
        msgspec.ValidationError: a fact has the wrong type.
    """
    facts = sorted(msgspec.convert(list(stages), list[Facts]), key=lambda one: one.load)
    if not facts or len({one.unit for one in facts}) > 1:
        return None
    top = _bottleneck(facts)
    others = (rule(facts) for rule in (_degrades_first, _decode, _scaling, _composition))
    alone = tuple(_bound(_bottleneck(facts[: number + 1])) for number in range(len(facts)))
    return Diagnosis(_bound(top), (top, *(finding for finding in others if finding is not None)), alone)


# --- what it is bound by ---------------------------------------------------------------------------------------------


def _bottleneck(facts: Sequence[Facts]) -> Finding:
    found = (rule(facts) for rule in (_client, _memory, _queue, _front, _compute, _under_used))
    return next((finding for finding in found if finding is not None), None) or _unclear(facts)


def _bound(finding: Finding) -> Bound:
    bound: Bound = msgspec.convert(finding.name, Bound)
    return bound


def _client(facts: Sequence[Facts]) -> Finding | None:
    top = facts[-1]
    if top.verdict == "VALID":
        return None
    text = f"The verdict at {_at(top)} is {top.verdict}: what limits here is the client, or the numbers mean nothing."
    advice = "Follow the advice under the verdict (more workers, a machine of its own, a lower load), then read again."
    return Finding("client-limited", "Client-limited", text, (Evidence("verdict", top.verdict),), advice)


def _memory(facts: Sequence[Facts]) -> Finding | None:
    top = facts[-1].server
    full = (top.kv_cache_usage_peak or 0.0) >= KV_FULL and bool(top.waiting_peak)
    if not (top.preemptions or full):
        return None
    told = _told(top, ("kv_cache_usage_peak", "preemptions", "waiting_peak", "running_peak"))
    text = f"At {_at(facts[-1])} the KV cache is what runs out: {_words(told)}."
    advice = "Give the cache more memory, lower the maximum length, quantise the cache, or spread over more replicas."
    return Finding("memory-bound", "Memory-bound, not compute-bound", text, told, advice)


def _queue(facts: Sequence[Facts]) -> Finding | None:
    top = facts[-1].server
    waiting = top.waiting_mean if top.waiting_mean is not None else top.waiting_peak
    running = top.running_mean if top.running_mean is not None else top.running_peak
    if waiting is None or waiting < max(1.0, QUEUE_SHARE * (running or 0.0)):
        return None
    told = _told(top, ("waiting_mean", "waiting_peak", "running_peak", "kv_cache_usage_peak"))
    text = f"At {_at(facts[-1])} requests wait for a place in the batch: {_words(told)}."
    advice = "Raise the limit of running sequences or of batched tokens if the GPU has room; else add replicas."
    return Finding("queue-bound", "Queue-bound", text, told, advice)


def _front(facts: Sequence[Facts]) -> Finding | None:
    """Requests are somewhere, and neither in the engine nor in its queue: what is in front of it holds them."""
    top, before = facts[-1], [one.outside for one in facts[:-1] if one.outside is not None]
    share = top.outside
    if share is None or share < OUTSIDE:
        return None
    if share < OUTSIDE_MOST and (not before or share < GROWN * before[0]):
        return None
    told = _told(top.server, ("running_mean", "waiting_mean", "gpu_utilisation_peak"))
    text = (
        f"At {_at(top)} the client has {top.in_flight_mean:.0f} requests in flight on average, and {_percent(share)} of"
        f" them are not in the engine: {_words(told)}."
    )
    evidence = (Evidence("in_flight_mean", top.in_flight_mean or 0.0), Evidence("outside", share), *told)
    advice = (
        "The API process, a gateway or the network holds them. Try more API processes (--api-server-count of vLLM) and"
        " CPU cores for them, more replicas of the gateway, or the engine without it."
    )
    return Finding("front-bound", "Bound in front of the engine", text, evidence, advice)


def _compute(facts: Sequence[Facts]) -> Finding | None:
    """The GPU is busy, or throughput levels off while every token takes longer; and nothing else explains it.

    Utilisation is the time with any work at all, so a GPU that is busy to the last may still have room: throughput
    that follows the load says so.
    """
    top = facts[-1]
    gain, slower = _last_gain(facts), _growth([one.gap_ms for one in facts])
    gpu = top.server.gpu_utilisation_peak
    busy = (gpu or 0.0) >= GPU_BUSY and (gain is None or gain < LINEAR)
    free = gpu is not None and 0 < gpu < GPU_FREE  # one that does nothing is not the server's
    flat = gain is not None and gain < FLAT and slower is not None and slower >= GROWN and not free
    if not (busy or flat):
        return None
    told = _told(top.server, ("gpu_utilisation_peak", "kv_cache_usage_peak", "waiting_peak", "running_peak"))
    shape = () if not flat or gain is None or slower is None else (Evidence("gain", gain), Evidence("growth", slower))
    sentences = [f"At {_at(top)} nothing but compute is used up: {_words(told)}."] if told else []
    if flat:
        sentences.append(_flattening(facts))
    name = "Compute-bound, not memory-bound" if top.server.kv_cache_usage_peak is not None else "Compute-bound"
    advice = (
        "A faster GPU, a smaller or quantised model, or replicas on further GPUs; more on the same GPU do not help."
    )
    return Finding("compute-bound", name, " ".join(sentences), (*told, *shape), advice)


def _flattening(facts: Sequence[Facts]) -> str:
    before, top = facts[-2], facts[-1]
    more = _percent((top.rate or 0.0) / (before.rate or 1.0) - 1)
    gaps = f"the gap between tokens grows from {_ms(facts[0].gap_ms)} to {_ms(top.gap_ms)}"
    return f"From {_at(before)} to {_level(top)} throughput changes by {more} only, while {gaps}."


def _under_used(facts: Sequence[Facts]) -> Finding | None:
    top = facts[-1]
    gain = _last_gain(facts)
    gpu = top.server.gpu_utilisation_peak
    if not ((gpu is not None and gpu < GPU_FREE) or (gain is not None and gain >= LINEAR)):
        return None
    told = _told(top.server, ("gpu_utilisation_peak", "kv_cache_usage_peak", "waiting_peak", "running_peak"))
    follows = "" if gain is None else _gained(gain)
    shape = () if gain is None else (Evidence("gain", gain),)
    if gain is not None and gain < FLAT:
        text = f"At {_at(top)} the GPU has room, yet throughput levels off: {', '.join((_words(told), follows))}."
        advice = (
            "The time goes outside the GPU: HTTP, tokenising and scheduling on the server's CPU, a proxy, the network."
            " Try more API processes and CPU cores there, and higher loads."
        )
        return Finding("under-used", "Under-used GPU", text, (*told, *shape), advice)
    text = f"At {_at(top)} the server has room: {', '.join(filter(None, (_words(told), follows)))}."
    advice = "Measure higher loads: the limit has not been seen."
    return Finding("under-used", "Under-used", text, (*told, *shape), advice)


def _unclear(facts: Sequence[Facts]) -> Finding:
    gain = _last_gain(facts)
    text = "one load alone has no shape" if gain is None else _gained(gain)
    silent = facts[-1].server == Server()
    missing = ", and the server's own metrics are unknown" if silent else ""
    advice = "Measure more and higher loads" + (", and let the server's metrics be read." if silent else ".")
    shape = () if gain is None else (Evidence("gain", gain),)
    return Finding("unclear", "What limits is not clear", f"At {_at(facts[-1])}: {text}{missing}.", shape, advice)


# --- how it looks over the sweep -------------------------------------------------------------------------------------

_SLIS = {"ttft": "TTFT", "itl": "ITL", "e2el": "E2EL"}


def _degrades_first(facts: Sequence[Facts]) -> Finding | None:
    slis = {name: [getattr(one, f"{name}_p50_ms") for one in facts] for name in _SLIS}
    found = degradations([one.load for one in facts], slis)
    if not found or found[0].growth < GROWN:
        return None
    worst, label = found[0], _SLIS[found[0].name]
    grows = f"As {_kind(facts)} rises {_level(facts[0])} -> {_level(facts[-1])}, {label} p50 grows {worst.growth:.1f}x"
    rest = ", ".join(f"{_SLIS[one.name]} {one.growth:.1f}x" for one in found[1:])
    text = f"{grows} ({_ms(worst.first)} -> {_ms(worst.last)})" + (f"; {rest}." if rest else ".")
    evidence = tuple(Evidence(f"{one.name} growth", one.growth, "x") for one in found)
    return Finding("degrades-first", f"{label} degrades first", text, evidence, "The first SLI to watch under load.")


def _decode(facts: Sequence[Facts]) -> Finding | None:
    """Whether the time between tokens stays what it was, and how far."""
    growth = _growth([one.itl_p50_ms for one in facts])
    if growth is None:
        return None
    first, top = facts[0], facts[-1]
    limit = GROWN * (first.itl_p50_ms or 0.0)
    held = next((before for before, one in pairwise(facts) if (one.itl_p50_ms or 0.0) > limit), top)
    tail = "" if top.itl_p95_ms is None else f"; p95 reaches {_ms(top.itl_p95_ms)} at {_level(top)}"
    evidence = (Evidence("itl growth", growth, "x"), Evidence("held up to", held.load, first.unit))
    if growth < GROWN:
        rise = f"{_ms(first.itl_p50_ms)} to {_ms(top.itl_p50_ms)} ({growth:.1f}x)"
        text = f"ITL p50 goes from {rise} up to {_at(top)}{tail}."
        return Finding("decode-flat", "Decode (ITL) stays flat", text, evidence)
    held_to = f"holds {_ms(first.itl_p50_ms)} to {_ms(held.itl_p50_ms)} until {_at(held)}, and"
    begin = f"is {_ms(first.itl_p50_ms)} at {_at(first)} and" if held is first else held_to
    text = f"ITL p50 {begin} {_ms(top.itl_p50_ms)} ({growth:.1f}x) at {_level(top)}{tail}."
    return Finding("decode-grows", "Decode (ITL) slows down", text, evidence)


def _scaling(facts: Sequence[Facts]) -> Finding | None:
    gains = _gains(facts)
    first, top = facts[0], facts[-1]
    if not gains or not first.rate or top.rate is None:
        return None
    times, more = top.rate / first.rate, top.load / first.load
    unit = "tok/s" if first.output_tokens_per_s is not None else "req/s"
    rise = (
        f"Throughput goes {first.rate:.4g} -> {top.rate:.4g} {unit} ({times:.1f}x) from {_at(first)} -> {_level(top)}"
    )
    text = f"{rise} ({more:.3g}x the load); {_gained(gains[-1])}."
    evidence = (Evidence("throughput growth", times, "x"), Evidence("last gain", gains[-1]))
    middle = sorted(gains)[len(gains) // 2]
    if gains[-1] < 0:
        return Finding("scaling-falls", "Throughput falls at the end", text, evidence, "Stay below the last load.")
    if gains[-1] < FLAT:
        advice = "More load adds more latency than throughput."
        return Finding("scaling-flattens", "Throughput levels off", text, evidence, advice)
    title = "Throughput scales near-linearly" if middle >= LINEAR else "Throughput scales, less than the load"
    return Finding("scaling-near-linear" if middle >= LINEAR else "scaling-sub-linear", title, text, evidence)


def _composition(facts: Sequence[Facts]) -> Finding | None:
    """What end-to-end latency is made of at the highest load: TTFT + (output tokens - 1) x TPOT."""
    top = facts[-1]
    gap_ms = top.tpot_p50_ms if top.tpot_p50_ms is not None else top.itl_p50_ms
    if gap_ms is None or top.ttft_p50_ms is None or not top.e2el_p50_ms or (top.output_tokens_mean or 0) < 2:
        return None
    between = "ITL" if top.tpot_p50_ms is None else "TPOT"
    gaps = (top.output_tokens_mean or 0) - 1
    share = gaps * gap_ms / (gaps * gap_ms + top.ttft_p50_ms)
    part = "decode" if share >= 0.5 else "TTFT"
    text = (
        f"At {_at(top)} E2EL is about TTFT + {gaps:.4g} x {between}: {_ms(top.ttft_p50_ms)} + {_ms(gaps * gap_ms)}"
        f" of {_ms(top.e2el_p50_ms)} measured; {_percent(share)} of it is decode."
    )
    evidence = (Evidence("decode share", share), Evidence("e2el_p50_ms", top.e2el_p50_ms, "ms"))
    return Finding(f"e2el-{part.lower()}", f"E2EL is {part}-dominated", text, evidence)


# --- figures and words -----------------------------------------------------------------------------------------------


def _gains(facts: Sequence[Facts]) -> list[float]:
    """Relative throughput gained / relative load added, between neighbours; empty if a throughput is unknown."""
    if any(not one.rate for one in facts):
        return []
    return [
        ((b.rate or 0.0) / (a.rate or 1.0) - 1) / (b.load / a.load - 1) for a, b in pairwise(facts) if b.load > a.load
    ]


def _last_gain(facts: Sequence[Facts]) -> float | None:
    gains = _gains(facts)
    return gains[-1] if gains else None


def _gained(gain: float) -> str:
    """More than all of it is chance: arrivals that are drawn, and short stages, are not quite the load of the plan."""
    if gain > 1:
        return "throughput followed the load in the last step"
    return f"the last step gained {_percent(gain)} of the load it added"


def _growth(values: Sequence[float | None]) -> float | None:
    first, last = values[0], values[-1]
    return last / first if len(values) > 1 and first and last is not None else None


#: Fact of the server -> how it is said.
_SAID: dict[str, Callable[[float], str]] = {
    "gpu_utilisation_peak": lambda value: f"GPU utilisation peaks at {_percent(value)}",
    "kv_cache_usage_peak": lambda value: f"KV-cache usage peaks at {_percent(value)}",
    "preemptions": lambda value: f"{value:.0f} pre-emptions",
    "waiting_mean": lambda value: f"{value:.1f} waiting on average",
    "waiting_peak": lambda value: f"{value:.0f} waiting at most",
    "running_mean": lambda value: f"{value:.1f} running on average",
    "running_peak": lambda value: f"{value:.0f} running at most",
}


def _told(server: Server, names: Sequence[str]) -> tuple[Evidence, ...]:
    values = ((name, getattr(server, name)) for name in names)
    return tuple(Evidence(name, value) for name, value in values if value is not None)


def _words(told: Sequence[Evidence]) -> str:
    return ", ".join(_SAID[one.name](float(one.value)) for one in told)


def _kind(facts: Sequence[Facts]) -> str:
    return {"concurrency": "concurrency", "users": "the number of users"}.get(facts[0].unit, "the rate")


def _at(one: Facts) -> str:
    return f"concurrency {one.load:g}" if one.unit == "concurrency" else f"{one.load:g} {one.unit}"


def _level(one: Facts) -> str:
    return f"{one.load:g}"


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if abs(share) < 0.1 else f"{100 * share:.0f} %"


def _ms(value: float | None) -> str:
    return "?" if value is None else f"{value:.0f} ms" if value >= 20 else f"{value:.1f} ms"
