"""A one-shot timer at an absolute moment, finer than the 1 ms grid of libuv's (and so uvloop's) timers.

On Linux it is a timerfd on CLOCK_MONOTONIC, the clock of ``time.monotonic_ns``; elsewhere ``loop.call_later``.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from typing import Any

# From <sys/timerfd.h> and <time.h>; the flags equal O_NONBLOCK and O_CLOEXEC.
_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _open_timerfd() -> int | None:
    """A timerfd, or None where there is none."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        fd = int(_libc().timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC))
    except (AttributeError, OSError):
        return None
    return fd if fd >= 0 else None


class Timer:
    """Calls ``callback()`` once, as soon after the armed moment as the loop can; arming again replaces the moment.

    Args:
        loop: the running loop; it must support ``add_reader`` for the fine timer.
        callback: called without arguments, in the loop. It may arm the timer again.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None
        self._fd = _open_timerfd()
        self._spec = _Itimerspec()
        if self._fd is not None:
            self._reference = ctypes.byref(self._spec)
            self._settime = _libc().timerfd_settime
            try:
                loop.add_reader(self._fd, self._readable)
            except NotImplementedError:
                os.close(self._fd)
                self._fd = None

    def arm(self, at_monotonic_ns: int) -> None:
        """Call back at this reading of ``time.monotonic_ns``; at once (from the loop) if it has passed."""
        if self._fd is None:
            self.disarm()
            delay_s = max(0, at_monotonic_ns - time.monotonic_ns()) / 1e9
            self._handle = self._loop.call_later(delay_s, self._callback)
            return
        # A value of zero would disarm it.
        self._spec.value_s, self._spec.value_ns = divmod(max(1, at_monotonic_ns), 1_000_000_000)
        self._settime(self._fd, _ABSOLUTE, self._reference, None)

    def disarm(self) -> None:
        """Forget the armed moment, if any."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._fd is not None:
            self._spec.value_s = self._spec.value_ns = 0
            self._settime(self._fd, _ABSOLUTE, self._reference, None)

    def close(self) -> None:
        """Disarm for good; closing twice is harmless."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._fd is not None:
            self._loop.remove_reader(self._fd)
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._fd = None

    def _readable(self) -> None:
        try:
            os.read(self._fd, 8)  # type: ignore[arg-type]  # only called while it is open
        except BlockingIOError:  # armed again since it became readable
            return
        self._callback()
