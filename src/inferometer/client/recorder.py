"""Ended exchanges become rows: decoded one at a time, and never right before a send is due.

Reads do not suffer from that: the kernel has stamped them already.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from inferometer.client.clock import now_ns
from inferometer.client.counters import Counters
from inferometer.client.exchange import Exchange, Observer
from inferometer.records.record import Record, Source

#: Decoding an exchange takes about this long (measured: 50 us and 1 us a token of 250 bytes; here with reserve) ...
DECODE_NS = 200_000
DECODE_NS_PER_BYTE = 6
#: ... counting the tokens of an answer without usage this long each (measured: 1 us a token) ...
COUNT_NS_PER_TOKEN = 3_000
#: ... and writing a batch of rows this long. Neither starts when a send is due sooner.
FLUSH_NS = 1_500_000
RETRY_S = 0.001
#: Backlog of ended exchanges above which they are decoded whatever is due, and how many of them in a row.
BACKLOG = 256
BACKLOG_AT_ONCE = 16
#: Rows are handed to the store when there are this many and it suits, when there are far more, or when one is this old.
BATCH_ROWS = 64
BATCH_ROWS_AT_MOST = 512
BATCH_AGE_NS = 800_000_000


class Desk(NamedTuple):
    """What a recorder works with. ``append`` hands rows to the store and may raise ``OSError``."""

    observer: Observer
    counters: Counters
    append: Callable[[list[Record]], None]


class Recorder:
    """Takes the exchanges of one stage. ``spare_ns(now)``: time until the next send; ``on_kept()``: after each one."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        desk: Desk,
        spare_ns: Callable[[int], int],
        on_kept: Callable[[], None],
        *,
        closed: bool,
    ) -> None:
        self._loop = loop
        self._desk = desk
        self._spare_ns = spare_ns
        self._on_kept = on_kept
        self._closed = closed
        self._ended: deque[Exchange] = deque()
        self._rows: list[Record] = []
        self._rows_since_ns = 0
        self._tidying = False
        self._counting = False
        self.problem = ""

    def __len__(self) -> int:
        """Exchanges that still have to be decoded."""
        return len(self._ended)

    def add(self, exchange: Exchange) -> None:
        """Take an exchange that has ended; it is decoded in a later turn of the loop."""
        self._ended.append(exchange)
        if not self._tidying:
            self._tidying = True
            self._loop.call_soon(self._tidy)

    def flush(self) -> None:
        """Hand the rows to the store; ``problem`` says why that was not possible, if so."""
        try:
            self._desk.append(self._rows)
        except OSError as error:
            self.problem = f"cannot write what was measured: {error}"
            return
        self._rows = []

    def flush_old(self, now: int) -> None:
        """Hand the rows to the store if one has waited for long."""
        if self._rows and now - self._rows_since_ns > BATCH_AGE_NS:
            self.flush()

    def _tidy(self) -> None:
        """Decode one exchange; come back for the next in a later turn, after whatever the sockets have."""
        spare_ns = self._spare_ns(now_ns())
        cost_ns = self._cost_ns(self._ended[0])
        if spare_ns < cost_ns and len(self._ended) < BACKLOG:
            self._loop.call_later(RETRY_S, self._tidy)
            return
        for _ in range(1 + len(self._ended) // BACKLOG * BACKLOG_AT_ONCE):
            self._keep(self._ended.popleft())
        rows = len(self._rows)
        if rows >= BATCH_ROWS_AT_MOST or (rows >= BATCH_ROWS and spare_ns > cost_ns + FLUSH_NS):
            self.flush()
        self._tidying = bool(self._ended)
        if self._tidying:
            self._loop.call_soon(self._tidy)
        self._on_kept()

    def _cost_ns(self, exchange: Exchange) -> int:
        # servers tell usage always or never: what the last answer needed, the next one will
        counted_tokens = min(exchange.job.asked_output_tokens, exchange.received_bytes) * self._counting
        return DECODE_NS + DECODE_NS_PER_BYTE * exchange.received_bytes + COUNT_NS_PER_TOKEN * counted_tokens

    def _keep(self, exchange: Exchange) -> None:
        record = exchange.record(self._desk.observer)
        if record.output_tokens_source is not None:
            self._counting = record.output_tokens_source is Source.TOKENIZER
        self._desk.counters.ended(record, closed=self._closed)
        if not self._rows:
            self._rows_since_ns = now_ns()
        self._rows.append(record)
