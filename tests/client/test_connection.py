"""Connections against real sockets: reuse, ends of all kinds, TLS, large bodies, kernel stamps."""

import hashlib
import socket
import ssl
import struct
import sys
import threading
import time
from typing import NamedTuple

import pytest
import trustme
from cases import DONE, T, tail
from exchanges import CHUNKED, LAST_CHUNK, chunk
from loopback import PATIENCE_S, STREAM, STREAM_UNTIL_CLOSE, answering, listening, request, until_closed
from stages import Stage, play

from inferometer.client.clock import now_ns
from inferometer.config.models import Timeouts
from inferometer.records.record import Clock, Outcome

MS = 1_000_000
BOTH = pytest.mark.parametrize("kernel", [True, False], ids=["kernel", "userland"])
linux = pytest.mark.skipif(sys.platform != "linux", reason="kernel receive stamps are Linux's")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@BOTH
def test_one_connection_serves_all_when_kept_alive(kernel: bool) -> None:
    accepted = []

    def serve(sock: socket.socket, number: int) -> None:
        accepted.append(number)
        answering(STREAM)(sock, number)

    with listening(serve) as port:
        records = play(port, Stage([0] * 6, kernel=kernel)).records
    assert accepted == [0]
    assert [(r.outcome, r.attempts, r.output_tokens, len(r.event_ns)) for r in records] == [(Outcome.OK, 1, 5, 5)] * 6
    assert {r.clock for r in records} == {Clock.KERNEL if kernel else Clock.USERLAND}
    assert records[0].connected_ns is not None
    assert {r.connected_ns for r in records[1:]} == {None}


@BOTH
def test_times_of_a_request_are_in_order(kernel: bool) -> None:
    with listening(answering(STREAM)) as port:
        records = play(port, Stage([0] * 3, kernel=kernel)).records
    for record in records:
        times = (record.scheduled_ns, record.sent_ns, record.first_byte_ns, record.first_token_ns, record.last_token_ns)
        known = [at_ns for at_ns in times if at_ns is not None]
        assert len(known) == 5
        assert known == sorted(known)
        # the end is when we read it; the kernel's stamps are on the wall clock, converted to within microseconds
        assert record.end_ns >= known[-1] - MS


def test_connections_can_be_opened_before_the_clock() -> None:
    with listening(answering(STREAM)) as port:
        played = play(port, Stage([0] * 4, slots=2, opened=2))
    assert played.failure is None
    assert [record.connected_ns for record in played.records] == [None] * 4


@pytest.mark.parametrize("stream", [STREAM, STREAM_UNTIL_CLOSE], ids=["chunked", "until close"])
@pytest.mark.parametrize("opened", [0, 2])
def test_a_server_that_closes_after_every_stream_is_no_failure(stream: bytes, opened: int) -> None:
    def serve(sock: socket.socket, _: int) -> None:
        request(sock)
        sock.sendall(stream)

    with listening(serve) as port:
        records = play(port, Stage([0] * 8, slots=2, opened=opened)).records
    assert [record.outcome for record in records] == [Outcome.OK] * 8
    assert max(record.attempts for record in records) <= 2


def test_a_pooled_connection_that_dies_before_the_first_byte_is_sent_again_once() -> None:
    def serve(sock: socket.socket, number: int) -> None:
        request(sock)
        sock.sendall(STREAM)
        if number == 0:
            assert request(sock) is not None
            return  # dies with a request in hand
        while request(sock) is not None:
            sock.sendall(STREAM)

    with listening(serve) as port:
        records = play(port, Stage([0] * 3)).records
    assert [(record.outcome, record.attempts) for record in records] == [
        (Outcome.OK, 1),
        (Outcome.OK, 2),
        (Outcome.OK, 1),
    ]
    assert records[1].connected_ns is not None


def test_a_fresh_connection_that_dies_is_a_failure() -> None:
    with listening(lambda sock, _: request(sock) and None) as port:
        [record] = play(port, Stage()).records
    assert (record.outcome, record.attempts, record.first_byte_ns) == (Outcome.CONNECTION_RESET, 1, None)
    assert record.sent_ns is not None


