"""HTTP/1.1 for the simulator: requests in through llhttp, bytes out at once, without a web framework in between."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import httptools
import msgspec

from inferometer.simulator.faults import Fault

_JSON = b"application/json"
#: Status -> its name, of those that HTTP knows.
PHRASES = {status.value: status.phrase.encode() for status in HTTPStatus}
_LINGER = struct.pack("ii", 1, 0)


class HttpRequest(msgspec.Struct, frozen=True):
    """One whole request. Header names are lower case; ``arrived_ns`` (monotonic) is when its last byte was read.

    ``fault`` is what is to go wrong with its answer.
    """

    method: bytes
    path: bytes
    headers: dict[bytes, bytes]
    body: bytes
    arrived_ns: int
    keep_alive: bool
    fault: Fault | None = None


class Connection(asyncio.Protocol):
    """One client. Pipelined requests wait until the answer before theirs has ended.

    Args:
        serve: called with each request in turn; it answers through ``respond``, or ``send`` and ``end``.
        dropped: called when the client has gone away in the middle of an answer.
    """

    def __init__(self, serve: Callable[[Connection, HttpRequest], None], dropped: Callable[[Connection], None]) -> None:
        self._serve = serve
        self._dropped = dropped
        self._parser = httptools.HttpRequestParser(self)
        self._queue: deque[HttpRequest] = deque()
        self._current: HttpRequest | None = None
        self._serving = False
        self._path = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the socket: answers are written to it directly, so that each token leaves when it is due."""
        self._transport = cast("asyncio.Transport", transport)
        self._socket = transport.get_extra_info("socket")
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._fd = self._socket.fileno()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio passes it)
        """The client has gone."""
        self._queue.clear()
        if self._current is not None:
            self._current = None
            self._dropped(self)

    def data_received(self, data: bytes) -> None:
        """Parse; what is not HTTP/1.1 is refused and the connection closed."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._current is None:
                self.send(
                    response(400, b'{"detail":"Invalid HTTP request received."}', _JSON, b"connection: close\r\n")
                )
            self._transport.close()
        self._serve_next()

    def on_message_begin(self) -> None:
        """A request begins (llhttp)."""
        self._path = b""
        self._headers = {}
        self._body = []

    def on_url(self, url: bytes) -> None:
        """A piece of the request target (llhttp)."""
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header (llhttp)."""
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        """Long bodies are sent only when asked for (RFC 9110 section 10.1.1)."""
        if self._headers.get(b"expect", b"").lower() == b"100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """A piece of the body (llhttp)."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """A whole request is here (llhttp)."""
        request = HttpRequest(
            self._parser.get_method(),
            self._path.partition(b"?")[0],
            self._headers,
            b"".join(self._body),
            time.monotonic_ns(),
            self._parser.should_keep_alive(),
        )
        self._queue.append(request)

    def send(self, data: bytes) -> None:
        """Write now, not at the end of the loop's turn; what the socket does not take is left to the transport."""
        if self._transport.is_closing():
            return
        written = 0
        if not self._transport.get_write_buffer_size():
            try:
                written = os.write(self._fd, data)
            except BlockingIOError:
                pass
            except OSError:
                self._transport.abort()
                return
        if written < len(data):
            self._transport.write(data[written:])

    def respond(self, status: int, body: bytes, content_type: bytes = _JSON, headers: bytes = b"") -> None:
        """A whole answer at once; ``headers`` are more of them, each with its end of line."""
        keep = self._current is not None and self._current.keep_alive
        kept = b"connection: keep-alive\r\n" if keep else b"connection: close\r\n"
        self.send(response(status, body, content_type, headers + kept))
        self.end()

    def end(self) -> None:
        """The answer is complete: go on with the next request, or close."""
        if self._current is not None and not self._current.keep_alive:
            self._current = None
            self._transport.close()
            return
        self._current = None
        self._serve_next()

    def close(self) -> None:
        """Close at once."""
        self._transport.abort()

    def hang_up(self) -> None:
        """Close with a FIN once everything is written, in the middle of an answer or at its end."""
        self._transport.close()

    def reset(self) -> None:
        """Close with a RST."""
        _reset(self._transport)

    def _serve_next(self) -> None:
        """A loop, not a recursion: a client may have pipelined a thousand requests that are answered at once."""
        if self._serving:
            return
        self._serving = True
        while self._queue and self._current is None and not self._transport.is_closing():
            self._current = self._queue.popleft()
            self._serve(self, self._current)
        self._serving = False


class ResetOnAccept(asyncio.Protocol):
    """A connection that is reset as soon as it is there."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Reset it."""
        _reset(cast("asyncio.Transport", transport))


def _reset(transport: asyncio.Transport) -> None:
    """Without time to linger, closing a socket sends a RST (socket(7))."""
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
    transport.abort()


def response(status: int, body: bytes, content_type: bytes = _JSON, headers: bytes = b"") -> bytes:
    """A whole answer with its length; ``headers`` are more of them, each with its end of line."""
    return (
        b"HTTP/1.1 %d %b\r\nserver: inferometer-simulator\r\ncontent-type: %b\r\ncontent-length: %d\r\n%b\r\n%b"
    ) % (status, PHRASES.get(status, b"Unknown"), content_type, len(body), headers, body)
