"""Standard streams that may vanish or stop without ending a run or holding it up.

A terminal is closed, its connection is lost, the reader of a pipe has gone or sleeps: the run goes on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import stat
import sys
from collections.abc import Iterator
from queue import SimpleQueue
from threading import Thread
from typing import IO, Any, NamedTuple, cast

STANDARD = (0, 1, 2)
#: Texts that may wait for a reader of stderr. More are progress that nobody saw; what matters is in ``run.log``, too.
MOST_WAITING = 1000


class Post(NamedTuple):
    """A text on its way to a stream."""

    to: Steady
    text: str


class Steady:
    """A text stream on which writing neither fails nor waits. Once its reader has gone, what is written goes to nobody.

    ``failure`` is why it could not be written to, if the reader is not gone: the disk is full, say.

    Texts wait in a queue, which ``deliver`` empties in another thread. ``most_waiting``: leave out what comes when
    there are more of them.
    """

    def __init__(self, stream: IO[str], queue: SimpleQueue[Post | None], most_waiting: float) -> None:
        self._stream = stream
        self._queue = queue
        self._most_waiting = most_waiting
        self.lost = False
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Put the text into the queue."""
        if text and self._queue.qsize() < self._most_waiting:
            self._queue.put(Post(self, text))
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back: every text is flushed on its way."""

    def deliver(self, text: str) -> None:
        """Write to the stream itself, however long that takes. What its encoding does not have is a question mark."""
        try:
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                self._stream.write(text.encode(error.encoding, "replace").decode(error.encoding))
            self._stream.flush()
        except OSError as error:
            self.lost = True
            number = self._stream.fileno()
            if not _is_gone(error, number):
                self.failure = error
            _redirect_to_nobody(number)  # what is still in the buffer goes there too, at exit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def steady() -> Iterator[Steady]:
    """Make stdout and stderr ``Steady``; the former is what the block gets.

    The end of the block waits for the readers, who may take their time, as long as there are any. Then it says on
    stderr why stdout could not be written to, if so.
    """
    _fill_gaps()
    queue: SimpleQueue[Post | None] = SimpleQueue()
    with contextlib.ExitStack() as stack:
        out = Steady(_open(sys.stdout), queue, float("inf"))
        err = Steady(_open(sys.stderr), queue, MOST_WAITING)
        courier = Thread(target=_deliver, args=(queue, out, err), daemon=True)
        courier.start()
        stack.callback(courier.join)
        stack.callback(queue.put, None)
        stack.enter_context(contextlib.redirect_stdout(cast("IO[str]", out)))
        stack.enter_context(contextlib.redirect_stderr(cast("IO[str]", err)))
        yield out


@contextlib.contextmanager
def outliving_terminals() -> Iterator[None]:
    """Within the block a hang-up ends neither this process nor the children that it starts."""
    # Ignored, not handled: children inherit that, and the end of a terminal reaches them as well.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def _deliver(queue: SimpleQueue[Post | None], out: Steady, err: Steady) -> None:
    """Both streams in one order, as a terminal that shows both has to have it."""
    while (post := queue.get()) is not None:
        post.to.deliver(post.text)
    if out.failure is not None:
        err.deliver(f"inferometer: cannot write to standard output: {out.failure.strerror}\n")


def _is_gone(error: OSError, number: int) -> bool:
    """Whether nobody is left to read: the pipe's or the socket's reader has gone, or the terminal has."""
    if error.errno == errno.EIO:  # of a file it is the disk's
        return stat.S_ISCHR(os.fstat(number).st_mode)
    return error.errno in (errno.EPIPE, errno.ECONNRESET)


def _open(stream: IO[str] | None) -> IO[str]:
    """The stream, or one to nobody where Python found it closed."""
    return open(os.devnull, "w") if stream is None else stream  # noqa: PTH123 (a device, open to the end)


def _fill_gaps() -> None:
    """Open what the caller closed (``>&-``): the next file would take its number, and be written to by mistake."""
    for number in STANDARD:
        try:
            os.fstat(number)
        except OSError:
            _redirect_to_nobody(number)


def _redirect_to_nobody(number: int) -> None:
    nobody = os.open(os.devnull, os.O_RDWR)
    if nobody == number:
        os.set_inheritable(number, True)  # as standard streams are
        return
    os.dup2(nobody, number)
    os.close(nobody)
