"""Requests that another process builds: they come through a pipe, which holds that process up when it is full.

So nothing of them is ever on disk, and neither side has anything to clear away when the other one dies. The head that
all requests share may hold a key: it stays here, and is put before what comes.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from inferometer.client.exchange import Job
from inferometer.config.models import Phase
from inferometer.workload.asks import Ask, Turn

#: What comes before each request: the number of the order that it belongs to, and its size in bytes (0: no more come).
_HEADER = struct.Struct("<II")
READ_BYTES = 128 * 1024
#: As much as Linux allows without privileges: a stage that begins finds some hundred requests in the pipe.
_PIPE_BYTES = 1024 * 1024


class Build(msgspec.Struct, frozen=True):
    """An order: requests of a part of the plan with indices above ``after``, in the order of the worker's stride.

    ``number`` is the same for all orders about one part; a later one says that those up to ``after`` came too late.
    """

    stage: int
    phase: Phase
    after: int
    number: int = 0


def packed(number: int, job: Job | None) -> bytes:
    """A request as it goes through the pipe, without its head; None says that it was the last of its part."""
    body = b"" if job is None else msgspec.msgpack.encode(job)
    return _HEADER.pack(number, len(body)) + body


def _unpacked(body: bytes, head: bytes) -> Job:
    job = Job(*msgspec.msgpack.decode(body))
    return job._replace(phase=Phase(job.phase), payload=head + job.payload, ask=_ask(job.ask))


def _ask(fields: Any) -> Ask | None:
    if fields is None:
        return None
    ask = Ask(*fields)
    return ask._replace(later=tuple(Turn(*turn) for turn in ask.later), images=tuple(ask.images))


class Spool:
    """The reading end. ``over``: everything of the part has come; ``lost``: the other process is gone."""

    def __init__(self, pipe: int, head: bytes, give: Callable[[Build], None]) -> None:
        os.set_blocking(pipe, False)
        with suppress(OSError, AttributeError):  # not everywhere, and not for everybody
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._pipe = pipe
        self._head = head
        self._give = give
        self._unread = bytearray()
        self._order = Build(0, Phase.WARMUP, -1)
        self.over = True
        self.lost = False

    def begin(self, order: Build) -> None:
        """Order a part. What still comes of an earlier one is passed over."""
        self._order = msgspec.structs.replace(order, number=self._order.number + 1)
        self.over = False
        self._say()

    def skip(self, after: int) -> None:
        """Leave out indices up to ``after``: they are needed before they could come."""
        self._order = msgspec.structs.replace(self._order, after=after)
        self._say()

    def wait(self, timeout_s: float) -> None:
        """Until there is something to read."""
        if not self.lost:
            watch = select.poll()  # and not ``select``, which knows the first 1,024 files only
            watch.register(self._pipe, select.POLLIN)
            watch.poll(timeout_s * 1000)

    def read(self) -> list[Job]:
        """What has come, at most about ``READ_BYTES`` of it; never waits."""
        if self.lost:
            return []
        try:
            piece = os.read(self._pipe, READ_BYTES)
        except BlockingIOError:
            return []
        self.lost = not piece
        self._unread += piece
        return self._cut()

    def _cut(self) -> list[Job]:
        jobs, at, unread = list[Job](), 0, memoryview(self._unread)
        while len(unread) - at >= _HEADER.size:
            number, size = _HEADER.unpack_from(unread, at)
            end = at + _HEADER.size + size
            if end > len(unread):
                break
            ours = number == self._order.number
            self.over = self.over or (ours and not size)
            if ours and size:
                jobs.append(_unpacked(bytes(unread[at + _HEADER.size : end]), self._head))
            at = end
        unread.release()
        del self._unread[:at]
        return jobs

    def _say(self) -> None:
        try:
            self._give(self._order)
        except OSError:
            self.lost = True
