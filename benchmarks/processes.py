"""Processes on CPUs of their own, and what they used."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
BUILD = HERE / "build"
PROGRAMS = ("truth_server", "receiver", "awake")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cpus:
    """Where the server and the client run. ``shared``: there is only one CPU, so they disturb each other."""

    server: int
    client: int

    @property
    def shared(self) -> bool:
        return self.server == self.client


@dataclass(frozen=True)
class CpuClock:
    """CPU time in s since the machine started: all, stolen by the host, spent in processes, spent in ours."""

    whole_s: float
    steal_s: float
    busy_s: float
    ours_s: float


@dataclass(frozen=True)
class Server:
    """A running truth server."""

    process: subprocess.Popen[str]
    port: int
    dump: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Finished:
    """A client that ended: CPU of it and its children in s; ``rss`` are (s since start, bytes of all its processes)."""

    stdout: str
    cpu_s: float
    wall_s: float
    rss: tuple[tuple[float, int], ...]


def build_programs() -> None:
    """Compile the C programs into ``build/``."""
    BUILD.mkdir(exist_ok=True)
    for name in PROGRAMS:
        source, program = HERE / f"{name}.c", BUILD / name
        subprocess.run(["cc", "-O2", "-Wall", "-o", program, source], check=True)


def pick_cpus() -> Cpus:
    """The first two CPUs that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cpus(allowed[0], allowed[1] if len(allowed) > 1 else allowed[0])


def _start(command: list[str], cpu: int, stdout: Any, stderr: Any = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        stdout=stdout,
        stderr=stderr,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {cpu}),  # noqa: PLW1509 (one thread here)
    )


@contextmanager
def serving(cpus: Cpus, ttft_ms: float = 50.0, gap_ms: float = 10.0) -> Iterator[Server]:
    """A truth server with this timeline; ``stop`` it inside to get its summary and dump."""
    with tempfile.TemporaryDirectory(prefix="truth-") as folder:
        dump = Path(folder) / "served.jsonl"
        flags = ["--ttft-us", str(round(ttft_ms * 1000)), "--gap-us", str(round(gap_ms * 1000)), "--dump", str(dump)]
        process = _start([str(BUILD / "truth_server"), *flags], cpus.server, subprocess.PIPE)
        try:
            assert process.stdout is not None
            yield Server(process, int(process.stdout.readline().split()[1]), dump)
        finally:
            process.kill()
            process.communicate()


@contextmanager
def awake(cpus: Cpus) -> Iterator[None]:
    """Keep the client's CPU from going idle, by a loop that runs only when nothing else wants to.

    A virtual CPU that halts is lent to other guests, who leave its caches cold: a client that sleeps well would pay for
    its neighbours at every wake-up, and a client that never comes to rest would not.
    """
    loop = subprocess.Popen(
        [BUILD / "awake"],
        preexec_fn=lambda: _yield_to_everybody(cpus.client),  # noqa: PLW1509 (one thread here)
    )
    try:
        yield
    finally:
        loop.kill()
        loop.wait()


def _yield_to_everybody(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def stop(server: Server) -> dict[str, float]:
    """End the server; what it says it served: requests, tokens, cut, ttft_mean_ms, gap_mean_ms, late_p50_us ..."""
    server.process.send_signal(signal.SIGTERM)
    output, _ = server.process.communicate(timeout=60)
    summary: dict[str, float] = json.loads(output)
    if summary["cut"]:
        print(f"  note: the server cut {summary['cut']} streams off whose client read too late", file=sys.stderr)
    return summary


def run_client(command: list[str], cpus: Cpus, rss_every_s: float | None = None) -> Finished:
    """Run a client to its end on its CPU. Raises RuntimeError with its last words if it fails."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        start_s = time.monotonic()
        process = _start(command, cpus.client, stdout, stderr)
        rss: list[tuple[float, int]] = []
        try:
            while rss_every_s and not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                rss.append((time.monotonic() - start_s, _tree_rss_bytes(process.pid)))
                time.sleep(rss_every_s)
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.monotonic() - start_s
        if process.returncode:
            stderr.seek(0)
            last_words = "\n".join(stderr.read().splitlines()[-5:])
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{last_words}")
        stdout.seek(0)
        return Finished(stdout.read(), used.ru_utime + used.ru_stime, wall_s, tuple(rss))


def _tree_rss_bytes(pid: int) -> int:
    """Resident bytes of a process and its descendants; 0 for one that has just ended."""
    try:
        own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return 0
    return own + sum(_tree_rss_bytes(int(child)) for child in children)


def cpu_clock() -> CpuClock:
    """The machine's CPU time so far."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, *_, steal = (tick / TICKS_PER_S for tick in ticks)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return CpuClock(
        sum(ticks) / TICKS_PER_S, steal, user + nice + system, sum(one.ru_utime + one.ru_stime for one in used)
    )


def disturbance(before: CpuClock, after: CpuClock) -> tuple[float, float]:
    """Shares of the machine's CPU time that its host and that other processes took in between."""
    whole_s = max(1e-9, after.whole_s - before.whole_s)
    others_s = (after.busy_s - before.busy_s) - (after.ours_s - before.ours_s)
    return (after.steal_s - before.steal_s) / whole_s, max(0.0, others_s) / whole_s


@contextmanager
def simulating(*words: object) -> Iterator[str]:
    """A simulator with these flags; its URL."""
    command = [str(Path(sys.executable).parent / "inferometer"), "simulate", "--port", "0", *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()
