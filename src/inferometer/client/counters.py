"""Live counters in shared memory: a worker writes its own row, the parent only looks. No message per request.

The file also carries the parent's orders (stop: send nothing new; abort: end at once; end the stage: send nothing
more of this one), so no signal is needed.
"""

from __future__ import annotations

import math
import mmap
from pathlib import Path
from typing import NamedTuple

from inferometer.config.models import Phase
from inferometer.records.record import Outcome, Record

STARTED, ENDED, OK, TOKENS, FAILED_IN_A_ROW, MOST_IN_A_ROW = range(6)
#: Buckets of a latency, 8 to an octave from 2^10 ns (1 us) on: a percentile is good to 9 %.
BUCKETS = 8 * 32
TTFT_BUCKETS = 6
E2EL_BUCKETS = TTFT_BUCKETS + BUCKETS
ROW = E2EL_BUCKETS + BUCKETS
STOP, ABORT, END_STAGE, HEAD = range(4)


class Totals(NamedTuple):
    """Sums over all workers since the stage began. Latencies are None before the first answer, and good to 9 %.

    ``failed_in_a_row``: failures since the last success, added up over the workers, or the most that one worker had.
    """

    started: int
    ended: int
    ok: int
    tokens: int
    failed_in_a_row: int = 0
    ttft_p50_ms: float | None = None
    ttft_p95_ms: float | None = None
    e2el_p95_ms: float | None = None


class Board:
    """The shared file as an array of 64-bit integers: the orders, then one row a worker."""

    def __init__(self, path: Path, workers: int, *, create: bool = False) -> None:
        size = 8 * (HEAD + workers * ROW)
        if create:
            path.write_bytes(bytes(size))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), size)
        self.cells = memoryview(self._map).cast("q")
        self.workers = workers

    def order(self, which: int) -> None:
        """Give one of the orders ``STOP``, ``ABORT`` and ``END_STAGE`` to all workers."""
        self.cells[which] = 1

    def clear(self) -> None:
        """All rows to zero, before a stage. Orders to the whole run stay."""
        self.cells[END_STAGE] = 0
        self.cells[HEAD:] = memoryview(bytes(8 * self.workers * ROW)).cast("q")

    def totals(self) -> Totals:
        """What all workers have done so far."""
        rows = [self.cells[HEAD + w * ROW : HEAD + (w + 1) * ROW].tolist() for w in range(self.workers)]
        started, ended, ok, tokens, failed, _ = (sum(row[i] for row in rows) for i in range(TTFT_BUCKETS))
        most = max(row[MOST_IN_A_ROW] for row in rows)
        ttft, e2el = (
            [sum(row[first + b] for row in rows) for b in range(BUCKETS)] for first in (TTFT_BUCKETS, E2EL_BUCKETS)
        )
        return Totals(
            started,
            ended,
            ok,
            tokens,
            max(failed, most),
            _percentile_ms(ttft, 50),
            _percentile_ms(ttft, 95),
            _percentile_ms(e2el, 95),
        )


class Counters:
    """One worker's row of the board."""

    def __init__(self, board: Board, worker: int) -> None:
        self._cells = board.cells
        self._row = HEAD + worker * ROW

    @property
    def stopping(self) -> bool:
        """Send nothing new."""
        return bool(self._cells[STOP] or self._cells[ABORT] or self._cells[END_STAGE])

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
        start_ns = record.first_try_ns if closed else record.scheduled_ns
        if record.phase is Phase.WARMUP:
            return
        if record.outcome is not Outcome.OK:
            cells[row + FAILED_IN_A_ROW] += 1
            cells[row + MOST_IN_A_ROW] = max(cells[row + MOST_IN_A_ROW], cells[row + FAILED_IN_A_ROW])
            return
        cells[row + FAILED_IN_A_ROW] = 0
        cells[row + OK] += 1
        cells[row + TOKENS] += record.output_tokens or 0
        for first, at_ns in ((TTFT_BUCKETS, record.first_token_ns), (E2EL_BUCKETS, record.last_token_ns)):
            if at_ns is not None and start_ns is not None:
                cells[row + first + _bucket(at_ns - start_ns)] += 1


def _bucket(latency_ns: int) -> int:
    return min(BUCKETS - 1, max(0, int(8 * (math.log2(max(1, latency_ns)) - 10))))


def _percentile_ms(counts: list[int], percent: float) -> float | None:
    wanted, seen = sum(counts) * percent / 100, 0
    if not wanted:
        return None
    for bucket, count in enumerate(counts):
        seen += count
        if seen >= wanted:
            return float(2 ** (10 + (bucket + 0.5) / 8) / 1e6)
    return None
