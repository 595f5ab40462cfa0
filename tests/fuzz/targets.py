"""What is fuzzed: each target takes any bytes and asserts what must hold for all of them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

import httptools
import numpy as np

from inferometer.client import sse
from inferometer.client.apis import APIS
from inferometer.client.exchange import Exchange, Job, Observer
from inferometer.client.retry import retry_after_s
from inferometer.config import files
from inferometer.config.models import Phase
from inferometer.errors import UserError
from inferometer.records import store
from inferometer.records.record import Clock, Outcome, Record
from inferometer.simulator.connection import Connection, HttpRequest

sys.path.append(str(Path(__file__).parent.parent / "client"))  # the cases are shared with the tests of the client

from cases import CASES, PLAIN
from exchanges import CHUNKED, HEAD, LAST_CHUNK, UNTIL_CLOSE, chunk
from framings import FRAMINGS, reads

Target = Callable[[bytes], None]

JOB = Job(0, 0, Phase.MEASURED, b"POST", 7, 5, "m")
COUNTS = ("prompt_tokens", "output_tokens", "reasoning_tokens", "cached_tokens")
#: Differs between two ways to split the same bytes.
WIRE = {"reads", "merged_reads", "bytes_received"}


# --- server-sent events ----------------------------------------------------------------------------------------------


def parse_events(body: bytes) -> None:
    """The parser agrees with the algorithm of the WHATWG, done byte by byte."""
    events = sse.parse(body)
    assert list(zip(events.data, events.ends.tolist(), strict=True)) == reference(body)
    assert all(before <= after for before, after in pairwise(events.ends.tolist()))
    assert events.names is None or len(events.names) == len(events.data)
    fast = sse._parse_plain(body)
    assert fast is None or fast.data == sse._parse_any(body).data


def reference(body: bytes) -> list[tuple[bytes, int]]:
    """(data, end) of each event, one byte at a time; an unterminated one counts."""
    found: list[tuple[bytes, int]] = []
    data: list[bytes] = []
    line = bytearray()
    start = 3 if body.startswith(sse.BOM) else 0
    after_cr = False
    for at, byte in enumerate(body[start:], start):
        if byte == 10 and after_cr:
            after_cr = False
            continue
        after_cr = byte == 13
        if byte not in (10, 13):
            line.append(byte)
            continue
        if not line and data:
            found.append((b"\n".join(data), at + 1))
        data = _take(line, data) if line else []
        line.clear()
    data = _take(line, data)
    return [*found, (b"\n".join(data), len(body))] if data else found


def _take(line: bytearray, data: list[bytes]) -> list[bytes]:
    field, colon, value = bytes(line).partition(b":")
    if field != b"data":
        return data
    return [*data, value[1:] if colon and value[:1] == b" " else value]


# --- exchanges -------------------------------------------------------------------------------------------------------


def exchange_with_bytes(data: bytes) -> None:
    """Anything where an answer should be. The first bytes choose a head, a split and how it ends."""
    choice, cut, *_ = (*data[:2], 0, 0)
    wire, closed = _HEADS[choice % len(_HEADS)](data[2:]), bool(choice & 0x80)
    _check_both(wire, [*range(cut % 13 + 1, len(wire), cut % 29 + 1)], closed=closed)


def exchange_with_pieces(data: bytes) -> None:
    """Pieces of real streams in any order, one a byte."""
    closed, cut = bool(data[:1] > b"\x7f"), 1 + sum(data[:2]) % 61
    pieces = [PIECES[byte % len(PIECES)] for byte in data[2:40]]
    wire = CHUNKED + b"".join(map(chunk, filter(None, pieces))) + LAST_CHUNK
    _check_both(wire, [*range(cut, len(wire), cut)], closed=closed)


_HEADS: Sequence[Callable[[bytes], bytes]] = (
    lambda rest: rest,
    lambda rest: UNTIL_CLOSE + rest,
    lambda rest: CHUNKED + rest,
    lambda rest: CHUNKED + (chunk(rest) if rest else b"") + LAST_CHUNK,
    lambda rest: HEAD + b"content-length: %d\r\n\r\n" % len(rest) + rest,
    lambda rest: UNTIL_CLOSE + b"data: " + rest + b"\n\n" + PLAIN[-1],
    lambda rest: b"HTTP/1.1 500 Oops\r\n\r\n" + rest,
    lambda rest: b"HTTP/1.1 100 Continue\r\n\r\n" + rest,
    lambda rest: b"HTTP/1.1 200 OK\r\n" + rest,
)
PIECES = sorted({piece for case in CASES.values() for piece in case.pieces if len(piece) > 1})


class _Came(NamedTuple):
    """``shown``: of the record, what a split must not change."""

    record: Record
    shown: dict[str, Any]
    parsed: bool


def _check_both(wire: bytes, cuts: list[int], *, closed: bool) -> None:
    """Read at once or in pieces, it is the same; and everything that holds for a record holds."""
    edges = [0, *cuts, len(wire)]
    whole = _feed([wire], closed=closed)
    split = _feed([wire[start:end] for start, end in pairwise(edges)], closed=closed)
    assert whole.parsed == split.parsed
    assert whole.shown == split.shown
    assert store.batch([whole.record]).num_rows == 1


def _feed(pieces: Sequence[bytes], *, closed: bool) -> _Came:
    """As a connection feeds it: until it is complete, closed or not HTTP."""
    exchange, parsed = Exchange(JOB, 0), True
    exchange.written(0)
    for piece in filter(None, pieces):
        try:
            exchange.feed(piece, 5, 5)
        except httptools.HttpParserError as error:
            exchange.foreign(error, piece)
            parsed = False
        if exchange.complete or not parsed:
            break
    if closed and parsed and not exchange.complete:
        exchange.closed()
    exchange.ended_ns = 9
    record = exchange.record(_observer())
    _check(record, exchange)
    shown = {name: getattr(record, name) for name in record.__struct_fields__ if name not in WIRE}
    if not parsed:  # the detail shows the bytes of the read that made no sense
        del shown["detail"]
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in shown.items()}
    return _Came(record, plain, parsed)


def _observer() -> Observer:
    return Observer(APIS["openai-chat"], 0, 0, Clock.USERLAND, lambda stamps: np.array(stamps, np.int64))


def _check(record: Record, exchange: Exchange) -> None:
    if record.outcome is Outcome.OK:
        assert len(record.event_ns) > 0
        assert exchange.complete
        assert record.status is not None
        assert 200 <= record.status < 300
    assert (record.detail is None) == (record.outcome is Outcome.OK)
    assert (record.first_token_ns is None) == (len(record.event_ns) == 0)
    times = [record.first_byte_ns, *record.event_ns.tolist()]
    assert all(before <= after for before, after in pairwise(times) if before is not None)
    counts = [getattr(record, name) for name in COUNTS]
    assert all(count is None or 0 <= count < 2**31 for count in counts)
    assert record.event_tokens is None or (record.event_tokens.min() >= 0 and len(record.event_tokens) > 0)
    assert record.merged_reads <= record.reads


# --- files -----------------------------------------------------------------------------------------------------------


def recover_rows(data: bytes) -> None:
    """A stream of rows that was cut or damaged: whole rows, or a sentence."""
    with _folder() as folder:
        (folder / "requests-0.arrow").write_bytes(data)
        with contextlib.suppress(UserError):
            store.read(folder).validate(full=True)


def read_plans(data: bytes) -> None:
    """Any file where a plan should be: a plan that can be written and read again, or a sentence that names the file."""
    with _folder() as folder:
        path = folder / "plan.yaml"
        path.write_bytes(data)
        sentence = None
        try:
            assert isinstance(files.read(path), dict)
            written = files.dump(files.read_plan(path))
        except UserError as error:
            sentence = str(error)
        if sentence is not None:
            assert str(path) in sentence
            return
        path.write_text(written)
        assert files.dump(files.read_plan(path)) == written


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A folder in memory, where there is one: a million files are a lot for a disk."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


# --- headers and the simulator's side --------------------------------------------------------------------------------


def read_retry_after(data: bytes) -> None:
    """Any value of Retry-After: seconds that a timer can take."""
    assert 0 <= retry_after_s(data, 1.8e9) < math.inf


def serve_requests(data: bytes) -> None:
    """Any bytes sent to the simulator, in pieces: whole requests come out in order, or it refuses and closes."""
    served: list[HttpRequest] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = _Transport(ours)
        connection = Connection(lambda at, request: _serve(served, at, request), lambda _: None)
        connection.connection_made(cast("asyncio.Transport", transport))
        step = 1 + sum(data[:1]) % 31
        for start in range(1, len(data), step):
            if not transport.closed:
                connection.data_received(data[start : start + step])
        connection.connection_lost(None)
    assert all(request.method and request.path.find(b"?") < 0 for request in served)


def _serve(served: list[HttpRequest], connection: Connection, request: HttpRequest) -> None:
    served.append(request)
    connection.respond(200, b"{}")


class _Transport:
    """As much of a transport as the simulator's connections use; what is written is thrown away."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self.closed = False

    def get_extra_info(self, _: str) -> _Transport:
        return self

    def setsockopt(self, *_: object) -> None:
        pass

    def fileno(self) -> int:
        return self._sock.fileno()

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def write(self, _: bytes) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    abort = close


