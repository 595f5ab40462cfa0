"""What the client machine says of itself."""

from __future__ import annotations

import os
from pathlib import Path

_STAT = Path("/proc/stat")


def steal_ns() -> int | None:
    """Time that the host took from this machine's processors since boot, added up (proc(5)); None if not told."""
    try:
        fields = _STAT.read_text().split("\n", 1)[0].split()
        return int(fields[8]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return None
