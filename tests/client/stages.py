"""Stages played by the engine against a server on loopback, with the records that came of them."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import uvloop

from inferometer.client.apis import APIS
from inferometer.client.clock import RealtimeOffset, now_ns
from inferometer.client.connection import resolve
from inferometer.client.counters import Board, Counters
from inferometer.client.engine import Engine
from inferometer.client.exchange import Failure, Job, Observer
from inferometer.client.jobs import request_head
from inferometer.client.play import Shape, Tally, Wiring
from inferometer.client.recorder import Desk
from inferometer.client.supply import Supply
from inferometer.config.models import Phase, Retries, Timeouts
from inferometer.records.record import Clock, Record, Stamps


class Stage(NamedTuple):
    """``offsets_ns`` count from the start; ``during`` is called in the loop right before each send."""

    offsets_ns: Sequence[int] = (0,)
    slots: float = 1
    closed: bool = True
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    stamps_ns: Callable[[list[object]], Stamps] | None = None
    kernel: bool = True
    opened: int = 0
    tls: ssl.SSLContext | None = None
    body: bytes = b"{}"
    head_start_ns: int = 0
    deadline_ns: float = math.inf
    during: Callable[[Board, int], None] = lambda *_: None
    keep_alive: bool = True


class Played(NamedTuple):
    """What came of it. ``failure``: why connections could not be opened before the clock, if so."""

    tally: Tally
    records: list[Record]
    failure: Failure | None
    start_ns: int


def play(port: int, stage: Stage) -> Played:
    """Play one stage to its end. Records are sorted by index; their times are monotonic."""
    loop = uvloop.new_event_loop()
    try:
        with TemporaryDirectory() as folder:
            played: Played = loop.run_until_complete(_play(loop, port, stage, Path(folder)))
            return played
    finally:
        loop.close()


async def _play(loop: asyncio.AbstractEventLoop, port: int, stage: Stage, folder: Path) -> Played:
    board, records = Board(folder / "board", 1, create=True), list[Record]()
    engine = Engine(loop, _wiring(port, stage, board, records))
    loop.set_exception_handler(lambda _, context: engine.break_down(str(context.get("exception"))))
    count = len(stage.offsets_ns)

    def write(index: int) -> Job:
        stage.during(board, index)
        return _job(index, stage.body)

    failure = await engine.open_connections(stage.opened)
    supply = Supply(write, iter(range(0)), endless=False)
    start_ns = now_ns() - stage.head_start_ns
    schedule = iter(list(zip(range(count), stage.offsets_ns, strict=True)))
    shape = Shape(schedule, supply, stage.slots, stage.closed, start_ns, start_ns + stage.deadline_ns)
    try:
        tally = await engine.play(shape)
    finally:
        engine.close()
    return Played(tally, sorted(records, key=lambda record: record.index), failure, start_ns)


def _wiring(port: int, stage: Stage, board: Board, records: list[Record]) -> Wiring:
    clock = RealtimeOffset() if stage.kernel else None
    observer = Observer(
        api=APIS["openai-chat"],
        worker=0,
        epoch_ns=0,
        clock=Clock.KERNEL if clock else Clock.USERLAND,
        stamps_ns=stage.stamps_ns or clock.to_monotonic if clock else lambda stamps: np.array(stamps, np.int64),
    )
    return Wiring(
        address=resolve("127.0.0.1", port, stage.tls),
        timeouts=stage.timeouts,
        clock=clock,
        desk=Desk(observer, Counters(board, 0), records.extend),
        retries=stage.retries,
        seed=0,
        keep_alive=stage.keep_alive,
    )


def _job(index: int, body: bytes) -> Job:
    head = request_head(f"/{index}", "localhost", {}) + b"content-length: %d\r\n\r\n" % len(body)
    return Job(0, index, Phase.MEASURED, head + body, 7, 5, "m")
