"""Limits that a user sets on the figures of a stage: ``ttft_p95_ms<=200``, ``success_rate>=0.95 @ concurrency 8``.

A *figure* is one number of a stage with a name, a unit and a direction; the table below names all of them, and
comparisons use the same names. Latencies are built from ``metrics.METRICS``: METRIC_STATISTIC_ms.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from inferometer.analysis.metrics import BY_NAME
from inferometer.analysis.stats import Estimate
from inferometer.errors import UserError

Better = Literal["lower", "higher"]
_Z = 1.959963984540054
_LATENCY = re.compile(r"(\w+?)_(mean|p\d{1,2}(?:\.\d+)?)(?:_ms)?")
_THRESHOLD = re.compile(r"\s*([\w.]+)\s*(<=|>=)\s*([^\s@%a-z]+)\s*(%|ms|s)?\s*(?:@\s*(.+?)\s*)?")
#: Unit of the figure, unit of the limit -> factor.
_UNITS = {("ms", "s"): 1000.0, ("ms", "ms"): 1.0, ("share", "%"): 0.01}


class Figure(msgspec.Struct, frozen=True):
    """One number of a stage. ``read`` takes a stage of a summary; None if the stage does not have it.

    Units: ms, req/s, tok/s, or share (of 1).
    """

    name: str
    title: str
    unit: str
    better: Better
    definition: str
    read: Callable[[Mapping[str, Any]], Estimate | None]


class Threshold(msgspec.Struct, frozen=True):
    """``figure`` at most (lower is better) or at least (higher is better) ``limit``, in the figure's unit.

    ``stage`` is the stage that it is about; None: all of them.
    """

    text: str
    figure: str
    limit: float
    stage: str | None = None


class Judged(msgspec.Struct, frozen=True):
    """A threshold held against one stage. ``certain``: the interval of the figure lies on one side of the limit."""

    threshold: Threshold
    stage: str
    value: float | None
    met: bool
    certain: bool
    sentence: str


# --- the table of figures --------------------------------------------------------------------------------------------


def share(part: float, whole: float) -> Estimate | None:
    """A share of 1 with Wilson's interval (1927); None of nothing."""
    if not whole:
        return None
    p, z2 = part / whole, _Z**2 / whole
    middle, half = (p + z2 / 2) / (1 + z2), _Z * math.sqrt(p * (1 - p) / whole + z2 / (4 * whole)) / (1 + z2)
    return Estimate(p, min(p, max(0.0, middle - half)), max(p, min(1.0, middle + half)), round(whole))


def _rate(name: str) -> Callable[[Mapping[str, Any]], Estimate | None]:
    return lambda stage: _plain((stage["throughput"] or {}).get(name), stage)


def _plain(value: float | None, stage: Mapping[str, Any]) -> Estimate | None:
    return None if value is None else Estimate(value, None, None, stage["counts"]["ok"])


def _requests(stage: Mapping[str, Any]) -> int:
    """Requests that were planned, or that left a row if nobody knows how many were."""
    counts: Mapping[str, Any] = stage["counts"]
    return max(int(counts["planned"] or 0), int(counts["ok"] + counts["failed"]))


def _success(stage: Mapping[str, Any]) -> Estimate | None:
    return share(stage["counts"]["ok"], _requests(stage))


def _error(stage: Mapping[str, Any]) -> Estimate | None:
    return share(_requests(stage) - stage["counts"]["ok"], _requests(stage))


def _goodput(stage: Mapping[str, Any]) -> Estimate | None:
    return _plain((stage["slos"] or {}).get("goodput_per_s"), stage)


def _attainment(stage: Mapping[str, Any]) -> Estimate | None:
    slos = stage["slos"]
    return share(slos["good"], stage["counts"]["ok"] + stage["counts"]["failed"]) if slos else None


