"""The five measurements. Each takes a setting and returns a table and the checks on it."""

from __future__ import annotations

import json
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

import clients
import readings
from clients import Tools, Work
from inferometer.config.models import Phase
from inferometer.records.record import Clock, Outcome, Record
from processes import Cpus, Finished, awake, run_client, serving, stop


@dataclass(frozen=True)
class Setting:
    """What every scenario gets to know."""

    cpus: Cpus
    tools: Tools
    quick: bool

    @property
    def repeats(self) -> int:
        return 1 if self.quick else 3


@dataclass(frozen=True)
class Check:
    """One required line. ``needs_quiet``: a miss only warns where the host or other processes took CPU time."""

    text: str
    passed: bool
    needs_quiet: bool = False


@dataclass(frozen=True)
class Result:
    header: tuple[str, ...]
    rows: list[tuple[object, ...]]
    checks: list[Check]


def _with_peer(setting: Setting, *names: str) -> tuple[str, ...]:
    return (*names, "vllm-rs") if setting.tools.peer else names


# ---- a: the price of a token ----

START_UPS = 3


def _us_per_token(setting: Setting, name: str) -> tuple[float, float, float]:
    """Client CPU in us per token: all but the start-up, streaming only; and the server's median lateness in us."""
    streams, requests, tokens = 256, 256 * (4 if setting.quick else 8), 128
    with serving(setting.cpus, gap_ms=5.0) as server, ExitStack() as folders:

        def cpu_s(requests: int, tokens: int) -> float:
            folder = Path(folders.enter_context(tempfile.TemporaryDirectory()))
            work = Work(streams, requests, tokens, folder)
            done = run_client(clients.COMMANDS[name](setting.tools, server, work), setting.cpus)
            if name == "inferometer":
                reported = sum(one.output_tokens for one in readings.read_run(folder / "run"))
                _demand_tokens(f"{name} reports", reported, requests * tokens)
            return done.cpu_s

        # A start-up costs as much as 80,000 tokens and moves by a fifth of that: one reading of it would decide.
        start_up_s = median(cpu_s(1, 1) for _ in range(START_UPS))
        one_token_s, full_s = cpu_s(requests, 1), cpu_s(requests, tokens)
        served = stop(server)
    _demand_tokens(f"{name} was served", served["tokens"], START_UPS + requests + requests * tokens)
    all_us = 1e6 * (full_s - start_up_s) / (requests * tokens)
    return all_us, 1e6 * (full_s - one_token_s) / (requests * (tokens - 1)), served["late_p50_us"]


def _demand_tokens(who: str, tokens: float, expected: int) -> None:
    if tokens < expected:
        raise ValueError(f"{who} {tokens} output tokens where {expected} were asked for")


def cost(setting: Setting) -> Result:
    """(a) Client CPU per streamed token, 256 streams x 5 ms; ratios are taken within a repeat, then their median."""
    names = _with_peer(setting, "C receiver", "inferometer", "aiohttp client")
    with awake(setting.cpus):
        kept = [{name: _us_per_token(setting, name) for name in names} for _ in range(2 * setting.repeats - 1)]
    idling = [{name: _us_per_token(setting, name) for name in names} for _ in range(setting.repeats)]
    rows = [row for label, repeats in (("awake", kept), ("idling", idling)) for row in _cost_rows(label, repeats)]
    to_c, to_aiohttp = (_ratio(kept, "inferometer", of) for of in ("C receiver", "aiohttp client"))
    checks = [
        Check(f"everything included: {to_c:.2f} x the C receiver, at most 3", to_c <= 3),
        Check(f"everything included: {to_aiohttp:.2f} x the aiohttp client, at most 0.5", to_aiohttp <= 0.5),
    ]
    if setting.tools.peer:
        to_peer = _ratio(kept, "inferometer", "vllm-rs")
        checks.append(Check(f"everything included: {to_peer:.2f} x vllm-rs, at most 1", to_peer <= 1))
    header = ("CPU", "client", "us/token", "streaming only", "x C", "streaming x C", "x aiohttp", "server late p50 us")
    return Result(header, rows, checks)


def _cost_rows(label: str, repeats: list[dict[str, tuple[float, float, float]]]) -> Iterator[tuple[object, ...]]:
    for name in repeats[0]:
        all_us, stream_us, late_us = (median(repeat[name][column] for repeat in repeats) for column in range(3))
        relative = (_ratio(repeats, name, "C receiver", column) for column in (0, 1))
        to_aiohttp = _ratio(repeats, name, "aiohttp client")
        figures = (all_us, stream_us, *relative, to_aiohttp)
        yield (label, name, *(f"{figure:.2f}" for figure in figures), f"{late_us:.0f}")


