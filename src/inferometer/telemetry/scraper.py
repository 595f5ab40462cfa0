"""Samples of what the server says, taken beside the load: one thread of the parent process for each source.

Workers know nothing of it. A thread sleeps but for a few milliseconds per second and has a lower priority than they.
A sample that does not come is a row that says so; nothing that a source does or says can end a run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

from inferometer.analysis.server_metrics import EDGE, UP
from inferometer.client.clock import now_ns
from inferometer.records.telemetry import Reading
from inferometer.telemetry.page import MissingError

#: How much nicer than the workers a sampling thread is (nice(2)).
NICER = 5
MAX_DETAIL = 200
#: How long the end waits for a thread that is in the middle of a sample.
END_S = 1.0


class Source(NamedTuple):
    """Something that can be asked. ``take`` gives readings with monotonic times, or raises ``MissingError``."""

    name: str
    replica: str
    take: Callable[[], list[Reading]]


class Cost(NamedTuple):
    """What sampling took: samples asked for, those that did not come, processor time of the threads in s."""

    samples: int
    missed: int
    cpu_s: float


class Scraper:
    """Samples every source each ``interval_s``, and at ``edge``, from its beginning to its end as a context.

    Args:
        sources: what to ask.
        interval_s: seconds between two samples of a source.
        epoch_ns: zero of the run's times, on the monotonic clock.
        append: keeps readings; called by one thread at a time. An ``OSError`` of it ends the sampling, not the run.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        interval_s: float,
        epoch_ns: int,
        append: Callable[[Sequence[Reading]], None],
    ) -> None:
        self._sources = sources
        self._interval_s = interval_s
        self._epoch_ns = epoch_ns
        self._append = append
        self._changed = threading.Condition()
        self._edge = 0
        self._served = [-1] * len(sources)
        self._over = False
        self._cost = Cost(0, 0, 0.0)
        self.problem: str | None = None
        self._threads = [
            threading.Thread(target=self._sample, args=(number,), name=f"telemetry-{number}", daemon=True)
            for number in range(len(sources))
        ]

    @property
    def cost(self) -> Cost:
        """What it took so far."""
        with self._changed:
            return self._cost

    def __enter__(self) -> Self:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})  # the main thread's
        for thread in self._threads:
            thread.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def edge(self, wait_s: float) -> bool:
        """Have every source sampled now, at the edge of a stage; wait for it. False if one has not answered in time."""
        with self._changed:
            self._edge += 1
            edge = self._edge
            self._changed.notify_all()
            return self._changed.wait_for(lambda: self._over or all(done >= edge for done in self._served), wait_s)

    def end(self) -> None:
        """Stop. A thread that still waits for an answer is left to it."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(END_S)

    def _sample(self, number: int) -> None:
        _be_nice()
        source, edge = self._sources[number], -1
        while True:
            with self._changed:
                if self._over:
                    return
                edge = self._edge
            began_s, began_cpu_s = time.monotonic(), time.thread_time()
            readings, missed = _take(source, EDGE if edge > self._served[number] else "")
            with self._changed:
                self._keep(readings)
                samples, before, cpu_s = self._cost
                self._cost = Cost(samples + 1, before + missed, cpu_s + time.thread_time() - began_cpu_s)
                self._served[number] = edge
                self._changed.notify_all()
                rest_s = max(0.0, began_s + self._interval_s - time.monotonic())
                self._changed.wait_for(lambda known=edge: self._over or self._edge > known, rest_s)  # type: ignore[misc]

    def _keep(self, readings: list[Reading]) -> None:
        """Hand readings on, on the axis of the run; nothing after its end, for the file is closed then."""
        if self._over or self.problem is not None:
            return
        try:
            self._append([one._replace(t_ns=one.t_ns - self._epoch_ns) for one in readings])
        except OSError as error:
            self.problem = f"what the server said could not be written from here on: {error}"


def _take(source: Source, why: str) -> tuple[list[Reading], bool]:
    """The readings of one sample, and whether it was missed. The first one says which, and at an edge that it is."""
    began_ns = now_ns()
    try:
        readings = source.take()
    except MissingError as error:
        missing: str | None = str(error)
    except Exception as error:  # noqa: BLE001 (whatever a source does, the run goes on and the gap is written down)
        missing = f"{type(error).__name__}: {error}"
    else:
        missing = None
    if missing is not None:
        return [Reading(began_ns, source.name, source.replica, why, UP, 0.0, detail=missing[:MAX_DETAIL])], True
    t_ns = readings[0].t_ns if readings else began_ns
    return [Reading(t_ns, source.name, source.replica, why, UP, 1.0), *readings], False


def _be_nice() -> None:
    if sys.platform == "linux":  # there the priority of a thread is its own
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICER)
