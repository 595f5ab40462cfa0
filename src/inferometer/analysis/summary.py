"""Everything that a run says, as one dictionary ready for strict JSON: units in the keys, None for unknown, no NaN."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import numpy as np

from inferometer import __version__
from inferometer.analysis import rounds
from inferometer.analysis import window as windows
from inferometer.analysis.attempts import attempts, by_model, retried_rows
from inferometer.analysis.calibration import Calibration, share_of_calibrated
from inferometer.analysis.classes import classes
from inferometer.analysis.connection_times import connection_times
from inferometer.analysis.events import one_token_each
from inferometer.analysis.frame import Floats, Frame, Texts, from_table, stage_of
from inferometer.analysis.loads import load_of
from inferometer.analysis.metrics import BY_NAME, METRICS, met, output_counts, unjudged
from inferometer.analysis.parts import in_ms
from inferometer.analysis.prefixes import groups, prefixes
from inferometer.analysis.replicas import evenness, replicas
from inferometer.analysis.server_samples import Span, Told
from inferometer.analysis.server_view import Seen, server_view
from inferometer.analysis.streamed import alike, describe
from inferometer.analysis.thresholds import figure, parse
from inferometer.analysis.thresholds import judge as judge_thresholds
from inferometer.analysis.turns import turns
from inferometer.analysis.validity import judge
from inferometer.config.models import Open, Plan, Slo, Stage, Target
from inferometer.config.repeats import precision
from inferometer.records.record import WorkerStage
from inferometer.workload.shared_prefix import known_prefixes

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
#: Always computed; the plan may ask for more.
PERCENTS = (50.0, 90.0, 95.0, 99.0)
_S_PER_NS = 1e-9
_PERCENTILE = re.compile(r"_p([\d.]+)_ms$")


def summarise(
    plan: Plan,
    requests: pa.Table | Frame,
    workers: Sequence[WorkerStage],
    calibration: Calibration | None = None,
    told: Told | None = None,
) -> dict[str, Any]:
    """The meaning of a run's records.

    Args:
        plan: what was asked.
        requests: one row per request, with the columns of ``records.record.COLUMNS`` and both event lists; or a frame
            of them.
        workers: what the workers say of each stage; may be empty for a run that was killed.
        calibration: of the machine that the run was made on, if there is one.
        told: what the servers said of themselves, if they were asked.

    Returns:
        Values for strict JSON. Stages that left no trace are absent. Times are seconds since the run's epoch.
    """
    frame = requests if isinstance(requests, Frame) else from_table(requests)
    begun = {int(stage) for stage in np.unique(frame.stage)} | {worker.stage for worker in workers}
    summary: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "tool": "inferometer",
        "tool_version": __version__,
        "plan": plan.scenario.name,
        "target": _target(plan.target),
        "seed": plan.seed,
        "workers": plan.workers,
        "report": {
            "percentile_metrics": list(plan.report.percentile_metrics),
            "percentiles": [f"{percent:g}" for percent in plan.report.percentiles],
        },
        "stages": [
            _stage(plan, i, frame, workers, calibration) | {"server": _server(plan, i, frame, told)}
            for i in range(len(plan.scenario.stages))
            if i in begun
        ],
    }
    repeated = rounds.groups(plan, summary["stages"])
    summary["repeats"] = [rounds.pooled(group, _together(plan, frame, group)) for group in repeated]
    return summary | {"thresholds": _thresholds(plan, summary)}


def _together(plan: Plan, frame: Frame, repeats: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the requests of all repeats of a stage tell together."""
    stage = plan.scenario.stages[repeats[0]["stage"]]
    open_loop = isinstance(stage.load, Open)
    chosen = [windows.counted(stage_of(frame, one["stage"], open_loop=open_loop), stage).row for one in repeats]
    rows = frame.where(np.isin(frame.row, np.concatenate(chosen)))
    rows = replace(rows, start_ns=rows.scheduled_ns) if open_loop else rows
    return {
        "counts": _outcomes(rows),
        "metrics": _metrics(rows, plan, open_loop=open_loop),
        "lengths": _lengths(rows),
        "attempts": attempts(rows),
        "models": [],
    }


def _thresholds(plan: Plan, summary: dict[str, Any]) -> list[dict[str, Any]]:
    """What the plan's thresholds say of each stage; none of none."""
    judged = judge_thresholds(summary, [parse(text) for text in plan.scenario.thresholds])
    return [msgspec.to_builtins(one) for one in judged]


