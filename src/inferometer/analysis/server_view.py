"""What the servers saw of one stage, and how that fits with what the client saw.

Means come from differences of sums and counts at the edges of the stage, quantiles from differences of buckets, peaks
from periodic samples, which a quick queue escapes. What was not told is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from inferometer.analysis.frame import Bools, Floats, Ints
from inferometer.analysis.server_metrics import SERVER_METRICS
from inferometer.analysis.server_samples import (
    Gain,
    Key,
    Quantile,
    Span,
    Told,
    Track,
    at_moments,
    edges,
    gained,
    quantile,
    together,
)

#: Engines that generate, and the gateways in front of them: the first one that told anything is compared with ours.
ENGINES = ("vllm", "sglang", "tgi", "llamacpp", "litellm")
GPU_SOURCES = ("dcgm", "nvidia-smi")
PERCENTS = (50.0, 90.0, 95.0, 99.0)
#: Power is integrated over no longer gap than this.
POWER_GAP_S = 3.0
#: Token counts that differ by more than this share are said.
TOKENS_DIFFER = 0.01
_PROMETHEUS = "prometheus:"
_NS_PER_S = 1e9


class Seen(NamedTuple):
    """What the client saw of a stage: means in ms and totals; None where it does not know."""

    ttft_mean_ms: float | None = None
    tpot_mean_ms: float | None = None
    e2el_mean_ms: float | None = None
    prompt_tokens: float | None = None
    output_tokens: float | None = None
    requests_ok: int = 0
    requests_failed: int = 0


def server_view(told: Told, span: Span, seen: Seen) -> dict[str, Any] | None:
    """One stage; None if nothing was told in its time.

    Returns:
        For strict JSON: the figures of ``PEAKS`` by their own names, ``engines`` and ``gpus`` by source, ``compared``
        (theirs beside ours), ``replicas`` and ``notes``, sentences on what spoils these figures.
    """
    sources = {key.source for key in told.tracks}
    engines = {name: view for name in ENGINES if name in sources and (view := _source(told, name, span))}
    gpus = {name: view for name in GPU_SOURCES if name in sources and (view := _gpus(told, name, span, seen))}
    if not engines and not gpus:
        return None
    first = next(iter(engines), None)
    silent_s = 0.0 if first is None else _silent_s(told, first, span)
    compared = {} if first is None else _compared(engines[first], seen, counters=silent_s == 0)
    return {
        **_peaks(engines[first] if first else {}, next(iter(gpus.values()), {})),
        "engines": engines,
        "gpus": gpus,
        "compared_with": first,
        "compared": compared,
        "replicas": _replicas(told, span),
        "notes": [
            *_notes(engines, compared, first, _interval_s(told, first)),
            *_not_compared(silent_s),
            *_gaps(told, span),
        ],
    }


#: Name of a figure of the whole: (gauge, which of its values).
PEAKS = {
    "kv_cache_usage_peak": ("kv_cache_usage", "peak_of_one"),
    "waiting_mean": ("requests_waiting", "mean"),
    "waiting_peak": ("requests_waiting", "peak"),
    "running_mean": ("requests_running", "mean"),
    "running_peak": ("requests_running", "peak"),
    "gpu_utilisation_mean": ("gpu_utilisation", "mean"),
    "gpu_utilisation_peak": ("gpu_utilisation", "peak"),
    "gpu_memory_used_bytes_peak": ("gpu_memory_used_bytes", "peak"),
}


def _peaks(engine: dict[str, Any], gpus: dict[str, Any]) -> dict[str, float | None]:
    gauges = gpus.get("gauges", {}) | engine.get("gauges", {})
    peaks = {name: gauges.get(gauge, {}).get(which) for name, (gauge, which) in PEAKS.items()}
    return peaks | {"preemptions": engine.get("counters", {}).get("preemptions", {}).get("gain")}


def _source(told: Told, source: str, span: Span) -> dict[str, Any]:
    """Everything that one engine, or exporter, told of a stage; empty if nothing."""
    names = [name for name in SERVER_METRICS if any(key.source == source and key.name == name for key in told.tracks)]
    chosen = {name: _tracks(told, source, name) for name in names}
    counted = {name: _gain(told, tracks, span) for name, tracks in chosen.items() if _kind(name) != "gauge"}
    gains = {name: gain for name, gain in counted.items() if gain is not None}
    view = {
        "gauges": {name: found for name in names if _kind(name) == "gauge" and (found := _gauge(chosen, name, span))},
        "counters": {name: _counter(name, gain) for name, gain in gains.items() if _kind(name) == "counter"},
        "histograms": {name: _histogram(gain.gain) for name, gain in gains.items() if _kind(name) == "histogram"},
    }
    if not any(view.values()):
        return {}
    hits, queries = gains.get("prefix_cache_hits_tokens"), gains.get("prefix_cache_queries_tokens")
    known = hits is not None and queries is not None and queries.gain.value > 0
    return view | {
        "prefix_cache_hit_rate": hits.gain.value / queries.gain.value if known and hits and queries else None,
        "resets": max((gain.gain.resets for gain in gains.values()), default=0),
        "covered_s": max((gain.covered_s for gain in gains.values()), default=None),
        "parts": len({key[:3] for tracks in chosen.values() for key in tracks}),
    }


def _kind(name: str) -> str:
    return SERVER_METRICS[name].kind


def _tracks(told: Told, source: str, name: str) -> dict[Key, Track]:
    """The tracks of a figure. A server that was asked itself is not counted once more by way of a Prometheus."""
    found = {key: track for key, track in told.tracks.items() if key.source == source and key.name == name}
    direct = {key: track for key, track in found.items() if not key.replica.startswith(_PROMETHEUS)}
    return direct or found


# --- figures ---------------------------------------------------------------------------------------------------------


def _gauge(chosen: dict[str, dict[Key, Track]], name: str, span: Span) -> dict[str, Any] | None:
    """Mean and peak of the whole, and the peak of the fullest of its parts."""
    tracks = list(chosen[name].values())
    moments, values = at_moments(tracks, span.start_ns, span.end_ns)
    told = values[:, np.isfinite(values).any(axis=0)]
    if not told.size:
        return None
    whole = _COMBINE[SERVER_METRICS[name].combine](told)
    return {
        "unit": SERVER_METRICS[name].unit,
        "mean": float(whole.mean()),
        "peak": float(whole.max()),
        "peak_of_one": float(np.nanmax(told)),
        "samples": len(moments),
    }


def _sum(values: Floats) -> Floats:
    found: Floats = np.nansum(values, axis=0)
    return found


def _mean(values: Floats) -> Floats:
    found: Floats = np.nanmean(values, axis=0)
    return found


def _max(values: Floats) -> Floats:
    found: Floats = np.nanmax(values, axis=0)
    return found


_COMBINE = {"sum": _sum, "mean": _mean, "max": _max}


class _Counted(NamedTuple):
    gain: Gain
    covered_s: float


def _gain(told: Told, tracks: dict[Key, Track], span: Span) -> _Counted | None:
    """What all series of all replicas gained, and over what time at most."""
    gains, covered = [], []
    for key, track in tracks.items():
        edge = edges(told.asked[key.replica], span)
        gain = None if edge is None else gained(track, *edge)
        if gain is not None and edge is not None:
            gains.append(gain)
            covered.append((edge[1] - edge[0]) / _NS_PER_S)
    whole = together(gains)
    return None if whole is None else _Counted(whole, max(covered))


def _counter(name: str, counted: _Counted) -> dict[str, Any]:
    value = counted.gain.value
    return {"unit": SERVER_METRICS[name].unit, "gain": value, "per_s": value / counted.covered_s}


def _histogram(gain: Gain) -> dict[str, Any]:
    """In ms. Quantiles have the bounds of their bucket: between them they are for certain."""
    mean = gain.value / gain.observations if gain.observations > 0 and np.isfinite(gain.value) else None
    quantiles = {f"{percent:g}": quantile(gain, percent / 100) for percent in PERCENTS}
    return {
        "count": gain.observations,
        "mean_ms": None if mean is None else 1e3 * mean,
        "percentiles_ms": {name: _in_ms(found) for name, found in quantiles.items() if found is not None},
    }


def _in_ms(found: Quantile) -> dict[str, float]:
    return {name: 1e3 * value for name, value in found._asdict().items()}


# --- GPUs ------------------------------------------------------------------------------------------------------------


def _gpus(told: Told, source: str, span: Span, seen: Seen) -> dict[str, Any]:
    view = _source(told, source, span)
    if not view:
        return {}
    energy = _energy(told, source, span)
    joules, tokens = energy.get("energy_j"), seen.output_tokens
    per_token = joules / tokens if joules is not None and tokens else None
    return {"gauges": view["gauges"], **energy, "energy_j_per_output_token": per_token, "gpus": view["parts"]}


def _energy(told: Told, source: str, span: Span) -> dict[str, Any]:
    """Energy over the window of the stage: power integrated by trapezoids. Unknown where a sample is missing."""
    tracks = _tracks(told, source, "gpu_power_w")
    parts = [_integral(track, span) for track in tracks.values()]
    if not parts:
        return {"energy_j": None, "energy_unknown": "no power was told"}
    if any(part is None for part in parts):
        return {"energy_j": None, "energy_unknown": f"samples of power are missing for more than {POWER_GAP_S:g} s"}
    return {"energy_j": float(sum(part for part in parts if part is not None)), "energy_unknown": None}


def _integral(track: Track, span: Span) -> float | None:
    """J between the edges of the span; None with a gap, at the edges, too."""
    gap_ns = POWER_GAP_S * _NS_PER_S
    near = (track.t_ns >= span.start_ns - gap_ns) & (track.t_ns <= span.end_ns + gap_ns)
    t_ns, watts = track.t_ns[near].astype(np.float64), track.values[near]
    inside = t_ns[(t_ns > span.start_ns) & (t_ns < span.end_ns)]
    if len(t_ns) < 2 or np.max(np.diff(t_ns)) > gap_ns or t_ns[0] > span.start_ns + gap_ns:
        return None
    if t_ns[-1] < span.end_ns - gap_ns:
        return None
    grid = np.concatenate([[span.start_ns], inside, [span.end_ns]])
    power = np.interp(grid, t_ns, watts)
    return float(np.sum((power[1:] + power[:-1]) / 2 * np.diff(grid)) / _NS_PER_S)


# --- theirs beside ours ----------------------------------------------------------------------------------------------


_LATENCIES = (
    ("ttft", "ttft_s", "ttft_mean_ms"),
    ("tpot", "tpot_s", "tpot_mean_ms"),
    ("e2el", "e2el_s", "e2el_mean_ms"),
)
_TOTALS = (
    ("prompt_tokens", "prompt_tokens", "prompt_tokens"),
    ("output_tokens", "generation_tokens", "output_tokens"),
    ("requests_ok", "requests_succeeded", "requests_ok"),
)


def _compared(engine: dict[str, Any], seen: Seen, *, counters: bool) -> dict[str, Any]:
    """Means in ms and totals of both sides, client less server; only what both know. No totals without ``counters``.

    The difference of TTFT is the network and what waits before the server's clock starts or behind where it stops.
    """
    found: dict[str, Any] = {}
    counted = _by_seconds(engine, seen) if counters else {}
    for name, theirs, ours in _LATENCIES:
        server, client = engine["histograms"].get(theirs, {}).get("mean_ms", counted.get(name)), getattr(seen, ours)
        if server is not None and client is not None:
            found[name] = {"client_mean_ms": client, "server_mean_ms": server, "difference_ms": client - server}
    for name, theirs, ours in _TOTALS if counters else ():
        told, client = engine["counters"].get(theirs), getattr(seen, ours)
        if told is not None and client is not None:
            found[name] = {"client": client, "server": told["gain"], "difference": client - told["gain"]}
    return found


def _by_seconds(engine: dict[str, Any], seen: Seen) -> dict[str, float]:
    """Means in ms of an engine that counts seconds of prompts and of tokens (llama.cpp), for all requests of a stage.

    Nothing where it counted other tokens than the client, and so other requests: it does not count those.
    """
    gains = {name: one["gain"] for name, one in engine["counters"].items()}
    told = [(gains.get(theirs), getattr(seen, ours)) for _, theirs, ours in _TOTALS[:2]]
    alike = all(server and client and not _apart(client, server) for server, client in told)
    if not alike or seen.requests_failed or not {"prompt_s", "generation_s"} <= set(gains):
        return {}
    later = gains["generation_tokens"] - seen.requests_ok
    ttft = {"ttft": 1e3 * gains["prompt_s"] / seen.requests_ok}
    return ttft | ({"tpot": 1e3 * gains["generation_s"] / later} if later > 0 else {})


def _apart(client: float, server: float) -> bool:
    return abs(client - server) > TOKENS_DIFFER * max(client, server, 1)


def _silent_s(told: Told, source: str, span: Span) -> float:
    """Seconds from the last answer that counts to the end of the stage, of the replica where they are most; 0: none.

    A run that was killed asked nothing at its end, and rows of the client are younger than the last sample.
    """
    replicas = {key.replica for name in SERVER_METRICS for key in _tracks(told, source, name)}
    known = [edge for replica in replicas if (edge := edges(told.asked[replica], span)) is not None]
    return max((max(0.0, span.end_ns - last_ns) / _NS_PER_S for _, last_ns in known), default=0.0)


def _not_compared(silent_s: float) -> Sequence[str]:
    if not silent_s:
        return ()
    told = f"{silent_s:.2g}" if silent_s < 10 else f"{silent_s:.0f}"
    return (f"the server last answered {told} s before the end: its counters are not compared",)


def _interval_s(told: Told, source: str | None) -> float | None:
    """Seconds between samples of a source that only a Prometheus told of; None if it was asked itself."""
    tracks = {key: track for key, track in told.tracks.items() if key.source == source}
    if not tracks or not all(key.replica.startswith(_PROMETHEUS) for key in tracks):
        return None
    steps = [float(np.median(np.diff(track.t_ns))) for track in tracks.values() if len(track.t_ns) > 1]
    return max(steps) / _NS_PER_S if steps else None


def _notes(engines: dict[str, Any], compared: dict[str, Any], first: str | None, interval_s: float | None) -> list[str]:
    """``interval_s`` is that of the scrapes of a Prometheus, if all is from one."""
    notes = []
    for name, engine in engines.items():
        if engine["resets"] > 1:
            notes.append(
                f"counters of {name} fell {engine['resets']} times: several servers answer at one address (name the"
                " page of each), or one is started again and again"
            )
        elif engine["resets"]:
            notes.append(f"counters of {name} fell: it was started anew in this stage")
    tokens = compared.get("output_tokens")
    if tokens and _apart(tokens["client"], tokens["server"]):
        more = tokens["server"] > tokens["client"]
        why = _MORE if more else "a replica that was not asked?"
        if more and interval_s is not None:
            why += (
                f" Or a warm-up: the Prometheus has a sample every {interval_s:.3g} s, and all between two of them is"
                f" counted as one. Leave pauses (--stage-pause {2 * interval_s:.3g}), or have the server asked itself."
            )
        notes.append(
            f"the server counted {tokens['server']:.0f} generated tokens and this client {tokens['client']:.0f}: {why}"
        )
    ttft = compared.get("ttft")
    if first is not None and ttft and "ttft_s" not in engines[first]["histograms"]:
        notes.append(f"{first} tells no TTFT: its time for a prompt stands for it, without any wait before that")
    return notes


_MORE = "other clients, failed requests, or answers cut short?"


# --- who answered ----------------------------------------------------------------------------------------------------


def _near(told: Told, span: Span) -> Iterable[tuple[str, Ints, Bools]]:
    for replica, (t_ns, answered, _) in told.asked.items():
        inside = (t_ns >= span.start_ns) & (t_ns <= span.end_ns)
        yield replica, t_ns[inside], answered[inside]


def _replicas(told: Told, span: Span) -> list[dict[str, Any]]:
    """Samples that each replica was asked for during the stage, and gave."""
    return [
        {"replica": replica, "asked": len(t_ns), "answered": int(np.count_nonzero(answered))}
        for replica, t_ns, answered in _near(told, span)
    ]


def _gaps(told: Told, span: Span) -> Sequence[str]:
    return [
        f"{replica} did not answer {missed} of {len(t_ns)} times: what it did then is unknown"
        for replica, t_ns, answered in _near(told, span)
        if (missed := int(np.count_nonzero(~answered)))
    ]
