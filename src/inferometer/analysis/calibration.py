"""How far this machine can be trusted: stamps against the moments of writing, and the search for the highest load.

Pure. ``runner/calibration.py`` plays the steps, ``telemetry/calibrated.py`` keeps the result for later runs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np

from inferometer.analysis.frame import Floats, Frame, Ints
from inferometer.analysis.validity import CPU_SHARE, ERROR_SHARE, FLOOR_MS, Verdict

What = Literal["tokens", "requests"]

#: A load that did not hold is played again before that is believed: a hiccup of the machine is no limit of the
#: client's. Tries during which other processes kept this much of a core busy are believed only if there are twice as
#: many.
TRIES = 2
QUIET_CORES = 0.1
#: Whose limit a load can be beyond; the first one is believed where the tries were divided.
BLAMED = ("simulator", "client")
#: Loads below this are not looked for.
LEAST_LOAD = 4
#: The simulator keeps up as long as it writes a token before the next one is due, and has a little of its core left.
SIMULATOR_CPU_SHARE = 0.98


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What a calibration holds for. ``cpus`` are those that the process may use."""

    cpu: str
    cpus: int
    kernel: str
    python: str
    inferometer: str

    @property
    def key(self) -> str:
        """One line that names it."""
        return f"{self.cpu}, {self.cpus} CPUs, {self.kernel}, Python {self.python}, inferometer {self.inferometer}"


class Served(msgspec.Struct, frozen=True):
    """One request as the simulator logged it: when each event was due and written, in ns of the monotonic clock."""

    request_id: str
    due_ns: list[int]
    written_ns: list[int]


class Spread(msgspec.Struct, frozen=True):
    """Quantiles of ``count`` errors, in us."""

    p50_us: float
    p95_us: float
    p99_us: float
    max_us: float
    count: int


class Errors(msgspec.Struct, frozen=True):
    """One short open loop with one kind of stamps: |stamp - moment of writing| of events, sent - scheduled of sends."""

    clock: str
    requests_per_s: float
    tokens_per_s: float
    stamp: Spread
    send: Spread


class Exceeded(msgspec.Struct, frozen=True):
    """What was beyond its limit in a step, and whose limit that is. Units as in ``validity.Finding``."""

    by: Literal["client", "simulator"]
    name: str
    figure: float | None
    limit: float | None
    unit: str


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One load that was played. ``load`` is the number of streams (tokens) or the rate asked per s (requests)."""

    load: int
    workers: int
    requests_per_s: float
    tokens_per_s: float
    cpu_share: float
    schedule_lag_p99_ms: float | None
    read_lag_p50_ms: float | None
    stamp_error: Spread
    simulator_late_p99_ms: float
    simulator_cpu_share: float | None
    others_cores: float | None
    exceeded: Exceeded | None

    @property
    def held(self) -> bool:
        """Nothing was beyond its limit."""
        return self.exceeded is None

    @property
    def weight(self) -> float:
        """How much a failure counts: 1, and half of it if others were at work."""
        return 0.5 if (self.others_cores or 0.0) > QUIET_CORES else 1.0


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """What the search for the highest load with ``workers`` processes has found.

    ``per_s`` is the rate (of tokens or requests) of ``highest``, the highest load that held; None if none did.
    ``next`` is the lowest load that did not hold. ``ended_by`` says whose limit lies between the two; ``time`` if all
    loads held until the time was over. ``by_cpu_per_s`` is what CPU time alone would allow, an estimate: the rate x
    0.9 / CPU share of the busiest worker.
    """

    what: What
    workers: int
    per_s: float | None
    by_cpu_per_s: float | None
    ended_by: Literal["client", "simulator", "time"]
    highest: Step | None
    next: Step | None


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The whole result. ``others_cores``: cores that other processes kept busy meanwhile, None where not told."""

    schema_version: Literal[1] = 1
    machine: Machine
    measured: str
    took_s: float
    quick: bool
    others_cores: float | None
    steal_cores: float | None
    errors: tuple[Errors, ...]
    limits: tuple[Limit, ...]


# --- stamps ----------------------------------------------------------------------------------------------------------


