"""Lines of JSON (NDJSON, JSON Lines): bytes in, one event per line with its end offset out. No I/O."""

from __future__ import annotations

import numpy as np

from inferometer.client.sse import BOM, Events


def parse(body: bytes) -> Events:
    """All lines that are not empty, if they are lines of JSON objects at all. The last counts without its end, too.

    A line feed cannot stand inside JSON but between its tokens, so no string is ever cut (RFC 8259, 7).
    """
    if not body.removeprefix(BOM).lstrip().startswith(b"{"):
        return Events([], np.empty(0, np.int64), None, unterminated=False)
    lines = body.split(b"\n")
    ends = np.cumsum(np.fromiter(map(len, lines), np.int64, len(lines)) + 1)
    ends[-1] = len(body)
    kept = [position for position, line in enumerate(lines) if line.strip()]
    data = [lines[position].removeprefix(BOM) for position in kept]
    return Events(data, ends[kept], None, unterminated=bool(lines[-1].strip()))
