"""Stages that were played several times in one run, each as one: all requests together, and the spread of repeats.

A percentile is that of all requests, never an average of percentiles; its interval, like that of every other figure,
is Student's t on one value per repeat, around it. Shares have the wider of that and Wilson's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from inferometer.analysis.loads import load_of
from inferometer.analysis.repeats import around
from inferometer.analysis.thresholds import PLAIN, Figure, about, figure, stage_key
from inferometer.config.models import Plan
from inferometer.config.repeats import FEWEST_ROUNDS, precision
from inferometer.errors import UserError

_VERDICTS = ("VALID", "CLIENT-LIMITED", "INVALID")
#: Rates of a stage that are highest values; all others are averaged over repeats.
_PEAKS = ("peak_in_flight", "peak_output_tokens_per_s")

Stage = Mapping[str, Any]


def groups(plan: Plan, stages: Sequence[Stage]) -> list[list[Stage]]:
    """The repeats of each stage, in the order of the plan; by rising load if the order was shuffled.

    Args:
        plan: of the run.
        stages: of its summary.
    """
    if plan.scenario.repeats < 2:
        return []
    found: dict[tuple[str, int], list[Stage]] = {}
    met = Counter[tuple[str, int | None]]()
    for stage in stages:
        planned = plan.scenario.stages[stage["stage"]]
        alike = planned.model_dump_json(exclude={"repeat"})
        place = met[alike, planned.repeat]  # of several that are the same, each round plays all
        met[alike, planned.repeat] += 1
        found.setdefault((alike, place), []).append(stage)
    held = list(found.values())
    return sorted(held, key=_level) if plan.scenario.shuffle_stages else held


def _level(group: Sequence[Stage]) -> float:
    load = group[0]["load"]
    level = load.get("concurrency") or load.get("users") or load.get("rate_per_s")
    return float(level) if isinstance(level, int | float) or level == "inf" else 0.0


def pooled(repeats: Sequence[Stage], together: Mapping[str, Any]) -> dict[str, Any]:
    """Repeats of one stage as one stage of a summary.

    Args:
        repeats: stages of the summary.
        together: what their requests tell together: ``counts``, ``metrics``, ``lengths`` and what else a stage has.

    Returns:
        A stage with, beside the fields of one: ``repeats`` (their number), ``stages`` (theirs), and ``figures``, by
        name of ``thresholds.figure``: unit, value, low, high, count, and ``values``, one per repeat (None: unknown).
        Its window is as long as all of theirs; intervals are those of the spread between repeats.
    """
    first = repeats[0]
    counts = {name: _sum(repeats, "counts", name) for name in ("planned", "sent", "left_out")} | together["counts"]
    slos = first["slos"] and first["slos"] | {
        "good": _sum(repeats, "slos", "good"),
        "goodput_per_s": _mean([stage["slos"]["goodput_per_s"] for stage in repeats]),
        "attainment": _share(_sum(repeats, "slos", "good"), counts["ok"] + counts["failed"]),
        "not_applicable": _sum(repeats, "slos", "not_applicable"),
    }
    whole = {
        **dict.fromkeys(first),
        **together,
        "stage": first["stage"],
        "name": first["name"],
        "load": first["load"],
        "counts": counts,
        "window": _window([stage["window"] for stage in repeats]),
        "throughput": _rates([stage["throughput"] for stage in repeats]),
        "slos": slos,
        "verdict": _verdict([stage["verdict"] for stage in repeats]),
        "stages": [stage["stage"] for stage in repeats],
        "repeats": len(repeats),
    }
    told = {subject.name: found for subject in _subjects(whole) if (found := _figure(subject, whole, repeats))}
    metrics = {name: _between(name, metric, told) for name, metric in together["metrics"].items()}
    return whole | {"metrics": metrics, "figures": told}


def view(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The summary with each repeated stage as one; as it is if nothing was repeated."""
    return dict(summary) | ({"stages": summary["repeats"]} if summary.get("repeats") else {})


def _subjects(stage: Stage) -> Iterator[Figure]:
    yield from PLAIN.values()
    for name, metric in stage["metrics"].items():
        for statistic in ("mean", *(f"p{percent}" for percent in metric["percentiles_ms"])):
            yield figure(f"{name}_{statistic}_ms")


