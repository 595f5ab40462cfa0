"""A run as comparisons see it: stages with figures, and the series behind them where there are rows.

Our own runs, summaries without rows and results of other tools all become this; nothing later asks which it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from inferometer.analysis import repeats
from inferometer.analysis.frame import Floats, Frame, stage_of
from inferometer.analysis.metrics import BY_NAME, output_counts
from inferometer.analysis.stats import Estimate, Samples
from inferometer.analysis.streamed import Histogram, in_order
from inferometer.analysis.thresholds import PLAIN, STATISTICS, figure, stage_key
from inferometer.analysis.window import counted
from inferometer.config.models import Open, Plan, Stage

#: Metrics with one value per request: their series are compared.
SERIES = ("ttft", "tpot", "e2el", "ntpot")
#: Metrics with several values per request: their figures are compared, with intervals from the series of requests.
POOLED = ("itl", "event_gap")
_NONE: Mapping[str, Any] = MappingProxyType({})
#: Fields of the run context that are told otherwise, in parts: by the summary, the plan, and the facts of the stages.
_TOLD = {"model", "request_shape", "load_pattern", "client", "inferometer", "plan_sha256"}


@dataclass(frozen=True, slots=True, eq=False)
class StageData:
    """One load of one run.

    Attributes:
        key: name and load, as ``thresholds.stage_key`` says it; stages of two runs are matched by it.
        figures: by name of ``thresholds.figure``, in its unit.
        series: by name of a metric, values of successful requests in ms in the order of their start; may be empty.
        facts: what must agree for the figures to be comparable (numbers or words; None: unknown).
        verdict: of the instrument; "" if nobody judged.
        freedoms: degrees of freedom of the intervals of figures, where they are known.
    """

    key: str
    figures: Mapping[str, Estimate]
    series: Mapping[str, Floats] = field(default_factory=dict)
    facts: Mapping[str, str | float | None] = field(default_factory=dict)
    verdict: str = ""
    freedoms: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class RunData:
    """One run: what it is called, its stages, and what is known about it.

    Stages stand as they were played; those of rounds stand by load, the repeats of each together. ``together`` are the
    figures of all requests of these, by key of the stage and name of the figure.
    """

    label: str
    stages: tuple[StageData, ...]
    context: Mapping[str, str] = field(default_factory=dict)
    together: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def from_summary(label: str, summary: Mapping[str, Any], context: Mapping[str, Any] = _NONE) -> RunData:
    """A run from a summary as ``summary.summarise`` makes it, and from what ``context.json`` tells (may be empty)."""
    stages = tuple(_stage(stage) for stage in _by_load(summary))
    together = {
        stage_key(group): {name: told["value"] for name, told in group["figures"].items()}
        for group in summary.get("repeats") or ()
    }
    return RunData(label, stages, _context(summary, context), together)


def _by_load(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The stages of a summary as a run has them: rounds may have been played in any order."""
    places = [number for group in summary.get("repeats") or () for number in group["stages"]]
    return sorted(summary["stages"], key=lambda stage: places.index(stage["stage"]) if places else 0)


def _stage(stage: Mapping[str, Any]) -> StageData:
    names = [*PLAIN, *(f"{metric}_{statistic}_ms" for metric in stage["metrics"] for statistic in STATISTICS)]
    read = {name: figure(name).read(stage) for name in names if _is_figure(name)}
    lengths = stage["lengths"]
    facts: dict[str, str | float | None] = {
        "prompt tokens asked": lengths["prompt_tokens"]["asked_mean_tokens"],
        "output tokens asked": lengths["output_tokens"]["asked_mean_tokens"],
        "output tokens got": lengths["output_tokens"]["got_mean_tokens"],
        "source of token counts": ", ".join(sorted(lengths["output_tokens"]["sources"])) or None,
        "stamps": _stamps(stage["verdict"]["figures"].get("kernel_stamps_share")),
    }
    known = {name: found for name, found in read.items() if found is not None}
    return StageData(stage_key(stage), known, facts=facts, verdict=stage["verdict"]["verdict"])


def _is_figure(name: str) -> bool:
    return name in PLAIN or name.rsplit("_", 2)[0] in BY_NAME


def _stamps(kernel_share: float | None) -> str | None:
    if kernel_share is None:
        return None
    return {1.0: "kernel", 0.0: "userland"}.get(kernel_share, "mixed")