TARGETS: dict[str, Target] = {
    "events": parse_events,
    "bytes": exchange_with_bytes,
    "pieces": exchange_with_pieces,
    "rows": recover_rows,
    "plans": read_plans,
    "retry-after": read_retry_after,
    "requests": serve_requests,
}


# --- where to begin --------------------------------------------------------------------------------------------------


def seeds(name: str) -> list[bytes]:
    """Good inputs of a target, to be spoilt."""
    return _SEEDS[name]()


def _bodies() -> list[bytes]:
    return [b"".join(case.pieces) for case in CASES.values()]


def _wires() -> list[bytes]:
    chunks, bare = FRAMINGS["one chunk an event"], FRAMINGS["until close"]
    after_head = [b"\x01\x05" + b"".join(case.pieces) for case in CASES.values()]
    whole = [b"\x00\x07" + b"".join(reads(case, how)) for case in CASES.values() for how in (chunks, bare)]
    odd = [b"\x00\x03" + b"".join(reads(CASES["plain"], how)) for how in FRAMINGS.values()]
    return [*after_head, *whole, *odd]


def _numbers() -> list[bytes]:
    numbers = {piece: number for number, piece in enumerate(PIECES)}
    return [b"\x00\x00" + bytes(numbers[piece] for piece in case.pieces if piece in numbers) for case in CASES.values()]


