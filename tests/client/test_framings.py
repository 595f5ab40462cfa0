"""Every case under every framing: the same record, and the truth about the connection."""

from typing import NamedTuple

import httptools
import pytest
from cases import CASES, LISTED, PLAIN, T, delta, tail
from exchanges import CHUNKED, HEAD, LAST_CHUNK, UNTIL_CLOSE, chunk, fed, numbered, observer, plain, play, split
from framings import FRAMINGS, Framing, reads
from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.records.record import Outcome, Record, Source

MS = 1_000_000
#: What depends on the framing and on how it was split.
WIRE = ("reads", "merged_reads", "bytes_received")
STREAM = b"".join(PLAIN)
OK_HEAD = b"HTTP/1.1 200 OK\r\n"
PLAIN_CHUNKED = CHUNKED + chunk(STREAM) + LAST_CHUNK
BY_NAME = pytest.mark.parametrize("name", CASES)


def once(whole: bytes, framing: Framing) -> Record:
    return play([(5, whole)], closed=framing.closes)


class Seen(NamedTuple):
    """What came of one case under one framing."""

    outcome: Outcome
    told: bool
    events: int
    tokens: int | None
    complete: bool
    reusable: bool


@BY_NAME
def test_every_case_under_every_framing(name: str) -> None:
    case = CASES[name]
    seen, right = {}, {}
    for how, framing in FRAMINGS.items():
        exchange = fed(numbered(reads(case, framing)), closed=framing.closes)
        record = exchange.record(observer())
        told = case.detail in (record.detail or "") and (record.detail is None) == (case.outcome is Outcome.OK)
        counts = len(record.event_ns), record.output_tokens
        seen[how] = Seen(record.outcome, told, *counts, exchange.complete, exchange.keep_alive)
        complete, reusable = framing.closes or not case.cut, framing.reusable and not case.cut
        right[how] = Seen(case.outcome, True, case.events, case.tokens, complete, reusable)
        assert (record.first_token_ns is None) == (case.events == 0)
    assert seen == right


@BY_NAME
def test_the_framing_does_not_show_in_the_record(name: str) -> None:
    """Except that an end of the connection that cuts a body cannot be told from its regular end."""
    case = CASES[name]
    framings = [framing for framing in FRAMINGS.values() if not (case.cut and framing.closes)]
    first, *others = [plain(once(b"".join(reads(case, framing)), framing), *WIRE) for framing in framings]
    assert others == [first] * (len(framings) - 1)


@BY_NAME
def test_byte_by_byte_gives_the_same_record(name: str) -> None:
    for how, framing in FRAMINGS.items():
        whole = b"".join(reads(CASES[name], framing))
        bytewise = play([(5, bytes([byte])) for byte in whole], closed=framing.closes)
        assert plain(bytewise, *WIRE) == plain(once(whole, framing), *WIRE), how


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted(CASES)),
    framing=st.sampled_from(sorted(FRAMINGS)),
    cuts=st.lists(st.integers(0, 10_000), max_size=30),
)
def test_any_split_gives_the_same_record(name: str, framing: str, cuts: list[int]) -> None:
    how = FRAMINGS[framing]
    whole = b"".join(reads(CASES[name], how))
    in_pieces = play([(5, piece) for piece in split(whole, cuts)], closed=how.closes)
    assert plain(in_pieces, *WIRE) == plain(once(whole, how), *WIRE)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].at_ms])
@pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
def test_the_first_token_comes_when_its_text_does(name: str, framing: Framing) -> None:
    case = CASES[name]
    one_each = framing._replace(body=lambda pieces: [b"".join(framing.body([piece])) for piece in pieces])
    written = reads(case, one_each)
    at_ms = [0, *case.at_ms, case.at_ms[-1] + 20][: len(written)]
    record = play([(ms * MS, data) for ms, data in zip(at_ms, written, strict=True)], closed=framing.closes)
    assert record.first_token_ns == case.first_ms * MS
    assert record.first_byte_ns == 0


