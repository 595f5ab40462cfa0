"""A connection for every request: opened as part of it, timed, and never used twice."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from loopback import STREAM, STREAM_UNTIL_CLOSE, answering, listening, request
from stages import Stage, play

from inferometer.records.record import Outcome, Record


def closing_itself(sock: socket.socket, _: int) -> None:
    """Answer one request, and end the connection."""
    request(sock)
    sock.sendall(STREAM_UNTIL_CLOSE)


def begun_with_a_connection(record: Record) -> bool:
    times = (record.scheduled_ns, record.first_try_ns, record.connected_ns, record.sent_ns, record.end_ns)
    known = [at_ns for at_ns in times if at_ns is not None]
    return len(known) == len(times) and known == sorted(known)


@pytest.mark.parametrize("serve", [answering(STREAM), closing_itself], ids=["kept by the server", "closed by it"])
@pytest.mark.parametrize("slots", [1, 3])
def test_every_request_opens_its_own(serve: Callable[[socket.socket, int], None], slots: int) -> None:
    accepted: list[int] = []

    def counting(sock: socket.socket, number: int) -> None:
        accepted.append(number)
        serve(sock, number)

    with listening(counting) as port:
        played = play(port, Stage([0] * 6, slots=slots, opened=slots, keep_alive=False))
    assert len(accepted) == 6
    assert [(record.outcome, record.attempts) for record in played.records] == [(Outcome.OK, 1)] * 6
    assert all(map(begun_with_a_connection, played.records))


def test_with_kept_connections_the_first_try_is_the_send() -> None:
    with listening(answering(STREAM)) as port:
        records = play(port, Stage([0] * 2)).records
    assert [record.first_try_ns for record in records] == [record.sent_ns for record in records]


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    played = play(port, Stage([0] * 2, opened=1, keep_alive=False))
    assert played.failure is None  # nothing is opened before the clock
    assert [(record.outcome, record.sent_ns) for record in played.records] == [(Outcome.CONNECT_REFUSED, None)] * 2


def test_a_connection_of_its_own_that_dies_is_a_failure() -> None:
    with listening(lambda sock, _: request(sock) and None) as port:
        [record] = play(port, Stage(keep_alive=False)).records
    assert (record.outcome, record.attempts) == (Outcome.CONNECTION_RESET, 1)
