"""What an answer is: the body decides, then its content type; and what is said of those that are no stream."""

import itertools

import pytest
from cases import CASES, PLAIN, T
from exchanges import CHUNKED, JOB, LAST_CHUNK, UNTIL_CLOSE, chunk, fed, numbered, observer, play
from framings import FRAMINGS, reads

from inferometer.client.apis import message_of
from inferometer.client.exchange import Exchange
from inferometer.client.failure import not_http
from inferometer.records.record import Outcome, Record

STREAM = b"".join(PLAIN)
GZIP = b"\x1f\x8b\x08\x00" + bytes(range(200))


def answer(status: bytes, body: bytes, kind: bytes = b"application/json", *headers: bytes) -> bytes:
    head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n" % (status, kind, len(body))
    return head + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body


def answered(whole: bytes) -> Record:
    return play([(0, whole)])


@pytest.mark.parametrize(
    ("whole", "outcome", "detail"),
    [
        (answer(b"429 Too Many", b'{"error": {"message": "slow down"}}'), Outcome.HTTP_429, "HTTP 429: slow down"),
        (answer(b"503 Busy", b"no healthy upstream", b"text/plain"), Outcome.HTTP_5XX, "HTTP 503: no healthy upstream"),
        (answer(b"502 Bad", b"", b"text/plain"), Outcome.HTTP_5XX, "HTTP 502: "),
        (answer(b"404 Not", b'{"message": "no route"}'), Outcome.HTTP_4XX, "HTTP 404: no route"),
        (answer(b"400 Bad", b'{"code": 40003}'), Outcome.HTTP_4XX, "HTTP 400: code 40003"),
        (answer(b"400 Bad", b'{"why": "no"}'), Outcome.HTTP_4XX, 'HTTP 400: {"why": "no"}'),
        (answer(b"400 Bad", b'["no"]'), Outcome.HTTP_4XX, 'HTTP 400: ["no"]'),
        (answer(b"503 Busy", STREAM, b"text/event-stream"), Outcome.HTTP_5XX, "HTTP 503: data: "),
        (answer(b"999 Mine", b"go away"), Outcome.HTTP_5XX, "HTTP 999: go away"),
        (answer(b"000 None", b"what"), Outcome.HTTP_5XX, "HTTP 0: what"),
        (
            answer(b"500 Oops", GZIP, b"text/plain", b"content-encoding: gzip"),
            Outcome.HTTP_5XX,
            "204 bytes that cannot",
        ),
        (answer(b"302 Found", b""), Outcome.HTTP_4XX, "HTTP 302: "),
        (answer(b"304 Not Modified", b""), Outcome.HTTP_4XX, "HTTP 304: "),
        (answer(b"200 OK", b"", b"text/event-stream"), Outcome.EMPTY, "the body is empty"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", Outcome.EMPTY, "the body is empty"),
        (answer(b"205 Reset", b""), Outcome.EMPTY, "the body is empty"),
        (answer(b"206 Partial", T[0] + T[1], b"text/event-stream"), Outcome.TRUNCATED, "after 2 token events"),
        (answer(b"200 OK", b"<html>login</html>", b"text/html"), Outcome.NOT_STREAMING, "web page"),
        (answer(b"200 OK", b'{"error": "no GPU"}'), Outcome.STREAM_ERROR, "no GPU"),
        (answer(b"200 OK", b"busy", b"text/plain"), Outcome.NOT_STREAMING, "one document of 4 bytes"),
        (answer(b"200 OK", b'{"a": 1}\n' * 3, b"application/x-ndjson"), Outcome.NOT_STREAMING, "lines of JSON"),
        (answer(b"200 OK", b"busy", b"text/event-stream"), Outcome.TRUNCATED, "after 0 token events in 4 bytes"),
        (answer(b"200 OK", GZIP, b"text/event-stream"), Outcome.TRUNCATED, "after 0 token events"),
        (answer(b"200 OK", b'{"code": 40003}'), Outcome.STREAM_ERROR, "code 40003"),
        (answer(b"200 OK", b'{"message": "later"}'), Outcome.NOT_STREAMING, "one document"),
    ],
)
def test_answers_that_are_no_stream(whole: bytes, outcome: Outcome, detail: str) -> None:
    record = answered(whole)
    assert record.outcome is outcome
    assert detail in (record.detail or "")
    assert (record.first_token_ns is None) == (outcome is not Outcome.TRUNCATED or b"alpha" not in whole)


KINDS = {
    "text/plain": b"content-type: text/plain\r\n",
    "bytes": b"content-type: application/octet-stream\r\n",
    "NDJSON": b"content-type: application/x-ndjson\r\n",
    "JSON": b"content-type: application/json\r\n",
    "a page": b"content-type: text/html\r\n",
    "none": b"",
    "empty": b"content-type:\r\n",
    "two": b"content-type: text/event-stream\r\ncontent-type: text/html\r\n",
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_stream_is_one_under_any_name(kind: bytes) -> None:
    for case in CASES.values():
        head = b"HTTP/1.1 200 OK\r\n" + kind + b"transfer-encoding: chunked\r\n\r\n"
        record = play(numbered([head, *map(chunk, case.pieces), b"" if case.cut else LAST_CHUNK]), closed=True)
        streams = case.outcome not in (Outcome.NOT_STREAMING, Outcome.TRUNCATED)
        assert not streams or record.outcome is case.outcome
        assert (len(record.event_ns), record.output_tokens) == (case.events, case.tokens)


@pytest.mark.parametrize("name", ["web_page", "whole_answer", "whole_error"])
def test_a_document_that_is_cut_is_truncated_unless_it_is_an_error(name: str) -> None:
    [body] = CASES[name].pieces
    cut = fed([(0, CHUNKED + chunk(body))], closed=True)
    assert cut.record(observer()).outcome is (Outcome.STREAM_ERROR if "error" in name else Outcome.TRUNCATED)


# --- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [b"301 Moved", b"302 Found", b"303 See", b"307 Temporary", b"308 Permanent"])
def test_a_redirect_says_where_it_points(status: bytes) -> None:
    record = answered(answer(status, b"<a>moved</a>", b"text/html", b"Location: /v1/chat/completions/?key=hidden"))
    assert record.outcome is Outcome.HTTP_4XX
    assert f"HTTP {int(status[:3])}: the server points to /v1/chat/completions/;" in (record.detail or "")
    assert "hidden" not in (record.detail or "")


def test_an_endless_address_is_cut() -> None:
    record = answered(answer(b"301 Moved", b"", b"text/html", b"Location: /" + b"x" * 50_000))
    assert len(record.detail or "") < 1000


# --- compression -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", [b"gzip", b"GZIP", b"br", b"deflate", b"zstd", b"gzip, identity"])
@pytest.mark.parametrize("body", [GZIP, STREAM, b""], ids=["compressed", "not compressed after all", "empty"])
def test_a_compressed_answer_is_a_failure_that_says_so(coding: bytes, body: bytes) -> None:
    record = answered(answer(b"200 OK", body, b"text/event-stream", b"Content-Encoding: " + coding))
    assert record.outcome is Outcome.MALFORMED
    assert f"compressed (content-encoding: {coding.decode().lower()})" in (record.detail or "")
    assert (record.first_token_ns, record.output_tokens, len(record.event_ns)) == (None, None, 0)


# --- other protocols -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        (b"\x15\x03\x01\x00\x02\x02\x28", "https://"),
        (b"\x16\x03\x03\x00\x7a", "https://"),
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00", "HTTP/2"),
        (b"SSH-2.0-OpenSSH_9.9\r\n" + b"x" * 100, "Expected HTTP/: SSH-2.0-OpenSSH_9.9\\r\\nxxx"),
        (b"", "not an HTTP/1.1 answer: Expected HTTP/"),
    ],
)
def test_the_first_bytes_tell_what_speaks_there(shown: bytes, said: str) -> None:
    failure = not_http("Expected HTTP/", shown)
    assert failure.outcome is Outcome.MALFORMED
    assert said in failure.detail
    assert len(failure.detail) < 200
    assert failure.detail.isprintable()


