"""Ctrl-C, SIGTERM, workers that are killed, a client that is stopped: what was measured is kept, and the run ends."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.support import COMMAND, environment, simulating
from faults.playing import HANGS_S, QUICK, Played, ended, words
from faults.rows import Row, check
from inferometer.client.counters import Board

DRAINS = Row(
    "Ctrl-C or SIGTERM; answers end within `--drain`",
    "`Successful requests:`, `The run was interrupted: later requests and stages were not sent.`",
    {"ok": None},
    130,
    also="what ran was let end",
)
CUTS = Row(
    "Ctrl-C or SIGTERM; answers take longer than `--drain 1`",
    "`client_aborted: 4`, `first: interrupted`, `The run was interrupted`",
    {"ok": 4, "client_aborted": 4},
    130,
    also="with the tokens that came",
)
TWICE = Row(
    "a second Ctrl-C or SIGTERM",
    "`client_aborted: 4`, `The run was interrupted`; at once",
    {"client_aborted": 4},
    130,
    also="with the tokens that came",
)
TOO_SOON = Row("Ctrl-C or SIGTERM before the load", "`inferometer: interrupted`", {}, 130)
ONE_WORKER = Row(
    "one of two workers is killed",
    "`died (signal SIGKILL); the rows that it had written are kept`, `INVALID`, `workers missing`",
    {"ok": None},
    3,
    also="those of the other worker, and of the dead one what was on disk",
)
ALL_WORKERS = Row(
    "every worker is killed",
    "`every worker process died:`, `signal SIGKILL`",
    {"ok": None},
    3,
    also="what was on disk, for `inferometer report`",
)
STOPPED = Row(
    "the client is stopped for 3 s (SIGSTOP), in an open loop",
    "`CLIENT-LIMITED`, `schedule lag p99`",
    {"ok": 80},
    0,
    also="every planned request, with its scheduled time",
)
UNREAD = Row(
    "the same in a closed loop, with `--timeout-between-tokens 2`",
    "`event loop lag p99`",
    {"ok": 24},
    0,
    also="answers that came meanwhile, with the times at which they came",
)
ROWS = (DRAINS, CUTS, TWICE, TOO_SOON, ONE_WORKER, ALL_WORKERS, STOPPED, UNREAD)

INTERRUPTS = pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM], ids=lambda which: which.name)
#: 4 tokens a second after 50 ms: an answer of 8 takes two seconds.
SLOW = ("--exact", "--ttft-ms", 50, "--itl-ms", 250)
#: As a script starts a program in the background.
IN_BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
ENDLESS = ("--exact", "--ttft-ms", 20, "--itl-ms", 2, "--fault", "stall,after_tokens=3,after_requests=5")


class Running:
    """A run in a process group of its own, as a shell starts it."""

    def __init__(self, command: list[str], directory: Path, workers: int) -> None:
        self.directory = directory
        self._workers = workers
        self.process = subprocess.Popen(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def send(self, which: signal.Signals) -> None:
        """Signal the whole group, as a terminal does."""
        os.killpg(self.process.pid, which)

    def children(self) -> list[int]:
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def wait_for(self, started: int, ended: int = 0) -> None:
        """Until so many requests have started and ended in the present stage."""
        until(lambda: self._has(started, ended))

    def _has(self, started: int, ended: int) -> bool:
        assert self.process.poll() is None, "the run has ended"
        try:
            totals = Board(self.directory / ".counters", self._workers).totals()
        except (OSError, ValueError):
            return False
        return totals.started >= started and totals.ended >= ended

    def end(self) -> Played:
        out, err = self.process.communicate(timeout=HANGS_S)
        return Played(self.process.returncode, out, err, self.directory)


@contextmanager
def running(url: str, directory: Path, *more: object, workers: int = 1, by: tuple[str, ...] = ()) -> Iterator[Running]:
    run = Running([*by, *words(url, directory, "--workers", workers, *more)], directory, workers)
    try:
        yield run
    finally:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGKILL)
            run.process.communicate(timeout=30)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + HANGS_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


@INTERRUPTS
def test_what_runs_may_end(which: signal.Signals, tmp_path: Path) -> None:
    load = ("--max-concurrency", 4, 8, "--duration", 60, "--drain", 60)
    with simulating(*SLOW) as url, running(url, tmp_path / "r", *load) as run:
        run.wait_for(started=8, ended=4)
        run.send(which)
        played = run.end()
    check(DRAINS, played)
    assert len(played.measured("outcome")) == 8
    assert set(played.measured("output_tokens")) == {8}
    assert len(played.summary["stages"]) == 1


@INTERRUPTS
def test_what_runs_for_too_long_is_cut(which: signal.Signals, tmp_path: Path) -> None:
    load = ("--max-concurrency", 4, "--duration", 60, "--drain", 1)
    with simulating(*ENDLESS) as url, running(url, tmp_path / "r", *load) as run:
        run.wait_for(started=8, ended=4)
        run.send(which)
        played = run.end()
    check(CUTS, played)
    assert set(played.measured("output_tokens")) == {8, 3}


@INTERRUPTS
def test_the_second_one_ends_at_once(which: signal.Signals, tmp_path: Path) -> None:
    load = ("--max-concurrency", 4, "--duration", 600, "--drain", 600, "--random-output-len", 4000)
    with simulating(*SLOW) as url, running(url, tmp_path / "r", *load) as run:
        run.wait_for(started=4)
        time.sleep(1)
        run.send(which)
        time.sleep(0.5)
        run.send(which)
        played = run.end()
    check(TWICE, played)
    assert min(played.measured("output_tokens")) >= 1


@pytest.mark.parametrize("by", [(), IN_BACKGROUND], ids=["foreground", "background"])
@INTERRUPTS
def test_before_the_load_nothing_is_left(which: signal.Signals, by: tuple[str, ...], tmp_path: Path) -> None:
    load = ("--num-prompts", 4)
    with simulating("--exact", "--fault", "silence") as url, running(url, tmp_path / "r", *load, by=by) as run:
        until((tmp_path / "r").is_dir)
        time.sleep(1)
        run.send(which)
        check(TOO_SOON, run.end())


def test_one_of_two_workers_is_killed(tmp_path: Path) -> None:
    load = ("--max-concurrency", 4, 2, "--num-prompts", 40)
    quick = ("--exact", "--ttft-ms", 20, "--itl-ms", 20)
    with simulating(*quick) as url, running(url, tmp_path / "r", *load, workers=2) as run:
        run.wait_for(started=12, ended=8)
        os.kill(run.children()[1], signal.SIGKILL)
        played = run.end()
    check(ONE_WORKER, played)
    rows = played.rows("stage", "worker")
    assert rows.count((0, 0)) == 20
    assert 0 <= rows.count((0, 1)) < 20
    assert rows.count((1, 0)) == 20
    assert rows.count((1, 1)) == 0
    for stage in (0, 1):
        assert played.stage(stage)["verdict"]["verdict"] == "INVALID"
        assert played.stage(stage)["verdict"]["figures"]["workers_missing"] == 1


def test_every_worker_is_killed(tmp_path: Path) -> None:
    load = ("--max-concurrency", 4, "--duration", 60)
    with simulating(*QUICK) as url, running(url, tmp_path / "r", *load) as run:
        run.wait_for(started=200, ended=150)
        time.sleep(1.5)
        os.kill(run.children()[0], signal.SIGKILL)
        played = run.end()
    check(ALL_WORKERS, played)
    report = ended([COMMAND, "report", str(tmp_path / "r")], tmp_path / "r")
    assert report.code == 0
    assert f"Successful requests: {len(played.measured('outcome'))}" in report.text


def test_a_client_that_is_stopped(tmp_path: Path) -> None:
    load = ("--request-rate", 20, "--arrivals", "constant", "--num-prompts", 80)
    with simulating(*QUICK) as url, running(url, tmp_path / "r", *load) as run:
        run.wait_for(started=15)
        stand_still(run)
        played = run.end()
    check(STOPPED, played)
    times = played.rows("sent_ns", "scheduled_ns")
    assert max(sent_ns - due_ns for sent_ns, due_ns in times) > 2e9


def test_answers_that_come_while_the_client_is_stopped(tmp_path: Path) -> None:
    """They are in its sockets, with their stamps: it is not the server that was late."""
    load = ("--max-concurrency", 8, "--num-prompts", 24, "--random-output-len", 50)
    limits = ("--timeout-between-tokens", 2, "--timeout-first-token", 2)
    with (
        simulating("--exact", "--ttft-ms", 20, "--itl-ms", 20) as url,
        running(url, tmp_path / "r", *load, *limits) as run,
    ):
        run.wait_for(started=8)
        stand_still(run)
        played = run.end()
    check(UNREAD, played)
    assert set(played.measured("output_tokens")) == {50}


def stand_still(run: Running) -> None:
    run.send(signal.SIGSTOP)
    time.sleep(3)
    run.send(signal.SIGCONT)
