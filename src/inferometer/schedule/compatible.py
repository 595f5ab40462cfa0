"""Arrivals as other tools make them, for results that shall be compared with theirs. Pure, like ``arrivals``.

They depend on the number of requests: it is what they are scaled to, so a longer schedule begins differently.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from inferometer.config.models import OpenLoop, Ramp, Stage
from inferometer.schedule.rates import Floats


def _vllm(stage: Stage, load: OpenLoop, random: np.random.Generator) -> Floats:
    """``vllm bench serve``: gamma gaps, scaled so that the last of N requests is due at exactly N/rate.

    Their ramp goes by the number of the request: request i has the rate at i / (N - 1) of it, and nothing is scaled.
    """
    total = stage.num_requests or _by_time(stage, load)
    gaps = np.ones(total) if math.isinf(load.burstiness) else random.gamma(load.burstiness, 1 / load.burstiness, total)
    if isinstance(load.rate, Ramp):
        return np.cumsum(gaps / _by_number(load.rate, total))
    return _scaled(np.cumsum(gaps), total / _one_rate(load))


def _by_number(ramp: Ramp, total: int) -> Floats:
    """The rate of each request of a ramp."""
    progress = np.arange(total) / max(total - 1, 1)
    if ramp.type == "linear":
        return ramp.start + (ramp.end - ramp.start) * progress
    return ramp.start * (ramp.end / ramp.start) ** progress


def _inference_perf_constant(stage: Stage, load: OpenLoop, random: np.random.Generator) -> Floats:
    """inference-perf's ``constant``: int(rate x duration) exponential gaps, scaled to add up to the duration."""
    total = _by_time(stage, load)
    end_s = total / _one_rate(load) if stage.duration_s is None else stage.duration_s
    return _scaled(np.cumsum(random.standard_exponential(total)), end_s)


def _inference_perf_poisson(stage: Stage, load: OpenLoop, random: np.random.Generator) -> Floats:
    """inference-perf's ``poisson``: a Poisson number in every second, the last of which is due at its very end.

    They are int(rate x duration) in all, so the stage is shorter or longer than its duration.
    """
    total, due, second = _by_time(stage, load), list[float](), 0
    while len(due) < total:
        number = int(random.poisson(_one_rate(load)))
        due += (second + _scaled(np.cumsum(random.standard_exponential(number)), 1.0)).tolist()
        second += 1
    return np.array(due[:total])


def _scaled(at_s: Floats, end_s: float) -> Floats:
    """The same arrivals, the last one due at ``end_s``, unless all gaps are too short for a number."""
    return at_s * (end_s / at_s[-1]) if len(at_s) and at_s[-1] else at_s


def _by_time(stage: Stage, load: OpenLoop) -> int:
    """The number of requests as inference-perf has it; a stage without a duration has one that fits its number."""
    return stage.num_requests or 0 if stage.duration_s is None else int(_one_rate(load) * stage.duration_s)


def _one_rate(load: OpenLoop) -> float:
    assert isinstance(load.rate, float)  # noqa: S101 (the load was checked)
    return load.rate


COMPATIBLE: dict[str, Callable[[Stage, OpenLoop, np.random.Generator], Floats]] = {
    "vllm": _vllm,
    "inference-perf-constant": _inference_perf_constant,
    "inference-perf-poisson": _inference_perf_poisson,
}
