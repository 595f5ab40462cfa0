"""The simulator as a process: listens, keeps the appointments of its timed faults, and ends with a signal."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
from collections.abc import Callable
from functools import partial
from typing import IO

from inferometer.errors import UserError
from inferometer.simulator.faults import Fault
from inferometer.simulator.misbehaviour import die
from inferometer.simulator.server import Server, Settings


class Door:
    """The listening socket, which can be shut for a while: meanwhile the kernel refuses connections to its port.

    Connections that are open stay open.
    """

    def __init__(self, server: Server, can_shut: bool) -> None:
        self._server = server
        self._can_shut = can_shut
        self._holders: list[socket.socket] = []
        self._shut_times = 0
        self._reopening: asyncio.Task[int] | None = None

    async def open(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises ``OSError`` if that is not possible."""
        loop = asyncio.get_running_loop()
        reuse = True if self._can_shut else None
        self._listener = await loop.create_server(self._server.connect, host, port, backlog=4096, reuse_port=reuse)
        self._host = host
        self._port: int = self._listener.sockets[0].getsockname()[1]
        self._release()
        return int(self._port)

    def shut(self) -> None:
        """Listen no more, but keep the port: sockets that are bound and do not listen hold it."""
        self._shut_times += 1
        if self._shut_times > 1:
            return
        for listening in self._listener.sockets:
            holder = socket.socket(listening.family, socket.SOCK_STREAM)
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            holder.bind(listening.getsockname())
            self._holders.append(holder)
        self._listener.close()

    def reopen(self) -> None:
        """Listen again on the same port, once every ``shut`` has its ``reopen``."""
        self._shut_times -= 1
        if not self._shut_times:
            self._reopening = asyncio.get_running_loop().create_task(self.open(self._host, self._port))

    def close(self) -> None:
        """Listen no more."""
        self._listener.close()
        self._release()

    def _release(self) -> None:
        for holder in self._holders:
            holder.close()
        self._holders = []


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; prints one line with the address when ready.

    Raises:
        UserError: if the address cannot be listened on or the log cannot be written.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    log = _open_log(settings.log_served)
    server = Server(settings, loop, log)
    door = Door(server, any(fault.kind == "refuse" for fault in settings.faults))
    try:
        port = await door.open(settings.host, settings.port)
    except OSError as error:
        raise UserError(
            f"cannot listen on {settings.host}:{settings.port} ({error.strerror}): try --port 0 for a free port"
        ) from error
    for fault in settings.faults:
        _appoint(fault, server, door)
    # What exists now stays: the collector need not look at it in the middle of a step.
    gc.freeze()
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    print(f"listening on http://{host}:{port}", flush=True)  # noqa: T201 (the promise to whoever started us)
    await stop.wait()
    door.close()
    server.close()
    if log is not None:
        log.close()


def _appoint(fault: Fault, server: Server, door: Door) -> None:
    """Begin and end a fault that belongs to moments and not to requests; a wait of 0 s is none."""
    loop = asyncio.get_running_loop()
    if fault.kind not in APPOINTMENTS or (fault.kind == "die" and not fault.after_s):
        return
    begin, end = APPOINTMENTS[fault.kind](fault, server, door)

    def begins() -> None:
        server.count_fault(fault.kind)
        begin()

    if fault.after_s:
        loop.call_later(fault.after_s, begins)
    else:
        begins()
    if fault.for_s is not None:
        loop.call_later(fault.after_s + fault.for_s, end)


Appointment = tuple[Callable[[], None], Callable[[], None]]


def _memory_pressure(fault: Fault, server: Server, _door: Door) -> Appointment:
    return partial(server.limit_cache, fault.blocks, fault.share), partial(server.limit_cache, None, None)


#: What begins a timed fault, and what ends it.
APPOINTMENTS: dict[str, Callable[[Fault, Server, Door], Appointment]] = {
    "refuse": lambda _fault, _server, door: (door.shut, door.reopen),
    "memory_pressure": _memory_pressure,
    "die": lambda _fault, _server, _door: (die, die),
}


def _open_log(path: str | None) -> IO[bytes] | None:
    if path is None:
        return None
    try:
        return open(path, "ab", buffering=0)  # noqa: PTH123 (open while the server runs)
    except OSError as error:
        raise UserError(
            f"cannot write {path} ({error.strerror}): give --log-served a file that can be written"
        ) from error


def run(settings: Settings) -> int:
    """Serve in a new event loop (uvloop, where there is one) and return the exit code."""
    try:
        import uvloop

        new_loop: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        new_loop = None
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(serve(settings))
    return 0
