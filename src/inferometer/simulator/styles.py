"""Odd but legal ways to write a stream of events: a correct client reads the same answer from all of them. Pure.

The rules are those of WHATWG HTML ("Parsing an event stream"), RFC 9112 (chunks, trailers, a body that ends with the
connection) and RFC 8297 (early hints). ``no_done``, ``no_usage`` and ``usage_in_last_choice`` leave out or move what
servers differ in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from inferometer.simulator.events import LAST_CHUNK, STREAM_HEAD, chunk

_BOM = b"\xef\xbb\xbf"
_DONE = b"data: [DONE]\n\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"

#: The events of one write (``data: PAYLOAD LF LF`` each) and how many came before them -> pieces of the body.
Rewrite = Callable[[list[bytes], int], list[bytes]]


def _same(events: list[bytes], _before: int) -> list[bytes]:
    return events


class Style(NamedTuple):
    """How a stream is written.

    ``frame`` wraps a piece of the body, ``tail`` follows the last. ``whole`` makes the complete answer out of all
    pieces, in one write at its end. With ``apart`` each piece is a write of its own. ``closes``: the connection ends
    with the answer.
    """

    rewrite: Rewrite = _same
    head: bytes = STREAM_HEAD
    frame: Callable[[bytes], bytes] = chunk
    tail: bytes = LAST_CHUNK
    whole: Callable[[list[bytes]], bytes] | None = None
    apart: bool = False
    closes: bool = False


def _lines_end_with(end: bytes) -> Rewrite:
    return lambda events, _before: [event.replace(b"\n", end) for event in events]


def _comments(events: list[bytes], _before: int) -> list[bytes]:
    return [b": keep-alive\n\n" + event for event in events]


def _no_space(events: list[bytes], _before: int) -> list[bytes]:
    return [b"data:" + event.removeprefix(b"data: ") for event in events]


def _multiline(events: list[bytes], _before: int) -> list[bytes]:
    """A line end between two members of an object is white space to JSON."""
    return [event.replace(b',"choices":', b',\ndata: "choices":', 1) for event in events]


def _bom(events: list[bytes], before: int) -> list[bytes]:
    return events if before else [_BOM + events[0], *events[1:]]


def _event_lines(events: list[bytes], before: int) -> list[bytes]:
    return [b"event: message\nid: %d\nretry: 3000\n%b" % (before + at, event) for at, event in enumerate(events)]


def _split(events: list[bytes], _before: int) -> list[bytes]:
    """Where splits hurt: inside the field's name, inside the JSON, between the two ends of line."""
    cuts = [(event, len(event) // 2) for event in events]
    return [piece for event, half in cuts for piece in (event[:3], event[3:half], event[half:-1], event[-1:])]


def _no_done(events: list[bytes], _before: int) -> list[bytes]:
    return [event for event in events if event != _DONE]


def _usage_in_last_choice(events: list[bytes], _before: int) -> list[bytes]:
    """The usage event always shares its write with the last event before it."""
    out: list[bytes] = []
    for event in events:
        body = _body(event)
        if body is None or body["choices"]:
            out.append(event)
        else:
            out[-1] = _event((_body(out[-1]) or {}) | {"usage": body["usage"]})
    return out


def _no_usage(events: list[bytes], _before: int) -> list[bytes]:
    out = []
    for event in events:
        body = _body(event)
        if body is None:
            out.append(event)
        elif body["choices"]:
            body.pop("usage", None)
            out.append(_event(body))
    return out


def _body(event: bytes) -> dict[str, Any] | None:
    """The JSON of an event; None of the last one, which has none, and of those of APIs without choices."""
    if not event.startswith(b"data: {"):
        return None
    body: dict[str, Any] = msgspec.json.decode(event.removeprefix(b"data: "))
    return body if "choices" in body else None


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(body) + b"\n\n"


def _one_write(pieces: list[bytes]) -> bytes:
    return b"".join([STREAM_HEAD, *map(chunk, pieces), LAST_CHUNK])


def _content_length(pieces: list[bytes]) -> bytes:
    body = b"".join(pieces)
    return STREAM_HEAD.replace(_CHUNKED, b"content-length: %d\r\n" % len(body)) + body


STYLES: dict[str, Style] = {
    "crlf": Style(_lines_end_with(b"\r\n")),
    "cr": Style(_lines_end_with(b"\r")),
    "comments": Style(_comments),
    "no_space": Style(_no_space),
    "multiline": Style(_multiline),
    "bom": Style(_bom),
    "event_lines": Style(_event_lines),
    "split": Style(_split, apart=True),
    "one_write": Style(whole=_one_write),
    "no_done": Style(_no_done),
    "usage_in_last_choice": Style(_usage_in_last_choice),
    "no_usage": Style(_no_usage),
    "until_close": Style(
        head=STREAM_HEAD.replace(_CHUNKED, b"connection: close\r\n"), frame=bytes, tail=b"", closes=True
    ),
    "content_length": Style(whole=_content_length),
    "early_hints": Style(head=b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>; rel=preload\r\n\r\n" + STREAM_HEAD),
    "trailers": Style(
        head=STREAM_HEAD.replace(_CHUNKED, _CHUNKED + b"trailer: server-timing\r\n"),
        tail=b"0\r\nserver-timing: total;dur=1.0\r\n\r\n",
    ),
}
