"""Servers on loopback that say exactly what a test tells them, one thread a connection."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator

from cases import PLAIN
from exchanges import CHUNKED, LAST_CHUNK, UNTIL_CLOSE, chunk

STREAM = CHUNKED + b"".join(map(chunk, PLAIN)) + LAST_CHUNK
STREAM_UNTIL_CLOSE = UNTIL_CLOSE + b"".join(PLAIN)
#: Generous: only a hanging test waits this long.
PATIENCE_S = 20.0

#: Serves one connection to its end; the second argument is its number, from 0.
Serve = Callable[[socket.socket, int], None]


@contextlib.contextmanager
def listening(serve: Serve, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """The port of a server. An assertion that fails in ``serve`` fails the test."""
    problems: list[BaseException] = []
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        acceptor = threading.Thread(target=_accept, args=(listener, serve, tls, threads, problems))
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for thread in (acceptor, *threads):
                thread.join(PATIENCE_S)
    if problems:
        raise problems[0]


def _accept(
    listener: socket.socket,
    serve: Serve,
    tls: ssl.SSLContext | None,
    threads: list[threading.Thread],
    problems: list[BaseException],
) -> None:
    number = 0
    while True:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        threads.append(threading.Thread(target=_serve, args=(sock, number, serve, tls, problems)))
        threads[-1].start()
        number += 1


def _serve(
    sock: socket.socket, number: int, serve: Serve, tls: ssl.SSLContext | None, problems: list[BaseException]
) -> None:
    sock.settimeout(PATIENCE_S)
    try:
        with sock if tls is None else tls.wrap_socket(sock, server_side=True) as spoken:
            spoken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            serve(spoken, number)
    except OSError:  # the client is gone, as some tests want
        sock.close()
    except AssertionError as problem:
        problems.append(problem)


def request(sock: socket.socket) -> tuple[str, bytes] | None:
    """The path and the body of the next request, or None when the client has closed."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(1)
        if not piece:
            return None
        head += piece
    lines = head.decode().split("\r\n")
    length = next(int(line.partition(":")[2]) for line in lines if line.startswith("content-length:"))
    return lines[0].split()[1], body(sock, length)


def body(sock: socket.socket, length: int) -> bytes:
    """Exactly ``length`` bytes, unless the client closes before."""
    pieces: list[bytes] = []
    while length > 0 and (piece := sock.recv(min(length, 1 << 16))):
        pieces.append(piece)
        length -= len(piece)
    return b"".join(pieces)


def answering(*answers: bytes) -> Serve:
    """Keeps connections alive and gives these answers by turns, each connection from the first one."""

    def serve(sock: socket.socket, _: int) -> None:
        turn = 0
        while request(sock) is not None:
            sock.sendall(answers[turn % len(answers)])
            turn += 1

    return serve


def until_closed(sock: socket.socket) -> None:
    """Say nothing until the client has closed."""
    while sock.recv(1 << 16):
        pass
