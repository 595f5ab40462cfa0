"""A worker process: owns a stride of the schedule, its own sockets and its own record file.

``python -m inferometer.runner.worker`` reads orders from stdin and answers on stdout (``messages.py``).
"""

from __future__ import annotations

import asyncio
import gc
import math
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from inferometer.client import tls
from inferometer.client.apis import spoken
from inferometer.client.clock import RealtimeOffset
from inferometer.client.connection import KERNEL_STAMPS, Address, resolve
from inferometer.client.counters import ABORT, Board, Counters
from inferometer.client.engine import Engine
from inferometer.client.exchange import Observer
from inferometer.client.jobs import JobWriter, job_writer, request_head
from inferometer.client.play import Shape, Tally, Wiring
from inferometer.client.recorder import Desk
from inferometer.client.spool import Build
from inferometer.client.supply import Supply
from inferometer.config.models import OpenLoop, Plan, Target
from inferometer.errors import UserError
from inferometer.records.record import Clock, WorkerStage
from inferometer.records.store import Writer
from inferometer.runner.builder import Builder
from inferometer.runner.messages import Broken, Done, Prepare, Ready, Reply, Setup, decode_order, encode
from inferometer.runner.share import Share, Whole, share, stage_seed
from inferometer.schedule.arrivals import Longs
from inferometer.telemetry import ask, machine
from inferometer.workload.dataset_asks import counter
from inferometer.workload.sources import asks_of, recorded_ns

#: Connections opened before the clock of a load that has no cap.
OPEN_LOOP_CONNECTIONS = 64
#: No stage opens more than this many in advance.
MOST_CONNECTIONS = 8192


class Post(NamedTuple):
    """A worker at its place: everything that outlives a stage."""

    setup: Setup
    plan: Plan
    board: Board
    loop: asyncio.AbstractEventLoop
    engine: Engine
    jobs: JobWriter
    builder: Builder
    recorded_ns: Longs | None


class Prepared(NamedTuple):
    """A part of the plan that can start at once."""

    order: Prepare
    share: Share
    supply: Supply


class Costs(NamedTuple):
    """What a stage cost: time of this process, what the machine says of it, jumps of the wall clock."""

    cpu_ns: int
    machine: machine.Reading
    clock_steps: int


def main() -> None:
    """Obey until stdin ends."""
    for which in (signal.SIGINT, signal.SIGTERM):  # they reach the whole group; the parent interprets them
        signal.signal(which, signal.SIG_IGN)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # every stream is an open file
    line = sys.stdin.buffer.readline()
    if not line:
        return  # the parent found something wrong before it had a task
    setup = decode_order(line)
    try:
        _obey(setup)
    except UserError as error:
        kept = f"; what was measured is kept: inferometer report {setup.directory}" if error.exit_code == 3 else ""
        _say(Broken(f"{error}{kept}"))


def _obey(setup: Setup) -> None:
    loop = _new_loop()
    plan = Plan.model_validate_json(setup.plan)
    board = Board(Path(setup.board), setup.workers)
    writer = Writer(Path(setup.directory), setup.worker)
    engine = Engine(loop, _wiring(setup, plan, board, writer))
    loop.set_exception_handler(lambda _, context: _own_fault(engine, context))
    stream, keep_alive = plan.scenario.workload.stream, plan.target.keep_alive
    api = spoken(plan.target.api, stream=stream)
    url = urlsplit(ask.url(plan.target, plan.target.endpoint or api.path))
    path = f"{url.path}?{url.query}" if url.query else url.path
    host = url.netloc.rpartition("@")[2]
    head = request_head(path, host, ask.headers(plan.target), stream=stream, keep_alive=keep_alive)
    jobs = job_writer(plan, asks_of(plan, setup.materials), head)
    builder = Builder(setup, head)
    post = Post(setup, plan, board, loop, engine, jobs, builder, recorded_ns(setup.materials))
    prepared: Prepared | None = None
    for line in sys.stdin.buffer:
        order = decode_order(line)
        if isinstance(order, Prepare):
            prepared, problem = _prepare(post, order)
            _say(Ready(problem))
        elif prepared is not None:
            _say(Done(_play(post, prepared, order.start_ns)))
    builder.end()
    engine.close()
    writer.close()


def _own_fault(engine: Engine, context: dict[str, Any]) -> None:
    """An exception that nobody expected is our bug: it ends the run instead of letting a request wait for ever."""
    error = context.get("exception")
    if isinstance(error, UserError):  # a file has changed under our hands
        engine.break_down(str(error))
        return
    if error is not None:
        traceback.print_exception(error)
    what = f"{type(error).__name__}: {error}" if error is not None else context["message"]
    engine.break_down(f"an error in inferometer itself ended the run ({what}): please report it; the rows are kept")


