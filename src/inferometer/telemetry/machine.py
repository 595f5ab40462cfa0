"""What the client machine says of itself (proc(5)). Everything is None where it does not tell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")


class Reading(NamedTuple):
    """Counters since boot, or since this process began.

    ``steal_ns``: time that the host took from this machine's processors. ``run_wait_ns``: time that this process was
    ready and no processor was free for it; ``time_slices``: how often it got one. ``retransmits``: TCP segments sent
    again by anyone here (of this network namespace, all programs together); ``zero_windows``: times that a receiver
    here said that its buffer is full.
    """

    steal_ns: int | None
    run_wait_ns: int | None
    time_slices: int | None
    retransmits: int | None
    zero_windows: int | None


def cpus() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read(proc: Path = PROC) -> Reading:
    """The counters now."""
    scheduled = _numbers(proc / "self" / "schedstat")
    return Reading(
        steal_ns=_steal_ns(proc),
        run_wait_ns=scheduled[1] if len(scheduled) > 2 else None,
        time_slices=scheduled[2] if len(scheduled) > 2 else None,
        retransmits=_table(proc / "net" / "snmp", "Tcp:").get("RetransSegs"),
        zero_windows=_table(proc / "net" / "netstat", "TcpExt:").get("TCPToZeroWindowAdv"),
    )


def since(before: Reading, after: Reading) -> Reading:
    """What happened in between; None where either does not know."""
    pairs = zip(before, after, strict=True)
    return Reading(*(None if old is None or new is None else new - old for old, new in pairs))


def ports_used_share(proc: Path = PROC) -> float | None:
    """TCP sockets that hold a port, those that wait for late segments included, as a share of the ephemeral ports."""
    bounds = _numbers(proc / "sys" / "net" / "ipv4" / "ip_local_port_range")
    told, told_of_ipv6 = _pairs(proc / "net" / "sockstat", "TCP:"), _pairs(proc / "net" / "sockstat6", "TCP6:")
    try:
        in_use = int(told["inuse"]) + int(told_of_ipv6.get("inuse", 0)) + int(told["tw"])
        return in_use / (bounds[1] - bounds[0] + 1)
    except (KeyError, IndexError, ValueError, ZeroDivisionError):
        return None


def _steal_ns(proc: Path) -> int | None:
    fields = _line(proc / "stat", "cpu")
    try:
        return int(fields[7]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    except (IndexError, ValueError):
        return None


def _numbers(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text().split()]
    except (OSError, ValueError):
        return []


def _line(path: Path, name: str) -> list[str]:
    """The words behind ``name`` in the first line that begins with it."""
    return next(iter(_lines(path, name)), [])


def _pairs(path: Path, name: str) -> dict[str, str]:
    """A line of names and values in turn."""
    words = _line(path, name)
    return dict(zip(words[::2], words[1::2], strict=False))


def _table(path: Path, name: str) -> dict[str, int]:
    """Two lines that begin with ``name``: one of names, one of numbers."""
    lines = _lines(path, name)
    try:
        return {key: int(value) for key, value in zip(*lines[:2], strict=True)}
    except (TypeError, ValueError):
        return {}


def _lines(path: Path, name: str) -> list[list[str]]:
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return []
    return [words[1:] for words in lines if words and words[0] == name]
