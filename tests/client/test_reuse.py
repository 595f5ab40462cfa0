"""Whether a connection serves another request, against real sockets: as the framing allows, and never after a doubt."""

from __future__ import annotations

import socket
import struct

import pytest
from cases import CASES, T
from exchanges import HEAD, fed
from framings import FRAMINGS, Framing, reads
from loopback import STREAM, Serve, listening, request, until_closed
from stages import Played, Stage, play

from inferometer.config.models import Timeouts
from inferometer.records.record import Outcome


def said(*answers: bytes, closes: bool = False) -> tuple[Serve, list[int]]:
    """Gives these answers by turns over all connections; the list counts the connections."""
    accepted: list[int] = []
    turns = iter(answers)

    def serve(sock: socket.socket, number: int) -> None:
        accepted.append(number)
        while request(sock) is not None:
            sock.sendall(next(turns))
            if closes:
                return

    return serve, accepted


def played(serve: Serve, requests: int) -> Played:
    with listening(serve) as port:
        return play(port, Stage([0] * requests, timeouts=Timeouts(first_token_s=10, between_tokens_s=10)))


@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_a_connection_is_reused_where_the_framing_allows_it(framing: Framing) -> None:
    whole = b"".join(reads(CASES["plain"], framing))
    serve, accepted = said(whole, whole, whole, closes=framing.closes)
    records = played(serve, 3).records
    assert [(r.outcome, r.output_tokens, r.attempts) for r in records] == [(Outcome.OK, 5, 1)] * 3
    assert len(accepted) == (1 if framing.reusable else 3)


@pytest.mark.parametrize("behind", [STREAM, STREAM[:20], b"H", T[0], b"\x00"])
def test_bytes_behind_an_answer_never_reach_the_next_request(behind: bytes) -> None:
    serve, accepted = said(STREAM + behind, STREAM, STREAM)
    records = played(serve, 3).records
    assert [(r.outcome, r.output_tokens, r.attempts) for r in records] == [(Outcome.OK, 5, 1)] * 3
    assert len(accepted) == 2


def test_a_redirect_or_a_refusal_keeps_the_connection() -> None:
    redirect = b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
    compressed = HEAD + b"content-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00"
    serve, accepted = said(redirect, compressed, b"HTTP/1.1 204 No Content\r\n\r\n", STREAM)
    records = played(serve, 4).records
    kinds = [Outcome.HTTP_4XX, Outcome.MALFORMED, Outcome.EMPTY, Outcome.OK]
    assert [record.outcome for record in records] == kinds
    assert len(accepted) == 1
    assert "/elsewhere" in (records[0].detail or "")


@pytest.mark.parametrize("head", [b"HTTP/1.1 2", HEAD, b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_connection_that_ends_inside_the_head(head: bytes) -> None:
    serve, _ = said(head, closes=True)
    [record] = played(serve, 1).records
    assert (record.outcome, record.status) == (Outcome.TRUNCATED, None)


@pytest.mark.parametrize("how", ["one chunk an event", "trailers", "a length"])
def test_a_body_without_its_end_has_not_ended(how: str) -> None:
    """Not even behind [DONE], as long as its framing promises more."""
    unended = b"".join(reads(CASES["plain"]._replace(cut=True), FRAMINGS[how]))

    def serve(sock: socket.socket, _: int) -> None:
        assert request(sock) is not None
        sock.sendall(unended)
        until_closed(sock)

    with listening(serve) as port:
        [record] = play(port, Stage(timeouts=Timeouts(between_tokens_s=0.3))).records
    assert (record.outcome, len(record.event_ns)) == (Outcome.TIMEOUT_BETWEEN_TOKENS, 5)


# --- other protocols on the port -------------------------------------------------------------------------------------


def test_a_tls_alert_and_http2_are_named() -> None:
    for first, named in ((b"\x15\x03\x01\x00\x02\x02\x28", "https://"), (b"\x00\x00\x12\x04" + b"\0" * 23, "HTTP/2")):
        serve, _ = said(first, closes=True)
        [record] = played(serve, 1).records
        assert record.outcome is Outcome.MALFORMED
        assert named in (record.detail or "")


def test_an_upgrade_that_nobody_asked_for_is_a_failure() -> None:
    upgrade = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n"
    serve, accepted = said(upgrade, STREAM)
    records = played(serve, 2).records
    assert [record.outcome for record in records] == [Outcome.MALFORMED, Outcome.OK]
    assert "nobody asked" in (records[0].detail or "")
    assert len(accepted) == 2


def test_an_exchange_that_has_ended_takes_nothing_more() -> None:
    exchange = fed([(0, STREAM)])
    before = exchange.status, exchange.complete, dict(exchange.head)
    exchange.feed(struct.pack("!I", 7) * 9, 1, 1)
    assert (exchange.status, exchange.complete, exchange.head) == before
    assert not exchange.keep_alive
