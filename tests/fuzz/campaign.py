"""The long fuzzing: each target for a while, guided by coverage. What is found is kept, and ends the target's turn.

usage: python tests/fuzz/campaign.py [--seconds N] [TARGET ...]

It needs atheris (``pip install atheris``), which is no dependency of anything else; without it, this says so and ends.
Inputs are kept in build/fuzz and taken up again by the next campaign.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[2] / "build" / "fuzz"
#: No input of a target may take longer, or more memory.
PATIENCE_S = 20
MOST_MEMORY_MB = 2048
LONGEST_BYTES = 1 << 15


class Turn(NamedTuple):
    """What came of one target. ``found``: files with inputs that broke it."""

    target: str
    executions: int
    found: list[Path]
    problem: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed, so nothing is fuzzed at length: pip install atheris (Linux, CPython)")
        return 0
    if args.inside:
        fuzz(args.targets[0], args.seconds)
        return 0
    import targets

    unknown = set(args.targets) - set(targets.TARGETS)
    if unknown:
        print(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(targets.TARGETS)}")
        return 2
    turns = [take_turn(name, args.seconds, targets.seeds(name)) for name in args.targets or targets.TARGETS]
    return 1 if any(turn.problem for turn in turns) else 0


def take_turn(target: str, seconds: int, seeds: list[bytes]) -> Turn:
    """Fuzz one target in a process of its own: what is found may be a crash of the interpreter."""
    corpus = FOLDER / target / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    before = set(found(target))
    command = [sys.executable, __file__, "--inside", "--seconds", str(seconds), target]
    done = subprocess.run(command, check=False, stderr=subprocess.PIPE, text=True, errors="replace")
    (FOLDER / target / "log").write_text(done.stderr)
    told = re.search(r"number_of_executed_units: (\d+)|Done (\d+)", done.stderr)
    executions = int(next(filter(None, told.groups()))) if told else 0
    problem = f"ended with {done.returncode}" if done.returncode else ""
    turn = Turn(target, executions, sorted(set(found(target)) - before), problem)
    print(
        f"{target}: {executions} executions, {', '.join(map(str, turn.found)) or problem or 'nothing found'}",
        flush=True,
    )
    return turn


def found(target: str) -> list[Path]:
    """Inputs that broke a target, as libFuzzer names them."""
    return [path for path in (FOLDER / target).iterdir() if path.is_file() and "-" in path.name]


def fuzz(target: str, seconds: int) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["inferometer"]):
        import targets
    options = {
        "max_total_time": seconds,
        "timeout": PATIENCE_S,
        "rss_limit_mb": MOST_MEMORY_MB,
        "max_len": LONGEST_BYTES,
        "artifact_prefix": f"{FOLDER / target}/",
        "print_final_stats": 1,
    }
    flags = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *flags, str(FOLDER / target / "corpus")], targets.TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
