"""Live counters in shared memory: a worker writes its own row, the parent only looks. No message per request.

The file also carries the parent's two orders (stop: send nothing new; abort: end at once), so no signal is needed.
"""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import NamedTuple

from inferometer.config.models import Phase
from inferometer.records.record import Outcome, Record

STARTED, ENDED, OK, TOKENS = range(4)
TTFT_BUCKETS = 4
#: Buckets of TTFT, 8 to an octave from 2^10 ns (1 us) on: a median is good to 9 %.
BUCKETS = 8 * 32
ROW = TTFT_BUCKETS + BUCKETS
STOP, ABORT, HEAD = 0, 1, 2


class Totals(NamedTuple):
    """Sums over all workers since the stage began. ``ttft_p50_ms`` is None before the first token."""

    started: int
    ended: int
    ok: int
    tokens: int
    ttft_p50_ms: float | None


class Board:
    """The shared file as an array of 64-bit integers: two orders, then one row a worker."""

    def __init__(self, path: Path, workers: int, *, create: bool = False) -> None:
        size = 8 * (HEAD + workers * ROW)
        if create:
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)
        self.cells = memoryview(self._map).cast("q")
        self.workers = workers

    def order(self, which: int) -> None:
        """Give one of the orders ``STOP`` and ``ABORT`` to all workers."""
        self.cells[which] = 1

    def clear(self) -> None:
        """All rows to zero, before a stage. Orders stay."""
        self.cells[HEAD:] = memoryview(bytes(8 * self.workers * ROW)).cast("q")

    def totals(self) -> Totals:
        """What all workers have done so far."""
        rows = [self.cells[HEAD + w * ROW : HEAD + (w + 1) * ROW].tolist() for w in range(self.workers)]
        started, ended, ok, tokens = (sum(row[i] for row in rows) for i in range(TTFT_BUCKETS))
        counts = [sum(row[TTFT_BUCKETS + b] for row in rows) for b in range(BUCKETS)]
        return Totals(started, ended, ok, tokens, _median_ms(counts))


class Counters:
    """One worker's row of the board."""

    def __init__(self, board: Board, worker: int) -> None:
        self._cells = board.cells
        self._row = HEAD + worker * ROW

    @property
    def stopping(self) -> bool:
        """Send nothing new."""
        return bool(self._cells[STOP] or self._cells[ABORT])

    @property
    def aborting(self) -> bool:
        """End what is running."""
        return bool(self._cells[ABORT])

    def started(self) -> None:
        """One more request was sent."""
        self._cells[self._row + STARTED] += 1

    def ended(self, record: Record, *, closed: bool) -> None:
        """One more request has ended; warm-up counts only as started and ended."""
        cells, row = self._cells, self._row
        cells[row + ENDED] += 1
        start_ns = record.sent_ns if closed else record.scheduled_ns
        if record.outcome is not Outcome.OK or record.phase is Phase.WARMUP:
            return
        cells[row + OK] += 1
        cells[row + TOKENS] += record.output_tokens or 0
        if record.first_token_ns is not None and start_ns is not None:
            cells[row + TTFT_BUCKETS + _bucket(record.first_token_ns - start_ns)] += 1


def _bucket(ttft_ns: int) -> int:
    return min(BUCKETS - 1, max(0, int(8 * (math.log2(max(1, ttft_ns)) - 10))))


def _median_ms(counts: list[int]) -> float | None:
    half, seen = sum(counts) / 2, 0
    if not half:
        return None
    for bucket, count in enumerate(counts):
        seen += count
        if seen >= half:
            return float(2 ** (10 + (bucket + 0.5) / 8) / 1e6)
    return None