def test_the_list_has_its_33_cases() -> None:
    assert len(LISTED) == 33
    assert list(CASES)[:33] == list(LISTED)


def test_tokens_are_those_of_the_usage_unless_it_told_none() -> None:
    unknown = {"no_usage", "usage_zeros", "usage_empty", "truncated_clean", "cut", "finish_unterminated"}
    for name in unknown | {"plain", "usage_floats", "usage_of_n2_each"}:
        record = play(numbered(reads(CASES[name], Framing())))
        assert record.output_tokens_source is (Source.EVENTS if name in unknown else Source.USAGE), name


# --- what is behind an answer ----------------------------------------------------------------------------------------

LENGTH = HEAD + b"content-length: %d\r\n\r\n" % len(STREAM)
REFUSAL = (
    b"HTTP/1.1 500 Oops\r\ncontent-type: application/json\r\ncontent-length: 21\r\n\r\n" + b'{"error": "a second"}'
)
CHUNKS_WITHOUT_DONE = CHUNKED + chunk(b"".join(CASES["no_done"].pieces)) + LAST_CHUNK
BEHIND = {
    "a second answer": REFUSAL,
    "half a second answer": REFUSAL[:30],
    "the first bytes of a second answer": b"HT",
    "a second stream": PLAIN_CHUNKED,
    "a provisional answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "another event": T[0],
    "garbage": b"\x00\xff\x15\x03",
}


@pytest.mark.parametrize("together", [True, False], ids=["in one read", "in its own read"])
@pytest.mark.parametrize("behind", BEHIND.values(), ids=BEHIND)
@pytest.mark.parametrize("answer", [LENGTH + STREAM, CHUNKS_WITHOUT_DONE], ids=["length", "chunked"])
def test_what_follows_an_answer_costs_the_connection_only(answer: bytes, behind: bytes, together: bool) -> None:
    alone = play([(5, answer)])
    exchange = fed([(5, answer + behind)] if together else [(5, answer), (5, behind)])
    assert exchange.complete
    assert not exchange.keep_alive
    assert plain(exchange.record(observer()), *WIRE) == plain(alone, *WIRE)
    assert alone.outcome is Outcome.OK


def test_empty_lines_behind_an_answer_are_harmless() -> None:
    exchange = fed([(5, PLAIN_CHUNKED + b"\r\n")])
    assert exchange.keep_alive
    assert exchange.record(observer()).outcome is Outcome.OK


def test_a_body_that_goes_on_behind_its_length_is_cut_there() -> None:
    """The length rules (RFC 9112, 6.3), so this stream has no end."""
    exchange = fed([(5, HEAD + b"content-length: %d\r\n\r\n" % len(T[0]) + STREAM)])
    record = exchange.record(observer())
    assert (record.outcome, len(record.event_ns)) == (Outcome.TRUNCATED, 1)
    assert not exchange.keep_alive


@pytest.mark.parametrize(
    "head", [CHUNKED, HEAD + b"content-length: 100000\r\n\r\n"], ids=["chunked", "longer than it is"]
)
def test_a_whole_stream_in_half_a_body_is_truncated(head: bytes) -> None:
    body = chunk(STREAM) if head is CHUNKED else STREAM
    record = play([(5, head + body)], closed=True)
    assert (record.outcome, record.detail) == (Outcome.TRUNCATED, "the connection ended inside the body")
    assert (len(record.event_ns), record.output_tokens) == (5, 5)


def test_bytes_behind_a_head_that_allows_none_do_not_count() -> None:
    exchange = fed([(5, b"HTTP/1.1 204 No Content\r\n\r\n" + STREAM)])
    assert exchange.record(observer()).outcome is Outcome.EMPTY
    assert not exchange.keep_alive


# --- heads -----------------------------------------------------------------------------------------------------------

