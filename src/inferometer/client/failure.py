"""What is wrong with an answer: one failure kind and one sentence, or nothing. Pure.

The body decides before its content type: a stream of events is one under any name, and a document is none.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from inferometer.client.answers import UNREADABLE, Answer, error_in
from inferometer.records.record import Outcome

#: How much of an error's body is kept.
ERROR_BODY_BYTES = 1024
#: Failures by status, or by the first digit of it; all others are 5xx (RFC 9110, 15).
_REFUSALS = {429: Outcome.HTTP_429, 3: Outcome.HTTP_4XX, 4: Outcome.HTTP_4XX}
_NOT_CODED = frozenset({b"", b"identity"})
_DOCUMENT = re.compile(rb"\s*([<{\[])")
_TLS = "the server speaks TLS: give its address as https://"
#: First bytes of other protocols: TLS records (RFC 8446, 5.1) and the settings of HTTP/2 (RFC 9113, 3.4).
_FOREIGN = {
    b"\x15\x03": _TLS,
    b"\x16\x03": _TLS,
    b"\x00\x00": "the server seems to speak HTTP/2 alone: name a port that speaks HTTP/1.1",
}

#: Names in lower case, values as they came.
Head = dict[bytes, bytes]


class Failure(NamedTuple):
    """Why an exchange ended without an answer."""

    outcome: Outcome
    detail: str


def not_http(error: str, shown: bytes) -> Failure:
    """What came is not HTTP/1.1. ``shown``: bytes that may be shown, because no part of an answer is among them."""
    known = next((what for start, what in _FOREIGN.items() if shown.startswith(start)), None)
    said = known or f"{error}: {repr(shown[:60])[2:-1]}".removesuffix(": ")
    return Failure(Outcome.MALFORMED, f"not an HTTP/1.1 answer: {said}")


def judge_head(status: int | None, head: Head, body: bytes) -> Failure | None:
    """No head, a status that is not 2xx, or a body that was coded although the request did not allow it."""
    if status is None:
        return Failure(Outcome.TRUNCATED, "the connection ended before the head of an answer did")
    coding = _coding(head)
    if not 200 <= status < 300:
        outcome = _REFUSALS.get(status) or _REFUSALS.get(status // 100, Outcome.HTTP_5XX)
        return Failure(outcome, f"HTTP {status}: {_refusal(head, body, coding)}")
    if coding:
        advice = "switch compression off in the server or in the proxy before it"
        return Failure(Outcome.MALFORMED, f"the answer is compressed ({coding}), which was not asked for: {advice}")
    return None


def judge_document(head: Head, body: bytes, *, complete: bool) -> Failure | None:
    """What a body without a single event is. None if it is no document: nothing, or a stream that says nothing."""
    error = _error_text(body, marked=False)
    if error is not None:
        return Failure(Outcome.STREAM_ERROR, error)
    kind = head.get(b"content-type", b"").decode("latin-1").lower()
    document = _DOCUMENT.match(body)
    if not complete or not body or (document is None and kind.startswith("text/event-stream")):
        return None
    if document is not None and document[1] == b"<":
        return Failure(Outcome.NOT_STREAMING, f"the answer is a web page of {len(body)} bytes, not a stream of events")
    what = "lines of JSON" if "ndjson" in kind or "jsonl" in kind else "one document"
    told = f"the server answered with {what} of {len(body)} bytes instead of a stream"
    return Failure(Outcome.NOT_STREAMING, f"{told}; to measure such answers as they are, give --disable-stream")


def judge_no_document(head: Head, body: bytes, *, complete: bool) -> Failure | None:
    """What a body is that was to be one JSON object and is none."""
    kind = head.get(b"content-type", b"").decode("latin-1").lower()
    if not complete:
        return Failure(Outcome.TRUNCATED, "the connection ended inside the body")
    if not body.strip():
        return Failure(Outcome.EMPTY, "the body is empty")
    start = _DOCUMENT.match(body)
    if kind.startswith("text/event-stream") or body.startswith((b"data:", b"event:")):
        said = "a stream of events where one document was asked for: leave --disable-stream out"
    elif start is not None and start[1] == b"<":
        said = f"a web page of {len(body)} bytes, not JSON"
    else:
        said = f"{len(body)} bytes that are not a JSON object"
    return Failure(Outcome.MALFORMED, f"the answer is {said}")


def judge_whole(answer: Answer, body: bytes, *, complete: bool) -> Failure | None:
    """As ``judge_stream``, of an answer that is one document."""
    failure = judge_stream(answer, body, complete=complete)
    nothing = failure is not None and failure.outcome is Outcome.EMPTY
    return Failure(Outcome.EMPTY, "the answer has no text") if nothing else failure


def judge_stream(answer: Answer, body: bytes, *, complete: bool) -> Failure | None:
    """Success is a token event and a clean end; the first thing that is wrong names the failure."""
    if answer.error is not None:
        return Failure(Outcome.STREAM_ERROR, answer.error)
    if not complete:  # before malformed: what a cut leaves of the last event is not JSON
        return Failure(Outcome.TRUNCATED, "the connection ended inside the body")
    if answer.malformed is not None:
        return Failure(Outcome.MALFORMED, answer.malformed)
    if not answer.token_events and (answer.done or answer.finish_reason or not body):
        return Failure(Outcome.EMPTY, "the stream ended without a token" if body else "the body is empty")
    if not (answer.done or answer.finish_reason):
        got = f"{len(answer.token_events)} token events in {len(body)} bytes"
        return Failure(Outcome.TRUNCATED, f"the stream ended without finish_reason or [DONE] after {got}")
    return None


def _coding(head: Head) -> str:
    """How a body is coded beyond its framing; empty if it is not."""
    for name, plain in ((b"content-encoding", _NOT_CODED), (b"transfer-encoding", _NOT_CODED | {b"chunked"})):
        value = head.get(name, b"").lower()
        if value not in plain:
            return f"{name.decode()}: {value.decode('latin-1')}"
    return ""


def _refusal(head: Head, body: bytes, coding: str) -> str:
    """What an answer that is not 2xx says. Queries of addresses may hold secrets: they are left out."""
    location = head.get(b"location", b"").partition(b"?")[0].decode("latin-1")
    if location:
        return f"the server points to {location}; redirects are not followed: name that address in the target"
    if coding:
        return f"{len(body)} bytes that cannot be read ({coding})"
    return _error_text(body, marked=True) or body[:ERROR_BODY_BYTES].decode(errors="replace")


def _error_text(body: bytes, *, marked: bool) -> str | None:
    """The message of a JSON document that is an error."""
    try:
        document: Any = msgspec.json.decode(body)
    except UNREADABLE:
        return None
    return error_in(document, marked=marked) if isinstance(document, dict) else None