def _ratio(repeats: list[dict[str, tuple[float, float, float]]], name: str, to: str, column: int = 0) -> float:
    return median(repeat[name][column] / repeat[to][column] for repeat in repeats)


# ---- b, c: is it true what is reported ----


@dataclass(frozen=True)
class Truth:
    """Means in ms and stamp errors in us (None where the client keeps no stamps) of one run."""

    ttft_ms: float
    itl_ms: float
    served_ttft_ms: float
    from_send_ttft_ms: float | None
    served_itl_ms: float
    errors_us: np.ndarray | None
    merged_reads: int | None

    @property
    def ttft_error_ms(self) -> float:
        return self.ttft_ms - self.served_ttft_ms

    @property
    def itl_error(self) -> float:
        return self.itl_ms / self.served_itl_ms - 1


def _measure(setting: Setting, name: str, streams: int, requests: int) -> Truth:
    """Run one client against TTFT 50 ms, gap 10 ms, 64 tokens, and compare."""
    with serving(setting.cpus) as server, tempfile.TemporaryDirectory() as folder:
        work = Work(streams, requests, 64, Path(folder))
        done = run_client(clients.COMMANDS[name](setting.tools, server, work), setting.cpus)
        stop(server)
        served = readings.read_served(server.dump)
        if name.startswith("inferometer"):
            return _of_product(readings.pair(readings.read_run(Path(folder) / "run"), served))
        return _of_other(name, work, done, [one for _, one in served])


def _of_product(pairs: list[tuple[readings.Reported, readings.Served]]) -> Truth:
    return Truth(
        ttft_ms=float(np.mean([one.first_token_ns - one.sent_ns for one, _ in pairs])) / 1e6,
        itl_ms=readings.mean_gap_ms([one.event_ns for one, _ in pairs]),
        served_ttft_ms=_served_ttft_ms([truth for _, truth in pairs]),
        from_send_ttft_ms=float(np.mean([truth.written_ns[0] - one.sent_ns for one, truth in pairs])) / 1e6,
        served_itl_ms=readings.mean_gap_ms([truth.written_ns for _, truth in pairs]),
        errors_us=readings.stamp_errors_us(pairs),
        merged_reads=sum(one.merged_reads for one, _ in pairs),
    )


def _of_other(name: str, work: Work, done: Finished, served: list[readings.Served]) -> Truth:
    if name == "vllm-rs":
        ttft_ms, itl_ms = clients.peer_means_ms(work)
    else:
        result = json.loads(done.stdout)
        ttft_ms, itl_ms = result["ttft_mean_ms"], result["itl_mean_ms"]
    served_itl_ms = readings.mean_gap_ms([one.written_ns for one in served])
    return Truth(ttft_ms, itl_ms, _served_ttft_ms(served), None, served_itl_ms, None, None)


def _served_ttft_ms(served: list[readings.Served]) -> float:
    return float(np.mean([one.written_ns[0] - one.arrival_ns for one in served])) / 1e6


def stamps(setting: Setting) -> Result:
    """(b) |reported - written| of every event, closed loops of 100 and 500 streams."""
    rows: list[tuple[object, ...]] = []
    checks = []
    for streams in (100, 500):
        for name in _with_peer(setting, "inferometer", "inferometer, userland stamps"):
            truth = _measure(setting, name, streams, streams * (1 if setting.quick else 3))
            error = ("-", "-", "-") if truth.errors_us is None else _error_columns(truth.errors_us)
            means = (f"{truth.ttft_error_ms:+.2f}", f"{100 * truth.itl_error:+.2f} %")
            rows.append((streams, name, *error, *means, "-" if truth.merged_reads is None else truth.merged_reads))
            if name == "inferometer" and truth.errors_us is not None:
                middle_us = float(np.median(np.abs(truth.errors_us)))
                checks.append(Check(f"{streams} streams: median error {middle_us:.1f} us, at most 15", middle_us <= 15))
    header = ("streams", "client", "p50 us", "p99 us", "max us", "TTFT error ms", "ITL error", "merged reads")
    return Result(header, rows, checks)


def _error_columns(errors_us: np.ndarray) -> tuple[str, str, str]:
    middle, tail, worst = np.percentile(np.abs(errors_us), [50, 99, 100])
    return f"{middle:.1f}", f"{tail:.1f}", f"{worst:.0f}"