def _server(plan: Plan, index: int, frame: Frame, told: Told | None) -> dict[str, Any] | None:
    """What the servers saw of a stage, all of its measured requests included; None if they were not asked."""
    rows = stage_of(frame, index, open_loop=isinstance(plan.scenario.stages[index].load, Open))
    whole = windows.whole_window(rows)
    if told is None or whole is None:
        return None
    later = frame.first_try_ns[frame.first_try_ns > whole.end_ns]
    span = Span(whole.start_ns, whole.end_ns, float(later.min()) if len(later) else math.inf)
    good = rows.where(rows.ok)
    sides = {"prompt_tokens": good.prompt_tokens, "output_tokens": output_counts(good)}
    means = {f"{name}_mean_ms": _mean(BY_NAME[name].samples(good).values) for name in ("tpot",)}
    seen = Seen(
        ttft_mean_ms=_mean((good.first_token_ns - good.sent_ns) / 1e6),
        e2el_mean_ms=_mean((good.last_token_ns - good.sent_ns) / 1e6),
        **means,
        **{side: float(np.nansum(counts)) if np.isfinite(counts).any() else None for side, counts in sides.items()},
        requests_ok=len(good),
        requests_failed=len(rows) - len(good),
    )
    return server_view(told, span, seen)


def _stage(
    plan: Plan, index: int, frame: Frame, workers: Sequence[WorkerStage], calibration: Calibration | None
) -> dict[str, Any]:
    stage = plan.scenario.stages[index]
    rows = stage_of(frame, index, open_loop=isinstance(stage.load, Open))
    reports = [worker for worker in workers if worker.stage == index]
    missing = float(max(0, plan.workers - len(reports))) if reports else None
    pausing = plan.scenario.workload.pausing
    known = {"workers_missing": missing, **_calibrated(calibration, plan.workers, rows)}
    known |= {"in_flight_of_asked": None} if pausing else {}
    known |= {"cached_prompt_share": None} if plan.scenario.workload.alike else {}
    verdict = judge(rows, reports, stage, plan.report.percentiles, known)
    left_out, rows = len(rows), windows.counted(rows, stage)
    left_out -= len(rows)
    whole = windows.whole_window(rows)
    steady = windows.steady_window(rows, stage.load, pausing=pausing)
    throughput, steady_throughput = _throughput(rows, whole, steady)
    open_loop = isinstance(stage.load, Open)
    return {
        "stage": index,
        "name": stage.name,
        "load": load_of(stage.load),
        "counts": _counts(rows, stage, reports) | {"left_out": left_out},
        "window": _window(whole),
        "throughput": throughput,
        "steady_window": _window(steady),
        "steady_throughput": steady_throughput,
        "metrics": _metrics(rows, plan, open_loop=open_loop),
        "lengths": _lengths(rows),
        "attempts": attempts(rows),
        "models": [
            {
                "model": name,
                "counts": _outcomes(own),
                "throughput": _throughput(own, whole)[0],
                "metrics": _metrics(own, plan, open_loop=open_loop),
            }
            for name, own in by_model(rows)
        ],
        **_parts(rows, frame, plan, index),
        "slos": _slos(rows, plan.scenario.slos, whole),
        "verdict": msgspec.to_builtins(verdict),
    }


def _calibrated(calibration: Calibration | None, workers: int, rows: Frame) -> dict[str, float | None]:
    """The load of a stage against that of the machine's calibration; nothing without one."""
    whole = windows.whole_window(rows)
    if calibration is None or whole is None:
        return {}
    throughput = windows.throughput(rows, whole)
    rates = (throughput.get(name) or 0.0 for name in ("requests_per_s", "output_tokens_per_s"))
    return share_of_calibrated(calibration, workers, *rates)


def _target(target: Target) -> dict[str, Any]:
    parts = urlsplit(target.base_url)
    host = parts.netloc.rpartition("@")[2]  # a password may stand before the @
    base_url = parts._replace(netloc=host, query="").geturl()
    return {"name": target.name, "base_url": base_url, "api": target.api, "model": target.model}


def _counts(frame: Frame, stage: Stage, workers: Sequence[WorkerStage]) -> dict[str, Any]:
    return {
        "planned": _planned(stage, workers),
        "sent": int(np.count_nonzero(np.isfinite(frame.sent_ns))),
        **_outcomes(frame),
    }


def _outcomes(frame: Frame) -> dict[str, Any]:
    return {
        "ok": int(np.count_nonzero(frame.ok)),
        "failed": int(np.count_nonzero(~frame.ok)),
        "failures": _failures(frame),
    }


def _planned(stage: Stage, workers: Sequence[WorkerStage]) -> int | None:
    told = [worker.planned for worker in workers if worker.planned is not None]
    if told and len(told) == len(workers):
        return sum(told)
    return stage.num_requests if stage.duration_s is None else None


