"""The ways in which HTTP can carry one body, and what each says about the connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cases import Case
from exchanges import CHUNKED, HEAD, LAST_CHUNK, chunk

CHUNK_BYTES = 7


class Framing(NamedTuple):
    """``body`` writes the pieces of a whole body; what is cut lacks ``end``. ``closes``: the end is that of the
    connection. ``reusable``: the connection serves another request."""

    head: bytes = CHUNKED
    body: Callable[[Sequence[bytes]], Sequence[bytes]] = lambda pieces: [*map(chunk, pieces)]
    end: bytes = LAST_CHUNK
    closes: bool = False
    reusable: bool = True


def _in_groups(pieces: Sequence[bytes]) -> list[bytes]:
    return [chunk(b"".join(pieces[start : start + 3])) for start in range(0, len(pieces), 3)]


def _in_small_chunks(pieces: Sequence[bytes]) -> list[bytes]:
    whole = b"".join(pieces)
    return [chunk(whole[start : start + CHUNK_BYTES]) for start in range(0, len(whole), CHUNK_BYTES)]


def _extended(pieces: Sequence[bytes]) -> list[bytes]:
    return [b'%x;a;b=c;d="e; f"\r\n%b\r\n' % (len(piece), piece) for piece in pieces]


def _padded(pieces: Sequence[bytes]) -> list[bytes]:
    return [b"%06X\r\n%b\r\n" % (len(piece), piece) for piece in pieces]


def _bare(pieces: Sequence[bytes]) -> Sequence[bytes]:
    return pieces


def _lengthwise(start: bytes = HEAD, *, reusable: bool = True) -> Framing:
    """The head is completed by ``reads`` with the length."""
    return Framing(start, _bare, b"", reusable=reusable)


TRAILERS = b"0\r\nx-checksum: 1\r\ncontent-type: text/html\r\ncontent-encoding: gzip\r\n\r\n"
OLD = HEAD.replace(b"HTTP/1.1", b"HTTP/1.0")
ODD_HEAD = (
    b"HTTP/1.1 200\r\nCONTENT-type:text/event-stream; charset=utf-8 \t \r\nX-Empty:\r\n"
    b"TRANSFER-Encoding: \tChunked \r\n\r\n"
)
UPGRADE = b"upgrade: h2c\r\nconnection: Upgrade, Keep-Alive\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\ncontent-type: text/html\r\ncontent-encoding: br\r\n\r\n"

FRAMINGS = {
    "one chunk an event": Framing(),
    "several events a chunk": Framing(body=_in_groups),
    "several chunks an event": Framing(body=_in_small_chunks),
    "chunk extensions": Framing(body=_extended),
    "padded chunk sizes": Framing(body=_padded, end=b"0000\r\n\r\n"),
    "trailers": Framing(HEAD + b"trailer: x-checksum\r\ntransfer-encoding: chunked\r\n\r\n", end=TRAILERS),
    "chunked, then close": Framing(HEAD + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n", reusable=False),
    "case and spacing of headers": Framing(ODD_HEAD),
    "an upgrade offered": Framing(HEAD + UPGRADE + b"transfer-encoding: chunked\r\n\r\n"),
    "100 Continue first": Framing(b"HTTP/1.1 100 Continue\r\n\r\n" + CHUNKED),
    "103 Early Hints first": Framing(HINTS + HINTS + CHUNKED),
    "a length": _lengthwise(),
    "a length, then close": _lengthwise(HEAD + b"Connection: Close\r\n", reusable=False),
    "a length in HTTP/1.0": _lengthwise(OLD, reusable=False),
    "a length in HTTP/1.0, kept alive": _lengthwise(OLD + b"connection: keep-alive\r\n"),
    "until close": Framing(HEAD + b"\r\n", _bare, b"", closes=True, reusable=False),
    "until close, as announced": Framing(HEAD + b"connection: close\r\n\r\n", _bare, b"", closes=True, reusable=False),
    "until close in HTTP/1.0": Framing(OLD + b"\r\n", _bare, b"", closes=True, reusable=False),
    "until close, identity": Framing(
        HEAD + b"transfer-encoding: identity\r\ncontent-encoding: identity\r\n\r\n",
        _bare,
        b"",
        closes=True,
        reusable=False,
    ),
}


def reads(case: Case, framing: Framing) -> list[bytes]:
    """A case as it is written: the head, then a piece at a time, then the end, which often comes alone."""
    head, body = framing.head, framing.body(case.pieces)
    if not head.endswith(b"\r\n\r\n"):
        head += b"content-length: %d\r\n\r\n" % (sum(map(len, body)) + 100 * case.cut)
    return [part for part in (head, *body, b"" if case.cut else framing.end) if part]