#: Figures that are no latencies. Docs: docs/compare.md
PLAIN: dict[str, Figure] = {
    figure.name: figure
    for figure in (
        Figure(
            "requests_per_s",
            "request throughput",
            "req/s",
            "higher",
            "successful requests / window",
            _rate("requests_per_s"),
        ),
        Figure(
            "output_tokens_per_s",
            "output throughput",
            "tok/s",
            "higher",
            "output tokens of successful requests / window",
            _rate("output_tokens_per_s"),
        ),
        Figure(
            "total_tokens_per_s",
            "total throughput",
            "tok/s",
            "higher",
            "prompt and output tokens / window",
            _rate("total_tokens_per_s"),
        ),
        Figure(
            "goodput_per_s", "goodput", "req/s", "higher", "requests that met every SLO / window; needs SLOs", _goodput
        ),
        Figure(
            "attainment",
            "SLO attainment",
            "share",
            "higher",
            "requests that met every SLO / all; needs SLOs",
            _attainment,
        ),
        Figure("success_rate", "success rate", "share", "higher", "successful / planned requests", _success),
        Figure("error_rate", "error rate", "share", "lower", "1 - success_rate", _error),
    )
}
#: Other names of figures: shorter ones, and those of other tools.
ALIASES = {
    "requests_rps": "requests_per_s",
    "output_tok_s": "output_tokens_per_s",
    "total_tok_s": "total_tokens_per_s",
    "goodput_rps": "goodput_per_s",
    "throughput_min": "output_tokens_per_s",
}
STATISTICS = ("mean", "p50", "p95", "p99")


def figure(name: str) -> Figure:
    """The figure of this name, with or without ``_ms``. Raises ``UserError`` with a near name, if there is one."""
    plain = ALIASES.get(name, name)
    if plain in PLAIN:
        return PLAIN[plain]
    latency = _LATENCY.fullmatch(plain)
    if latency and latency[1] in BY_NAME and latency[2] != "p0":
        return _latency(latency[1], latency[2])
    known = [*PLAIN, *ALIASES, *(f"{metric}_{statistic}_ms" for metric in BY_NAME for statistic in STATISTICS)]
    near = difflib.get_close_matches(name, known, 1, 0.6)
    hint = f": did you mean {near[0]}? All" if near else ": all"
    raise UserError(f"{name!r} is no figure of a stage{hint} are listed in docs/compare.md")


def _latency(metric: str, statistic: str) -> Figure:
    defined = BY_NAME[metric]

    def read(stage: Mapping[str, Any]) -> Estimate | None:
        described = stage["metrics"].get(metric)
        if described is None:
            return None
        found = described["mean_ms"] if statistic == "mean" else described["percentiles_ms"].get(statistic[1:])
        return None if found is None else Estimate(found["value"], found["low"], found["high"], found["count"])

    title = f"mean {defined.label}" if statistic == "mean" else f"{defined.label} {statistic}"
    return Figure(f"{metric}_{statistic}_ms", title, "ms", "lower", defined.definition, read)


# --- thresholds ------------------------------------------------------------------------------------------------------


def parse(text: str) -> Threshold:
    """``NAME<=VALUE`` or ``NAME>=VALUE``, with a unit if it is not that of the name, and ``@ STAGE`` for one stage.

    Raises:
        UserError: what is wrong with it, in a sentence.
    """
    match = _THRESHOLD.fullmatch(text)
    if match is None:
        raise UserError(f"{text!r} is no threshold: write NAME<=VALUE or NAME>=VALUE, such as ttft_p95_ms<=200")
    name, sign, number, unit, stage = match.groups()
    about = figure(name)
    if sign != _SIGNS[about.better]:
        raise UserError(
            f"{text!r}: {about.better} is better for {name}, so its limit is {name}{_SIGNS[about.better]}..."
        )
    return Threshold(text.strip(), about.name, _limit(text, about, number, unit), stage)


_SIGNS: dict[Better, str] = {"lower": "<=", "higher": ">="}


def _limit(text: str, about: Figure, number: str, unit: str | None) -> float:
    try:
        value = float(number)
    except ValueError:
        raise UserError(f"{text!r}: {number!r} is not a number") from None
    factor = 1.0 if unit is None else _UNITS.get((about.unit, unit))
    if factor is None:
        raise UserError(f"{text!r}: {about.name} is in {about.unit}, not in {unit}")
    if not math.isfinite(value) or value < 0:
        raise UserError(f"{text!r}: a limit is a number from 0 on")
    limit = value * factor
    if about.unit == "share" and limit > 1:
        raise UserError(f"{text!r}: {about.name} is a share from 0 to 1; write {limit:g}% for per cent")
    return limit


def judged_of(summary: Mapping[str, Any], number: int) -> tuple[dict[str, Any], ...]:
    """The judgements of a summary on the stage of this number. Stages of one load are judged in their order."""
    keys = {stage["stage"]: stage_key(stage) for stage in summary.get("stages") or ()}
    key = keys.get(number)
    place = sum(other < number and keys[other] == key for other in keys)
    alike: dict[str, list[dict[str, Any]]] = {}
    for one in summary.get("thresholds") or ():
        if one["stage"] == key:
            alike.setdefault(one["threshold"]["text"], []).append(one)
    return tuple(each[place % len(each)] for each in alike.values())