def test_a_second_death_is_a_failure() -> None:
    def serve(sock: socket.socket, number: int) -> None:
        request(sock)
        if number == 0:
            sock.sendall(STREAM)
            request(sock)

    with listening(serve) as port:
        records = play(port, Stage([0] * 2)).records
    assert [(record.outcome, record.attempts) for record in records] == [(Outcome.OK, 1), (Outcome.CONNECTION_RESET, 2)]


def test_a_reset_inside_the_body_is_a_failure_that_keeps_its_tokens() -> None:
    def serve(sock: socket.socket, number: int) -> None:
        if number > 0:
            answering(STREAM)(sock, number)
            return
        request(sock)
        sock.sendall(CHUNKED + chunk(T[0]) + chunk(T[1]))
        time.sleep(0.3)  # let the bytes be read: a reset throws unread ones away
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with listening(serve) as port:
        first, second = play(port, Stage([0] * 2)).records
    assert (first.outcome, first.attempts, len(first.event_ns)) == (Outcome.CONNECTION_RESET, 1, 2)
    assert second.outcome is Outcome.OK


def test_a_connection_cut_inside_the_body_is_truncated() -> None:
    def serve(sock: socket.socket, _: int) -> None:
        request(sock)
        sock.sendall(CHUNKED + chunk(T[0]) + chunk(T[1])[:-9])

    with listening(serve) as port:
        [record] = play(port, Stage()).records
    assert (record.outcome, len(record.event_ns)) == (Outcome.TRUNCATED, 1)


def test_refused() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        played = play(holder.getsockname()[1], Stage([0] * 2, opened=1))
    assert played.failure is not None
    assert played.failure.outcome is Outcome.CONNECT_REFUSED
    assert [(r.outcome, r.attempts, r.sent_ns) for r in played.records] == [(Outcome.CONNECT_REFUSED, 1, None)] * 2


