"""Does a long run grow? Resident memory of every process of a run at a steady load, and its slope.

    nice python benchmarks/soak.py --minutes 10

An open loop builds its requests ahead and gives that memory back while it lasts, which could hide a leak of the same
size. ``--closed`` plays the same load as a closed loop, which keeps a fixed number of requests ahead: nothing can hide.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from processes import PAGE_BYTES, simulating

COMMAND = str(Path(sys.executable).parent / "inferometer")
TTFT_MS, GAP_MS, TOKENS = 50, 10, 32
SIMULATOR = ("--exact", "--ttft-ms", TTFT_MS, "--itl-ms", GAP_MS)
EVERY_S = 1.0
#: Start-up, what allocators take to settle, and the end are no part of the slope.
SETTLE_SHARE, END_SHARE = 0.4, 0.05
#: More than this in an hour, beyond its standard error, and the script fails.
LIMIT_MB_PER_HOUR = 20.0

Samples = dict[str, list[tuple[float, float]]]


def load(rate: float, minutes: float, *, closed: bool) -> list[str]:
    """The flags of the load: an open loop, or the closed loop that sends as many requests per second."""
    in_flight = round(rate * (TTFT_MS + (TOKENS - 1) * GAP_MS) / 1000)
    shape = ["--max-concurrency", str(in_flight)] if closed else ["--request-rate", str(rate)]
    lengths = ["--random-input-len", "16", "--random-output-len", str(TOKENS), "--ignore-eos"]
    return [*shape, "--duration", str(minutes * 60), *lengths]


def watched(words: list[str], folder: Path) -> Samples:
    """Run the command; (s since its start, MB resident) of each of its processes, once a second."""
    samples: Samples = {}
    start_s = time.monotonic()
    with (folder / "said").open("w") as said, subprocess.Popen([COMMAND, *words], stdout=said, stderr=said) as run:
        while run.poll() is None:
            for name, megabytes in resident(run.pid, "parent"):
                samples.setdefault(name, []).append((time.monotonic() - start_s, megabytes))
            time.sleep(EVERY_S)
    if run.returncode:
        sys.exit((folder / "said").read_text())
    return samples


def resident(pid: int, name: str) -> Iterator[tuple[str, float]]:
    """Resident MB of a process and of each of its children, by name."""
    try:
        yield name, int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (OSError, IndexError):
        return
    for number, child in enumerate(children):
        yield from resident(int(child), f"worker {number}")


def slope(samples: list[tuple[float, float]]) -> tuple[float, float]:
    """Growth in MB per hour of a straight line through the samples, and its standard error."""
    first, end = (round(len(samples) * share) for share in (SETTLE_SHARE, 1 - END_SHARE))
    times_h, megabytes = np.array(samples[first:end]).T / np.array([[3600.0], [1.0]])
    centred = times_h - times_h.mean()
    growth = float(centred @ megabytes / (centred @ centred))
    left = megabytes - megabytes.mean() - growth * centred
    return growth, float(np.sqrt(left @ left / (len(left) - 2) / (centred @ centred)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=50.0, help="requests per second")
    parser.add_argument("--closed", action="store_true", help="a closed loop of the same load")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as name, simulating(*SIMULATOR) as url:
        words = load(options.rate, options.minutes, closed=options.closed)
        samples = watched(["run", "--base-url", url, "--run-dir", f"{name}/run", *words], Path(name))
    shares = (0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
    print(f"{'process':<10}", *(f"{f'{100 * share:.0f} %':>7}" for share in shares), f"{'MB/hour':>9} std. error")
    growing = []
    for process, seen in samples.items():
        growth, error = slope(seen)
        course = (seen[int(len(seen) * share)][1] for share in shares)
        print(f"{process:<10}", *(f"{megabytes:>7.1f}" for megabytes in course), f"{growth:>+9.2f} {error:>10.2f}")
        if growth - 2 * error > LIMIT_MB_PER_HOUR:
            growing.append(process)
    sys.exit(f"growing by more than {LIMIT_MB_PER_HOUR:g} MB an hour: {', '.join(growing)}" if growing else 0)


if __name__ == "__main__":
    main()
