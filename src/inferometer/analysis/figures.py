"""The figures behind a verdict: what the instrument did, as numbers. ``validity`` judges them.

A figure is None where it does not apply or nobody measured it. Shares are of 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from inferometer.analysis.attempts import retried_rows
from inferometer.analysis.frame import Floats, Frame, Texts
from inferometer.analysis.metrics import BY_NAME, connects, guessed_rows
from inferometer.analysis.window import Window, mean_in_flight
from inferometer.config.models import Closed, Load, Open, Users
from inferometer.records.record import WorkerStage

Figures = dict[str, float | None]
_MS_PER_NS = 1e-6


def figures(frame: Frame, workers: Sequence[WorkerStage], load: Load) -> Figures:
    """Every figure of one stage, from its measured requests and what its workers say of themselves."""
    sending = _schedule(frame, load) if isinstance(load, Open) else _concurrency(frame, load)
    processes = _processes(workers)
    missing = {"rows_missing": max(0.0, (processes.get("sent") or 0.0) - len(frame))}
    return {**_scale(frame), **sending, **_reads(frame), **processes, **missing, **_outcomes(frame), **_answers(frame)}


def _scale(frame: Frame) -> Figures:
    """What errors are measured against."""
    return {f"{name}_p50_ms": _quantile(BY_NAME[name].samples(frame).values, 0.5) for name in ("ttft", "tpot")}


def _schedule(frame: Frame, load: Open) -> Figures:
    """How late sends were. Opening a connection is the server's and the network's time: the lag counts from its end."""
    sent = frame.where(np.isfinite(frame.sent_ns))
    # a connection of the last try, or one that is part of the request, says nothing of when the first try was due
    apart = (sent.attempts > 1) | connects(sent)
    connected_ns = np.where(apart, np.nan, sent.connected_ns)
    lag_ms = (sent.first_try_ns - np.fmax(sent.scheduled_ns, connected_ns)) * _MS_PER_NS
    scheduled, achieved = _rate(sent.scheduled_ns), _rate(sent.first_try_ns)
    return {
        "schedule_lag_p50_ms": _quantile(lag_ms, 0.5),
        "schedule_lag_p99_ms": _quantile(lag_ms, 0.99),
        "schedule_lag_max_ms": _quantile(lag_ms, 1.0),
        "asked_rate_per_s": load.steady_rate,
        "scheduled_rate_per_s": scheduled,
        "sent_rate_per_s": achieved,
        "sent_of_scheduled_rate": achieved / scheduled if achieved and scheduled else None,
    }


def _concurrency(frame: Frame, load: Closed) -> Figures:
    """How full the loop was kept from the first time that it could be full to its last send; unknown of users."""
    if isinstance(load, Users):
        return {"mean_in_flight": None, "in_flight_of_asked": None}
    sent_ns = np.sort(frame.first_try_ns[np.isfinite(frame.first_try_ns)])
    full = len(sent_ns) > load.concurrency and sent_ns[-1] > sent_ns[load.concurrency - 1]
    if not full:
        return {"mean_in_flight": None, "in_flight_of_asked": None}
    average = mean_in_flight(frame, Window(float(sent_ns[load.concurrency - 1]), float(sent_ns[-1])))
    return {"mean_in_flight": average, "in_flight_of_asked": average / load.concurrency}


def _reads(frame: Frame) -> Figures:
    kernel = np.equal(frame.clock, "kernel")
    lag_ms = frame.read_lag_max_ns[kernel & frame.ok] * _MS_PER_NS
    reads = float(np.nansum(frame.reads))
    return {
        "kernel_stamps_share": _share(kernel[frame.ok]),
        "read_lag_p50_ms": _quantile(lag_ms, 0.5),
        "read_lag_p99_ms": _quantile(lag_ms, 0.99),
        "read_lag_max_ms": _quantile(lag_ms, 1.0),
        "merged_reads_share": float(np.nansum(frame.merged_reads)) / reads if reads else None,
        "new_connections_share": _share(np.isfinite(frame.connected_ns) & ~connects(frame)),
        "impossible_times": float(np.count_nonzero(frame.ok & (frame.first_token_ns < frame.sent_ns))),
    }


def _processes(workers: Sequence[WorkerStage]) -> Figures:
    """The worst worker of each figure, the sum of each count."""
    if not workers:
        return {"workers_reporting": 0.0}
    wall_ns = [max(w.ended_ns - w.started_ns, 1) for w in workers]
    cpu = [w.cpu_ns / wall for w, wall in zip(workers, wall_ns, strict=True) if w.sent] or [0.0]
    steal = [w.steal_ns / wall for w, wall in zip(workers, wall_ns, strict=True) if w.steal_ns is not None]
    waits = [(w.run_wait_ns, w.time_slices, w.cpu_ns) for w in workers if w.run_wait_ns is not None and w.time_slices]
    return {
        "workers_reporting": float(len(workers)),
        "sent": float(sum(w.sent for w in workers)),
        "client_cpu_share_mean": sum(cpu) / len(cpu),
        "client_cpu_share_max": max(cpu),
        "loop_lag_p50_ms": max(w.loop_lag_p50_ns for w in workers) * _MS_PER_NS,
        "loop_lag_p99_ms": max(w.loop_lag_p99_ns for w in workers) * _MS_PER_NS,
        "loop_lag_max_ms": max(w.loop_lag_max_ns for w in workers) * _MS_PER_NS,
        "standstill_share": max(w.loop_lag_max_ns / wall for w, wall in zip(workers, wall_ns, strict=True)),
        "steal_share": max(steal, default=None),
        "core_wait_mean_ms": max((wait / slices * _MS_PER_NS for wait, slices, _ in waits), default=None),
        "core_wait_share": max((wait / max(1, wait + cpu) for wait, _, cpu in waits), default=None),
        "retransmits": _most(w.retransmits for w in workers),
        "zero_windows": _most(w.zero_windows for w in workers),
        "files_share": _most(w.connections_max / w.files_limit if w.files_limit else None for w in workers),
        "ports_used_share": _most(w.ports_used_share for w in workers),
        "clock_steps": float(sum(w.clock_steps for w in workers)),
        "late_builds": float(sum(w.late_builds for w in workers)),
        "cap_hits": float(sum(w.cap_hits for w in workers)),
    }


def _most(values: Iterable[float | None]) -> float | None:
    return max((float(value) for value in values if value is not None), default=None)


def _outcomes(frame: Frame) -> Figures:
    aborted = np.equal(frame.outcome, "client_aborted")
    retried = retried_rows(frame)
    return {
        "requests": float(len(frame)),
        "ok": float(np.count_nonzero(frame.ok)),
        "connect_failures": float(np.count_nonzero(~frame.ok & ~aborted & ~np.isfinite(frame.sent_ns))),
        "failed_share": _share(~frame.ok[~aborted]),
        "aborted": float(np.count_nonzero(aborted)),
        "resent": float(np.count_nonzero((frame.attempts > 1) & ~retried)),
        "retried": float(np.count_nonzero(retried)),
    }


def _answers(frame: Frame) -> Figures:
    good = frame.where(frame.ok)
    cached, prompt = float(np.nansum(good.cached_tokens)), float(np.nansum(good.prompt_tokens))
    return {
        "prompt_length_error": _mean_error(good.asked_prompt_tokens, good.prompt_tokens),
        "output_length_error": _mean_error(good.asked_output_tokens, good.output_tokens),
        "cached_prompt_share": cached / prompt if prompt else None,
        "other_model_share": _share(_differs(good.model, good.model_answered)),
        "models_answering": float(len({name for name in good.model_answered if name is not None})),
        "spread_tokens_share": _share(guessed_rows(good)),
        "counted_events_share": _share(np.equal(good.output_tokens_source, "events")),
        "late_over_early_e2el": _drift(good),
    }


def _differs(asked: Texts, answered: Texts) -> np.typing.NDArray[np.bool_]:
    """Another model than asked for. A path before the name or a version behind it is the same model."""
    pairs = {(a, b) for a, b in zip(asked, answered, strict=True) if a is not None and b is not None}
    other = {pair for pair in pairs if not _same_model(*pair)}
    return np.array([pair in other for pair in zip(asked, answered, strict=True)], np.bool_)


def _same_model(asked: str, answered: str) -> bool:
    short, long = sorted((name.rstrip("/").rsplit("/", 1)[-1].lower() for name in (asked, answered)), key=len)
    return long.startswith(short)


def _drift(good: Frame) -> float | None:
    """Median E2EL of the last third of the requests / that of the first third; None below 30 requests."""
    latency_ns = (good.last_token_ns - good.start_ns)[np.argsort(good.start_ns, kind="stable")]
    third = len(latency_ns) // 3
    early = _quantile(latency_ns[:third], 0.5)
    late = _quantile(latency_ns[len(latency_ns) - third :], 0.5)
    return late / early if third >= 10 and early and late else None


def _mean_error(asked: Floats, got: Floats) -> float | None:
    """Mean of |got - asked| / asked."""
    error = np.abs(got - asked) / asked
    known = error[np.isfinite(error)]
    return float(known.mean()) if len(known) else None


def _rate(times_ns: Floats) -> float | None:
    """Starts per second: n starts have n - 1 gaps between them."""
    span_ns = float(np.ptp(times_ns)) if len(times_ns) else 0.0
    return (len(times_ns) - 1) / (span_ns * 1e-9) if span_ns else None


def _quantile(values: Floats, share: float) -> float | None:
    known = values[np.isfinite(values)]
    # "lower": below 100 samples a single outlier is the maximum, not the 99th percentile
    return float(np.quantile(known, share, method="lower")) if len(known) else None


def _share(flags: np.typing.NDArray[np.bool_]) -> float | None:
    return float(np.count_nonzero(flags) / len(flags)) if len(flags) else None
