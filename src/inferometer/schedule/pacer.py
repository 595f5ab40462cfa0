"""The only place that waits. It hands out what is due and wakes the engine when the next arrival is.

The schedule is absolute and never forgives: a late item keeps its due time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import NamedTuple

from inferometer.schedule.timer import Timer

_LONG_NS = 1_000_000_000
#: What is overdue for longer than this waits for a slot: the timer would have started it.
_OVERDUE_NS = 5_000_000
#: A sleeping process is back after at most this (timer slack and a wake-up).
_APPROACH_NS = 100_000


class Due(NamedTuple):
    """One arrival: its number in the stage and the absolute monotonic moment."""

    number: int
    at_ns: int


class Pacer:
    """Walks a worker's stride of (number, offset) from ``start_ns``; the loop calls ``wake()`` when one is due."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        schedule: Iterator[tuple[int, int]],
        start_ns: int,
        wake: Callable[[], None],
    ) -> None:
        self._schedule = schedule
        self._start_ns = start_ns
        self._timer = Timer(loop, wake)
        self.head = self._next()
        if self.head is not None:
            self._timer.arm(self.head.at_ns)

    def take(self, now_ns: int) -> Due | None:
        """The head if it is due; otherwise nothing, and the timer is armed for it."""
        head = self.head
        if head is None:
            return None
        if head.at_ns > now_ns:
            self._timer.arm(head.at_ns)
            return None
        self.head = self._next()
        return head

    def spare_ns(self, now_ns: int) -> int:
        """Time until the next send, less the time to get there; huge when that waits for a slot, not for time."""
        head = self.head
        if head is None or head.at_ns < max(self._start_ns + 1, now_ns - _OVERDUE_NS):
            return _LONG_NS
        return head.at_ns - now_ns - _APPROACH_NS

    def stop(self) -> None:
        """Hand out nothing more."""
        self.head = None
        self._timer.close()

    def _next(self) -> Due | None:
        arrival = next(self._schedule, None)
        return None if arrival is None else Due(arrival[0], self._start_ns + arrival[1])
