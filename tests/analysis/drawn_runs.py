"""Runs drawn from a distribution that is known, ready to be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
from synthetic_run import record, table, worker

from inferometer.analysis.repeats import pooled_statistic
from inferometer.analysis.run_data import RunData, StageData
from inferometer.analysis.stats import Samples
from inferometer.analysis.streamed import in_order
from inferometer.analysis.summary import summarise
from inferometer.config.models import Plan


def drawn(
    rng: np.random.Generator,
    label: str = "run",
    *,
    requests: int = 200,
    cv: float = 0.2,
    slower: float = 1.0,
    rho: float = 0.0,
    **facts: Any,
) -> RunData:
    """One stage: TTFT lognormal around 100 ms with this coefficient of variation, TPOT near 10 ms, 128 tokens.

    ``rho`` is the correlation of neighbours.
    """
    ttft = slower * lognormal(rng, 100.0, cv, requests, rho)
    tpot = lognormal(rng, 10.0, 0.05, requests, rho)
    series = {"ttft": ttft, "tpot": tpot, "e2el": ttft + 127 * tpot}
    return RunData(label, (StageData("concurrency 8", {}, series, facts),))


def drawn_tokens(
    rng: np.random.Generator,
    label: str = "run",
    *,
    requests: int = 200,
    tokens: int = 64,
    cv: float = 0.1,
    slower: float = 1.0,
    rho: float = 0.0,
) -> RunData:
    """One stage: ITL around 10 ms, a factor of its request with this coefficient of variation, 0.1 more per token.

    ``rho`` is the correlation of neighbouring requests.
    """
    own = slower * lognormal(rng, 10.0, cv, requests, rho)
    values = np.repeat(own, tokens) * lognormal(rng, 1.0, 0.1, requests * tokens)
    samples = Samples(values, np.repeat(np.arange(requests), tokens), np.ones(requests * tokens))
    pooled = in_order(samples, np.arange(float(requests)))
    assert pooled is not None
    found = {f"itl_{name}_ms": pooled_statistic(pooled, name) for name in ("mean", "p50", "p95")}
    figures = {name: estimate for name, (estimate, _) in found.items()}
    freedoms = {name: freedom for name, (_, freedom) in found.items() if freedom is not None}
    return RunData(label, (StageData("concurrency 8", figures, freedoms=freedoms),))


def lognormal(rng: np.random.Generator, median: float, cv: float, count: int, rho: float = 0.0) -> np.ndarray:
    noise = rng.standard_normal(count)
    for number in range(1, count if rho else 0):
        noise[number] = rho * noise[number - 1] + np.sqrt(1 - rho**2) * noise[number]
    return median * np.exp(np.sqrt(np.log1p(cv**2)) * noise)


def plan_of(*concurrencies: int, **target: Any) -> Plan:
    stages = [{"load": {"type": "closed", "concurrency": one}, "num_requests": 100} for one in concurrencies]
    return Plan.model_validate(
        {
            "target": {"name": "sim", "base_url": "http://127.0.0.1:1", "model": "tiny"} | target,
            "scenario": {"stages": stages},
        }
    )


def rows_of(rng: np.random.Generator, *, stages: int = 1, requests: int = 100, slower: float = 1.0) -> list[Any]:
    """Records of closed loops with one request after the other."""
    ttft = slower * lognormal(rng, 50.0, 0.1, stages * requests)
    return [
        record(number % requests, stage=number // requests, sent_ms=200.0 * number, ttft_ms=float(ttft[number]))
        for number in range(stages * requests)
    ]


def summary_of(rng: np.random.Generator, *concurrencies: int, **changed: Any) -> dict[str, Any]:
    rows = rows_of(rng, stages=len(concurrencies), **changed)
    workers = [worker(stage=stage, sent=len(rows) // len(concurrencies)) for stage in range(len(concurrencies))]
    return summarise(plan_of(*concurrencies), table(rows), workers)
