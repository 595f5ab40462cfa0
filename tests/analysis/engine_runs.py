"""Closed loops against the engine model in virtual time: facts of a sweep whose bottleneck is known."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferometer.simulator.model import Engine, Profile, Progress, Request

PROMPT_TOKENS, OUTPUT_TOKENS = 64, 24
NS = 1e9


def sweep(profile: Profile, levels: tuple[int, ...], seed: int) -> list[dict[str, Any]]:
    """Facts of each concurrency, with what the engine says of itself."""
    return [_stage(profile, level, seed) for level in levels]


def _stage(profile: Profile, concurrency: int, seed: int) -> dict[str, Any]:
    engine = Engine(profile, seed)
    requests = 6 * concurrency + 10
    for key in range(concurrency):
        engine.submit(_request(key), 0)
    sent, done, figures = concurrency, list[tuple[Progress, int]](), []
    while len(done) < requests:
        now_ns, emissions = engine.play()
        for progress, _, last in emissions:
            if last:
                done.append((progress, now_ns))
                sent += 1
                engine.submit(_request(sent), now_ns)
        figures.append(engine.figures())
    steady = figures[len(figures) // 4 :]
    return {
        "load": concurrency,
        "requests_per_s": len(done) / (done[-1][1] / NS),
        "output_tokens_per_s": OUTPUT_TOKENS * len(done) / (done[-1][1] / NS),
        "output_tokens_mean": OUTPUT_TOKENS,
        **_latencies(done[len(done) // 4 :]),
        "server": {
            "kv_cache_usage_peak": max(one.kv_usage for one in steady),
            "preemptions": steady[-1].preemptions - steady[0].preemptions,
            "waiting_mean": float(np.mean([one.waiting for one in steady])),
            "waiting_peak": max(one.waiting for one in steady),
            "running_mean": float(np.mean([one.running for one in steady])),
            "running_peak": max(one.running for one in steady),
        },
    }


def _request(key: int) -> Request:
    return Request(key=key, prompt_tokens=PROMPT_TOKENS, output_tokens=OUTPUT_TOKENS)


def _latencies(done: list[tuple[Progress, int]]) -> dict[str, float]:
    ttft = [((progress.first_ns or 0) - progress.arrived_ns) / 1e6 for progress, _ in done]
    gaps = [(end - (progress.first_ns or 0)) / 1e6 / (OUTPUT_TOKENS - 1) for progress, end in done]
    e2el = [(end - progress.arrived_ns) / 1e6 for progress, end in done]
    named = {"ttft": ttft, "itl": gaps, "tpot": gaps, "e2el": e2el}
    return {
        f"{name}_p{percent}_ms": float(np.percentile(values, percent))
        for name, values in named.items()
        for percent in (50, 95)
        if (name, percent) != ("tpot", 95)
    }
