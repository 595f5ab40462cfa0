"""The display while a run lasts, on stderr: a line that moves on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from inferometer.config.models import ClosedLoop, Load, Phase, Stage, TraceLoop, Users
from inferometer.runner.local import Progress, Watch

#: Seconds between two lines where there is no terminal.
LINE_S = 10.0


@contextmanager
def display() -> Iterator[Watch]:
    """A function that shows progress, fit for where stderr goes."""
    if not sys.stderr.isatty():
        yield _plain()
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True), refresh_per_second=8, transient=True) as live:
        yield lambda progress: live.update(_bar(progress))


def title(stage: Stage) -> str:
    """A load in a few words."""
    name = f"{stage.name}: " if stage.name else ""
    again = f", round {stage.repeat}" if stage.repeat else ""
    return name + _load(stage.load) + again


def _load(load: Load) -> str:
    if isinstance(load, ClosedLoop):
        return f"concurrency {load.concurrency}"
    if isinstance(load, Users):
        return load.text
    if load.at_once:
        return "all at once"
    cap = f", at most {load.max_in_flight} in flight" if load.max_in_flight else ""
    return f"{load.text}{cap}" if isinstance(load, TraceLoop) else f"{load.text} req/s {load.arrivals}{cap}"


def _done(progress: Progress, planned: int | None, elapsed_s: float) -> str:
    ended = progress.totals.ended
    if progress.conversations:
        return f"{ended} turns" + (f" of {planned} conversations" if planned else f" in {elapsed_s:.0f} s")
    if planned:
        return f"{ended}/{planned}"
    until = f" of {progress.stage.duration_s:g}" if progress.stage.duration_s else ""
    return f"{ended} in {elapsed_s:.0f}{until} s"


def line(progress: Progress) -> str:
    """One state as text: what runs, done/total, in flight, rates, running TTFT."""
    totals, stage = progress.totals, progress.stage
    name = title(stage) + (" warm-up" if progress.phase is Phase.WARMUP else "")
    planned = stage.warmup_requests if progress.phase is Phase.WARMUP else stage.num_requests
    elapsed_s = max(progress.elapsed_s, 1e-9)
    parts = [
        f"[{progress.number}/{progress.stages}] {name:<16}",
        _done(progress, planned, elapsed_s),
        f"{totals.started - totals.ended} in flight",
        f"{totals.ended / elapsed_s:.1f} req/s",
        f"{totals.tokens / elapsed_s:.0f} tok/s",
    ]
    if totals.ttft_p50_ms is not None:
        parts.append(f"TTFT p50 ≈{totals.ttft_p50_ms:.3g} ms")
    if progress.phase is Phase.MEASURED and totals.ended > totals.ok:
        parts.append(f"{totals.ended - totals.ok} not ok")
    return "  ".join(parts)


def _plain() -> Watch:
    shown = {"at": time.monotonic()}

    def watch(progress: Progress) -> None:
        now = time.monotonic()
        if progress.over or now - shown["at"] > LINE_S:
            shown["at"] = now
            print(line(progress), file=sys.stderr, flush=True)

    return watch


def _extent(progress: Progress) -> tuple[float | None, float]:
    """The length of the bar and how much of it is done; None where turns are counted and conversations planned."""
    planned = progress.stage.warmup_requests if progress.phase is Phase.WARMUP else progress.stage.num_requests
    if planned:
        return None if progress.conversations else planned, progress.totals.ended
    return progress.stage.duration_s or 1, progress.elapsed_s


def _bar(progress: Progress) -> Any:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    total, done = _extent(progress)
    grid = Table.grid(padding=(0, 2))
    # As Text: in a plain string Rich would take a stage's name such as "[a]" for its own markup.
    grid.add_row(
        ProgressBar(total=total, completed=done if total is None else min(done, total), width=24), Text(line(progress))
    )
    return grid