# --- ends and details ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("closed", "outcome"), [(True, Outcome.OK), (False, Outcome.TRUNCATED)])
def test_a_body_without_length_ends_with_the_connection(closed: bool, outcome: Outcome) -> None:
    parts = reads(CASES["plain"], FRAMINGS["until close"])
    assert play(numbered(parts), closed=closed).outcome is outcome


def test_a_long_error_page_is_cut() -> None:
    assert len(answered(answer(b"500 Oops", b"x" * 100_000, b"text/plain")).detail or "") < 2000


@pytest.mark.parametrize(
    "value", [b"[" * 900 + b"]" * 900, b"9" * 400, b'{"message": {"a": [1e5]}}', b"true", b'"\\u0000"', b"[[], {}]"]
)
def test_an_error_of_any_shape_is_a_failure_with_a_row(value: bytes) -> None:
    for whole in (
        answer(b"500 Oops", b'{"error": ' + value + b"}"),
        answer(b"200 OK", b'{"error": ' + value + b"}"),
        UNTIL_CLOSE + T[0] + b'data: {"error": ' + value + b"}\n\n",
    ):
        record = play([(0, whole)], closed=True)
        assert record.outcome in (Outcome.HTTP_5XX, Outcome.STREAM_ERROR)
        assert len(record.detail or "") < 2000


def test_an_error_without_a_bottom_has_a_message() -> None:
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    assert message_of(deep) == "an error too deep to be shown"
    assert message_of({"message": None, "detail": [{"msg": "no"}]}) == '[{"msg":"no"}]'


def masked(body: bytes, secret: str) -> str:
    exchange = Exchange(JOB, 0)
    exchange.feed(answer(b"401 Unauthorized", body, b"text/plain"), 5, 5)
    return exchange.record(observer()._replace(secrets=(secret,))).detail or ""


def test_a_server_that_repeats_the_key_does_not_get_it_stored() -> None:
    body = b'{"error": {"message": "Incorrect API key provided: sk-planted"}}'
    assert masked(body, "sk-planted") == "HTTP 401: Incorrect API key provided: ***"


@pytest.mark.parametrize("shape", ["%s", '{"error": "%s"}'])
def test_a_key_at_the_cut_of_a_long_error_is_not_stored_in_part(shape: str) -> None:
    for start in itertools.chain(range(480, 505), range(1005, 1030)):
        detail = masked((shape % ("." * start + "sk-planted" + "." * 999)).encode(), "sk-planted")
        assert "sk-pla" not in detail