def stamp_errors_us(frame: Frame, index: Ints, served: Mapping[str, Served], epoch_ns: int) -> Floats:
    """Stamp minus moment of writing of every token event of the requests that succeeded at once, in us.

    Args:
        frame: measured requests of stage 0; times since ``epoch_ns``.
        index: number of each request, shape (requests,).
        served: what the simulator wrote, by request id.
        epoch_ns: the run's epoch on the monotonic clock.

    Raises:
        ValueError: a request was not served, or has not one event per write: the two cannot be compared.
    """
    chosen = frame.ok & (frame.attempts == 1)
    good = frame.where(chosen)
    ids = [f"inferometer-0-{number}" for number in index[chosen]]
    missing = [one for one in ids if one not in served]
    if missing:
        raise ValueError(f"{len(missing)} requests are not in the simulator's log, the first: {missing[0]}")
    written = [served[one].written_ns for one in ids]
    if [len(one) for one in written] != good.event_counts.tolist():
        raise ValueError("some requests have not as many token events as the simulator wrote")
    written_ns = np.fromiter((moment for one in written for moment in one), np.int64, len(good.event_ns))
    return (good.event_ns + epoch_ns - written_ns) / 1e3


def send_errors_us(frame: Frame) -> Floats:
    """How late each request was sent, in us; opening a connection is not the schedule's doing."""
    sent = frame.where(np.isfinite(frame.sent_ns))
    return (sent.sent_ns - np.fmax(sent.scheduled_ns, sent.connected_ns)) / 1e3


def spread(errors_us: Floats) -> Spread:
    """Quantiles of absolute errors; zeros where there are none."""
    p50, p95, p99, most = np.percentile(np.abs(errors_us), [50, 95, 99, 100]) if len(errors_us) else np.zeros(4)
    return Spread(float(p50), float(p95), float(p99), float(most), len(errors_us))


def arrival_rates(frame: Frame) -> tuple[float, float]:
    """Requests and output tokens of an open loop, per s between its first and its last arrival; 0 below two."""
    span_s = float(np.ptp(frame.scheduled_ns)) / 1e9 if len(frame) else 0.0
    if not span_s:
        return 0.0, 0.0
    return float(np.count_nonzero(frame.ok)) / span_s, float(np.nansum(frame.output_tokens[frame.ok])) / span_s


def late_p99_ms(served: Mapping[str, Served]) -> float:
    """How late the simulator wrote, 99th percentile over all events, in ms; 0 if it wrote nothing."""
    late_ns = [
        written - due for one in served.values() for due, written in zip(one.due_ns, one.written_ns, strict=True)
    ]
    return float(np.percentile(late_ns, 99)) / 1e6 if late_ns else 0.0


# --- one step --------------------------------------------------------------------------------------------------------


def exceeded(verdict: Verdict, step: Step, ttft_ms: float, gap_ms: float) -> Exceeded | None:
    """The first thing beyond its limit, the simulator's before the client's: a late server makes clients look bad."""
    return next((one for one in _checks(verdict, step, ttft_ms, gap_ms) if one is not None), None)


def _checks(verdict: Verdict, step: Step, ttft_ms: float, gap_ms: float) -> Iterator[Exceeded | None]:
    error_ms = max(FLOOR_MS, ERROR_SHARE * ttft_ms)
    yield _above("simulator", "lateness p99", step.simulator_late_p99_ms, gap_ms, "ms")
    yield _above("simulator", "CPU", step.simulator_cpu_share, SIMULATOR_CPU_SHARE, "share")
    if verdict.verdict != "VALID":
        worst = verdict.findings[0]
        yield Exceeded("client", worst.name, worst.figure, worst.limit, worst.unit)
    yield _above("client", "schedule lag p99", step.schedule_lag_p99_ms, error_ms, "ms")
    # As with merged reads, which are where large errors come from, one in twenty may be beyond.
    yield _above("client", "stamp error p95", step.stamp_error.p95_us / 1e3, error_ms, "ms")
    # Beyond the gap, tokens of one stream come to share a read and a stamp.
    yield _above("client", "read lag p50", step.read_lag_p50_ms, gap_ms, "ms")
    yield _above("client", "CPU", step.cpu_share, CPU_SHARE, "share")


def _above(
    by: Literal["client", "simulator"], name: str, figure: float | None, limit: float, unit: str
) -> Exceeded | None:
    return Exceeded(by, name, figure, limit, unit) if figure is not None and figure > limit else None


# --- the search ------------------------------------------------------------------------------------------------------


def next_load(steps: Sequence[Step], first: int, ratio: float) -> int | None:
    """The load to play next: doubled until one does not hold, then halved (in proportion) down to ``ratio``.

    A load that did not hold is played again before that is believed. None: nothing is left to try.
    """
    if not steps:
        return first
    last = steps[-1]
    low, high = _bracket(steps)
    if not last.held and (high is None or last.load < high):
        return last.load
    if low is None:
        return high // 2 if high is not None and high // 2 >= LEAST_LOAD else None
    if high is None:
        return 2 * low
    between = round(math.sqrt(low * high))
    return between if high / low > ratio and low < between < high else None


