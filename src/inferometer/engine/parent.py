"""A child process that ends with the process that started it, however that one ends (Linux: prctl(2))."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from inferometer.errors import UserError

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def die_with(parent: int, by: signal.Signals) -> None:
    """Have the kernel send a signal to this process when its parent is gone; at once if it is gone already.

    Args:
        parent: its process id; 0 for the parent that this process has now.
        by: the signal.

    Raises:
        UserError: this is not Linux.
    """
    if not sys.platform.startswith("linux"):
        raise UserError("--die-with-parent needs Linux: leave it out and stop the server by its process id")
    parent = parent or os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, by, 0, 0, 0)
    if os.getppid() != parent:  # it was gone before the kernel knew
        os.kill(os.getpid(), by)