def test_what_is_not_http_is_malformed() -> None:
    with listening(answering(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")) as port:
        [record] = play(port, Stage()).records
    assert record.outcome is Outcome.MALFORMED
    assert "SSH-2.0" in (record.detail or "")


# --- bodies ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_a_large_request_is_written_whole(secure: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    sent = bytes(range(256)) * 20_000  # 5 MB, far more than a socket takes at once
    got = []

    def serve(sock: socket.socket, _: int) -> None:
        while (asked := request(sock)) is not None:
            got.append(hashlib.sha256(asked[1]).digest())
            sock.sendall(STREAM)

    stage = Stage([0] * 2, body=sent, tls=client_tls if secure else None)
    with listening(serve, server_tls if secure else None) as port:
        records = play(port, stage).records
    assert got == [hashlib.sha256(sent).digest()] * 2
    assert [record.outcome for record in records] == [Outcome.OK] * 2


def test_an_answer_before_the_whole_request_does_not_spoil_the_next() -> None:
    refusal = b"HTTP/1.1 413 Too Large\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nno\n"
    size = 8_000_000
    whole = []

    def serve(sock: socket.socket, number: int) -> None:
        if number == 0:
            sock.recv(1000)
            sock.sendall(refusal)
            time.sleep(0.2)
            until_closed(sock)
            return
        asked = request(sock)
        assert asked is not None
        whole.append(len(asked[1]))
        sock.sendall(STREAM)

    with listening(serve) as port:
        records = play(port, Stage([0] * 2, body=bytes(size), timeouts=Timeouts(first_token_s=10))).records
    assert [record.outcome for record in records] == [Outcome.HTTP_4XX, Outcome.OK]
    assert whole == [size]


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@BOTH
def test_a_large_answer_is_read_whole(
    secure: bool, kernel: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """Much more than fits into one read, written at once, and then nothing: no further readiness will be told."""
    count = 20_000
    stream = CHUNKED + b"".join(map(chunk, [T[0] * count, *tail(count)])) + LAST_CHUNK
    stage = Stage(kernel=kernel, tls=client_tls if secure else None, timeouts=Timeouts(between_tokens_s=5))
    with listening(answering(stream), server_tls if secure else None) as port:
        [record] = play(port, stage).records
    assert (record.outcome, record.output_tokens, len(record.event_ns)) == (Outcome.OK, count, count), record.detail


def test_continue_is_no_answer() -> None:
    def serve(sock: socket.socket, _: int) -> None:
        while request(sock) is not None:
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            time.sleep(0.05)
            sock.sendall(STREAM)

    with listening(serve) as port:
        records = play(port, Stage([0] * 2)).records
    assert [(record.outcome, record.status, record.output_tokens) for record in records] == [(Outcome.OK, 200, 5)] * 2


# --- TLS and stamps --------------------------------------------------------------------------------------------------


@BOTH
def test_tls(kernel: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    accepted = []

    def serve(sock: socket.socket, number: int) -> None:
        accepted.append(number)
        answering(STREAM)(sock, number)

    with listening(serve, server_tls) as port:
        records = play(port, Stage([0] * 4, tls=client_tls, kernel=kernel)).records
    assert [(record.outcome, record.output_tokens, record.attempts) for record in records] == [(Outcome.OK, 5, 1)] * 4
    assert accepted == [0]


def test_a_certificate_of_nobody_is_a_tls_failure(server_tls: ssl.SSLContext) -> None:
    def serve(sock: socket.socket, _: int) -> None:
        until_closed(sock)

    with listening(serve, server_tls) as port:
        [record] = play(port, Stage(tls=ssl.create_default_context())).records
    assert record.outcome is Outcome.TLS
    assert "certificate" in (record.detail or "").lower()


class Block(NamedTuple):
    """Blocks the client's loop at its second send until the server has done ``before`` (and then for ``more_s``)."""

    begun: threading.Event
    done: threading.Event
    more_s: float

    def at_send(self, _: object, index: int) -> None:
        if index == 1:
            self.begun.set()
            assert self.done.wait(PATIENCE_S)
            time.sleep(self.more_s)


def blocked(more_s: float) -> Block:
    return Block(threading.Event(), threading.Event(), more_s)


@linux
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_the_kernel_knows_when_bytes_came_however_late_we_read(
    secure: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    block = blocked(0.1)
    written_ns = []

    def serve(sock: socket.socket, _: int) -> None:
        while (asked := request(sock)) is not None:
            assert asked[0] == "/1" or block.begun.wait(PATIENCE_S)
            sock.sendall(STREAM)
            if asked[0] == "/0":
                written_ns.append(now_ns())
                block.done.set()

    stage = Stage(
        [0, 1 * MS], slots=2, closed=False, opened=2, tls=client_tls if secure else None, during=block.at_send
    )
    with listening(serve, server_tls if secure else None) as port:
        late, _ = play(port, stage).records
    assert (late.outcome, late.clock) == (Outcome.OK, Clock.KERNEL)
    assert late.last_token_ns is not None
    # the wall clock's stamps become monotonic to within microseconds; NTP may slew it meanwhile
    assert late.last_token_ns < written_ns[0] + 5 * MS
    assert late.end_ns > written_ns[0] + 95 * MS
    assert late.read_lag_max_ns > 90 * MS


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@BOTH
def test_nothing_is_left_in_the_socket(
    kernel: bool, secure: bool, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    """The end of an answer waits whole in the socket, more than one read takes; nothing will tell of it again."""
    block = blocked(0.0)
    warm_up, rest = T[0] * 40_000, T[1] * 1_500

    def serve(sock: socket.socket, _: int) -> None:
        while (asked := request(sock)) is not None:
            if asked[0] == "/1":
                sock.sendall(STREAM)
                continue
            sock.sendall(CHUNKED + chunk(warm_up))  # the receive buffer grows while it is read
            assert block.begun.wait(PATIENCE_S)
            sender = threading.Thread(target=sock.sendall, args=(chunk(rest) + chunk(DONE) + LAST_CHUNK,))
            sender.start()
            sender.join(0.5)  # where it does not fit, the client must read first
            block.done.set()
            sender.join()

    stage = Stage(
        [0, 500 * MS],
        slots=2,
        closed=False,
        opened=2,
        kernel=kernel,
        tls=client_tls if secure else None,
        timeouts=Timeouts(between_tokens_s=3),
        during=block.at_send,
    )
    with listening(serve, server_tls if secure else None) as port:
        record, _ = play(port, stage).records
    assert (record.outcome, len(record.event_ns)) == (Outcome.OK, 41_500), record.detail
