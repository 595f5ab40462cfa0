"""Plays the steps of a calibration: the product's whole path against the exact simulator in another process."""

from __future__ import annotations

import contextlib
import json
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from inferometer.analysis import calibration as pure
from inferometer.analysis.calibration import Calibration, Errors, Limit, Served, Step, What
from inferometer.analysis.frame import Floats, Frame, from_table, stage_of
from inferometer.analysis.validity import Verdict, judge
from inferometer.analysis.window import steady_window, throughput
from inferometer.client.connection import KERNEL_STAMPS
from inferometer.config import models
from inferometer.config.models import ClosedLoop, Lengths, OpenLoop, Plan, Stage
from inferometer.engine.launch import serving
from inferometer.errors import UserError
from inferometer.records import store
from inferometer.runner.conduct import conduct
from inferometer.telemetry.calibrated import cpu_time, elapsed, this_machine

Stamps = Literal["auto", "kernel", "userland"]

#: The timeline that is played: 20 ms to the first token, then one each 5 ms. For such a TTFT, or a shorter one, the
#: verdict allows the client an error of 1 ms, its strictest limit: loads that hold here hold against slower servers.
TTFT_MS = 20.0
GAP_MS = 5.0
INPUT_TOKENS = 32
#: Output tokens of an answer, by what a search is about; and in the runs that compare stamps.
OUTPUT_TOKENS: dict[What, int] = {"tokens": 64, "requests": 4}
STAMPS_OUTPUT_TOKENS = 32
STAMPS_RATE_PER_S = 400
#: Streams, or requests per s, with which a search begins.
FIRST_LOAD: dict[What, int] = {"tokens": 128, "requests": 1000}
#: No request of a step that is far too much is waited for longer.
TOTAL_TIMEOUT_S = 4.0

Say = Callable[[str], object]


class Pace(NamedTuple):
    """How long stamps are compared, loads of either kind are held, and all may last; what ratio ends a search.

    A p99 of sends has one sample a request, so rates are held longer than streams, which have one stamp a token.
    """

    stamps_s: float
    load_s: dict[What, float]
    budget_s: float
    ratio: float


FULL = Pace(stamps_s=2.0, load_s={"tokens": 1.0, "requests": 1.5}, budget_s=46.0, ratio=1.12)
QUICK = Pace(stamps_s=0.8, load_s={"tokens": 0.5, "requests": 0.5}, budget_s=13.0, ratio=1.5)


class Bench(NamedTuple):
    """A running simulator, the file in which it says what it served, and a folder for run directories."""

    base_url: str
    pid: int
    log: Path
    folder: Path


class Search(NamedTuple):
    """What is looked for, with how many workers, and the load to begin with."""

    what: What
    workers: int
    first: int


class Load(NamedTuple):
    """One run: a stage, and what the plan says around it."""

    stage: Stage
    output_tokens: int
    workers: int = 1
    stamps: Stamps = "auto"


class Played(NamedTuple):
    """One load as the client and as the simulator saw it. ``errors_us`` are those of the stamps."""

    frame: Frame
    verdict: Verdict
    requests_per_s: float
    tokens_per_s: float
    errors_us: Floats
    served: dict[str, Served]
    simulator_cpu_share: float | None
    others_cores: float | None


def calibrate(pace: Pace, say: Say) -> Calibration:
    """Measure the errors and the highest loads of this machine; ``say`` gets a line of progress for each step.

    Raises:
        UserError: the simulator cannot be started, or every worker died.
        KeyboardInterrupt: a step was interrupted.
    """
    machine, before, start_s = this_machine(), cpu_time(), time.monotonic()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each stream is an open file of the simulator, too
    with tempfile.TemporaryDirectory(prefix="inferometer-") as folder, simulating(Path(folder)) as bench:
        clocks: tuple[Stamps, ...] = ("kernel", "userland") if KERNEL_STAMPS else ("userland",)
        errors = tuple(_errors(bench, clock, pace.stamps_s, say) for clock in clocks)
        limits = tuple(_limits(bench, machine.cpus, pace, start_s + pace.budget_s, say))
    took_s = time.monotonic() - start_s
    passed = elapsed(before, cpu_time())
    return Calibration(
        machine=machine,
        measured=datetime.now(UTC).isoformat(timespec="seconds"),
        took_s=took_s,
        quick=pace == QUICK,
        others_cores=None if passed is None else passed.others_s / took_s,
        steal_cores=None if passed is None else passed.stolen_s / took_s,
        errors=errors,
        limits=limits,
    )


