"""The one clock. Everything is monotonic nanoseconds; the kernel's wall-clock stamps are converted to it.

Kernel receive stamps (SO_TIMESTAMPNS) are CLOCK_REALTIME, which can be set; NTP slews both clocks alike. The offset
between them is therefore sampled again about once a second, and a jump between two samples is counted as a step.
"""

from __future__ import annotations

import struct
import time

import numpy as np
import numpy.typing as npt

now_ns = time.monotonic_ns

#: A sample is good to some microseconds even on a busy machine; more than this between two of them is a step.
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

    def to_monotonic(self, timespecs: list[bytes]) -> npt.NDArray[np.int64]:
        """Kernel stamps, as they came (two 64-bit integers: s, ns), on the monotonic clock."""
        parts = np.frombuffer(b"".join(timespecs), np.int64)
        return parts[0::2] * 1_000_000_000 + parts[1::2] - self.offset_ns

    def timespec(self, monotonic_ns: int) -> bytes:
        """The kernel stamp of a moment, for the rare read that came without one."""
        return struct.pack("qq", *divmod(monotonic_ns + self.offset_ns, 1_000_000_000))


def _measure() -> int:
    """The best of five readings: the one whose two monotonic neighbours are closest together."""
    readings = []
    for _ in range(5):
        before, wall, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        readings.append((after - before, wall - (before + after) // 2))
    return min(readings)[1]