def _figure(subject: Figure, whole: Stage, repeats: Sequence[Stage]) -> dict[str, Any] | None:
    found = subject.read(whole)
    if found is None:
        return None
    each = [subject.read(stage) for stage in repeats]
    known = [one.value for one in each if one is not None]
    told = around(found.value, known)
    low, high = told.low, told.high
    if low is not None and high is not None:
        low = max(0.0, low)
        if subject.unit == "share" and found.low is not None and found.high is not None:
            low, high = min(low, found.low), min(1.0, max(high, found.high))
    values = [None if one is None else one.value for one in each]
    return {
        "unit": subject.unit,
        "value": found.value,
        "low": low,
        "high": high,
        "count": found.count,
        "values": values,
    }


def _between(name: str, metric: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """A distribution with the intervals between repeats."""

    def estimate(statistic: str, plain: Mapping[str, Any]) -> dict[str, Any]:
        known = told.get(f"{name}_{statistic}_ms", {})
        return {**plain, "low": known.get("low"), "high": known.get("high")}

    percentiles = {key: estimate(f"p{key}", one) for key, one in metric["percentiles_ms"].items()}
    median = percentiles.get("50", metric["median_ms"])
    return {
        **metric,
        "mean_ms": estimate("mean", metric["mean_ms"]),
        "median_ms": median,
        "percentiles_ms": percentiles,
    }


def _sum(stages: Sequence[Stage], part: str, name: str) -> Any:
    values = [stage[part][name] for stage in stages]
    return None if None in values else sum(values)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _window(windows: Sequence[Mapping[str, float] | None]) -> dict[str, float] | None:
    known = [window for window in windows if window is not None]
    if not known:
        return None
    ends = {"start_s": min(one["start_s"] for one in known), "end_s": max(one["end_s"] for one in known)}
    return ends | {"length_s": sum(one["length_s"] for one in known)}


def _rates(rates: Sequence[Mapping[str, Any] | None]) -> dict[str, Any] | None:
    known = [one for one in rates if one is not None]
    if not known:
        return None
    values = {name: [one[name] for one in known] for name in known[0]}
    highest = {name: max((x for x in values.get(name, ()) if x is not None), default=None) for name in _PEAKS}
    return {name: highest[name] if name in highest else _mean(each) for name, each in values.items()}


def _verdict(verdicts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The worst of all, and every finding once, as the first repeat that has it tells it."""
    findings: dict[tuple[str, str], Any] = {}
    for finding in (finding for verdict in verdicts for finding in verdict["findings"]):
        findings.setdefault((finding["name"], finding["severity"]), finding)
    worst = max((verdict["verdict"] for verdict in verdicts), key=_VERDICTS.index)
    return {"verdict": worst, "findings": list(findings.values()), "figures": {}}


# --- precision -------------------------------------------------------------------------------------------------------


def settled(summary: Mapping[str, Any], texts: Sequence[str]) -> str | None:
    """Whether repeats are known well enough by all these texts (``ttft_p95:5%``): a sentence, or None if not."""
    played: list[Stage] = summary.get("repeats") or []
    if not texts or not played or min(stage["repeats"] for stage in played) < FEWEST_ROUNDS:
        return None
    told = [_known_to(text, played) for text in texts]
    known = [clause for clause in told if clause is not None]
    if len(known) < len(told):
        return None
    return f"{min(stage['repeats'] for stage in played)} rounds are enough: {', '.join(known)}"


def _known_to(text: str, played: Sequence[Stage]) -> str | None:
    """How well a figure is known at the worst of its stages; None if that is not well enough."""
    wanted = precision(text)
    subject = figure(wanted.figure)
    chosen = [stage for stage in played if about(wanted.stage, stage_key(stage))]
    worst = max((relative_half_width(stage["figures"].get(subject.name)) for stage in chosen), default=math.inf)
    return f"{subject.title} is known to ±{100 * worst:.1f} %" if worst <= wanted.share else None


def check_stages(plan: Plan) -> None:
    """Raises ``UserError`` for a precision about a stage that the plan does not have: it would never be reached."""
    keys = dict.fromkeys(stage_key({"name": stage.name, "load": load_of(stage.load)}) for stage in plan.scenario.stages)
    for text in plan.scenario.until_precision:
        if not any(about(precision(text).stage, key) for key in keys):
            raise UserError(f"until_precision {text!r}: there is no such stage (there are {', '.join(keys)})")


def relative_half_width(told: Mapping[str, Any] | None) -> float:
    """Half of the interval of a figure as a share of it; infinite where it is not known."""
    if told is None or told["low"] is None or not told["value"]:
        return math.inf
    return float((told["high"] - told["low"]) / 2 / told["value"])
