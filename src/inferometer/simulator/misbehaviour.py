"""How faults are played on a connection. Which request meets which fault is decided in ``faults``.

A fault either takes the place of the answer (``INSTEAD``), or changes what is answered (``ALTERED``), or stands between
the answer and its connection and spoils what passes (``spoiled``).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from email.utils import formatdate
from functools import partial
from time import time
from typing import NamedTuple

import msgspec

from inferometer.simulator import streams
from inferometer.simulator.bodies import Ask
from inferometer.simulator.connection import PHRASES, Connection, response
from inferometer.simulator.events import DONE, LAST_CHUNK, STREAM_HEAD, chunk, unchunk
from inferometer.simulator.faults import Asked, Fault, Met
from inferometer.simulator.model import Progress
from inferometer.simulator.styles import STYLES
from inferometer.simulator.tokens import Answer

_JSON = b"application/json"
_HTML = b"text/html; charset=utf-8"
_TEXT = b"text/plain"
_PAGE = b"<!DOCTYPE html>\n<html><head><title>%b</title></head><body><h1>%b</h1></body></html>\n"
_MALFORMED = chunk(b'data: {"id": "broken", oops\n\n')
_ERROR = b'data: {"error":{"message":"EngineCore died","type":"Internal Server Error","param":null,"code":500}}\n\n'
_CRASHED = 1


def die() -> None:
    """End the process as a crash does: nothing is finished, nothing is written."""
    os._exit(_CRASHED)


# What takes the place of an answer.


def _silence(_connection: Connection, _asked: Asked, _met: Met) -> None:
    """The connection stays busy with this request until the client gives up."""


def _status(connection: Connection, _asked: Asked, met: Met) -> None:
    fault = met.fault
    retry_after_s = fault.retry_after_s
    headers = b""
    if retry_after_s is not None:
        date = formatdate(time() + retry_after_s, usegmt=True)
        headers = b"retry-after: %b\r\n" % (date if fault.retry_after_date else str(retry_after_s)).encode()
    content_type, body = ERROR_BODIES[fault.body](fault.code)
    connection.respond(fault.code, body, content_type, headers)


def _phrase(code: int) -> str:
    return PHRASES.get(code, b"Unknown").decode()


def _message(code: int) -> str:
    return f"{_phrase(code)}: this server was told to answer so"


def _json_error(message: str, kind: str, code: int) -> bytes:
    """As vLLM writes errors."""
    return msgspec.json.encode({"error": {"message": message, "type": kind, "param": None, "code": code}})


#: Form of an error body -> (content type, body) of a status.
ERROR_BODIES: dict[str, Callable[[int], tuple[bytes, bytes]]] = {
    "json": lambda code: (_JSON, _json_error(_message(code), _phrase(code), code)),
    "detail": lambda code: (_JSON, msgspec.json.encode({"detail": _message(code)})),
    "text": lambda code: (_TEXT, _message(code).encode()),
    "html": lambda code: (_HTML, _PAGE % (str(code).encode(), _message(code).encode())),
}


def _routing(connection: Connection, asked: Asked, met: Met) -> None:
    """A router that sends to the wrong server, has no server, or whose endpoint picker has found none."""
    wrong = _json_error(f"The model `{asked.model}` does not exist.", "NotFoundError", 404)
    picker = b"inference gateway: ServiceUnavailable - failed to find candidate pods for serving the request"
    answers = ((404, wrong, _JSON), (503, b"no healthy upstream", _TEXT), (503, picker, _TEXT))
    connection.respond(*answers[int(met.draw * len(answers))])


def _empty(connection: Connection, _asked: Asked, _met: Met) -> None:
    connection.send(STREAM_HEAD + DONE)
    connection.end()


def _empty_body(connection: Connection, asked: Asked, _met: Met) -> None:
    if not asked.streams:
        return connection.respond(200, b"")
    connection.send(STREAM_HEAD + LAST_CHUNK)
    return connection.end()


def _web_page(connection: Connection, _asked: Asked, _met: Met) -> None:
    connection.respond(200, _PAGE % (b"Welcome", b"Sign in to go on"), _HTML)


INSTEAD: dict[str, Callable[[Connection, Asked, Met], None]] = {
    "silence": _silence,
    "status": _status,
    "routing": _routing,
    "empty": _empty,
    "empty_body": _empty_body,
    "web_page": _web_page,
}


# What changes the answer.


def _wrong_model(fault: Fault, ask: Ask, answer: Answer) -> tuple[Ask, Answer]:
    return msgspec.structs.replace(ask, model=fault.as_name), answer


def _short(fault: Fault, ask: Ask, answer: Answer) -> tuple[Ask, Answer]:
    if len(answer.words) <= fault.tokens:
        return ask, answer
    return ask, Answer(answer.words[: fault.tokens], "stop")


def _one_document(_fault: Fault, ask: Ask, answer: Answer) -> tuple[Ask, Answer]:
    return msgspec.structs.replace(ask, stream=False), answer


ALTERED: dict[str, Callable[[Fault, Ask, Answer], tuple[Ask, Answer]]] = {
    "wrong_model": _wrong_model,
    "short": _short,
    "one_document": _one_document,
}


# What spoils an answer on its way.


class Calls(NamedTuple):
    """What a spoiled answer tells its server: that the fault ``struck``, that there is no need to go on (``stop``)."""

    struck: Callable[[], None]
    stop: Callable[[], None]


def spoiled(connection: Connection, fault: Fault, progress: Progress, calls: Calls) -> streams.Wire:
    """What stands in for the connection of one answer."""
    if fault.kind == "odd":
        calls.struck()
        return _Rewritten(connection, fault)
    cut = _Cut(connection, fault, progress, calls)
    if fault.kind == "slow_headers":
        calls.struck()
        cut.hold(fault.delay_ms)
    return cut


class _Cut:
    """Passes an answer on until more than ``after_tokens`` tokens would have been sent, and then lets it go wrong.

    An answer that is not longer passes unharmed. One that is not streamed goes wrong in the middle of its body.
    """

    def __init__(self, connection: Connection, fault: Fault, progress: Progress, calls: Calls) -> None:
        self.connection = connection
        self.fault = fault
        self.calls = calls
        self._progress = progress
        self._struck = fault.kind not in CUTS
        self._over = False
        self._held: list[Callable[[], None]] | None = None

    def send(self, data: bytes) -> None:
        """Pass on, hold back, drop, or let it go wrong."""
        if self._over:
            return
        if self._held is not None:
            self._held.append(partial(self.send, data))
        elif self._struck or data is STREAM_HEAD or self._progress.generated <= self.fault.after_tokens:
            self.connection.send(data)
        else:
            self._strike(data)

    def respond(self, status: int, body: bytes) -> None:
        """The same for a whole answer, whose second half is what goes wrong."""
        if self._held is not None:
            self._held.append(partial(self.respond, status, body))
        elif self._struck:
            self.connection.respond(status, body)
        else:
            first, second = HALVES.get(self.fault.kind, _half)(body)
            self.connection.send(first)
            self._strike(second)
            self.end()

    def end(self) -> None:
        """The answer is complete, unless it will never be."""
        if self._held is not None:
            self._held.append(self.end)
        elif not self._over:
            self.connection.end()

    def hold(self, for_ms: float | None) -> None:
        """Keep what follows until then, or for ever."""
        self._held = []
        if for_ms is not None:
            asyncio.get_running_loop().call_later(for_ms / 1000, self._release)

    def _release(self) -> None:
        held, self._held = self._held or [], None
        for call in held:
            call()

    def _strike(self, data: bytes) -> None:
        self._struck = True
        self.calls.struck()
        self._over = CUTS[self.fault.kind](self, data)


def _half(body: bytes) -> tuple[bytes, bytes]:
    whole = response(200, body)
    at = len(whole) - len(body) // 2
    return whole[:at], whole[at:]


def _half_in_chunks(body: bytes) -> tuple[bytes, bytes]:
    """Both halves in chunks."""
    at = len(body) // 2
    head = STREAM_HEAD.replace(b"text/event-stream; charset=utf-8", _JSON)
    return head + chunk(body[:at]), chunk(body[at:])


def _half_and_nothing(body: bytes) -> tuple[bytes, bytes]:
    """A whole answer with half a document in it."""
    return response(200, body[: len(body) // 2]), b""


#: How a body that is not streamed is divided, where it is not simply cut in two.
HALVES: dict[str, Callable[[bytes], tuple[bytes, bytes]]] = {
    "truncated_chunk": _half_in_chunks,
    "malformed": _half_and_nothing,
}


def _stall(cut: _Cut, data: bytes) -> bool:
    cut.hold(cut.fault.for_ms)
    cut.send(data)
    return False


def _reset(cut: _Cut, _data: bytes) -> bool:
    cut.connection.reset()
    return True


def _close(cut: _Cut, _data: bytes) -> bool:
    cut.connection.hang_up()
    return True


def _truncated_chunk(cut: _Cut, data: bytes) -> bool:
    """The size line promises more than follows."""
    promised = unchunk(data)[0]
    cut.connection.send(chunk(promised)[: -len(promised) // 2])
    cut.connection.hang_up()
    return True


def _end_early(cut: _Cut, _data: bytes) -> bool:
    cut.connection.send(LAST_CHUNK)
    cut.calls.stop()
    cut.connection.end()
    return True


def _malformed(cut: _Cut, data: bytes) -> bool:
    """One event more, which is not JSON; the others follow."""
    if data:
        cut.connection.send(_MALFORMED + data)
    return False


def _error_event(cut: _Cut, _data: bytes) -> bool:
    cut.connection.send(chunk(_ERROR) + DONE)
    cut.calls.stop()
    cut.connection.end()
    return True


def _die(_cut: _Cut, _data: bytes) -> bool:
    die()
    return True


#: What happens in place of the next bytes; whether that was the end of the answer.
CUTS: dict[str, Callable[[_Cut, bytes], bool]] = {
    "stall": _stall,
    "reset": _reset,
    "close": _close,
    "truncated_chunk": _truncated_chunk,
    "end_early": _end_early,
    "malformed": _malformed,
    "error_event": _error_event,
    "die": _die,
}


class _Rewritten:
    """Writes a stream in another style."""

    def __init__(self, connection: Connection, fault: Fault) -> None:
        self._connection = connection
        self._style = STYLES[fault.style]
        self._before = 0
        self._pieces: list[bytes] = []
        self._more = b""

    def send(self, data: bytes) -> None:
        """Write the head, or events (and the empty chunk after the last), as the style has them."""
        style = self._style
        if data.startswith(STREAM_HEAD[:-2]):
            self._more = data[len(STREAM_HEAD) - 2 : -2]  # headers that an answer has beside the usual ones
            return None if style.whole else self._connection.send(style.head[:-2] + self._more + b"\r\n")
        chunks = unchunk(data)
        ended = not chunks[-1]
        events = chunks[:-1] if ended else chunks
        pieces = style.rewrite(events, self._before)
        self._before += len(events)
        if style.whole:
            self._pieces += pieces
            more = b"\r\n" + self._more + b"\r\n"
            return self._connection.send(style.whole(self._pieces).replace(b"\r\n\r\n", more, 1)) if ended else None
        framed = [style.frame(piece) for piece in pieces] + [style.tail] * ended
        for write in framed if style.apart else [b"".join(framed)]:
            self._connection.send(write)
        return None

    def respond(self, status: int, body: bytes) -> None:
        """Whole answers have no style."""
        self._connection.respond(status, body)

    def end(self) -> None:
        """The answer is complete."""
        if self._style.closes:
            self._connection.hang_up()
        else:
            self._connection.end()
