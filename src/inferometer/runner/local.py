"""Worker processes on this machine, all playing the same stage at the same moment.

The parent gives a handful of orders per stage and otherwise only looks at the shared counters.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple, Self

from inferometer.client.clock import now_ns
from inferometer.client.counters import ABORT, END_STAGE, STOP, Board, Totals
from inferometer.config.models import Phase, Plan, Stage
from inferometer.errors import UserError
from inferometer.records.record import WorkerStage
from inferometer.runner import rules
from inferometer.runner.messages import Broken, Done, Order, Prepare, Ready, Reply, Setup, Start, decode_reply, encode
from inferometer.workload.asks import Materials

#: Between the order to start and the start: enough for every worker to have read the order.
LEAD_NS = 30_000_000
LOOK_S = 0.1
#: A worker that goes on for this long after the order to end at once does not hear any more.
DEAF_NS = 15_000_000_000
#: A worker that does not end by itself within this is killed.
END_S = 15.0


class Progress(NamedTuple):
    """What a display shows. ``number`` counts stages from 1."""

    number: int
    stages: int
    stage: Stage
    phase: Phase
    elapsed_s: float
    totals: Totals
    over: bool
    conversations: bool = False


Watch = Callable[[Progress], None]


class Task(NamedTuple):
    """A run that is ready to be played. ``epoch_ns`` is the zero of all its times.

    ``settled`` is asked after each round of repeats but the last: a sentence if more rounds are not needed.
    """

    plan: Plan
    materials: Materials
    directory: Path
    epoch_ns: int
    settled: Callable[[], str | None] = lambda: None


class Outcome(NamedTuple):
    """What the workers say of themselves, and whether anything ended the run early.

    ``stopped`` names the rule that ended it, if one did; ``finished`` are the stages that were played to their end.
    ``settled`` says why the repeats that are left are not needed.
    """

    workers: list[WorkerStage]
    interrupted: bool
    died: bool
    problems: list[str]
    stopped: str | None = None
    finished: tuple[int, ...] = ()
    settled: str | None = None


class Worker:
    """One child process and its line-wise conversation."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._unread = b""
        self.alive = True
        # A worker ignores Ctrl-C, but not before it has its modules; what is blocked here is blocked there from birth.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "inferometer.runner.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def say(self, order: Order) -> None:
        """Send one order; a dead worker is noticed at its next reply, which may be a last sentence."""
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(encode(order) + b"\n")
            self._process.stdin.flush()

    def fileno(self) -> int:
        """For select."""
        assert self._process.stdout is not None  # noqa: S101
        return self._process.stdout.fileno()

    def reply(self) -> Reply | None:
        """The next reply, or None if it is not complete yet or the worker has died (then ``alive`` is False)."""
        piece = os.read(self.fileno(), 65536)
        self.alive = bool(piece)
        line, end, rest = (self._unread + piece).partition(b"\n")
        if not end:
            self._unread = line
            return None
        self._unread = rest
        reply: Reply = decode_reply(line)
        return reply

    def status(self) -> str:
        """How a dead worker ended."""
        code = self._process.wait()
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"

    def kill(self) -> None:
        """End it at once; what it had written is kept."""
        self._process.kill()

    def dismiss(self) -> None:
        """Close its stdin, which ends it when it has ended what it plays."""
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def end(self) -> None:
        """Wait until it has ended; kill it if it does not."""
        assert self._process.stdout is not None  # noqa: S101
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


