"""Start a simulator, and read what it says by the letter of RFC 9112 and WHATWG HTML, with nothing of the product's."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

#: Generous: only a hanging test waits this long.
PATIENCE_S = 30.0


class Answer(NamedTuple):
    """``interim``: statuses of 1xx answers before it. ``complete``: whether its framing says that the body is whole."""

    status: int
    headers: dict[str, str]
    body: bytes
    interim: tuple[int, ...]
    complete: bool


class Heard(NamedTuple):
    """Everything that came, and how it ended: ``fin``, ``rst``, or ``quiet`` when nothing came for a while."""

    data: bytes
    end: str


@contextmanager
def process(*flags: str, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A simulator on a free port, and its base URL."""
    command = [sys.executable, "-m", "inferometer.simulator", "--port", "0", *flags]
    env = {**os.environ, **environment}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as server:
        assert server.stdout is not None
        try:
            words, _, url = server.stdout.readline().strip().rpartition(" ")
            assert words == "listening on"
            yield server, url
        finally:
            server.terminate()


def answer_of(data: bytes) -> Answer:
    """The answer that these bytes begin with, as far as it has come."""
    interim = []
    while True:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split()[1])
        if status >= 200:
            break
        interim.append(status)
    headers = dict(re.fullmatch(r"([^:]+): *(.*)", line).groups() for line in lines)  # type: ignore[union-attr]
    headers = {name.lower(): value for name, value in headers.items()}
    if headers.get("transfer-encoding") == "chunked":
        body, complete = _unchunked(data)
    elif "content-length" in headers:
        length = int(headers["content-length"])
        body, complete = data[:length], len(data) >= length
    else:
        body, complete = data, True
    return Answer(status, headers, body, tuple(interim), complete)


def _unchunked(data: bytes) -> tuple[bytes, bool]:
    body = b""
    while True:
        size, found, data = data.partition(b"\r\n")
        if not found:
            return body, False
        length = int(size, 16)
        if not length:
            return body, data.endswith(b"\r\n")
        body += data[:length]
        if data[length : length + 2] != b"\r\n":
            return body, False
        data = data[length + 2 :]


def parse_events(body: bytes) -> list[Any]:
    """Data of all dispatched events, decoded where it is JSON; an event without its blank line is none."""
    text = body.decode().removeprefix("\ufeff")
    found, data = [], None
    for line in re.split("\r\n|\r|\n", text)[:-1]:
        field, _, value = line.partition(":")
        if not line and data is not None:
            found.append(_decoded(data))
            data = None
        elif field == "data":
            value = value.removeprefix(" ")
            data = value if data is None else f"{data}\n{value}"
    return found


def _decoded(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data


def without_usage(data: list[Any]) -> list[Any]:
    """Events without what they say of usage, and without those that say nothing else."""
    kept = [one for one in data if not isinstance(one, dict) or one.get("choices") or "error" in one]
    return [{k: v for k, v in one.items() if k != "usage"} if isinstance(one, dict) else one for one in kept]


def text_of(data: list[Any]) -> str:
    """The text of an answer."""
    choices = [choice for one in data if isinstance(one, dict) for choice in one.get("choices", [])]
    return "".join(choice["text"] if "text" in choice else choice["delta"].get("content") or "" for choice in choices)


def connected(port: int) -> socket.socket:
    """A connection over loopback."""
    return socket.create_connection(("127.0.0.1", port), PATIENCE_S)


def ask(sock: socket.socket, path: str, body: dict[str, Any] | None = None, headers: str = "") -> None:
    """Send a request: POST with a body, GET without."""
    data = b"" if body is None else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    head = f"{method} {path} HTTP/1.1\r\nhost: x\r\n{headers}content-length: {len(data)}\r\n\r\n"
    sock.sendall(head.encode() + data)


def hear(sock: socket.socket, quiet_s: float = PATIENCE_S, until: bytes | None = None) -> Heard:
    """Read to the end of the connection, to ``until``, or until nothing came for ``quiet_s``."""
    sock.settimeout(quiet_s)
    data = b""
    try:
        while piece := sock.recv(1 << 16):
            data += piece
            if until is not None and until in data:
                return Heard(data, "said")
    except ConnectionResetError:
        return Heard(data, "rst")
    except TimeoutError:
        return Heard(data, "quiet")
    return Heard(data, "fin")
