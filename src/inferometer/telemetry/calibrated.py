"""Which machine this is, and the calibrations that are kept for later runs.

One file, ``$XDG_STATE_HOME/inferometer/calibration.json``, holds one calibration per machine: home folders are shared.
"""

from __future__ import annotations

import os
import platform
import resource
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from inferometer import __version__
from inferometer.analysis.calibration import Calibration, Machine
from inferometer.errors import UserError
from inferometer.records import store
from inferometer.telemetry.machine import cpus

_CPUINFO = Path("/proc/cpuinfo")
_STAT = Path("/proc/stat")


class CpuTime(NamedTuple):
    """Processor time in s: spent in processes, taken by the host, ours and of our ended children, of one that runs."""

    busy_s: float
    stolen_s: float
    ours_s: float
    child_s: float


class Passed(NamedTuple):
    """Processor time in s between two readings: of processes that are not ours, of the host, of the child."""

    others_s: float
    stolen_s: float
    child_s: float


def this_machine() -> Machine:
    """The machine as far as it decides what the client can do."""
    return Machine(
        cpu=_cpu(), cpus=cpus(), kernel=platform.release(), python=platform.python_version(), inferometer=__version__
    )


def _cpu() -> str:
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


def cpu_time(child: int | None = None) -> CpuTime | None:
    """The machine's clocks of processor time (proc(5)), and of a ``child`` that runs; None if not told."""
    try:
        ticks = [int(field) for field in _STAT.read_text().split("\n", 1)[0].split()[1:9]]
        child_ns = int(Path(f"/proc/{child}/schedstat").read_text().split()[0]) if child else 0
    except (OSError, ValueError, IndexError):
        return None
    user, nice, system, _idle, _wait, irq, soft, steal = (tick / os.sysconf("SC_CLK_TCK") for tick in ticks)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    ours_s = sum(one.ru_utime + one.ru_stime for one in used)
    return CpuTime(user + nice + system + irq + soft, steal, ours_s, child_ns / 1e9)


def elapsed(before: CpuTime | None, after: CpuTime | None) -> Passed | None:
    """What lies between two readings; None if one of them is."""
    if before is None or after is None:
        return None
    busy_s, stolen_s, ours_s, child_s = (late - early for early, late in zip(before, after, strict=True))
    return Passed(max(0.0, busy_s - ours_s - child_s), max(0.0, stolen_s), child_s)


def state_file() -> Path | None:
    """Where calibrations are kept (XDG base directory specification); None if there is no home folder."""
    told = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        folder = told if told.is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        return None
    return folder / "inferometer" / "calibration.json"


def load(path: Path | None, machine: Machine) -> Calibration | None:
    """The calibration of a machine; None if there is none, or the file cannot be read or is not ours."""
    try:
        return msgspec.convert(_kept(path).get(machine.key), Calibration)
    except msgspec.ValidationError:
        return None


def save(path: Path, calibration: Calibration) -> None:
    """Keep a calibration beside those of other machines. Raises ``UserError`` if the file cannot be written."""
    kept = _kept(path) | {calibration.machine.key: msgspec.to_builtins(calibration)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    store.write_json(path, kept)


def _kept(path: Path | None) -> dict[str, Any]:
    try:
        return {} if path is None else msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, UnicodeDecodeError, msgspec.DecodeError, RecursionError):
        return {}