class Crew:
    """All workers of a run. They start with the object, while the parent still prepares the plan."""

    def __init__(self, workers: int) -> None:
        self._workers: list[Worker] = []
        try:
            for number in range(workers):
                self._workers.append(Worker(number))
        except OSError as error:
            for worker in self._workers:
                worker.dismiss()
            hint = "give fewer --workers, or raise the limits of this shell (ulimit -n, ulimit -u)"
            raise UserError(f"cannot start {workers} worker processes: {error.strerror}; {hint}") from None
        self._board: Board | None = None
        self._board_file: Path | None = None
        self._interrupts = 0
        self._drain_until_ns = math.inf
        self._stopped: str | None = None
        self._settled: str | None = None
        self._reports: list[WorkerStage] = []
        self._finished: list[int] = []
        self._edge: Callable[[], None] = lambda: None
        self.problems: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is not None and self._board is not None:
            self._board.order(ABORT)  # one worker has failed: the others still send
        for worker in self._workers:
            worker.dismiss()
        for worker in self._workers:
            worker.end()
        if self._board_file is not None:
            with contextlib.suppress(OSError):
                self._board_file.unlink()

    def run(
        self,
        task: Task,
        watch: Watch,
        after: Callable[[Outcome], None],
        skip: Container[int] = (),
        edge: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Play the stages of the task, except those to ``skip``. ``after`` gets the outcome so far after each.

        ``edge`` is called right before and right after every load, warm-ups included.
        """
        plan, self._edge = task.plan, edge
        self._board_file = board_file = task.directory / ".counters"
        self._board = _new_board(board_file, len(self._workers))
        document = plan.model_dump_json()
        for worker in self._workers:
            worker.say(
                Setup(
                    plan=document,
                    materials=task.materials,
                    worker=worker.number,
                    workers=len(self._workers),
                    directory=str(task.directory),
                    board=str(board_file),
                    epoch_ns=task.epoch_ns,
                )
            )
        with self._interruptible(plan.drain_s):
            for number, stage, phase in _parts(plan, skip):
                if self._interrupts or self._stopped or self._settled:
                    break
                if phase is Phase.WARMUP or not stage.warmup_requests:
                    self._rest(stage.pause_s)
                done = self._part(plan, number, stage, phase, watch)
                if phase is Phase.MEASURED:
                    self._keep(number, done)
                    after(self._outcome())
                    self._settled = self._settle(task, number)
        return self._outcome()

    def _keep(self, number: int, done: list[WorkerStage]) -> None:
        self._reports += done
        if not self._interrupts and len(done) == len(self._workers):
            self._finished.append(number)

    def _settle(self, task: Task, number: int) -> str | None:
        over = self._interrupts or self._stopped
        return task.settled() if ends_round(task.plan, number) and not over else None

    def _outcome(self) -> Outcome:
        died = not all(worker.alive for worker in self._workers)
        ended = (self._interrupts > 0, died, self.problems, self._stopped, tuple(self._finished), self._settled)
        return Outcome(list(self._reports), *ended)

    def _part(self, plan: Plan, number: int, stage: Stage, phase: Phase, watch: Watch) -> list[WorkerStage]:
        assert self._board is not None  # noqa: S101
        self._board.clear()
        self._order(Prepare(number, phase))
        for reply in self._replies(lambda: None):
            if isinstance(reply, Ready) and reply.problem:
                self._note(f"no connection to {plan.target.base_url} before the clock: {reply.problem}")
        self._edge()
        start_ns = now_ns() + LEAD_NS
        self._order(Start(start_ns))

        def look(*, over: bool = False) -> None:
            assert self._board is not None  # noqa: S101
            elapsed_s, totals = (now_ns() - start_ns) / 1e9, self._board.totals()
            stages, talks = len(plan.scenario.stages), plan.scenario.workload.talks
            watch(Progress(number + 1, stages, stage, phase, elapsed_s, totals, over, talks))
            self._bound(plan, number, phase, totals)

        done = [reply.report for reply in self._replies(look) if isinstance(reply, Done)]
        self._edge()
        look(over=True)
        return done

    def _rest(self, pause_s: float) -> None:
        """The pause before a stage; an interrupt ends it."""
        until = time.monotonic() + pause_s
        while not self._interrupts and (left_s := until - time.monotonic()) > 0:
            time.sleep(min(LOOK_S, left_s))

    def _bound(self, plan: Plan, number: int, phase: Phase, totals: Totals) -> None:
        """End a stage that breaks a rule, and what runs for too long after an interrupt or such an end."""
        assert self._board is not None  # noqa: S101
        clause = rules.broken(plan.scenario.stop_early, totals) if phase is Phase.MEASURED else None
        if clause is not None and self._stopped is None:
            self._board.order(END_STAGE)
            self._drain_until_ns = now_ns() + plan.drain_s * 1e9
            later = len(plan.scenario.stages) - number - 1
            skipped = f"; {later} later stage{'s' if later > 1 else ''} skipped" if later else ""
            self._stopped = f"stage {number + 1} was stopped early: {clause}{skipped}"
        if now_ns() > self._drain_until_ns:
            self._board.order(ABORT)
        if now_ns() > self._drain_until_ns + DEAF_NS:
            for worker in self._workers:
                worker.kill()

    def _order(self, order: Order) -> None:
        for worker in self._workers:
            if worker.alive:
                worker.say(order)

    def _replies(self, look: Callable[[], None]) -> list[Reply]:
        """One reply of every worker that lives. Those that die meanwhile are noted, and the others go on."""
        waiting = {worker for worker in self._workers if worker.alive}
        replies: list[Reply] = []
        looked = time.monotonic()
        while waiting:
            readable, _, _ = select.select(list(waiting), [], [], LOOK_S)
            for worker in readable:
                reply = worker.reply()
                if isinstance(reply, Broken):
                    raise UserError(reply.sentence, 3)
                if reply is not None:
                    replies.append(reply)
                if reply is not None or not worker.alive:
                    waiting.discard(worker)
                if reply is None and not worker.alive:
                    self._note(
                        f"worker {worker.number} died ({worker.status()}); the rows that it had written are kept"
                    )
            if time.monotonic() - looked > LOOK_S:
                looked = time.monotonic()
                look()
        if not any(worker.alive for worker in self._workers):
            raise UserError(f"every worker process died: {'; '.join(self.problems)}", 3)
        return replies

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    @contextlib.contextmanager
    def _interruptible(self, drain_s: float) -> Iterator[None]:
        """First Ctrl-C or SIGTERM: nothing new, what runs may end. Second: end at once. Every row is kept."""

        def on_signal(_: int, __: FrameType | None) -> None:
            assert self._board is not None  # noqa: S101
            self._board.order(ABORT if self._interrupts else STOP)
            self._drain_until_ns = now_ns() + (0 if self._interrupts else drain_s * 1e9)
            self._interrupts += 1

        before = {which: signal.signal(which, on_signal) for which in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for which, handler in before.items():
                signal.signal(which, handler)


def _new_board(path: Path, workers: int) -> Board:
    try:
        return Board(path, workers, create=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}", 3) from None


def _parts(plan: Plan, skip: Container[int]) -> Iterator[tuple[int, Stage, Phase]]:
    for number, stage in enumerate(plan.scenario.stages):
        if number in skip:
            continue
        if stage.warmup_requests:
            yield number, stage, Phase.WARMUP
        yield number, stage, Phase.MEASURED


def ends_round(plan: Plan, number: int) -> bool:
    """Is this stage the last one of its round of repeats, with another round to come?"""
    stages = plan.scenario.stages
    return number + 1 < len(stages) and stages[number].repeat != stages[number + 1].repeat
