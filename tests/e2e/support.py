"""The installed command, servers for it to measure, and what a run left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

COMMAND = str(Path(sys.executable).parent / "inferometer")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"}
    return kept | {"NO_COLOR": "1"} | more


@contextmanager
def simulating(*words: object, **env: str) -> Iterator[str]:
    """A simulator as a separate process; its URL."""
    process = subprocess.Popen(
        [COMMAND, "simulate", "--port", "0", *map(str, words)],
        env=environment(**env),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def rows(directory: Path) -> dict[str, Any]:
    """The scalar columns of a finished run as arrays."""
    table = pq.read_table(directory / "requests.parquet")
    flat = [name for name in table.column_names if not name.startswith("event_")]
    return {name: np.array(table[name].to_pylist()) for name in flat}