UNTIL = b"content-type: text/event-stream\r\n\r\n" + STREAM
NOT_HTTP = {
    "garbage": b"hello\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x28",
    "a request": b"POST / HTTP/1.1\r\n\r\n",
    "no version": b"HTTP 200 OK\r\n\r\n",
    "a version of its own": b"HTTP/1.9 200 OK\r\n\r\n",
    "an endless status": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a space before the colon": OK_HEAD + b"content-type : text/event-stream\r\n\r\n",
    "a folded header": OK_HEAD + b"x: a\r\n b\r\n\r\n",
    "a NUL in a header": OK_HEAD + b"x: a\0b\r\n\r\n",
    "line ends without CR": OK_HEAD.replace(b"\r", b"") + b"content-length: 0\n\n",
    "a length that is no number": OK_HEAD + b"content-length: many\r\n\r\n",
    "a negative length": OK_HEAD + b"content-length: -1\r\n\r\n",
    "two lengths": OK_HEAD + b"content-length: 1\r\ncontent-length: 2\r\n\r\n",
    "a length and chunks": OK_HEAD + b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
    "a size that is no number": CHUNKED + b"zz\r\n",
    "a negative size": CHUNKED + b"-1\r\n",
    "a size that overflows": CHUNKED + b"f" * 17 + b"\r\n",
    "a space before a chunk extension": CHUNKED + b"3 ;a=b\r\n",
    "a chunk longer than its size": CHUNKED + b"3\r\nabcdef\r\n",
    "another protocol on demand": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
}


@pytest.mark.parametrize("data", NOT_HTTP.values(), ids=NOT_HTTP)
@pytest.mark.parametrize("bytewise", [False, True], ids=["at once", "byte by byte"])
def test_what_is_not_http_is_said_at_once(data: bytes, bytewise: bool) -> None:
    with pytest.raises(httptools.HttpParserError):
        fed([(0, bytes([byte])) for byte in data] if bytewise else [(0, data)])


@pytest.mark.parametrize("head", [b"H", b"HTTP/1.1 200 OK\r\n", HEAD, b"HTTP/1.1 100 Continue\r\n\r\n", b"\r\n"])
def test_a_connection_that_ends_inside_the_head_is_truncated(head: bytes) -> None:
    exchange = fed([(5, head)], closed=True)
    record = exchange.record(observer())
    assert (record.outcome, record.status, record.first_byte_ns) == (Outcome.TRUNCATED, None, 5)
    assert "head" in (record.detail or "")
    assert not exchange.complete


def test_a_length_of_early_hints_is_none_of_the_answer() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\ncontent-length: 3\r\nretry-after: 9\r\nlocation: /x\r\n\r\n"
    exchange = fed([(5, hints + UNTIL_CLOSE + STREAM)], closed=True)
    assert (exchange.complete, exchange.status, exchange.retry_after) == (True, 200, b"")
    assert exchange.record(observer()).outcome is Outcome.OK


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"GZip,Chunked", b"deflate"])
def test_a_coded_transfer_is_a_failure(coding: bytes) -> None:
    head = HEAD + b"transfer-encoding: " + coding + b"\r\n\r\n"
    record = play([(5, head + chunk(STREAM) + LAST_CHUNK)], closed=True)
    assert record.outcome is Outcome.MALFORMED
    assert "compressed (transfer-encoding: " in (record.detail or "")


# --- large events ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 100], ids=["one read", "100 reads"])
def test_an_event_of_a_megabyte(pieces: int) -> None:
    big = delta(content="x" * 1_000_000)
    whole = CHUNKED + chunk(big + b"".join(tail(1))) + LAST_CHUNK
    size = -(-len(whole) // pieces)
    record = play(numbered([whole[start : start + size] for start in range(0, len(whole), size)]))
    assert (record.outcome, len(record.event_ns), record.output_tokens) == (Outcome.OK, 1, 1)
    assert (record.first_token_ns, record.reads) == (pieces - 1, pieces)