def _context(summary: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, str]:
    """Facts of a run in words; those of its run context come along by their names, but for what nobody told."""
    target, client = summary["target"], context.get("client") or {}
    captured = {name: fact for name, fact in (context.get("run_context") or {}).items() if fact != "unknown"}
    told = {
        "tool": f"{summary['tool']} {summary['tool_version']}",
        "target": target["name"],
        "base URL": target["base_url"],
        "api": target["api"],
        "model": captured.get("model") or target["model"],  # the server's may name the weights behind a served name
        "seed": summary["seed"],
        "workers": summary["workers"],
        "client": client.get("system"),
        "client CPUs": client.get("cpus_allowed"),
        "state": summary.get("state"),
        "started": context.get("started"),
    }
    facts = {name.replace("_", " "): fact for name, fact in captured.items() if name not in _TOLD}
    ours_win = told | facts | told
    return {name: str(value) for name, value in ours_win.items() if value is not None}


# --- the rows behind it ----------------------------------------------------------------------------------------------


def with_rows(run: RunData, summary: Mapping[str, Any], plan: Plan, frame: Frame) -> RunData:
    """The same run with the series of its requests, and intervals of its rates and of ``POOLED``.

    Args:
        run: of ``from_summary``.
        summary: the same.
        plan: of the run; its stages say when latencies start and which requests count.
        frame: all rows of the run; their events may be on disk.
    """
    numbers = [stage["stage"] for stage in _by_load(summary)]
    found = [
        _with_series(data, frame, number, plan.scenario.stages[number])
        for data, number in zip(run.stages, numbers, strict=True)
    ]
    return replace(run, stages=tuple(found), context={**run.context, "tokenizer": plan.target.tokenizer or "none"})


def _with_series(data: StageData, frame: Frame, number: int, stage: Stage) -> StageData:
    rows = counted(stage_of(frame, number, open_loop=isinstance(stage.load, Open)), stage)
    if not len(rows):
        return data
    by_start = np.argsort(rows.start_ns, kind="stable")
    columns = {name: _by_row(rows, BY_NAME[name].samples(rows))[by_start] for name in SERIES}
    series = {name: values[np.isfinite(values)] for name, values in columns.items()}
    found, freedoms = _of_tokens(data, rows)
    return replace(
        data,
        series={name: values for name, values in series.items() if len(values)},
        figures={**data.figures, **found, **_rates(data, rows)},
        freedoms=freedoms,
    )


def _by_row(rows: Frame, samples: Samples | Histogram) -> Floats:
    """One value per row, NaN where it is undefined."""
    column = np.full(len(rows), np.nan)
    if isinstance(samples, Samples):  # only pooled metrics make histograms, and SERIES has none
        column[samples.rows] = samples.values
    return column


def _of_tokens(data: StageData, rows: Frame) -> tuple[dict[str, Estimate], dict[str, int]]:
    """The figures of ``POOLED`` that a stage has, from its requests by their start, and their degrees of freedom."""
    figures: dict[str, Estimate] = {}
    freedoms: dict[str, int] = {}
    for metric in POOLED:
        names = {f"{metric}_{statistic}_ms": statistic for statistic in STATISTICS}
        wanted = {name: statistic for name, statistic in names.items() if name in data.figures}
        pooled = in_order(BY_NAME[metric].samples(rows), rows.start_ns) if wanted else None
        if pooled is None:
            continue
        for name, statistic in wanted.items():
            figures[name], freedom = repeats.pooled_statistic(pooled, statistic)
            freedoms |= {} if freedom is None else {name: freedom}
    return figures, freedoms


def _rates(stage: StageData, rows: Frame) -> dict[str, Estimate]:
    """The rates of the summary, with intervals from blocks of time around their values."""
    good = rows.ok & np.isfinite(rows.first_try_ns)
    sent, end = rows.first_try_ns[good] / 1e9, rows.end_ns[good] / 1e9
    amounts = {"requests_per_s": np.ones(len(sent)), "output_tokens_per_s": np.nan_to_num(output_counts(rows)[good])}
    found = {name: repeats.rate(sent, end, amount) for name, amount in amounts.items() if name in stage.figures}
    return {name: _around(stage.figures[name], rate) for name, rate in found.items() if rate is not None}


def _around(value: Estimate, spread: Estimate) -> Estimate:
    """A value with the relative interval of another estimate of it."""
    if spread.low is None or spread.high is None or not spread.value:
        return value
    factor = value.value / spread.value
    return Estimate(value.value, spread.low * factor, spread.high * factor, value.count)