def _bracket(steps: Sequence[Step]) -> tuple[int | None, int | None]:
    """The highest load that held and the lowest that did not in any of its tries, if they were enough to believe it."""
    held = {step.load for step in steps if step.held}
    tries = {step.load: sum(one.weight for one in steps if one.load == step.load) for step in steps}
    failed = {load for load, weight in tries.items() if load not in held and weight >= TRIES}
    return max(held, default=None), min(failed, default=None)


def limit_of(what: What, workers: int, steps: Sequence[Step]) -> Limit:
    """What a search has found, however far it came."""
    low, high = _bracket(steps)
    highest = next((step for step in reversed(steps) if step.load == low and step.held), None)
    beyond = _typical([step for step in steps if step.load == high])
    per_s = None if highest is None else _per_s(highest, what)
    by_cpu_per_s = per_s * CPU_SHARE / highest.cpu_share if highest and per_s and highest.cpu_share else None
    return Limit(
        what=what,
        workers=workers,
        per_s=per_s,
        by_cpu_per_s=by_cpu_per_s,
        ended_by=beyond.exceeded.by if beyond and beyond.exceeded else "time",
        highest=highest,
        next=beyond,
    )


def _typical(tries: Sequence[Step]) -> Step | None:
    """The last try that ended as most did, by their weight; where both are as many, the simulator's: it claims less."""
    weights = {by: sum(step.weight for step in tries if step.exceeded and step.exceeded.by == by) for by in BLAMED}
    by = max(BLAMED, key=lambda one: weights[one])
    return next((step for step in reversed(tries) if step.exceeded and step.exceeded.by == by), None)


# --- later runs ------------------------------------------------------------------------------------------------------


def share_of_calibrated(
    calibration: Calibration, workers: int, requests_per_s: float, tokens_per_s: float
) -> dict[str, float | None]:
    """The load of a run against the loads that this machine was calibrated for; 1 is the highest load that held.

    Requests and tokens take time of the same core, so a share is linear in both; the two loads that the calibration
    ended with have a share of 1 each, and that decides the two coefficients.

    Returns:
        ``calibrated_load_share``: of the loads that were seen to hold; ``calibrated_load_share_by_cpu``: of those
        that CPU time alone would allow. None where no load held.
    """
    held = {what: _highest(calibration, what, workers) for what in ("tokens", "requests")}
    if any(step is None for step, _ in held.values()):
        return {"calibrated_load_share": None, "calibrated_load_share_by_cpu": None}
    run = (requests_per_s, tokens_per_s)
    corners = [(step.requests_per_s * times, step.tokens_per_s * times) for step, times in held.values() if step]
    by_cpu = [CPU_SHARE / max(step.cpu_share, 1e-9) for step, _ in held.values() if step]
    larger = [(corner[0] * more, corner[1] * more) for corner, more in zip(corners, by_cpu, strict=True)]
    return {
        "calibrated_load_share": _share(run, corners[0], corners[1]),
        "calibrated_load_share_by_cpu": _share(run, larger[0], larger[1]),
    }


def _highest(calibration: Calibration, what: str, workers: int) -> tuple[Step | None, float]:
    """The step that held with so many workers, and how many times its load they may have.

    Between one worker and all, each adds what the first can do, up to what all together could.
    """
    limits = {limit.workers: limit.highest for limit in calibration.limits if limit.what == what and limit.highest}
    if not limits:
        return None, 1.0
    one, every = limits[min(limits)], limits[max(limits)]
    if workers >= max(limits):
        return every, 1.0
    times = min(workers / min(limits), _per_s(every, what) / max(_per_s(one, what), 1e-9))
    return one, max(1.0, times)


def _per_s(step: Step, what: str) -> float:
    return float(getattr(step, f"{what}_per_s"))


def _share(run: tuple[float, float], tokens: tuple[float, float], requests: tuple[float, float]) -> float:
    """``run`` = (requests/s, tokens/s) on the plane that is 1 at both corners; the larger part where there is none."""
    (r1, t1), (r2, t2) = tokens, requests
    area = r1 * t2 - r2 * t1
    per_request, per_token = (t2 - t1, r1 - r2) if area else (0.0, 0.0)
    if area < 0 and per_request <= 0 and per_token <= 0:
        return (per_request * run[0] + per_token * run[1]) / area
    return max(run[0] / max(r2, 1e-9), run[1] / max(t1, 1e-9))
