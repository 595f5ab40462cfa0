"""One stage: an item starts at the later of its due time and a free slot. Open and closed loads differ in data only.

When an exchange ends, its slot is given to the next item first; only then is the ended one decoded (``recorder``).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from inferometer.client.clock import RealtimeOffset, now_ns
from inferometer.client.connection import Address, Connection
from inferometer.client.exchange import Exchange, Job
from inferometer.client.failure import Failure
from inferometer.client.pool import Pool
from inferometer.client.recorder import Desk, Recorder
from inferometer.client.retry import wait_s
from inferometer.client.supply import Supply
from inferometer.config.models import Retries, Timeouts
from inferometer.records.record import Outcome
from inferometer.schedule.pacer import Due, Pacer

TICK_S = 0.1
#: A closed loop whose connection was refused waits this long, instead of hammering a server that is down.
REFUSED_PAUSE_S = 0.1


class Wiring(NamedTuple):
    """What stays the same for all stages of a worker. ``clock`` None means userland stamps.

    Without ``keep_alive`` every request opens a connection of its own, as part of it.
    """

    address: Address
    timeouts: Timeouts
    clock: RealtimeOffset | None
    desk: Desk
    retries: Retries
    seed: int
    keep_alive: bool = True


class Shape(NamedTuple):
    """One stage, as one worker has to play it. ``slots`` may be infinite; ``deadline_ns`` is absolute, or infinite.

    Slots open at ``opens_ns`` (absolute; empty: all at once), and stay empty for ``rest_s(number)`` after a request.
    ``next_turn`` writes what follows an answer in its conversation.
    """

    schedule: Iterator[tuple[int, int]]
    supply: Supply
    slots: float
    closed: bool
    start_ns: int
    deadline_ns: float
    opens_ns: Sequence[int] = ()
    rest_s: Callable[[int], float] = lambda _: 0.0
    next_turn: Callable[[Job, str], Job] | None = None


class Tally(NamedTuple):
    """What the loop saw of itself."""

    started_ns: int
    ended_ns: int
    sent: int
    cap_hits: int
    lags_ns: list[int]
    connections_max: int


class Play:
    """Everything that happens between the first send of a stage and its last row."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wiring: Wiring, pool: Pool, shape: Shape) -> None:
        self._loop = loop
        self._wiring = wiring
        self._counters = wiring.desk.counters
        self._pool = pool
        self._shape = shape
        self._free = 0 if shape.opens_ns else shape.slots
        self._paused = 0
        self._inflight: set[Exchange] = set()
        self._held: dict[Exchange, Connection] = {}
        self._connecting: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[None] = loop.create_future()
        self._broken = ""
        self._sent = 0
        self._cap_hits = 0
        self._lags_ns: list[int] = []
        self._connections_max = len(pool)
        self._pacer = Pacer(loop, shape.schedule, shape.start_ns, self._pump)
        self._recorder = Recorder(loop, wiring.desk, self._pacer.spare_ns, self._kept, closed=shape.closed)
        pool.inbox.limit_ns = self._pacer.spare_ns
        pool.on_end = self._on_end

    async def run(self) -> Tally:
        """Until everything is sent, everything has ended, and every row is with the store.

        Raises ``OSError`` if the rows cannot be stored, ``RuntimeError`` for a fault of our own.
        """
        ticker = self._loop.create_task(self._tick())
        ticker.add_done_callback(self._watch_ticker)
        for at_ns in self._shape.opens_ns:
            self._loop.call_later(max(0.0, (at_ns - now_ns()) / 1e9), self._release)
        self._settle()
        await self._over
        ended_ns = now_ns()
        ticker.cancel()
        self._pacer.stop()
        self._recorder.flush()
        if self._broken:
            raise RuntimeError(self._broken)
        if self._recorder.problem:
            raise OSError(self._recorder.problem)
        return Tally(self._shape.start_ns, ended_ns, self._sent, self._cap_hits, self._lags_ns, self._connections_max)

    def break_down(self, sentence: str) -> None:
        """End at once with what there is: something went wrong that must not."""
        self._broken = self._broken or sentence
        self._end()

    def close(self) -> None:
        """Close the connections that are in use."""
        for connection in self._held.values():
            connection.close()

    # --- start ---------------------------------------------------------------------------------------------------

    def _pump(self, *, was_full: bool = False) -> None:
        """Start what is due and has a slot. ``was_full``: there was none until now, so what starts had to wait."""
        while self._free > 0:
            now = now_ns()
            if now >= self._shape.deadline_ns or self._counters.stopping:
                self._pacer.stop()
            due = self._pacer.take(now)
            if due is None:
                break
            if was_full and not self._shape.closed:
                self._cap_hits += 1
            self._start(due, now)

    def _start(self, due: Due, now: int) -> None:
        self._free -= 1
        self._begin(Exchange(self._shape.supply.take(due.number), now if self._shape.closed else due.at_ns))

    def _begin(self, exchange: Exchange) -> None:
        self._inflight.add(exchange)
        self._counters.started()
        self._sent += 1
        self._send(exchange)

    def _send(self, exchange: Exchange) -> None:
        connection = self._pool.take()
        if connection is None:
            self._send_on_new(exchange)
            return
        self._held[exchange] = connection
        connection.send(exchange)

    def _send_on_new(self, exchange: Exchange) -> None:
        task = self._loop.create_task(self._connect_and_send(exchange))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect_and_send(self, exchange: Exchange) -> None:
        began_ns = now_ns()
        if not self._pool.keep_alive:
            exchange.connecting(began_ns)
        made = await self._pool.connect()
        if isinstance(made, Failure):
            exchange.tried(began_ns)
            self._fail(exchange, made)
        elif exchange not in self._inflight:
            self._pool.put(made)
        else:
            exchange.connected_ns = now_ns()
            self._held[exchange] = made
            made.send(exchange)

    # --- end -----------------------------------------------------------------------------------------------------

    def _on_end(self, connection: Connection, exchange: Exchange) -> None:
        self._held.pop(exchange, None)
        self._pool.put(connection)
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
        rest_s = self._rest_s(exchange)
        if rest_s is not None:
            self._rest(exchange, rest_s)
            return
        self._inflight.discard(exchange)
        self._recorder.add(exchange)
        if exchange.job.ask is not None and self._talk_on(exchange.job, exchange):
            return
        refused = self._shape.closed and exchange.failure is not None and exchange.sent_ns is None
        rest_s = max(REFUSED_PAUSE_S if refused else 0.0, self._shape.rest_s(exchange.job.number))
        if rest_s:
            self._loop.call_later(rest_s, self._release)
        else:
            self._release()

    def _release(self) -> None:
        """Give a slot back, unless the stage is over."""
        if not self._over.done():
            self._free += 1
            self._pump(was_full=self._free == 1)
            self._settle()

    def _kept(self) -> None:
        self._shape.supply.top_up()
        self._settle()

    def _settle(self) -> None:
        """End the stage if nothing is left to do."""
        if not (self._recorder or self._inflight or self._paused or self._pacer.head):
            self._end()

    def _end(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    # --- conversations -------------------------------------------------------------------------------------------

    def _talk_on(self, job: Job, exchange: Exchange) -> bool:
        """Prepare the turn that follows an answer. False if there is none: the request failed, or the stage ends."""
        said = None if self._ending() else exchange.said(self._wiring.desk.observer)
        if said is None or job.ask is None or self._shape.next_turn is None:
            return False
        self._paused += 1
        turn = self._shape.next_turn(job, said)
        self._loop.call_later(job.ask.later[0].pause_s, self._say, turn)
        return True

    def _say(self, job: Job) -> None:
        """Send a later turn. It keeps the slot of its conversation, and its latency begins now."""
        self._paused -= 1
        if self._ending():
            self._release()
            return
        self._begin(Exchange(job, now_ns()))

    def _ending(self) -> bool:
        return self._over.done() or self._counters.stopping or now_ns() >= self._shape.deadline_ns

    # --- once more -----------------------------------------------------------------------------------------------

    def _rest_s(self, exchange: Exchange) -> float | None:
        """How long a failed request waits until it is tried again; None if it is not."""
        policy = self._wiring.retries
        if policy.attempts == 1 or exchange.resting or self._counters.aborting:
            return None
        return wait_s(policy, exchange, self._wiring.desk.observer, self._wiring.seed, time.time())

    def _rest(self, exchange: Exchange, rest_s: float) -> None:
        """The request keeps its slot: whoever sent it is still waiting."""
        failure = exchange.failure or exchange.judge(self._wiring.desk.observer)
        assert failure is not None  # noqa: S101
        exchange.retried.append(failure.outcome)
        exchange.resting = True
        self._loop.call_later(rest_s, self._send_again, exchange)

    def _send_again(self, exchange: Exchange) -> None:
        if exchange in self._inflight:
            exchange.resting = False
            exchange.reset()
            self._send(exchange)

    # --- once in a while -----------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        """Timeouts, orders of the parent, the clock offset, rows that wait too long, how late this loop itself is."""
        sampled_ns = now_ns()
        while True:
            planned_ns = now_ns() + int(TICK_S * 1e9)
            await asyncio.sleep(TICK_S)
            now = now_ns()
            self._lags_ns.append(max(0, now - planned_ns))
            self._connections_max = max(self._connections_max, len(self._held) + len(self._pool))
            if now - planned_ns < TICK_S * 1e9:  # after a stop of our own, what has come meanwhile is read first
                self._expire(now)
            self._obey()
            if self._wiring.clock is not None and now - sampled_ns > 1_000_000_000:
                self._wiring.clock.sample()
                sampled_ns = now
            self._recorder.flush_old(now)

    def _watch_ticker(self, ticker: asyncio.Task[None]) -> None:
        if not ticker.cancelled() and (error := ticker.exception()) is not None:
            self._loop.call_exception_handler({"message": "the ticker ended", "exception": error})

    def _expire(self, now: int) -> None:
        for exchange in tuple(self._inflight):
            if (failure := _overdue(exchange, now, self._wiring.timeouts)) is not None:
                self._fail(exchange, failure)

    def _obey(self) -> None:
        if self._counters.stopping or now_ns() >= self._shape.deadline_ns:
            self._pacer.stop()
        if self._counters.aborting or self._recorder.problem:
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
