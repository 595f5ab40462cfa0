"""Requests ready before they are due: built before the clock starts as far as memory allows, the others as they come.

Those that do not fit are built by another process (``Spool``). Where there is none, or where building is cheap, the
worker builds one more after each request that ended.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from statistics import median_low

from inferometer.client.exchange import Job
from inferometer.client.spool import Spool

#: Requests that are built ahead may take this much memory.
BUDGET_BYTES = 256 * 1024 * 1024
#: Building ahead ends after this time where another process can go on: the first request shall not wait for long.
LONGEST_NS = 30_000_000_000
#: An endless load cannot be built whole; this many are ahead of it at any time.
AHEAD = 2048
#: Requests of an endless load that take no longer than this are built between reads: less than a decoded answer costs.
CHEAP_NS = 100_000
#: How long another process may take until its first request is there: it loads libraries, tokenizers and files first.
FIRST_S = 25.0
#: After this many requests in a row that came too late, the other process leaves out as many.
LATE_IN_A_ROW = 64


class Supply:
    """Jobs of one worker's stride by index. ``late_builds`` counts those that had to be built at send time.

    ``spool(after)`` has the jobs behind index ``after`` built elsewhere; it is called before the clock, if at all.
    """

    def __init__(
        self,
        write: Callable[[int], Job],
        indices: Iterator[int],
        *,
        endless: bool,
        spool: Callable[[int], Spool] | None = None,
    ) -> None:
        self._write = write
        self._indices = indices
        self._most = AHEAD if endless else None
        self._ready: dict[int, Job] = {}
        self._ready_bytes = 0
        self._newest = self._highest = -1
        self._late_in_a_row = 0
        self._spool: Spool | None = None
        self.late_builds = 0
        took_ns = self._build_ahead(math.inf if spool is None else LONGEST_NS)
        cheap = endless and median_low(took_ns or [0]) <= CHEAP_NS
        if spool is not None and not cheap and (self._full() or sum(took_ns) >= LONGEST_NS):
            self._spool = spool(self._highest)
            self._wait(self._spool)

    def __len__(self) -> int:
        """Jobs that are ready."""
        return len(self._ready)

    def take(self, index: int) -> Job:
        """The job with this index; each is handed out once."""
        while self._highest < index and self._fetch():
            pass
        self._newest = max(self._newest, index)
        job = self._ready.pop(index, None)
        if job is None:
            return self._build_late(index)
        self._late_in_a_row = 0
        self._ready_bytes -= _size_bytes(job)
        return job

    def top_up(self) -> None:
        """Take what was built elsewhere, or build one more, if there are more to come."""
        if self._spool is None or self._spool.lost:
            self._build_next()
        elif not self._full():
            self._fetch()

    def _build_ahead(self, longest_ns: float) -> list[int]:
        """Build until it is enough; how long each took, in ns."""
        took_ns: list[int] = []
        began_ns = last_ns = time.perf_counter_ns()
        while last_ns - began_ns < longest_ns and not self._full() and self._build_next():
            ended_ns = time.perf_counter_ns()
            took_ns.append(ended_ns - last_ns)
            last_ns = ended_ns
        return took_ns

    def _full(self) -> bool:
        return self._ready_bytes >= BUDGET_BYTES or (self._most is not None and len(self._ready) >= self._most)

    def _build_next(self) -> bool:
        begun = max(self._newest, self._highest)
        index = next((index for index in self._indices if index > begun), None)
        if index is not None:
            self._add(self._write(index))
        return index is not None

    def _build_late(self, index: int) -> Job:
        self.late_builds += 1
        self._late_in_a_row += 1
        if self._late_in_a_row == LATE_IN_A_ROW and self._spool is not None and not self._spool.lost:
            self._late_in_a_row = 0
            self._spool.skip(index + LATE_IN_A_ROW)
        return self._write(index)

    def _fetch(self) -> bool:
        """Take what has come from the other process; False if that is nothing."""
        jobs = self._spool.read() if self._spool is not None else []
        for job in jobs:
            if job.number > self._newest:  # the others were built here, too late to wait for them
                self._add(job)
        return bool(jobs)

    def _wait(self, spool: Spool) -> None:
        """Until the first job has come, so that the other process does not start up while the clock runs."""
        until_s, before = time.monotonic() + FIRST_S, len(self._ready)
        while len(self._ready) == before and not (spool.over or spool.lost) and time.monotonic() < until_s:
            spool.wait(1.0)
            self._fetch()

    def _add(self, job: Job) -> None:
        self._ready[job.number] = job
        self._ready_bytes += _size_bytes(job)
        self._highest = max(self._highest, job.number)


def _size_bytes(job: Job) -> int:
    """About what a job takes in memory: its bytes, and the messages that follow in its conversation."""
    return len(job.payload) + (sum(len(turn.content) for turn in job.ask.later) if job.ask is not None else 0)
