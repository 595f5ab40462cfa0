"""Where a sweep saturates, as a finding: the knee of its points, and what the Universal Scalability Law adds to it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from inferometer.analysis.diagnosis import Evidence, Facts, Finding
from inferometer.analysis.knee import Knee, Usl, kneedle, usl
from inferometer.analysis.stats import Estimate

#: A peak whose interval is wider than this to either side is said to need more data: levels up to so many times the
#: peak, or repeats, unless they would be more than this.
PEAK_WITHIN, BEYOND, MOST_REPEATS = 0.1, 4, 10
#: Loads of which the law speaks: numbers of requests that are at work together.
_TOGETHER = ("concurrency", "users")


def saturation(stages: Sequence[Mapping[str, Any]]) -> Finding | None:
    """The saturation of a sweep.

    Args:
        stages: as for ``diagnosis.diagnose``.

    Returns:
        None where fewer than three different loads of one kind have a throughput.
    """
    facts = sorted(msgspec.convert(list(stages), list[Facts]), key=lambda one: one.load)
    points = {one.load: one.rate for one in facts if one.rate}
    if len(points) < 3 or len({one.unit for one in facts}) > 1:
        return None
    unit, loads, rates = facts[0].unit, list(points), [rate for rate in points.values() if rate is not None]
    knee = kneedle(loads, rates)
    fit = usl(loads, rates) if unit in _TOGETHER else None
    title = "No knee in sight" if knee is None else f"Saturation around {_level(knee.at, unit)}"
    sentences = [_of_points(knee, loads, unit), *([] if fit is None else [_of_law(fit, loads[-1])])]
    advice = "Measure higher loads." if knee is None else _advice(loads, rates, unit)
    return Finding("saturation", title, " ".join(sentences), _evidence(knee, fit), advice)


def _advice(loads: Sequence[float], rates: Sequence[float], unit: str) -> str:
    best = max(rates)
    if rates[-1] == best:
        return "Loads beyond buy throughput with latency."
    return f"Loads beyond {_level(loads[rates.index(best)], unit)} brought no more throughput, only latency."


def _of_points(knee: Knee | None, loads: Sequence[float], unit: str) -> str:
    if knee is None:
        return f"From {_level(loads[0], unit)} to {loads[-1]:g} throughput does not bend."
    return f"Throughput bends most at {_level(knee.at, unit)}, between {knee.low:g} and {knee.high:g} (Kneedle)."


def _of_law(fit: Usl, last: float) -> str:
    law = f"The Universal Scalability Law (residual {100 * fit.error:.1f} %)"
    knee = "" if fit.knee_load is None else f" the knee at {_interval(fit.knee_load)} and"
    if fit.peak_load is None:
        return f"{law} puts{knee} no peak: throughput levels off and does not fall."
    peak = _placed(fit)
    if peak is None:
        least = "" if fit.peak_load.low is None else f" (95 % interval {fit.peak_load.low:.3g} to no bound)"
        further = f"To know it, measure up to {math.ceil(BEYOND * last)}."
        return f"{law} puts{knee} the peak at a load that these points do not tell{least}. {further}"
    beyond = ", beyond what was measured" if peak.value > last else ""
    told = f"{law} puts{knee} the peak at {_interval(peak)}{beyond}."
    return " ".join(filter(None, [told, _needed(peak, last)]))


def _placed(fit: Usl) -> Estimate | None:
    """The peak, if there is a bound to it: without one its value is what the scatter of the points makes of it."""
    return None if fit.peak_load is None or fit.peak_load.high is None else fit.peak_load


def _needed(peak: Estimate, last: float) -> str:
    """What would place the peak within ``PEAK_WITHIN``; "" where it is so placed.

    The fit is as good as any can be (its spread is that of the Cramer-Rao bound), so only more data help: intervals
    shrink with the root of repeats, and what lies beyond the peak tells most of it.
    """
    half = math.inf if peak.low is None or peak.high is None else (peak.high - peak.low) / 2 / peak.value
    if half <= PEAK_WITHIN:
        return ""
    further = f"measure up to {math.ceil(BEYOND * peak.value)}" if last < BEYOND * peak.value else ""
    times = (half / PEAK_WITHIN) ** 2
    repeats = f"play each level {math.ceil(times)} times" if times <= MOST_REPEATS else ""
    ways = " or ".join(filter(None, (further, repeats)))
    return f"To know the peak within {100 * PEAK_WITHIN:.0f} %, {ways}." if ways else ""


def _interval(found: Estimate) -> str:
    low = "?" if found.low is None else f"{found.low:.3g}"
    high = "no bound" if found.high is None else f"{found.high:.3g}"
    return f"{found.value:.3g} (95 % interval {low} to {high})"


def _level(load: float, unit: str) -> str:
    return f"concurrency {load:g}" if unit == "concurrency" else f"{load:g} {unit}"


def _evidence(knee: Knee | None, fit: Usl | None) -> tuple[Evidence, ...]:
    points = () if knee is None else (Evidence("knee", knee.at), Evidence("bend", knee.bend))
    if fit is None:
        return points
    law = (Evidence("sigma", fit.sigma.value), Evidence("kappa", fit.kappa.value), Evidence("residual", fit.error))
    peak = _placed(fit)
    return (*points, *law, *(() if peak is None else (Evidence("peak load", peak.value),)))
