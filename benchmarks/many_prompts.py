"""More prompts than fit into memory: how soon the first is sent, what it takes, and whether the schedule is kept.

    python benchmarks/many_prompts.py

An open loop of long prompts with answers of one token, made in each of the three ways, against the simulator. The
simulator, the client and its builder share the machine's cores; the load average stands under the table.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from inferometer.client.jobs import job_writer
from inferometer.config.files import read_plan
from inferometer.config.models import Phase
from inferometer.workload.asks import Materials
from inferometer.workload.sources import asks_of
from inferometer.workload.tokens import WORDS, PromptSpec
from processes import simulating

COMMAND = str(Path(sys.executable).parent / "inferometer")
#: A known timeline, and room for the longest prompt.
SIMULATOR = ("--exact", "--ttft-ms", 20, "--itl-ms", 5, "--max-model-len", 131072)
LOOK_S = 0.25
#: What is required of each kind.
FIRST_SEND_S, WORKER_MIB = 60.0, 1024.0
#: Prompts that are built in one process to see what one takes.
SAMPLE = 1000

#: Kind of prompt -> flags; {} is a folder with a tokenizer.
KINDS = {
    "token ids": ["--backend", "openai"],
    "calibrated text": ["--backend", "openai-chat"],
    "tokenizer text": ["--backend", "openai-chat", "--tokenizer", "{}"],
}


class Course(NamedTuple):
    """One run: monotonic times in ns, highest resident MiB by role of the process."""

    began_ns: int
    peak_mib: dict[str, float]
    directory: Path


def train(folder: Path) -> None:
    """A byte-level tokenizer that knows the words of our prompts and their parts."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([" " + " ".join(WORDS)] * 3, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))


def watched(words: list[str], directory: Path) -> Course:
    """Run the command to its end and look at the memory of its processes meanwhile."""
    began_ns, peak_mib = time.monotonic_ns(), dict[str, float]()
    with (directory.parent / "said").open("w") as said:
        run = subprocess.Popen([COMMAND, *words, "--run-dir", str(directory)], stdout=said, stderr=said)
        while run.poll() is None:
            for role, mib in highest(run.pid):
                peak_mib[role] = max(mib, peak_mib.get(role, 0.0))
            time.sleep(LOOK_S)
    if run.returncode:
        sys.exit((directory.parent / "said").read_text())
    return Course(began_ns, peak_mib, directory)


def highest(pid: int) -> Iterator[tuple[str, float]]:
    """Role and highest resident MiB so far of a process and its descendants."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text()
        status = Path(f"/proc/{pid}/status").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    role = re.search(r"inferometer\.runner\.(\w+)", command)
    kib = re.search(r"VmHWM:\s+(\d+)", status)
    yield role[1] if role else "command", int(kib[1]) / 1024 if kib else 0.0
    for child in children:
        yield from highest(int(child))


def row(course: Course, kind: str) -> tuple[tuple[str, ...], bool]:
    """A line of the table, and whether what is required was met."""
    context = json.loads((course.directory / "context.json").read_text())
    table = pq.read_table(course.directory / "requests.parquet", columns=["scheduled_ns", "sent_ns", "outcome"])
    sent = table["sent_ns"].drop_null().to_numpy() + int(context["epoch_monotonic_ns"])
    first_s = (int(sent.min()) - course.began_ns) / 1e9
    lag_ms = (table["sent_ns"].to_numpy() - table["scheduled_ns"].to_numpy()) / 1e6
    middle, tail = np.nanpercentile(lag_ms, [50, 99])
    late = sum(worker["late_builds"] for worker in context["workers"])
    good = sum(outcome == "ok" for outcome in table["outcome"].to_pylist())
    rate = built_per_s(course.directory)
    memory = (f"{course.peak_mib.get(role, 0.0):.0f}" for role in ("worker", "builder"))
    cells = (kind, f"{good}", f"{first_s:.1f}", f"{rate:.0f}", *memory, f"{middle:.3f}", f"{tail:.3f}", f"{late}")
    return cells, first_s <= FIRST_SEND_S and course.peak_mib.get("worker", 0.0) < WORKER_MIB


def built_per_s(directory: Path) -> float:
    """Requests of a finished run that one process builds in a second."""
    plan = read_plan(directory / "plan.yaml")
    prompts = json.loads((directory / "context.json").read_text())["prompts"]
    jobs = job_writer(plan, asks_of(plan, Materials(prompts=PromptSpec(**prompts))), b"")
    began_s = time.perf_counter()
    for index in range(SAMPLE):
        jobs.first(0, Phase.MEASURED, index)
    return SAMPLE / (time.perf_counter() - began_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=1000.0, help="requests per second")
    parser.add_argument("--tokens", type=int, default=1000, help="tokens of a prompt")
    parser.add_argument("--tokenizer", help="folder with a tokenizer.json; without it, one is trained on the spot")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    header = ("prompts", "ok", "first send s", "built/s", "worker MiB", "builder MiB", "lag p50 ms", "p99 ms", "late")
    print("".join(f"{cell:>16}" for cell in header), flush=True)
    met = True
    for kind in options.kinds:
        with tempfile.TemporaryDirectory(prefix="prompts-") as name, simulating(*SIMULATOR) as url:
            folder = Path(name)
            train(folder)
            flags = [flag.format(options.tokenizer or folder) for flag in KINDS[kind]]
            lengths = ["--random-input-len", str(options.tokens), "--random-output-len", "1"]
            load = ["--request-rate", str(options.rate), "--num-prompts", str(options.requests)]
            words = ["run", "--base-url", url, *flags, *lengths, *load, "--ignore-eos"]
            cells, fine = row(watched(words, folder / "run"), kind)
            met = met and fine
            print("".join(f"{cell:>16}" for cell in cells), flush=True)
    print(f"load average {' '.join(f'{one:.2f}' for one in os.getloadavg())}, {os.cpu_count()} cores")
    sys.exit(0 if met else f"required: first send within {FIRST_SEND_S:g} s, worker below {WORKER_MIB:g} MiB")


if __name__ == "__main__":
    main()
