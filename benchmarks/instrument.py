"""The instrument measured against truth and against its peers. See README.md.

Usage: python benchmarks/instrument.py [--only a,b] [--quick] [--peer PATH --tokenizer FOLDER] [--inferometer PATH]
Exit code 0 if every required line holds, else 1.
"""

from __future__ import annotations

import argparse
import platform
import resource
import shutil
import sys
from pathlib import Path

from clients import Tools
from processes import build_programs, cpu_clock, disturbance, pick_cpus
from scenarios import SCENARIOS, Check, Result, Setting

#: Share of the machine's CPU time that its host and other processes may take before a machine is not quiet.
QUIET = 0.02


def table(result: Result) -> str:
    """Columns as wide as their widest cell, numbers to the right."""
    lines = [result.header, *(tuple(str(cell) for cell in row) for row in result.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(result.header))]
    return "\n".join(
        "  " + "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
    )


def verdict(check: Check, *, quiet: bool) -> tuple[str, bool]:
    """A line with a tick, a cross or an exclamation mark, and whether the check counts as failed."""
    if check.passed:
        return f"  ✓ {check.text}", False
    if check.needs_quiet and not quiet:
        return f"  ! {check.text} (not counted: the machine was not quiet)", False
    return f"  ✗ {check.text}", True


def run_scenario(name: str, setting: Setting) -> bool:
    """Run and print one scenario; True if a required line failed."""
    scenario = SCENARIOS[name]
    print(f"\n{(scenario.__doc__ or '').strip()}", flush=True)
    before = cpu_clock()
    try:
        result = scenario(setting)
    except (RuntimeError, ValueError) as error:
        print(f"  ✗ {error}", flush=True)
        return True
    steal, others = disturbance(before, cpu_clock())
    print(table(result))
    print(f"  steal {steal:.1%}, other processes {others:.1%}")
    verdicts = [verdict(check, quiet=steal + others <= QUIET) for check in result.checks]
    print("\n".join(line for line, _ in verdicts), flush=True)
    return any(failed for _, failed in verdicts)


def options() -> argparse.Namespace:
    beside = Path(sys.executable).parent / "inferometer"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="a,b,c,d,e", help="scenarios, separated by commas")
    parser.add_argument("--quick", action="store_true", help="shorter runs, one repeat: a look, not a measurement")
    parser.add_argument("--peer", help="path of vllm-rs, from a wheel of vllm 0.33 or later")
    parser.add_argument("--tokenizer", help="tokenizer folder, which the peer needs")
    parser.add_argument("--inferometer", default=str(beside) if beside.exists() else shutil.which("inferometer"))
    chosen = parser.parse_args()
    if unknown := set(chosen.only.split(",")) - set(SCENARIOS):
        parser.error(f"--only knows no {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    if bool(chosen.peer) != bool(chosen.tokenizer):
        parser.error("--peer and --tokenizer need each other")
    if not chosen.inferometer:
        parser.error("the command inferometer is not installed: install the package or give --inferometer PATH")
    return chosen


def main() -> int:
    chosen = options()
    if sys.platform != "linux":
        print("the instrument needs Linux: epoll, CPU affinity and kernel receive stamps", file=sys.stderr)
        return 1
    _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))
    build_programs()
    cpus = pick_cpus()
    print(f"{platform.platform()}, Python {platform.python_version()}")
    print(f"server on CPU {cpus.server}, client on CPU {cpus.client}")
    if cpus.shared:
        print("there is only one CPU: server and client disturb each other, and the figures mean little")
    setting = Setting(cpus, Tools(chosen.inferometer, chosen.peer, chosen.tokenizer), chosen.quick)
    failed = [name for name in chosen.only.split(",") if run_scenario(name, setting)]
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall required lines hold")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
