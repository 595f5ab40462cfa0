"""How much memory and time a run larger than memory takes: a made-up run directory, its merge and its reports.

python benchmarks/large_run.py --events 30000000
python benchmarks/large_run.py --events 128000000   # a million requests
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from inferometer.config import files
from inferometer.config.models import Plan
from inferometer.records import store

RATE, TOKENS, WORKERS, BATCH = 150.0, 128, 2, 256
LIMIT_MB = 1024
#: What a million requests of 128 tokens may take: for fewer it is less, but no process starts in no time.
LIMIT_S, START_S = 60.0, 5.0
MERGE = "from inferometer.records import store; store.finish(Path(sys.argv[1]))"
REPORT = "from inferometer.cli import main; main(['report', sys.argv[1], '--json'])"
PAGE = "from inferometer.cli import main; main(['report', sys.argv[1], '--html'])"
#: The largest resident size of a process, after everything.
FRAME = """
import sys
from pathlib import Path
{work}
status = Path('/proc/self/status').read_text()
print(status.partition('VmHWM:')[2].split()[0], file=sys.stderr)
"""
SAID = {"phase": "measured", "outcome": "ok", "model": "tiny", "model_answered": "tiny", "clock": "kernel",
        "finish_reason": "length", "prompt_tokens_source": "usage", "output_tokens_source": "usage"}  # fmt: skip


def batch(indices: np.ndarray, worker: int, rng: np.random.Generator) -> pa.RecordBatch:
    """Successful requests with log-normal first tokens around 60 ms and gaps around 22 ms."""
    count = len(indices)
    scheduled = (indices * 1e9 / RATE).astype(np.int64)
    sent = scheduled + rng.integers(10_000, 200_000, count)
    gaps = rng.lognormal(np.log(22e6), 0.35, (count, TOKENS))
    gaps[:, 0] = rng.lognormal(np.log(60e6), 0.4, count)
    events = sent[:, None] + np.cumsum(gaps, axis=1).astype(np.int64)
    last = events[:, -1]
    numbers = {"stage": 0, "worker": worker, "index": indices, "turn": 0, "scheduled_ns": scheduled, "attempts": 1,
               "first_try_ns": sent, "sent_ns": sent, "first_byte_ns": events[:, 0], "first_token_ns": events[:, 0],
               "last_token_ns": last, "end_ns": last, "status": 200, "asked_prompt_tokens": 256, "prompt_tokens": 256,
               "asked_output_tokens": TOKENS, "output_tokens": TOKENS, "bytes_sent": 2000, "bytes_received": 30_000,
               "reads": TOKENS, "merged_reads": 0, "read_lag_max_ns": 50_000}  # fmt: skip
    offsets = pa.array(np.arange(0, count * TOKENS + 1, TOKENS, dtype=np.int32))
    columns = {name: pa.array(np.broadcast_to(value, count)) for name, value in numbers.items()}
    columns |= {name: pa.array([text] * count) for name, text in SAID.items()}
    lists = pa.ListArray.from_arrays(offsets, pa.array(events.ravel()), type=store.SCHEMA.field("event_ns").type)
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in store.SCHEMA
        if field.name != "event_ns"
    ]
    arrays.insert(store.SCHEMA.get_field_index("event_ns"), lists)
    return pa.RecordBatch.from_arrays(arrays, schema=store.SCHEMA)


def make(directory: Path, requests: int) -> None:
    """The directory of a run that was killed at its very end."""
    stage = {"load": {"type": "open", "rate": RATE}, "num_requests": requests}
    plan = {"target": {"base_url": "http://lab", "model": "tiny"}, "scenario": {"stages": [stage]}}
    (directory / store.PLAN).write_text(files.dump(Plan.model_validate(plan)))
    rng = np.random.default_rng(1)
    for worker in range(WORKERS):
        mine = np.arange(worker, requests, WORKERS)
        with (
            pa.OSFile(str(directory / f"requests-{worker}.arrow"), "wb") as sink,
            pa.ipc.new_stream(sink, store.SCHEMA) as stream,
        ):
            for first in range(0, len(mine), BATCH):
                stream.write_batch(batch(mine[first : first + BATCH], worker, rng))


class Cost(NamedTuple):
    """What a process took: largest resident size, and time by the clock on the wall and by that of its cores."""

    megabytes: float
    wall_s: float
    cpu_s: float


def measured(work: str, directory: Path) -> Cost:
    """The cost of a process that does this."""
    start_s, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", FRAME.format(work=work), str(directory)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    wall_s, after = time.monotonic() - start_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(int(done.stderr.split()[-1]) * 1024 / 1e6, wall_s, cpu_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=30_000_000)
    events = parser.parse_args().events
    with tempfile.TemporaryDirectory(prefix="large-run-") as name:
        make(Path(name), events // TOKENS)
        print(f"{events / 1e6:g} million token events of {events // TOKENS} requests")
        costs: list[Cost] = []
        for title, work in (("report, killed", REPORT), ("merge", MERGE), ("report", REPORT), ("page", PAGE)):
            cost = measured(work, Path(name))
            print(f"{title:<16} {cost.megabytes:>7.0f} MB {cost.wall_s:>6.1f} s {cost.cpu_s:>6.1f} s CPU")
            costs.append(cost)
    most_s = START_S + LIMIT_S * events / 128e6
    if max(cost.megabytes for cost in costs) > LIMIT_MB:
        sys.exit(f"more than {LIMIT_MB} MB")
    sys.exit(f"the page took more than {most_s:.0f} s" if costs[-1].wall_s > most_s else 0)


if __name__ == "__main__":
    main()
