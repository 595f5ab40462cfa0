"""The one clock. Everything is monotonic nanoseconds; the kernel's wall-clock stamps are converted to it.

Kernel receive stamps (SO_TIMESTAMPNS) are CLOCK_REALTIME, which NTP slews and people set. The offset between both
clocks is therefore sampled again about once a second, and a jump between two samples is counted as a step.
"""

from __future__ import annotations

import time

now_ns = time.monotonic_ns

#: NTP slews by at most 500 ppm (adjtimex(2)); more than this between two samples a second apart is a step.
STEP_LIMIT_NS = 2_000_000


class RealtimeOffset:
    """``offset_ns`` = CLOCK_REALTIME - CLOCK_MONOTONIC, kept up to date by ``sample()``."""

    __slots__ = ("offset_ns", "steps")

    def __init__(self) -> None:
        self.offset_ns = _measure()
        self.steps = 0

    def sample(self) -> None:
        """Measure the offset again; count a step if the wall clock jumped since the last sample."""
        offset_ns = _measure()
        self.steps += abs(offset_ns - self.offset_ns) > STEP_LIMIT_NS
        self.offset_ns = offset_ns


def _measure() -> int:
    """The best of five readings: the one whose two monotonic neighbours are closest together."""
    readings = []
    for _ in range(5):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, wall - (before + after) // 2))
    return min(readings)[1]
