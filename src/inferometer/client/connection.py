"""One connection: a raw non-blocking socket, kernel receive stamps, TLS through memory so that the stamps survive it.

Linux stamps every segment when it arrives (socket(7), SO_TIMESTAMPNS); ``recvmsg`` hands out the stamp of the last
segment in the read, however late Python got to it. Elsewhere, or when told so, the stamp is the first thing done
after the read.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import sys
from collections.abc import Callable
from typing import NamedTuple

import httptools

from inferometer.client.clock import RealtimeOffset, now_ns
from inferometer.client.exchange import Exchange, Failure
from inferometer.client.inbox import Inbox
from inferometer.records.record import Outcome

#: Above 128 KiB every read maps and unmaps memory (measured: twice the cost); 64 KiB is the largest size below.
READ_BYTES = 65536
ANCILLARY_BYTES = 64
SO_TIMESTAMPNS = 35  # asm-generic/socket.h; the socket module does not name it

KERNEL_STAMPS = sys.platform == "linux"


class Address(NamedTuple):
    """A resolved server: where to connect, and how to speak to it."""

    family: int
    sockaddr: tuple[str, int] | tuple[str, int, int, int]
    hostname: str
    tls: ssl.SSLContext | None


class Surroundings(NamedTuple):
    """What all connections of a worker share. ``clock`` None means userland stamps."""

    loop: asyncio.AbstractEventLoop
    inbox: Inbox
    clock: RealtimeOffset | None
    on_end: Callable[[Connection, Exchange], None]


class Connection:
    """Serves one exchange at a time. ``on_end(connection, exchange)`` is called when that has ended, well or not."""

    __slots__ = (
        "_clock",
        "_inbox",
        "_loop",
        "_on_end",
        "_pending",
        "_recvmsg",
        "_sock",
        "_tls",
        "exchange",
        "fd",
        "is_open",
        "served",
    )

    def __init__(
        self,
        surroundings: Surroundings,
        sock: socket.socket,
        tls: _Tls | None,
    ) -> None:
        self._loop = surroundings.loop
        self._inbox = surroundings.inbox
        self._sock = sock
        self._tls = tls
        self._clock = surroundings.clock
        self._recvmsg = sock.recvmsg
        self._on_end = surroundings.on_end
        self._pending = b""
        self.exchange: Exchange | None = None
        self.fd = sock.fileno()
        self.is_open = True
        self.served = 0
        self._inbox.add(self.fd, self._readable)

    def send(self, exchange: Exchange) -> None:
        """Write the request of ``exchange``; its answer will be fed to it."""
        self.exchange = exchange
        payload = exchange.job.payload
        if self._tls is not None:
            payload = self._tls.encrypt(payload)
        exchange.written(now_ns())
        self._write(payload)

    def usable(self) -> bool:
        """Is an idle connection still alive? Asks the socket, not the keep-alive header: a pending end says no."""
        if not self.is_open:
            return False
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        if self._tls is not None and self.is_open:
            self._readable(now_ns())  # TLS records of the server's own, such as session tickets, are no end
            return self.is_open
        self.close()
        return False

    def close(self) -> None:
        """Close the socket. The exchange in flight, if any, is left to the caller."""
        if self.is_open:
            self.is_open = False
            self._inbox.remove(self.fd)
            self._loop.remove_writer(self.fd)
            self._sock.close()

    def _write(self, payload: bytes) -> None:
        try:
            written = self._sock.send(payload)
        except BlockingIOError:
            written = 0
        except OSError as error:
            self._lost(error)
            return
        self._pending = payload[written:]
        if self._pending:
            self._loop.add_writer(self.fd, self._writable)

    def _writable(self) -> None:
        self._loop.remove_writer(self.fd)
        self._write(self._pending)

    def _readable(self, now_ns: int) -> None:
        try:
            data, ancillary, _, _ = self._recvmsg(READ_BYTES, ANCILLARY_BYTES)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error)
            return
        if not data:
            self._ended()
            return
        clock = self._clock
        if len(data) == READ_BYTES and clock is not None:
            # The inbox tells of new bytes once, and there may be more than fit into one read.
            self._loop.call_soon(self._read_on, now_ns)
        stamp = now_ns if clock is None else ancillary[0][2] if ancillary else clock.timespec(now_ns)
        if self._tls is not None:
            data = self._decrypt(data)
            if not data:
                return
        exchange = self.exchange
        if exchange is None:
            self.close()
            return
        try:
            exchange.feed(data, stamp, now_ns)
        except httptools.HttpParserError as error:
            exchange.foreign(error, data)
            self.close()
            self._finish(exchange, now_ns)
            return
        if exchange.complete:
            self._finish(exchange, now_ns)

    def _read_on(self, now_ns: int) -> None:
        if self.is_open:
            self._readable(now_ns)

    def _decrypt(self, data: bytes) -> bytes:
        """Plain bytes, or nothing when there are none yet."""
        assert self._tls is not None  # noqa: S101
        try:
            return self._tls.decrypt(data)
        except ssl.SSLZeroReturnError:
            self._ended()
        except ssl.SSLError as error:
            self._lost(error)
        return b""

    def _ended(self) -> None:
        self.close()
        if (exchange := self.exchange) is not None:
            exchange.closed()
            if exchange.last_read_ns is None:
                exchange.failure = Failure(
                    Outcome.CONNECTION_RESET, "the server closed the connection before it answered"
                )
            self._finish(exchange, now_ns())

    def _lost(self, error: OSError) -> None:
        self.close()
        if (exchange := self.exchange) is not None:
            exchange.failure = Failure(Outcome.CONNECTION_RESET, str(error))
            self._finish(exchange, now_ns())

    def _finish(self, exchange: Exchange, at_ns: int) -> None:
        exchange.ended_ns = at_ns
        self.exchange = None
        self.served += 1
        # an answer before the whole request: what is still unsent would run into the next one
        if self._pending or not (exchange.complete and exchange.keep_alive):
            self.close()
        self._on_end(self, exchange)


class _Tls:
    """TLS on two memory buffers: the socket stays ours, and with it the kernel's stamps."""

    __slots__ = ("_incoming", "_outgoing", "_session")

    def __init__(self, context: ssl.SSLContext, hostname: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._session = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)

    async def handshake(self, loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        while True:
            try:
                self._session.do_handshake()
            except ssl.SSLWantReadError:
                await loop.sock_sendall(sock, self._outgoing.read())
                data = await loop.sock_recv(sock, READ_BYTES)
                if not data:
                    raise ssl.SSLError("the server closed the connection during the handshake") from None
                self._incoming.write(data)
            else:
                await loop.sock_sendall(sock, self._outgoing.read())
                return

    def encrypt(self, data: bytes) -> bytes:
        self._session.write(data)
        return self._outgoing.read()

    def decrypt(self, data: bytes) -> bytes:
        self._incoming.write(data)
        pieces = []
        try:
            while piece := self._session.read(READ_BYTES):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            if not pieces:
                raise
        return b"".join(pieces)


async def connect(surroundings: Surroundings, address: Address, timeout_s: float) -> Connection | Failure:
    """A connection that is ready to send, or the reason why there is none."""
    loop = surroundings.loop
    try:
        sock = _socket(address.family, stamped=surroundings.clock is not None)
    except OSError as error:  # no file descriptor is left, for one
        return _connect_failure(error, timeout_s)
    try:
        async with asyncio.timeout(timeout_s):
            await loop.sock_connect(sock, address.sockaddr)
            tls = _Tls(address.tls, address.hostname) if address.tls is not None else None
            if tls is not None:
                await tls.handshake(loop, sock)
    except OSError as error:
        sock.close()
        return _connect_failure(error, timeout_s)
    except asyncio.CancelledError:
        sock.close()
        raise
    return Connection(surroundings, sock, tls)


def _socket(family: int, *, stamped: bool) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if stamped:
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    return sock


#: What this machine can run out of, and what to do about it.
_SHORTAGES = {
    errno.EMFILE: "no file is left for a connection on this side: raise `ulimit -n`",
    errno.ENFILE: "the whole system has no file left for a connection: raise fs.file-max",
    errno.EADDRNOTAVAIL: "no local port is left: widen net.ipv4.ip_local_port_range, or keep connections alive",
}


def _connect_failure(error: OSError, timeout_s: float) -> Failure:
    kinds = (
        (TimeoutError, Outcome.CONNECT_TIMEOUT, f"no connection within {timeout_s:g} s"),
        (ConnectionRefusedError, Outcome.CONNECT_REFUSED, "nothing listens there"),
        (ConnectionResetError, Outcome.CONNECTION_RESET, "Connection reset by peer while it was being opened"),
        (ssl.SSLError, Outcome.TLS, str(error)),
    )
    for kind, outcome, detail in kinds:
        if isinstance(error, kind):
            return Failure(outcome, detail)
    return Failure(Outcome.CONNECT_FAILED, _SHORTAGES.get(error.errno or 0, str(error)))


def resolve(host: str, port: int, tls: ssl.SSLContext | None) -> Address:
    """Look the host up once, before the clock starts. Raises ``OSError`` if it has no address."""
    family, _, _, _, sockaddr = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return Address(family, sockaddr, host, tls)  # type: ignore[arg-type]