def judge(summary: Mapping[str, Any], thresholds: Sequence[Threshold]) -> tuple[Judged, ...]:
    """Every threshold against every stage that it is about, in the order of the thresholds.

    A figure that a stage does not have is a threshold missed, and so is one about a stage that did not run. Repeats of
    a stage are judged together, other stages of one load each for itself.
    """
    stages = [(stage_key(stage), stage) for stage in summary.get("repeats") or summary["stages"]]
    return _judge(stages, thresholds, _read)


def judge_figures(
    stages: Sequence[tuple[str, Mapping[str, Estimate]]], thresholds: Sequence[Threshold]
) -> tuple[Judged, ...]:
    """The same where figures are known by name for each stage with its key, as of results of other tools."""
    return _judge(stages, thresholds, lambda name, figures: figures.get(name))


def _judge(
    stages: Sequence[tuple[str, Mapping[str, Any]]],
    thresholds: Sequence[Threshold],
    read: Callable[[str, Mapping[str, Any]], Estimate | None],
) -> tuple[Judged, ...]:
    judged: list[Judged] = []
    for threshold in thresholds:
        chosen = [(key, stage) for key, stage in stages if about(threshold.stage, key)]
        judged += [_judged(threshold, key, read(threshold.figure, stage)) for key, stage in chosen]
        if not chosen:
            judged.append(_nowhere(threshold, [key for key, _ in stages]))
    return tuple(judged)


def _nowhere(threshold: Threshold, stages: Iterable[str]) -> Judged:
    wanted = threshold.stage or "any"
    sentence = f"there is no stage {wanted!r}: the stages are {', '.join(stages) or 'none'}"
    return Judged(threshold, wanted, None, met=False, certain=True, sentence=sentence)


def _read(name: str, stage: Mapping[str, Any]) -> Estimate | None:
    """A figure of a stage, or of repeats of one with the interval between them."""
    told = (stage.get("figures") or {}).get(name)
    return Estimate(told["value"], told["low"], told["high"], told["count"]) if told else figure(name).read(stage)


def _judged(threshold: Threshold, key: str, found: Estimate | None) -> Judged:
    subject = figure(threshold.figure)
    if found is None:
        sentence = f"{subject.title} was not measured"
        return Judged(threshold, key, None, met=False, certain=True, sentence=sentence)
    lower = subject.better == "lower"
    met = found.value <= threshold.limit if lower else found.value >= threshold.limit
    inside = found.low is not None and found.high is not None and found.low <= threshold.limit <= found.high
    limit = f"{'at most' if lower else 'at least'} {amount(threshold.limit, subject.unit)}"
    verb = "is" if met else "should be"
    sentence = f"{subject.title} {amount(found.value, subject.unit)}, {verb} {limit}"
    doubt = f"; the limit lies in the interval {_interval(found, subject.unit)}" if inside else ""
    certain = found.low is not None and not inside
    return Judged(threshold, key, found.value, met=met, certain=certain, sentence=sentence + doubt)


def about(wanted: str | None, key: str) -> bool:
    """Does a stage's key answer to what a user wrote: all of it, its name, its load, or the number in that?"""
    name, _, load = key.rpartition(": ")
    return wanted is None or wanted in {key, name or key, load, *load.split()}


def stage_key(stage: Mapping[str, Any]) -> str:
    """Name and load of a stage of a summary: ``concurrency 8``, ``short: 10 req/s``, ``20 users``."""
    load = stage["load"]
    words = _LOADS[load["type"]](load) if load["type"] in _LOADS else _at_rate(load)
    return f"{stage['name']}: {words}" if stage.get("name") else words


def _at_rate(load: Mapping[str, Any]) -> str:
    rate = load["rate_per_s"]
    return f"{rate if isinstance(rate, str) else format(rate, 'g')} req/s"


_LOADS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "closed": lambda load: f"concurrency {load['concurrency']}",
    "users": lambda load: f"{load['users']} users",
}


def amount(value: float, unit: str) -> str:
    """A figure with its unit: ``120.4 ms``, ``98.5 %``, ``3773 tok/s``."""
    shown, name = (100 * value, "%") if unit == "share" else (value, unit)
    digits = f"{shown:.2f}" if abs(shown) < 10 else f"{shown:.1f}" if abs(shown) < 1000 else f"{shown:.0f}"
    return f"{digits} {name}"


def _interval(found: Estimate, unit: str) -> str:
    return f"{amount(found.low or 0.0, unit)} to {amount(found.high or 0.0, unit)}"