def _failures(frame: Frame) -> list[dict[str, Any]]:
    """Kinds of failure, the most frequent first, each with the first detail that was given."""
    kinds: Texts = frame.outcome[~frame.ok]
    details: Texts = frame.detail[~frame.ok]
    examples: dict[str, str] = {}
    for kind, detail in zip(kinds, details, strict=True):
        if detail:
            examples.setdefault(kind, detail)
    return [
        {"kind": str(kind), "count": count, "first_example": examples.get(kind)}
        for kind, count in Counter(kinds).most_common()
    ]


def _window(window: windows.Window | None) -> dict[str, float] | None:
    if window is None:
        return None
    start_s, end_s = window.start_ns * _S_PER_NS, window.end_ns * _S_PER_NS
    return {"start_s": start_s, "end_s": end_s, "length_s": window.length_s}


def _throughput(frame: Frame, *spans: windows.Window | None) -> list[dict[str, Any] | None]:
    """The rates of each window; None where there is no window. Events are read once for all of them."""
    known = [window for window in spans if window is not None]
    peaks = iter(windows.peak_output_tokens_per_s(frame, known))
    in_flight = windows.peak_in_flight(frame)
    return [
        None
        if window is None
        else {
            **{rate.name: None for rate in windows.RATES},
            **windows.throughput(frame, window),
            "mean_in_flight": windows.mean_in_flight(frame, window),
            "peak_in_flight": in_flight,
            "peak_output_tokens_per_s": next(peaks),
        }
        for window in spans
    ]


def _metrics(frame: Frame, plan: Plan, *, open_loop: bool) -> dict[str, Any]:
    percents = _percents(plan)
    apart = open_loop or bool(retried_rows(frame).any())
    chosen = [metric for metric in METRICS if apart or not metric.from_send]
    told = one_token_each(frame)  # then gaps are ITL: read and sorted once
    samples = {metric.name: metric.samples(frame) for metric in chosen if not told or metric.name != "event_gap"}
    same = told or alike(samples["event_gap"], samples["itl"])
    if same:
        samples.pop("event_gap", None)
    described = {name: describe(sample, percents, plan.seed) for name, sample in samples.items()}
    if same:
        described["event_gap"] = described["itl"]
    return {name: in_ms(found) for name, found in described.items() if found is not None}


def _percents(plan: Plan) -> tuple[float, ...]:
    """Those that are always told, those of the report, and those that limits and precisions of the plan are about."""
    limits = (parse(text).figure for text in plan.scenario.thresholds)
    precisions = (figure(precision(text).figure).name for text in plan.scenario.until_precision)
    asked = {float(found[1]) for name in (*limits, *precisions) if (found := _PERCENTILE.search(name))}
    return tuple(sorted({*PERCENTS, *plan.report.percentiles, *asked}))


def _parts(rows: Frame, run: Frame, plan: Plan, stage: int) -> dict[str, Any]:
    """Tables of parts of a stage; None where there is nothing to tell."""
    percents, seed = _percents(plan), plan.seed
    return {
        "classes": classes(rows, percents, seed),
        "turns": turns(rows, percents, seed),
        "prefixes": prefixes(rows, run, percents, seed, known_prefixes(plan, stage)),
        "prefix_groups": groups(rows, run),
        "replicas": replicas(rows, percents, seed),
        "evenness": evenness(rows),
        **connection_times(rows),
    }


def _lengths(frame: Frame) -> dict[str, Any]:
    good = frame.where(frame.ok)
    return {
        "prompt_tokens": _length(good.asked_prompt_tokens, good.prompt_tokens, good.prompt_tokens_source),
        "output_tokens": _length(good.asked_output_tokens, output_counts(good), good.output_tokens_source),
    }


def _length(asked: Floats, got: Floats, sources: Texts) -> dict[str, Any]:
    error = np.abs(got - asked) / asked
    return {
        "asked_mean_tokens": _mean(asked),
        "got_mean_tokens": _mean(got),
        "got_total_tokens": int(np.nansum(got)) if np.isfinite(got).any() else None,
        "max_relative_error": float(np.nanmax(error)) if np.isfinite(error).any() else None,
        "sources": dict(Counter(str(source) for source in sources if source is not None)),
    }


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _slos(frame: Frame, slos: Sequence[Slo], window: windows.Window | None) -> dict[str, Any] | None:
    """Goodput and attainment: failures count against both. None without SLOs."""
    if not slos:
        return None
    good = met(frame, slos)
    return {
        "limits": [{"metric": slo.metric, "limit_ms": slo.limit_ms} for slo in slos],
        "good": int(np.count_nonzero(good)),
        "goodput_per_s": windows.per_second(good, window) if window else None,
        "attainment": float(np.count_nonzero(good) / len(frame)) if len(frame) else None,
        "not_applicable": int(np.count_nonzero(unjudged(frame, slos))),
    }