def _streams() -> list[bytes]:
    with _folder() as folder:
        writer = store.Writer(folder, 0)
        for batch in ([], ["plain", "error_mid"], ["usage_running"], ["tool_call", "cut", "empty_body"]):
            writer.append([_record(name) for name in batch])
        unfinished = (folder / "requests-0.arrow").read_bytes()
        writer.close()
        return [(folder / "requests-0.arrow").read_bytes(), unfinished]


def _record(name: str) -> Record:
    exchange = Exchange(JOB, 0)
    exchange.written(0)
    for at_ns, part in enumerate(reads(CASES[name], FRAMINGS["one chunk an event"])):
        exchange.feed(part, at_ns, at_ns)
    return exchange.record(_observer())


PLAN = b"""# a plan
target: {base_url: "http://127.0.0.1:8000", model: tiny, headers: {x-a: "1"}, timeouts: {total_s: 3e1}}
scenario:
  workload: {type: random, input_tokens: {mean: 16}, output_tokens: {mean: 8}, extra_body: &body {top_k: [1, ~, 2.5]}}
  stages:
    - load: {type: closed, concurrency: 2}
      num_requests: 4
    - load: {type: open, rate: .inf}
      num_requests: 4
seed: 7
"""
#: What else YAML can do.
YAML = b"""%YAML 1.1
--- !!map
a: &x !!int "1"
b: [*x, 2001-01-01, 2001-01-01 10:00:00 +1:30, 0x1f, 0b1, 1:30, 1_000, .nan, -.inf, ~, yes, !!binary aGk=, !!set {q}]
? [c, d]
: |
 text
<<: {e: 'f', "\\u00e9\\x41": >-
 folded
 }
...
"""
REQUEST = (
    b"\x07POST /v1/chat/completions?a=b HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}"
    b"GET /health HTTP/1.1\r\n\r\nPOST / HTTP/1.1\r\nexpect: 100-continue\r\ntransfer-encoding: chunked\r\n\r\n"
    b"2\r\n{}\r\n0\r\n\r\n"
)

_SEEDS: dict[str, Callable[[], list[bytes]]] = {
    "events": _bodies,
    "bytes": _wires,
    "pieces": _numbers,
    "rows": _streams,
    "plans": lambda: [PLAN, YAML, *YAML.splitlines(keepends=True)],
    "retry-after": lambda: [b"120", b"Wed, 21 Oct 2026 07:28:00 GMT", b""],
    "requests": lambda: [REQUEST],
}
