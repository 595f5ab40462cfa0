"""The connections of one worker: opened before the clock, kept alive, the last one used first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from inferometer.client.clock import RealtimeOffset
from inferometer.client.connection import Address, Connection, Surroundings, connect
from inferometer.client.exchange import Exchange
from inferometer.client.failure import Failure
from inferometer.client.inbox import Inbox

#: Connections that are opened at the same time.
AT_ONCE = 64


class Pool:
    """Idle connections, and the way to new ones. ``on_end`` is called when an exchange has ended, well or not.

    Without ``keep_alive`` none is ever idle: none is opened before the clock, and none is used twice.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        address: Address,
        connect_s: float,
        clock: RealtimeOffset | None,
        *,
        keep_alive: bool = True,
    ) -> None:
        self.inbox = Inbox(loop, collect=clock is not None)
        self.on_end: Callable[[Connection, Exchange], None] = lambda connection, _: connection.close()
        self._surroundings = Surroundings(loop, self.inbox, clock, self._ended)
        self._address = address
        self._connect_s = connect_s
        self.keep_alive = keep_alive
        self._idle: list[Connection] = []

    def __len__(self) -> int:
        """Idle connections."""
        return len(self._idle)

    async def fill(self, wanted: int) -> Failure | None:
        """Open connections until ``wanted`` are idle. The first failure ends it and is returned."""
        if not self.keep_alive:
            return None
        self._idle = [connection for connection in self._idle if connection.usable()]
        while (missing := min(AT_ONCE, wanted - len(self._idle))) > 0:
            made = await asyncio.gather(*(self.connect() for _ in range(missing)))
            self._idle += [one for one in made if isinstance(one, Connection)]
            if (failure := next((one for one in made if isinstance(one, Failure)), None)) is not None:
                return failure
        return None

    def take(self) -> Connection | None:
        """An idle connection that is still alive, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if connection.usable():
                return connection
        return None

    def put(self, connection: Connection) -> None:
        """Keep a connection for the next request, if it is still open and may be kept."""
        if not connection.is_open:
            return
        if self.keep_alive:
            self._idle.append(connection)
        else:
            connection.close()

    def _ended(self, connection: Connection, exchange: Exchange) -> None:
        self.on_end(connection, exchange)

    async def connect(self) -> Connection | Failure:
        """A new connection, or the reason why there is none."""
        return await connect(self._surroundings, self._address, self._connect_s)

    def close(self) -> None:
        """Close every idle connection and forget all sockets."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()
        self.inbox.close()