# --- what is asked ---------------------------------------------------------------------------------------------------


def _errors(bench: Bench, clock: Stamps, duration_s: float, say: Say) -> Errors:
    """A short open loop with one kind of stamps."""
    stage = Stage(load=OpenLoop(rate=STAMPS_RATE_PER_S), duration_s=duration_s)
    played = _play(bench, Load(stage, STAMPS_OUTPUT_TOKENS, stamps=clock))
    stamp, send = pure.spread(played.errors_us), pure.spread(pure.send_errors_us(played.frame))
    say(f"{clock} stamps: error {stamp.p50_us:.1f} us at the median, {stamp.p99_us:.1f} us at p99")
    return Errors(clock, played.requests_per_s, played.tokens_per_s, stamp, send)


def _limits(bench: Bench, cpus: int, pace: Pace, deadline_s: float, say: Say) -> Iterator[Limit]:
    """The highest loads with one worker, then with as many as leave a core to the simulator, if those are more."""
    kinds: tuple[What, ...] = ("tokens", "requests")
    searches = [(what, workers) for workers in sorted({1, max(1, cpus - 1)}) for what in kinds]
    first = dict(FIRST_LOAD)
    for number, (what, workers) in enumerate(searches):
        left_s = max(0.0, deadline_s - time.monotonic()) / (len(searches) - number)
        steps = _search(bench, Search(what, workers, first[what]), pace._replace(budget_s=left_s), say)
        limit = pure.limit_of(what, workers, steps)
        first[what] = limit.highest.load if limit.highest else first[what]
        yield limit


def _search(bench: Bench, search: Search, pace: Pace, say: Say) -> list[Step]:
    """Play loads until the limit is narrow enough, or the next step would not end in time."""
    steps: list[Step] = []
    start_s, longest_s = time.monotonic(), 0.0
    while (load := pure.next_load(steps, search.first, pace.ratio)) is not None:
        begun_s = time.monotonic()
        if steps and begun_s + longest_s > start_s + pace.budget_s:
            break
        steps.append(_step(bench, search, load, pace.load_s[search.what]))
        longest_s = max(longest_s, time.monotonic() - begun_s)
        say(_progress(search.what, steps[-1]))
    return steps


def _progress(what: What, step: Step) -> str:
    asked = f"{step.load} streams" if what == "tokens" else f"{step.load} req/s"
    rate = f"{step.tokens_per_s:.0f} tok/s" if what == "tokens" else f"{step.requests_per_s:.0f} req/s"
    end = "holds" if step.exceeded is None else f"{step.exceeded.by}: {step.exceeded.name}"
    return f"{step.workers} worker{'s'[: step.workers > 1]}, {asked}: {rate}, CPU {100 * step.cpu_share:.0f} %, {end}"


def _step(bench: Bench, search: Search, load: int, duration_s: float) -> Step:
    shape = ClosedLoop(concurrency=load) if search.what == "tokens" else OpenLoop(rate=load)
    stage = Stage(load=shape, duration_s=duration_s)
    played = _play(bench, Load(stage, OUTPUT_TOKENS[search.what], search.workers))
    figures = played.verdict.figures
    step = Step(
        load=load,
        workers=search.workers,
        requests_per_s=played.requests_per_s,
        tokens_per_s=played.tokens_per_s,
        cpu_share=figures.get("client_cpu_share_max") or 0.0,
        schedule_lag_p99_ms=figures.get("schedule_lag_p99_ms"),
        read_lag_p50_ms=figures.get("read_lag_p50_ms"),
        stamp_error=pure.spread(played.errors_us),
        simulator_late_p99_ms=pure.late_p99_ms(played.served),
        simulator_cpu_share=played.simulator_cpu_share,
        others_cores=played.others_cores,
        exceeded=None,
    )
    return msgspec.structs.replace(step, exceeded=pure.exceeded(played.verdict, step, TTFT_MS, GAP_MS))


