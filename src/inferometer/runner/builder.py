"""A builder process: writes the requests that do not fit into the memory of its worker, a little ahead of it.

``python -m inferometer.runner.builder`` reads the worker's ``Setup`` and then orders (``spool.Build``) from stdin, one
JSON line each, and writes requests to stdout, which is a pipe to the worker: it waits while that is full. It ends when
the worker closes either, or dies. It has the worker's plan and materials, so its requests are the worker's own.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import msgspec

from inferometer.client.jobs import JobWriter, job_writer
from inferometer.client.spool import Build, Spool, packed
from inferometer.config.models import Plan
from inferometer.errors import UserError
from inferometer.runner.messages import Setup, decode_order, encode
from inferometer.runner.share import Whole, share, stage_seed
from inferometer.workload.sources import asks_of, recorded_ns

#: Niceness of a builder: on a busy machine the client that measures comes first.
NICENESS = 10
#: A builder that does not end by itself within this is ended.
END_S = 2.0
READ_BYTES = 65536

_decode_build = msgspec.json.Decoder(Build).decode


class Builder:
    """The worker's side. The process starts with the first order; ``head`` does not leave the worker."""

    def __init__(self, setup: Setup, head: bytes) -> None:
        self._setup = setup
        self._head = head
        self._process: subprocess.Popen[bytes] | None = None
        self._spool: Spool | None = None

    def begin(self, order: Build) -> Spool:
        """Have the requests of a part built, those with indices above ``after``."""
        if self._spool is None or self._spool.lost:
            self.end()
            self._spool = self._start()
        self._spool.begin(order)
        return self._spool

    def end(self) -> None:
        """End the process, if there is one."""
        if (process := self._process) is None:
            return
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None

    def _start(self) -> Spool:
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "inferometer.runner.builder"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdin is not None  # noqa: S101
        assert process.stdout is not None  # noqa: S101
        to_builder = process.stdin

        def say(order: Setup | Build) -> None:
            to_builder.write(encode(order) + b"\n")
            to_builder.flush()

        with contextlib.suppress(BrokenPipeError):  # it died at birth: the spool finds nothing to read
            say(self._setup)
        return Spool(process.stdout.fileno(), self._head, say)


# --- the process itself ----------------------------------------------------------------------------------------------


class Orders:
    """Lines from a file descriptor, of which it can be told whether one waits."""

    def __init__(self, source: int) -> None:
        self._source = source
        self._unread = b""

    def waiting(self) -> bool:
        """Would ``next`` return at once?"""
        return b"\n" in self._unread or bool(select.select([self._source], [], [], 0)[0])

    def next(self) -> bytes | None:
        """The next line; None when there are no more."""
        while b"\n" not in self._unread:
            piece = os.read(self._source, READ_BYTES)
            if not piece:
                return None
            self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line


def main() -> None:
    """Build what is ordered until stdin ends or nobody reads any more."""
    for which in (signal.SIGINT, signal.SIGTERM):  # they reach the whole group; the parent of all interprets them
        signal.signal(which, signal.SIG_IGN)
    os.nice(NICENESS)
    orders = Orders(sys.stdin.fileno())
    line = orders.next()
    if line is None:
        return
    setup = decode_order(line)
    assert isinstance(setup, Setup)  # noqa: S101
    with contextlib.suppress(BrokenPipeError, UserError):  # what is wrong with a file or tokenizer, the worker says
        _obey(setup, orders)


def _obey(setup: Setup, orders: Orders) -> None:
    plan = Plan.model_validate_json(setup.plan)
    jobs = job_writer(plan, asks_of(plan, setup.materials), b"")
    line = orders.next()
    while line is not None:
        line = _build(jobs, _numbers(setup, plan, _decode_build(line)), line, orders)


def _build(jobs: JobWriter, numbers: Iterator[int], line: bytes, orders: Orders) -> bytes | None:
    """Write the requests of one part; the order of the next part, or None if none comes."""
    order = _decode_build(line)
    for number in numbers:
        if orders.waiting():
            later = orders.next()
            if later is None or _decode_build(later).number != order.number:
                return later
            order = _decode_build(later)
        if number > order.after:
            _write(packed(order.number, jobs.first(order.stage, order.phase, number)))
    _write(packed(order.number, None))
    later = orders.next()
    while later is not None and _decode_build(later).number == order.number:  # it has been built already
        later = orders.next()
    return later


def _numbers(setup: Setup, plan: Plan, order: Build) -> Iterator[int]:
    stage = plan.scenario.stages[order.stage]
    whole = Whole(stage, order.phase, stage_seed(plan.seed, order.stage), recorded_ns(setup.materials))
    return (number for number, _ in share(whole, setup.worker, setup.workers).schedule())


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(1, view) :]


if __name__ == "__main__":
    main()
