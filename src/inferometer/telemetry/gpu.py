"""The GPUs of this machine, by ``nvidia-smi``. Those of other machines are asked by their DCGM exporter (``page``)."""

from __future__ import annotations

import ipaddress
import math
import re
import shutil
import subprocess
from typing import NamedTuple
from urllib.parse import urlsplit

from inferometer.client.clock import now_ns
from inferometer.records.telemetry import Reading
from inferometer.telemetry.page import MissingError

SOURCE = "nvidia-smi"
LIMIT_S = 5.0
_MIB = 1 << 20

#: What is asked: name of the figure and factor to its unit, by name of the query.
_FIGURES = {
    "utilization.gpu": ("gpu_utilisation", 0.01),
    "memory.used": ("gpu_memory_used_bytes", _MIB),
    "memory.total": ("gpu_memory_total_bytes", _MIB),
    "power.draw": ("gpu_power_w", 1.0),
    "temperature.gpu": ("gpu_temperature_c", 1.0),
}
_FORMAT = "--format=csv,noheader,nounits"
_CUDA = re.compile(r"CUDA Version\s*:\s*([\d.]+)")


class Gpu(NamedTuple):
    """One device, as it describes itself. ``memory_bytes`` is None where it does not tell."""

    name: str
    driver: str
    memory_bytes: int | None


def is_local(base_url: str) -> bool:
    """Does a server of this URL run on this machine? Only a loopback address says so."""
    host = urlsplit(base_url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def wanted(choice: str, base_url: str) -> bool:
    """Are the server's GPUs those of this machine? ``choice`` is ``telemetry.gpu`` of the target."""
    return choice == "nvidia-smi" or (choice == "auto" and is_local(base_url))


def is_there() -> bool:
    """Can GPUs of this machine be asked?"""
    return shutil.which("nvidia-smi") is not None


def readings() -> list[Reading]:
    """Every figure of every GPU now, in SI units; what a GPU does not support is absent. Raises ``MissingError``."""
    began_ns = now_ns()
    answer = _ask(f"--query-gpu=index,{','.join(_FIGURES)}", _FORMAT)
    t_ns = (began_ns + now_ns()) // 2
    found = []
    for line in answer.splitlines():
        index, *values = (word.strip() for word in line.split(","))
        for (name, factor), word in zip(_FIGURES.values(), values, strict=False):
            value = _number(word)
            if value is not None:
                found.append(Reading(t_ns, SOURCE, "local", f"gpu={index}", name, value * factor))
    return found


def gpus() -> list[Gpu]:
    """The GPUs of this machine; empty if there is none, or it cannot be asked."""
    try:
        answer = _ask("--query-gpu=name,driver_version,memory.total", _FORMAT)
    except MissingError:
        return []
    rows = [[word.strip() for word in line.split(",")] for line in answer.splitlines()]
    return [
        Gpu(name, driver, None if (mib := _number(memory)) is None else round(mib * _MIB))
        for name, driver, memory in (row for row in rows if len(row) == 3)
    ]


def cuda_version() -> str | None:
    """The CUDA version that the driver supports; None if it does not tell."""
    try:
        found = _CUDA.search(_ask())  # the head of the plain table says it in all versions
    except MissingError:
        return None
    return found[1] if found else None


def _ask(*words: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 (fixed words)
            ["nvidia-smi", *words],  # noqa: S607 (found as a user would find it)
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise MissingError(f"nvidia-smi did not answer within {LIMIT_S:.0f} s") from None
    except (OSError, UnicodeError) as error:
        raise MissingError(f"nvidia-smi cannot be run: {error}") from None
    if done.returncode:
        raise MissingError(" ".join((done.stdout or done.stderr).split())[:200] or "nvidia-smi failed")
    return done.stdout


def _number(word: str) -> float | None:
    """``[N/A]``, ``[Not Supported]`` and the like are no numbers."""
    try:
        value = float(word)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
