"""Exchanges fed by hand: an answer framed as a server would, split into reads as the test says."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from inferometer.client.apis import spoken
from inferometer.client.exchange import Exchange, Job, Observer
from inferometer.config.models import Phase
from inferometer.records.record import Clock, Record

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
UNTIL_CLOSE = HEAD + b"\r\n"
LAST_CHUNK = b"0\r\n\r\n"
JOB = Job(
    stage=1, number=3, phase=Phase.MEASURED, payload=b"POST", asked_prompt_tokens=7, asked_output_tokens=5, model="m"
)
#: How long after its stamp every read is taken, ns.
READ_LAG_NS = 250


def chunk(piece: bytes) -> bytes:
    """One chunk of chunked transfer coding (RFC 9112, 7.1)."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def observer(api: str = "openai-chat", epoch_ns: int = 0, *, stream: bool = True) -> Observer:
    """Stamps are monotonic ns already."""
    return Observer(spoken(api, stream=stream), 2, epoch_ns, Clock.USERLAND, lambda stamps: np.array(stamps, np.int64))


def fed(reads: Iterable[tuple[int, bytes]], *, closed: bool = False, epoch_ns: int = 0) -> Exchange:
    """An exchange that has read (stamp in ns, bytes); ``closed``: then the server closed the connection."""
    exchange = Exchange(JOB, epoch_ns)
    exchange.written(epoch_ns)
    for at_ns, data in reads:
        exchange.feed(data, at_ns, at_ns + READ_LAG_NS)
        exchange.ended_ns = at_ns
    if closed:
        exchange.closed()
    return exchange


def play(
    reads: Iterable[tuple[int, bytes]], *, closed: bool = False, api: str = "openai-chat", epoch_ns: int = 0
) -> Record:
    """The record of such an exchange."""
    return fed(reads, closed=closed, epoch_ns=epoch_ns).record(observer(api, epoch_ns))


def split(whole: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The pieces between sorted positions, without empty ones."""
    edges = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    return [whole[start:end] for start, end in pairwise(edges)]


def numbered(pieces: Sequence[bytes]) -> list[tuple[int, bytes]]:
    """Reads whose stamps are their numbers."""
    return list(enumerate(pieces))


def plain(record: Record, *without: str) -> dict[str, Any]:
    """A record that ``==`` can compare."""
    fields = {name: getattr(record, name) for name in record.__struct_fields__ if name not in without}
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in fields.items()}
