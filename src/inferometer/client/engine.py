"""The one loop: an item starts at the later of its due time and a free slot. Open and closed loads differ in data only.

When an exchange ends, its slot is given to the next item first; the ended one is decoded in a later turn of the loop,
one at a time, and never right before a send is due. Reads do not suffer from that: the kernel has stamped them
already.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from inferometer.client.clock import RealtimeOffset, now_ns
from inferometer.client.connection import Address, Connection, Surroundings, connect
from inferometer.client.counters import Counters
from inferometer.client.exchange import Exchange, Failure, Observer
from inferometer.client.inbox import Inbox
from inferometer.client.retry import wait_s
from inferometer.client.supply import Supply
from inferometer.config.models import Retries, Timeouts
from inferometer.errors import UserError
from inferometer.records.record import Outcome, Record
from inferometer.schedule.pacer import Due, Pacer

#: Decoding an exchange takes about this long (measured: 50 us and 1 us a token of 250 bytes; here with reserve) ...
DECODE_NS = 200_000
DECODE_NS_PER_BYTE = 6
#: ... and writing a batch of rows this long. Neither starts when a send is due sooner.
FLUSH_NS = 1_500_000
#: Backlog of ended exchanges above which they are decoded whatever is due.
BACKLOG = 256
#: Rows are handed to the store when there are this many and it suits, when there are far more, or when one is this old.
BATCH_ROWS = 64
BATCH_ROWS_AT_MOST = 512
BATCH_AGE_NS = 800_000_000
TICK_S = 0.1
#: Above the backlog, this many are decoded in a row.
BACKLOG_AT_ONCE = 16
#: A closed loop whose connection was refused waits this long, instead of hammering a server that is down.
REFUSED_PAUSE_S = 0.1


class Wiring(NamedTuple):
    """What stays the same for all stages of a worker. ``clock`` None means userland stamps."""

    address: Address
    timeouts: Timeouts
    clock: RealtimeOffset | None
    observer: Observer
    counters: Counters
    retries: Retries
    seed: int
    append: Callable[[list[Record]], None]


class Shape(NamedTuple):
    """One stage, as one worker has to play it. ``slots`` may be infinite; ``deadline_ns`` is absolute, or infinite."""

    schedule: Iterator[tuple[int, int]]
    supply: Supply
    slots: float
    closed: bool
    start_ns: int
    deadline_ns: float


class Tally(NamedTuple):
    """What the loop saw of itself."""

    started_ns: int
    ended_ns: int
    sent: int
    cap_hits: int
    lags_ns: list[int]
    connections_max: int


class Engine:
    """Plays stages on one event loop. Connections outlive a stage."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wiring: Wiring) -> None:
        self._loop = loop
        self._wiring = wiring
        self._inbox = Inbox(loop, collect=wiring.clock is not None)
        self._surroundings = Surroundings(loop, self._inbox, wiring.clock, self._on_end)
        self._idle: list[Connection] = []
        self._held: dict[Exchange, Connection] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._rows: list[Record] = []
        self._rows_since_ns = 0
        self._broken = ""
        self._over = loop.create_future()

    async def open_connections(self, wanted: int) -> Failure | None:
        """Open connections until ``wanted`` are idle. The first failure ends it and is returned."""
        self._idle = [connection for connection in self._idle if connection.usable()]
        while (missing := min(64, wanted - len(self._idle))) > 0:
            made = await asyncio.gather(*(self._connect() for _ in range(missing)))
            self._idle += [one for one in made if isinstance(one, Connection)]
            if (failure := next((one for one in made if isinstance(one, Failure)), None)) is not None:
                return failure
        return None

    async def play(self, shape: Shape) -> Tally:
        """Run one stage to its end: everything sent, everything ended, every row handed to the store."""
        self._shape = shape
        self._free = shape.slots
        self._inflight: set[Exchange] = set()
        self._held.clear()
        self._ended: deque[Exchange] = deque()
        self._sent = 0
        self._cap_hits = 0
        self._lags_ns: list[int] = []
        self._connections_max = len(self._idle)
        self._over = self._loop.create_future()
        self._tidying = False
        self._pacer = Pacer(self._loop, shape.schedule, shape.start_ns, self._pump)
        self._inbox.limit_ns = self._pacer.spare_ns
        ticker = self._loop.create_task(self._tick())
        ticker.add_done_callback(self._watch_ticker)
        self._settle()
        await self._over
        ended_ns = now_ns()
        ticker.cancel()
        self._pacer.stop()
        self._flush()
        if self._broken:
            raise UserError(self._broken, 3)
        return Tally(shape.start_ns, ended_ns, self._sent, self._cap_hits, self._lags_ns, self._connections_max)

    def clock_steps(self) -> int:
        """How often the wall clock jumped so far."""
        return self._wiring.clock.steps if self._wiring.clock is not None else 0

    def close(self) -> None:
        """Close every connection."""
        for connection in (*self._idle, *self._held.values()):
            connection.close()
        self._idle.clear()
        self._inbox.close()

    # --- start ---------------------------------------------------------------------------------------------------

    def _pump(self, *, was_full: bool = False) -> None:
        """Start what is due and has a slot. ``was_full``: there was none until now, so what starts had to wait."""
        while self._free > 0:
            now = now_ns()
            if now >= self._shape.deadline_ns or self._wiring.counters.stopping:
                self._pacer.stop()
            due = self._pacer.take(now)
            if due is None:
                break
            if was_full and not self._shape.closed:
                self._cap_hits += 1
            self._start(due, now)

    def _start(self, due: Due, now: int) -> None:
        self._free -= 1
        exchange = Exchange(self._shape.supply.take(due.number), now if self._shape.closed else due.at_ns)
        self._inflight.add(exchange)
        self._wiring.counters.started()
        self._sent += 1
        self._send(exchange)

    def _send(self, exchange: Exchange) -> None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable():
                self._held[exchange] = connection
                connection.send(exchange)
                return
        self._send_on_new(exchange)

    def _send_on_new(self, exchange: Exchange) -> None:
        task = self._loop.create_task(self._connect_and_send(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect_and_send(self, exchange: Exchange) -> None:
        began_ns = now_ns()
        made = await self._connect()
        if isinstance(made, Failure):
            exchange.tried(began_ns)
            self._fail(exchange, made)
        elif exchange not in self._inflight:
            self._idle.append(made)
        else:
            exchange.connected_ns = now_ns()
            self._held[exchange] = made
            made.send(exchange)

    async def _connect(self) -> Connection | Failure:
        wiring = self._wiring
        return await connect(self._surroundings, wiring.address, wiring.timeouts.connect_s)

    # --- end -----------------------------------------------------------------------------------------------------

    def _on_end(self, connection: Connection, exchange: Exchange) -> None:
        self._held.pop(exchange, None)
        if connection.is_open:
            self._idle.append(connection)
        if exchange not in self._inflight:
            return
        if _died_in_the_pool(exchange):
            exchange.reset()
            self._send_on_new(exchange)  # the others of the pool may be as dead
            return
        self._conclude(exchange)

    def _fail(self, exchange: Exchange, failure: Failure) -> None:
        """End an exchange from our side."""
        if exchange not in self._inflight:
            return
        if exchange.resting:
            exchange.reset()
        exchange.failure = failure
        exchange.ended_ns = now_ns()
        if (connection := self._held.pop(exchange, None)) is not None:
            connection.exchange = None
            connection.close()
        self._conclude(exchange)

    def _conclude(self, exchange: Exchange) -> None:
        wiring = self._wiring
        if wiring.retries.attempts > 1 and not exchange.resting and not wiring.counters.aborting:
            rest_s = wait_s(wiring.retries, exchange, wiring.observer, wiring.seed, time.time())
            if rest_s is not None:
                self._rest(exchange, rest_s)
                return
        self._inflight.discard(exchange)
        self._ended.append(exchange)
        if self._shape.closed and exchange.failure is not None and exchange.sent_ns is None:
            self._loop.call_later(REFUSED_PAUSE_S, self._release, self._over)
        else:
            self._release(self._over)
        self._settle()

    def _rest(self, exchange: Exchange, rest_s: float) -> None:
        """Try again in a while. The request keeps its slot: whoever sent it is still waiting."""
        failure = exchange.failure or exchange.judge(self._wiring.observer)
        assert failure is not None  # noqa: S101
        exchange.retried.append(failure.outcome)
        exchange.resting = True
        self._loop.call_later(rest_s, self._send_again, exchange)

    def _send_again(self, exchange: Exchange) -> None:
        if exchange in self._inflight:
            exchange.resting = False
            exchange.reset()
            self._send(exchange)

    def _release(self, stage: asyncio.Future[None]) -> None:
        """Give a slot back, if its stage is still played."""
        if stage is self._over and not stage.done():
            self._free += 1
            self._pump(was_full=self._free == 1)
            self._settle()

    def _settle(self) -> None:
        """Plan the decoding of what has ended, or end the stage if nothing is left to do."""
        if self._ended:
            if not self._tidying:
                self._tidying = True
                self._loop.call_soon(self._tidy)
        elif not self._inflight and self._pacer.head is None and not self._over.done():
            self._over.set_result(None)

    def _tidy(self) -> None:
        """Decode one ended exchange; come back for the next in a later turn, after whatever the sockets have."""
        spare_ns = self._pacer.spare_ns(now_ns())
        cost_ns = DECODE_NS + DECODE_NS_PER_BYTE * self._ended[0].received_bytes
        if spare_ns < cost_ns and len(self._ended) < BACKLOG:
            self._loop.call_later(0.001, self._tidy)
            return
        self._tidying = False
        for _ in range(1 + len(self._ended) // BACKLOG * BACKLOG_AT_ONCE):
            self._keep(self._ended.popleft())
            self._shape.supply.top_up()
        rows = len(self._rows)
        if rows >= BATCH_ROWS_AT_MOST or (rows >= BATCH_ROWS and spare_ns > cost_ns + FLUSH_NS):
            self._flush()
        self._settle()

    def _keep(self, exchange: Exchange) -> None:
        wiring = self._wiring
        record = exchange.record(wiring.observer)
        wiring.counters.ended(record, closed=self._shape.closed)
        if not self._rows:
            self._rows_since_ns = now_ns()
        self._rows.append(record)

    def _flush(self) -> None:
        try:
            self._wiring.append(self._rows)
        except OSError as error:
            self._broken = f"cannot write what was measured: {error}"
            return
        self._rows = []

    def break_down(self, sentence: str) -> None:
        """End the stage at once with what there is: something went wrong that must not."""
        self._broken = self._broken or sentence
        if not self._over.done():
            self._over.set_result(None)

    def _watch_ticker(self, ticker: asyncio.Task[None]) -> None:
        if not ticker.cancelled() and (error := ticker.exception()) is not None:
            self._loop.call_exception_handler({"message": "the ticker ended", "exception": error})

    # --- once in a while -----------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Timeouts, orders of the parent, the clock offset, rows that wait too long, how late this loop itself is."""
        sampled_ns = now_ns()
        while True:
            planned_ns = now_ns() + int(TICK_S * 1e9)
            await asyncio.sleep(TICK_S)
            now = now_ns()
            self._lags_ns.append(max(0, now - planned_ns))
            self._connections_max = max(self._connections_max, len(self._held) + len(self._idle))
            self._expire(now)
            self._obey()
            if self._wiring.clock is not None and now - sampled_ns > 1_000_000_000:
                self._wiring.clock.sample()
                sampled_ns = now
            if self._rows and now - self._rows_since_ns > BATCH_AGE_NS:
                self._flush()

    def _expire(self, now: int) -> None:
        for exchange in tuple(self._inflight):
            if (failure := _overdue(exchange, now, self._wiring.timeouts)) is not None:
                self._fail(exchange, failure)

    def _obey(self) -> None:
        counters = self._wiring.counters
        if counters.stopping or now_ns() >= self._shape.deadline_ns:
            self._pacer.stop()
        if counters.aborting or self._broken:
            self._pacer.stop()
            for exchange in tuple(self._inflight):
                self._fail(exchange, Failure(Outcome.CLIENT_ABORTED, "interrupted"))
        self._settle()


def _died_in_the_pool(exchange: Exchange) -> bool:
    """A waiting connection that dies before the first byte of an answer was closed while idle: send again, once."""
    reset = exchange.failure is not None and exchange.failure.outcome is Outcome.CONNECTION_RESET
    first = exchange.attempts == len(exchange.retried) + 1
    return reset and exchange.last_read_ns is None and first and exchange.connected_ns is None


def _overdue(exchange: Exchange, now: int, timeouts: Timeouts) -> Failure | None:
    """The limit that an exchange has passed. The total counts from its first send, the others from its last."""
    sent_ns, first_ns = exchange.sent_ns, exchange.first_try_ns
    if sent_ns is None or first_ns is None:
        return None
    last_ns = exchange.last_read_ns if exchange.answering else None
    waits: tuple[tuple[float, float, Outcome, str], ...] = (
        (now - first_ns, timeouts.total_s, Outcome.TIMEOUT_TOTAL, "no end"),
        (
            now - sent_ns if last_ns is None and not exchange.resting else -math.inf,
            timeouts.first_token_s,
            Outcome.TIMEOUT_FIRST_TOKEN,
            "no answer",
        ),
        (
            now - last_ns if last_ns and not exchange.resting else -math.inf,
            timeouts.between_tokens_s,
            Outcome.TIMEOUT_BETWEEN_TOKENS,
            "nothing more",
        ),
    )
    for waited_ns, limit_s, outcome, what in waits:
        if waited_ns > limit_s * 1e9:
            return Failure(outcome, f"{what} within {limit_s:g} s")
    return None
