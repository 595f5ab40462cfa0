"""Server-sent events (WHATWG HTML, "Parsing an event stream"): bytes in, events with their end offsets out. No I/O.

A body is parsed when its exchange has ended, so characters, lines and events cannot be split by the reads that
carried them. The offset of an event's last byte tells which read completed it, and so which stamp it gets.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BOM = b"\xef\xbb\xbf"
_LF = 10


class Events(NamedTuple):
    """``data[i]``: payload of event i; ``ends[i]``: offset behind its last byte; ``names[i]``: its type, if any has.

    ``unterminated``: the body ended inside the last one.
    """

    data: list[bytes]
    ends: npt.NDArray[np.int64]
    names: list[bytes] | None
    unterminated: bool


def parse(body: bytes) -> Events:
    """All events of a body. The last one counts even without its blank line, which some servers forget."""
    return _parse_plain(body) or _parse_typed(body) or _parse_any(body)


def _parse_plain(body: bytes) -> Events | None:
    """What nearly every server sends: ``data: PAYLOAD LF LF`` and nothing else. 0.2 us an event instead of 3."""
    if not (body.startswith(b"data:") and body.endswith(b"\n\n")) or b"\r" in body:
        return None
    start = b"data: " if body.startswith(b"data: ") else b"data:"
    if len(start) == 5 and b"\ndata: " in body:  # TGI leaves the space out, and whoever does so must do it always
        return None
    data = body[len(start) : -2].split(b"\n\n" + start)
    if np.count_nonzero(np.frombuffer(body, np.uint8) == _LF) != 2 * len(data):  # 6 times as fast as bytes.count
        return None
    sizes = np.fromiter(map(len, data), np.int64, len(data))
    return Events(data, np.cumsum(sizes + len(start) + 2), None, unterminated=False)


def _parse_typed(body: bytes) -> Events | None:
    """``event: NAME LF data: PAYLOAD LF LF`` and nothing else, as APIs send it whose events have types. 0.4 us."""
    if not (body.startswith(b"event: ") and body.endswith(b"\n\n")) or b"\r" in body:
        return None
    blocks = body[7:-2].split(b"\n\nevent: ")
    parts = [block.partition(b"\ndata: ") for block in blocks]
    lines = np.count_nonzero(np.frombuffer(body, np.uint8) == _LF)
    if lines != 3 * len(blocks) or not all(found for _, found, _ in parts):
        return None
    sizes = np.fromiter(map(len, blocks), np.int64, len(blocks))
    names, _, data = (list(column) for column in zip(*parts, strict=True))
    return Events(data, np.cumsum(sizes + 9), names if any(names) else None, unterminated=False)


def _parse_any(body: bytes) -> Events:
    found: list[tuple[bytes, int, bytes]] = []
    lines: list[bytes] = []
    name = b""
    for line, start in _lines(body):
        if not line:
            # the CR of a CRLF ends a line already; its LF may come in a later read
            found += _event(lines, start + 1, name)
            lines, name = [], b""
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            lines.append(value)
        elif field == b"event":
            name = value
    found += _event(lines, len(body), name)
    data, ends, names = [list(column) for column in zip(*found, strict=True)] or ([], [], [])
    return Events(data, np.array(ends, np.int64), names if any(names) else None, unterminated=bool(lines))


def _event(lines: list[bytes], end: int, name: bytes) -> list[tuple[bytes, int, bytes]]:
    """One event, or none: lines without data are not dispatched."""
    return [(b"\n".join(lines), end, name)] if lines else []


def _lines(body: bytes) -> list[tuple[bytes, int]]:
    """Lines without their ends, and where each starts. They end with LF, CR or CRLF, mixed as they come.

    ``bytes.splitlines`` splits at exactly these three (unlike ``str.splitlines``, which also splits at U+2028).
    """
    start = len(BOM) if body.startswith(BOM) else 0
    lines = []
    for raw in body[start:].splitlines(keepends=True):
        lines.append((raw.rstrip(b"\r\n"), start))
        start += len(raw)
    return lines