def _prepare(post: Post, order: Prepare) -> tuple[Prepared, str | None]:
    stage = post.plan.scenario.stages[order.stage]
    seed = stage_seed(post.plan.seed, order.stage)
    whole = Whole(stage, order.phase, seed, post.recorded_ns)
    part = share(whole, post.setup.worker, post.setup.workers)
    numbers = (number for number, _ in part.schedule())
    supply = Supply(
        lambda number: post.jobs.first(order.stage, order.phase, number),
        numbers,
        endless=part.endless,
        spool=lambda after: post.builder.begin(Build(order.stage, order.phase, after)),
    )
    at_once = isinstance(stage.load, OpenLoop) and stage.load.at_once
    limit = OPEN_LOOP_CONNECTIONS if math.isinf(part.slots) and not at_once else MOST_CONNECTIONS
    wanted = min(part.slots, len(supply), limit)
    failure = post.loop.run_until_complete(post.engine.open_connections(int(wanted)))
    return Prepared(order, part, supply), f"{failure.outcome}: {failure.detail}" if failure else None


def _play(post: Post, prepared: Prepared, start_ns: int) -> WorkerStage:
    part = prepared.share
    deadline_ns = start_ns + part.duration_s * 1e9
    shape = Shape(
        schedule=part.schedule(),
        supply=prepared.supply,
        slots=part.slots,
        opens_ns=[start_ns + opens_ns for opens_ns in part.opens_ns],
        rest_s=part.rest_s,
        next_turn=post.jobs.next,
        closed=part.closed,
        start_ns=start_ns,
        deadline_ns=deadline_ns,
    )
    gc.collect()
    gc.freeze()
    gc.disable()
    told, cpu, steps = machine.read(), time.process_time_ns(), post.engine.clock_steps()
    tally = post.loop.run_until_complete(_while_parent_lives(post.engine.play(shape), post.board))
    cpu = time.process_time_ns() - cpu
    told = machine.since(told, machine.read())
    gc.enable()
    gc.unfreeze()
    return _report(post, prepared, tally, Costs(cpu, told, post.engine.clock_steps() - steps))


def _report(post: Post, prepared: Prepared, tally: Tally, costs: Costs) -> WorkerStage:
    p50, p99, most = np.percentile(tally.lags_ns or [0], [50, 99, 100]).astype(int).tolist()
    return WorkerStage(
        stage=prepared.order.stage,
        worker=post.setup.worker,
        started_ns=tally.started_ns - post.setup.epoch_ns,
        ended_ns=tally.ended_ns - post.setup.epoch_ns,
        planned=prepared.share.planned,
        sent=tally.sent,
        cap_hits=tally.cap_hits,
        late_builds=prepared.supply.late_builds,
        cpu_ns=costs.cpu_ns,
        loop_lag_p50_ns=p50,
        loop_lag_p99_ns=p99,
        loop_lag_max_ns=most,
        clock_steps=costs.clock_steps,
        connections_max=tally.connections_max,
        files_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        ports_used_share=machine.ports_used_share(),
        **costs.machine._asdict(),
    )


async def _while_parent_lives(play: Coroutine[Any, Any, Tally], board: Board) -> Tally:
    """A worker without its parent ends at once, with everything it has measured on disk."""
    watcher = asyncio.ensure_future(_abort_when_orphaned(board))
    try:
        return await play
    finally:
        watcher.cancel()


async def _abort_when_orphaned(board: Board) -> None:
    parent = os.getppid()
    while os.getppid() == parent:  # noqa: ASYNC110 (the kernel tells nobody; there is no event to wait for)
        await asyncio.sleep(0.5)
    board.order(ABORT)


def _wiring(setup: Setup, plan: Plan, board: Board, writer: Writer) -> Wiring:
    kernel = plan.stamps == "kernel" or (plan.stamps == "auto" and KERNEL_STAMPS)
    if kernel and not KERNEL_STAMPS:
        raise UserError("this system has no kernel receive stamps; use --stamps userland or auto")
    clock = RealtimeOffset() if kernel else None
    workload = plan.scenario.workload
    api = spoken(plan.target.api, stream=workload.stream)
    observer = Observer(
        api=api,
        worker=setup.worker,
        epoch_ns=setup.epoch_ns,
        clock=Clock.KERNEL if kernel else Clock.USERLAND,
        stamps_ns=clock.to_monotonic if clock else lambda stamps: np.array(stamps, np.int64),
        secrets=ask.secrets(plan.target),
        replica_header=(plan.target.replica_header or "").lower().encode() or None,
        check_model=plan.target.check_model,
        require_length=workload.require_length,
        count_tokens=counter(plan) if api.generates else None,
        # nobody can say how many tokens a picture has
        prompts_counted=plan.target.tokenizer is not None and workload.images is None,
    )
    return Wiring(
        address=_address(plan.target),
        timeouts=plan.target.timeouts,
        clock=clock,
        desk=Desk(observer, Counters(board, setup.worker), writer.append),
        retries=plan.target.retries,
        seed=plan.seed,
        keep_alive=plan.target.keep_alive,
    )


def _address(target: Target) -> Address:
    parts = urlsplit(target.base_url)
    context = tls.context(target) if parts.scheme == "https" else None
    host = parts.hostname or ""
    try:
        return resolve(host, parts.port or (443 if context else 80), context)
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
