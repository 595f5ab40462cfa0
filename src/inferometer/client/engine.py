"""What one worker plays stages with. Connections outlive a stage; everything else of it is a ``Play`` of its own."""

from __future__ import annotations

import asyncio

from inferometer.client.failure import Failure
from inferometer.client.play import Play, Shape, Tally, Wiring
from inferometer.client.pool import Pool
from inferometer.errors import UserError


class Engine:
    """Plays stages on one event loop, one after the other."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wiring: Wiring) -> None:
        self._loop = loop
        self._wiring = wiring
        self._pool = Pool(loop, wiring.address, wiring.timeouts.connect_s, wiring.clock, keep_alive=wiring.keep_alive)
        self._play: Play | None = None
        self._broken = ""

    async def open_connections(self, wanted: int) -> Failure | None:
        """Open connections until ``wanted`` are idle. The first failure ends it and is returned."""
        return await self._pool.fill(wanted)

    async def play(self, shape: Shape) -> Tally:
        """Run one stage to its end. Raises ``UserError`` if what was measured cannot be kept, or we are at fault."""
        self._play = Play(self._loop, self._wiring, self._pool, shape)
        if self._broken:
            self._play.break_down(self._broken)
        try:
            return await self._play.run()
        except (OSError, RuntimeError) as error:
            raise UserError(str(error), 3) from None

    def break_down(self, sentence: str) -> None:
        """End the stage at once with what there is: something went wrong that must not."""
        self._broken = sentence
        if self._play is not None:
            self._play.break_down(sentence)

    def clock_steps(self) -> int:
        """How often the wall clock jumped so far."""
        return self._wiring.clock.steps if self._wiring.clock is not None else 0

    def close(self) -> None:
        """Close every connection."""
        if self._play is not None:
            self._play.close()
        self._pool.close()
