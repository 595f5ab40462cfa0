"""A worker process: owns a stride of the schedule, its own sockets and its own record file.

``python -m inferometer.runner.worker`` reads orders from stdin and answers on stdout (``messages.py``).
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import signal
import ssl
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from inferometer.client.apis import APIS
from inferometer.client.clock import RealtimeOffset
from inferometer.client.connection import KERNEL_STAMPS, Address, resolve
from inferometer.client.counters import ABORT, Board, Counters
from inferometer.client.engine import Engine, Shape, Tally, Wiring
from inferometer.client.supply import Supply, job_writer, request_head
from inferometer.config.models import Plan, Target
from inferometer.errors import UserError
from inferometer.records.record import WorkerStage
from inferometer.records.store import Writer
from inferometer.runner.messages import Broken, Done, Prepare, Ready, Reply, Setup, Start, decode_order, encode
from inferometer.runner.share import Share, share, stage_seed
from inferometer.telemetry import ask
from inferometer.telemetry.machine import steal_ns
from inferometer.workload.tokens import composer

#: Connections opened before the clock of a load that has no cap.
OPEN_LOOP_CONNECTIONS = 64


class Prepared(NamedTuple):
    """A part that can start at once."""

    order: Prepare
    share: Share
    supply: Supply


def main() -> None:
    """Obey until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to interpret
    setup = decode_order(sys.stdin.buffer.readline() or b"null")
    assert isinstance(setup, Setup)  # noqa: S101
    try:
        _obey(setup)
    except UserError as error:
        _say(Broken(str(error)))


def _obey(setup: Setup) -> None:
    loop = _new_loop()
    plan = Plan.model_validate_json(setup.plan)
    board = Board(Path(setup.board), setup.workers)
    writer = Writer(Path(setup.directory), setup.worker)
    engine = Engine(loop, _wiring(setup, plan, board, writer))
    url = urlsplit(ask.url(plan.target, plan.target.endpoint or APIS[plan.target.api].path))
    head = request_head(url.path, url.netloc.rpartition("@")[2], ask.headers(plan.target))
    write = job_writer(plan, composer(setup.prompts), head)
    prepared: Prepared | None = None
    for line in sys.stdin.buffer:
        order = decode_order(line)
        if isinstance(order, Prepare):
            prepared, problem = _prepare(loop, engine, plan, setup, order, write)
            _say(Ready(problem))
        elif isinstance(order, Start) and prepared is not None:
            _say(Done(_play(loop, engine, prepared, order.start_ns, setup, board)))
    engine.close()
    writer.close()


def _prepare(
    loop: asyncio.AbstractEventLoop, engine: Engine, plan: Plan, setup: Setup, order: Prepare, write: Any
) -> tuple[Prepared, str | None]:
    stage = plan.scenario.stages[order.stage]
    part = share(stage, order.phase, stage_seed(plan.seed, order.stage), setup.worker, setup.workers)
    indices = (index for index, _ in part.schedule())
    supply = Supply(lambda index: write(order.stage, order.phase, index), indices, endless=part.endless)
    wanted = min(part.slots, len(supply), OPEN_LOOP_CONNECTIONS if math.isinf(part.slots) else math.inf)
    failure = loop.run_until_complete(engine.open_connections(int(wanted)))
    return Prepared(order, part, supply), f"{failure.outcome}: {failure.detail}" if failure else None


def _play(
    loop: asyncio.AbstractEventLoop, engine: Engine, prepared: Prepared, start_ns: int, setup: Setup, board: Board
) -> WorkerStage:
    part = prepared.share
    deadline_ns = start_ns + part.duration_s * 1e9
    shape = Shape(part.schedule(), prepared.supply, part.slots, part.closed, start_ns, deadline_ns)
    gc.collect()
    gc.freeze()
    gc.disable()
    steal, cpu = steal_ns(), time.process_time_ns()
    tally = loop.run_until_complete(_while_parent_lives(engine.play(shape), board))
    cpu = time.process_time_ns() - cpu
    stolen = None if steal is None else (steal_ns() or 0) - steal
    gc.enable()
    gc.unfreeze()
    return _report(prepared, tally, setup, cpu, stolen, engine.clock_steps())


def _report(
    prepared: Prepared, tally: Tally, setup: Setup, cpu_ns: int, stolen_ns: int | None, steps: int
) -> WorkerStage:
    p50, p99, most = np.percentile(tally.lags_ns or [0], [50, 99, 100]).astype(int).tolist()
    return WorkerStage(
        stage=prepared.order.stage,
        worker=setup.worker,
        started_ns=tally.started_ns - setup.epoch_ns,
        ended_ns=tally.ended_ns - setup.epoch_ns,
        planned=prepared.share.planned,
        sent=tally.sent,
        cap_hits=tally.cap_hits,
        late_builds=prepared.supply.late_builds,
        cpu_ns=cpu_ns,
        loop_lag_p50_ns=p50,
        loop_lag_p99_ns=p99,
        loop_lag_max_ns=most,
        clock_steps=steps,
        steal_ns=stolen_ns,
    )


async def _while_parent_lives(play: Any, board: Board) -> Tally:
    """A worker without its parent ends at once, with everything it has measured on disk."""
    parent = os.getppid()

    async def watch() -> None:
        while os.getppid() == parent:
            await asyncio.sleep(0.5)
        board.order(ABORT)

    watcher = asyncio.ensure_future(watch())
    try:
        tally: Tally = await play
    finally:
        watcher.cancel()
    return tally


def _wiring(setup: Setup, plan: Plan, board: Board, writer: Writer) -> Wiring:
    kernel = plan.stamps == "kernel" or (plan.stamps == "auto" and KERNEL_STAMPS)
    if kernel and not KERNEL_STAMPS:
        raise UserError("this system has no kernel receive stamps; use --stamps userland or auto")
    return Wiring(
        address=_address(plan.target),
        api=APIS[plan.target.api],
        model=plan.target.model,
        timeouts=plan.target.timeouts,
        clock=RealtimeOffset() if kernel else None,
        worker=setup.worker,
        epoch_ns=setup.epoch_ns,
        counters=Counters(board, setup.worker),
        append=writer.append,
    )


def _address(target: Target) -> Address:
    parts = urlsplit(target.base_url)
    tls = None
    if parts.scheme == "https":
        tls = ssl.create_default_context()
        if not target.verify_tls:
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
    host = parts.hostname or ""
    try:
        return resolve(host, parts.port or (443 if tls else 80), tls)
    except OSError as error:
        raise UserError(f"the host {host!r} of {target.base_url} has no address: {error.strerror}") from None


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()  # type: ignore[no-any-return]


def _say(reply: Reply) -> None:
    sys.stdout.buffer.write(encode(reply) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