def burst(setting: Setting) -> Result:
    """(c) 500 streams that start at once: mean TTFT and ITL as reported and as served."""
    rows: list[tuple[object, ...]] = []
    checks = []
    names = _with_peer(setting, "inferometer", "inferometer, userland stamps", "aiohttp client")
    for name in names * setting.repeats:
        truth = _measure(setting, name, 500, 500)
        from_send = "-" if truth.from_send_ttft_ms is None else f"{truth.from_send_ttft_ms:.2f}"
        ttft = (f"{truth.ttft_ms:.2f}", f"{truth.served_ttft_ms:.2f}", from_send)
        rows.append((name, *ttft, f"{truth.itl_ms:.4f}", f"{truth.served_itl_ms:.4f}"))
        if name == "inferometer":
            error = f"TTFT {truth.ttft_error_ms:+.2f} ms, at most 10; ITL {100 * truth.itl_error:+.3f} %, at most 2"
            checks.append(Check(error, abs(truth.ttft_error_ms) <= 10 and abs(truth.itl_error) <= 0.02))
    header = ("client", "TTFT reported ms", "served", "first write - send", "ITL reported ms", "served")
    return Result(header, rows, checks)


# ---- d: does it send on time ----


def schedule(setting: Setting) -> Result:
    """(d) Open loop of 500 requests/s x 16 tokens: how late the sends are."""
    rows: list[tuple[object, ...]] = []
    checks = []
    load = ["--request-rate", "500", "--duration", "4" if setting.quick else "10"]
    for _ in range(setting.repeats):
        with serving(setting.cpus, gap_ms=5.0) as server, tempfile.TemporaryDirectory() as folder:
            run_client([*clients.product_base(setting.tools, server, 16, Path(folder)), *load], setting.cpus)
            reported = readings.read_run(Path(folder) / "run")
        lag_ms = np.array([one.sent_ns - one.scheduled_ns for one in reported]) / 1e6
        middle, tail, worst = np.percentile(lag_ms, [50, 99, 100])
        rows.append((len(reported), f"{middle:.3f}", f"{tail:.3f}", f"{worst:.3f}"))
        checks.append(Check(f"p99 {tail:.3f} ms late, at most 1", bool(tail <= 1), needs_quiet=True))
    return Result(("requests", "lag p50 ms", "p99 ms", "max ms"), rows, checks)


# ---- e: does it grow ----


def record_bytes_per_token(records: int = 500, tokens: int = 128) -> float:
    """Heap bytes per output token of records that wait to be written."""

    def one(index: int) -> Record:
        return Record(
            stage=0, worker=0, index=index, phase=Phase.MEASURED, outcome=Outcome.OK, clock=Clock.KERNEL,
            scheduled_ns=10**10 + index, sent_ns=10**10 + index, first_byte_ns=10**10 + index, end_ns=10**11 + index,
            first_token_ns=10**10 + index, last_token_ns=10**11 + index, event_ns=np.arange(tokens, dtype=np.int64),
        )  # fmt: skip

    tracemalloc.start()
    kept = [one(index) for index in range(records)]
    used_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used_bytes / (len(kept) * tokens)


def memory(setting: Setting) -> Result:
    """(e) Resident memory of the client over a steady run, first third against last, and the size of a record."""
    seconds, skip_s = (10, 3.0) if setting.quick else (30, 5.0)
    load = ["--max-concurrency", "256", "--duration", str(seconds)]
    with serving(setting.cpus, gap_ms=5.0) as server, tempfile.TemporaryDirectory() as folder:
        command = [*clients.product_base(setting.tools, server, 128, Path(folder)), *load]
        done = run_client(command, setting.cpus, rss_every_s=0.1)
        tokens = sum(one.output_tokens for one in readings.read_run(Path(folder) / "run"))
    running = tuple(sample for sample in done.rss if sample[0] <= seconds)
    first, last = readings.third_medians(running, skip_s)
    between_tokens = tokens / seconds * (seconds - skip_s) * 2 / 3
    kept = (last - first) / between_tokens
    sizes = (f"{size / 2**20:.1f}" for size in (first, last, max(size for _, size in done.rss)))
    row = (tokens, *sizes, f"{kept:.2f}", f"{record_bytes_per_token():.1f}")
    header = ("tokens", "first third MiB", "last third MiB", "highest MiB", "growth bytes/token", "record bytes/token")
    # a stamp is 8 bytes: half of that says that finished requests are not kept, and leaves room for the allocator
    return Result(header, [row], [Check(f"growth {kept:.2f} bytes per token, at most 4", kept <= 4)])


SCENARIOS: dict[str, Callable[[Setting], Result]] = {"a": cost, "b": stamps, "c": burst, "d": schedule, "e": memory}
