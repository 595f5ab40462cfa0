"""Token counts of requests, drawn from the distributions of a plan."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from inferometer.config.lengths import MOST_TOKENS, Distribution
from inferometer.config.models import Lengths, RandomWorkload, RequestClass, Scenario
from inferometer.config.workloads import Synthetic

Floats = npt.NDArray[np.float64]


class Sizes(NamedTuple):
    """How long one request is, and its class if the workload is a mix."""

    prompt_tokens: int
    output_tokens: int
    request_class: str | None = None


def sizes(scenario: Scenario, stage: int, random: np.random.Generator, index: int = 0) -> Sizes:
    """The lengths of request ``index`` of a stage: those of its class, else of the stage, else of the workload."""
    workload = scenario.workload
    assert isinstance(workload, Synthetic)  # noqa: S101
    mix = workload.mix if isinstance(workload, RandomWorkload) else ()
    in_turn = isinstance(workload, RandomWorkload) and workload.mix_in_turn
    chosen = None if not mix else mix[index % len(mix)] if in_turn else _class(mix, random)
    own = chosen or scenario.stages[stage]
    asked, answered = own.input_tokens or workload.input_tokens, own.output_tokens or workload.output_tokens
    return Sizes(draw(asked, random), draw(answered, random), chosen.name if chosen else None)


def draw(lengths: Lengths, random: np.random.Generator) -> int:
    """One token count, at least 1; rounded, then clipped, which moves the mean (see ``Lengths``)."""
    low, high = lengths.bounds
    drawn = DRAWS[lengths.kind](lengths, random)
    return round(min(high, MOST_TOKENS, max(low, drawn)))


def expected_tokens(lengths: Lengths) -> float:
    """The mean of a distribution before it is rounded and clipped."""
    if lengths.kind in TABLES:
        tokens, rising = TABLES[lengths.kind](lengths)
        return float(tokens @ np.diff(rising, prepend=0.0))
    low, high = lengths.bounds
    return (low + high) / 2 if lengths.mean is None else lengths.mean


def prompt_lengths(scenario: Scenario) -> list[Lengths]:
    """Every distribution from which prompts of a scenario can be drawn; none if they come from a file."""
    workload = scenario.workload
    if not isinstance(workload, Synthetic):
        return []
    mix = workload.mix if isinstance(workload, RandomWorkload) else ()
    own = [one.input_tokens for one in mix] or [stage.input_tokens for stage in scenario.stages]
    return [lengths or workload.input_tokens for lengths in own]


def _class(mix: tuple[RequestClass, ...], random: np.random.Generator) -> RequestClass:
    rising = np.cumsum([one.share for one in mix])
    return mix[int(np.searchsorted(rising / rising[-1], random.random(), side="right"))]


def _fixed(lengths: Lengths, _: np.random.Generator) -> float:
    return lengths.mean or 1


def _uniform(lengths: Lengths, random: np.random.Generator) -> float:
    """Both ends included. A ratio r means floor(mean(1-r)) to ceil(mean(1+r)), as in vLLM."""
    low, high = lengths.bounds
    return int(random.integers(low, int(high), endpoint=True))


def _normal(lengths: Lengths, random: np.random.Generator) -> float:
    return random.normal(lengths.mean or 1, lengths.std_dev)


def _lognormal(lengths: Lengths, random: np.random.Generator) -> float:
    """``mean`` and ``std_dev`` are those of the lengths, not of their logarithms."""
    mean = lengths.mean or 1
    variance = math.log1p((lengths.std_dev / mean) * (lengths.std_dev / mean))
    return random.lognormal(math.log(mean) - variance / 2, math.sqrt(variance))


def _exponential(lengths: Lengths, random: np.random.Generator) -> float:
    """Geometric, which is exponential in whole numbers from 1 on: rounding would move the mean."""
    return int(random.geometric(1 / (lengths.mean or 1)))


def _poisson(lengths: Lengths, random: np.random.Generator) -> float:
    return int(random.poisson(lengths.mean or 1))


def _from_table(lengths: Lengths, random: np.random.Generator) -> float:
    tokens, rising = TABLES[lengths.kind](lengths)
    return int(tokens[np.searchsorted(rising, random.random(), side="right")])


@lru_cache(maxsize=64)
def _zipf(lengths: Lengths) -> tuple[Floats, Floats]:
    tokens = np.arange(lengths.min or 1, (lengths.max or 1) + 1, dtype=np.float64)
    return tokens, _rising((tokens / tokens[0]) ** -lengths.exponent)


@lru_cache(maxsize=64)
def _empirical(lengths: Lengths) -> tuple[Floats, Floats]:
    return np.array(lengths.values, np.float64), _rising(np.array(lengths.weights or (1.0,) * len(lengths.values)))


def _rising(weights: Floats) -> Floats:
    """Shares of 1, each with those before it; the last is 1, which no draw reaches."""
    rising = np.cumsum(weights)
    return np.asarray(rising / rising[-1])


DRAWS: dict[Distribution, Callable[[Lengths, np.random.Generator], float]] = {
    "fixed": _fixed,
    "uniform": _uniform,
    "normal": _normal,
    "lognormal": _lognormal,
    "exponential": _exponential,
    "poisson": _poisson,
    "zipf": _from_table,
    "empirical": _from_table,
}
#: Distributions that are lists of lengths: token counts, and the share of 1 up to each of them. Shape (lengths,) each.
TABLES: dict[Distribution, Callable[[Lengths], tuple[Floats, Floats]]] = {"zipf": _zipf, "empirical": _empirical}
