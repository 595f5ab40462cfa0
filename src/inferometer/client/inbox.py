"""Readiness of all sockets in one place, collected for a moment before they are read.

Waking up for every token costs more than reading it. Because the kernel has stamped the bytes already, a busy client
may let a few more sockets become ready and read them together; the stamps do not change. It never waits beyond a send,
and it does not wait at all when stamps are its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import time
from collections.abc import Callable

from inferometer.client.clock import now_ns

#: How long a busy inbox collects. Far below any gap between tokens, so that reads do not merge events.
COLLECT_NS = 300_000
#: A batch this soon after the last one means that the inbox is busy.
BUSY_NS = 1_000_000


#: Edge-triggered: a level-triggered epoll asks every socket again after it was read.
_WATCHED = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET if hasattr(select, "epoll") else 0
_DRAIN_READS = 1024


class Inbox:
    """Calls ``on_ready(now)`` of every readable socket. ``limit_ns(now)`` tells how long it may wait at most."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, collect: bool) -> None:
        self._loop = loop
        self._handlers: dict[int, Callable[[int], None]] = {}
        self._epoll = select.epoll() if collect and hasattr(select, "epoll") else None
        self._last_ns = 0
        self.limit_ns: Callable[[int], int] = lambda _: COLLECT_NS
        if self._epoll is not None:
            loop.add_reader(self._epoll.fileno(), self._deliver)

    def add(self, fd: int, on_ready: Callable[[int], None]) -> None:
        """Watch a socket."""
        if self._epoll is None:
            self._loop.add_reader(fd, lambda: on_ready(now_ns()))
            return
        self._handlers[fd] = on_ready
        self._epoll.register(fd, _WATCHED)

    def remove(self, fd: int) -> None:
        """Forget a socket; call it before the socket is closed."""
        if self._epoll is None:
            self._loop.remove_reader(fd)
        elif self._handlers.pop(fd, None) is not None:
            with contextlib.suppress(OSError):
                self._epoll.unregister(fd)

    def close(self) -> None:
        """Forget all."""
        if self._epoll is not None:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()
            self._epoll = None

    def _deliver(self) -> None:
        assert self._epoll is not None  # noqa: S101
        started_ns = now_ns()
        if started_ns - self._last_ns < BUSY_NS:
            wait_ns = min(COLLECT_NS, self.limit_ns(started_ns))
            if wait_ns > 0:
                time.sleep(wait_ns / 1e9)
        self._last_ns = started_ns
        handlers = self._handlers
        ready = self._epoll.poll(0, 1024)
        read_ns = now_ns()
        for fd, events in ready:
            if (handler := handlers.get(fd)) is not None:
                handler(read_ns)
                if events != select.EPOLLIN:
                    self._drain(fd, read_ns)

    def _drain(self, fd: int, read_ns: int) -> None:
        """The peer has closed: read until that is found, because an edge is told once."""
        for _ in range(_DRAIN_READS):
            if (handler := self._handlers.get(fd)) is None:
                return
            handler(read_ns)