# --- how it is played ------------------------------------------------------------------------------------------------


def _play(bench: Bench, load: Load) -> Played:
    """One run of the product in a run directory of its own.

    Raises:
        KeyboardInterrupt: it was interrupted.
        UserError: every worker died, or the simulator's log is not about the same requests.
    """
    directory = Path(tempfile.mkdtemp(dir=bench.folder))
    plan = _plan(bench.base_url, load)
    bench.log.write_bytes(b"")  # the simulator appends
    before, start_s = cpu_time(bench.pid), time.monotonic()
    outcome = conduct(plan, directory, lambda _: None, lambda _: None)
    passed, took_s = elapsed(before, cpu_time(bench.pid)), time.monotonic() - start_s
    if outcome.interrupted:
        raise KeyboardInterrupt
    table = store.read(directory)
    frame = stage_of(from_table(table), 0, open_loop=isinstance(load.stage.load, OpenLoop))
    served = _served(bench.log)
    epoch_ns = json.loads((directory / store.CONTEXT).read_text())["epoch_monotonic_ns"]
    try:
        errors_us = pure.stamp_errors_us(frame, table["index"].to_numpy(), served, epoch_ns)
    except ValueError as error:
        raise UserError(f"client and simulator do not tell the same story: {error}; repeat it", 3) from None
    requests_per_s, tokens_per_s = _rates(frame, load.stage)
    wall_s = max((worker.ended_ns - worker.started_ns for worker in outcome.workers), default=0) / 1e9
    missing = {"workers_missing": float(plan.workers - len(outcome.workers))}
    return Played(
        frame=frame,
        verdict=judge(frame, outcome.workers, load.stage, known=missing),
        requests_per_s=requests_per_s,
        tokens_per_s=tokens_per_s,
        errors_us=errors_us,
        served=served,
        simulator_cpu_share=passed.child_s / wall_s if passed and wall_s else None,
        others_cores=passed.others_s / took_s if passed else None,
    )


def _rates(frame: Frame, stage: Stage) -> tuple[float, float]:
    """Requests and tokens per s: of the arrivals, or of a closed loop while it was full."""
    if not isinstance(stage.load, ClosedLoop):
        return pure.arrival_rates(frame)
    window = steady_window(frame, stage.load)
    rates = throughput(frame, window) if window else {}
    return rates.get("requests_per_s", 0.0), rates.get("output_tokens_per_s", 0.0)


def _plan(base_url: str, load: Load) -> Plan:
    workload = models.RandomWorkload(
        input_tokens=Lengths(mean=INPUT_TOKENS), output_tokens=Lengths(mean=load.output_tokens), ignore_eos=True
    )
    return Plan(
        target=models.Target(base_url=base_url, timeouts=models.Timeouts(total_s=TOTAL_TIMEOUT_S)),
        scenario=models.Scenario(name="calibrate", workload=workload, stages=(load.stage,)),
        workers=load.workers,
        stamps=load.stamps,
    )


def _served(log: Path) -> dict[str, Served]:
    rows = msgspec.json.Decoder(Served).decode_lines(log.read_bytes())
    return {one.request_id: one for one in rows if one.request_id.startswith("inferometer-")}


@contextlib.contextmanager
def simulating(folder: Path) -> Iterator[Bench]:
    """An exact simulator in a process of its own, until the block ends. Raises ``UserError`` if it does not start."""
    log = folder / "served.jsonl"
    timeline = ["--exact", "--ttft-ms", f"{TTFT_MS:g}", "--itl-ms", f"{GAP_MS:g}", "--log-served", str(log)]
    with serving("inferometer.simulator", timeline, folder / "simulator.log") as child:
        yield Bench(child.base_url, child.pid, log, folder)
