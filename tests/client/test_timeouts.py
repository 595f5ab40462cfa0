"""Every limit has a failure kind of its own, and what came before it is kept."""

import socket
import time

from cases import T
from exchanges import CHUNKED, chunk
from loopback import listening, request, until_closed
from stages import Stage, play

from inferometer.config.models import Timeouts
from inferometer.records.record import Outcome

MS = 1_000_000


def test_no_first_byte_in_time() -> None:
    def serve(sock: socket.socket, _: int) -> None:
        request(sock)
        until_closed(sock)

    with listening(serve) as port:
        [record] = play(port, Stage(timeouts=Timeouts(first_token_s=0.2))).records
    assert (record.outcome, record.detail) == (Outcome.TIMEOUT_FIRST_TOKEN, "no answer within 0.2 s")
    assert record.sent_ns is not None
    assert record.end_ns - record.sent_ns >= 200 * MS


def test_too_long_between_tokens() -> None:
    def serve(sock: socket.socket, _: int) -> None:
        request(sock)
        sock.sendall(CHUNKED + chunk(T[0]))
        until_closed(sock)

    with listening(serve) as port:
        [record] = play(port, Stage(timeouts=Timeouts(between_tokens_s=0.2))).records
    assert (record.outcome, len(record.event_ns)) == (Outcome.TIMEOUT_BETWEEN_TOKENS, 1)


def test_a_head_is_no_answer() -> None:
    """Servers may send the head at once and the first token much later: that wait is the first token's."""

    def serve(sock: socket.socket, _: int) -> None:
        request(sock)
        sock.sendall(CHUNKED)
        until_closed(sock)

    with listening(serve) as port:
        [record] = play(port, Stage(timeouts=Timeouts(between_tokens_s=0.1, first_token_s=0.4))).records
    assert record.outcome is Outcome.TIMEOUT_FIRST_TOKEN
    assert record.end_ns - (record.sent_ns or 0) >= 400 * MS


def test_too_long_in_total() -> None:
    def serve(sock: socket.socket, _: int) -> None:
        request(sock)
        sock.sendall(CHUNKED)
        while True:
            sock.sendall(chunk(T[0]))
            time.sleep(0.02)

    with listening(serve) as port:
        [record] = play(port, Stage(timeouts=Timeouts(total_s=0.4))).records
    assert (record.outcome, record.status) == (Outcome.TIMEOUT_TOTAL, 200)
    assert len(record.event_ns) > 0


def test_too_long_to_connect() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        # its queue is full: further connections get no answer
        with socket.create_connection(listener.getsockname()), socket.socket() as second:
            second.setblocking(False)
            second.connect_ex(listener.getsockname())
            [record] = play(listener.getsockname()[1], Stage(timeouts=Timeouts(connect_s=0.3))).records
    assert (record.outcome, record.detail) == (Outcome.CONNECT_TIMEOUT, "no connection within 0.3 s")
