"""Streams that real clients stumble over: the right outcome, token events and tokens of each (None: none are known)."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from inferometer.records.record import Outcome

WORDS = ("alpha", " beta", " gamma", " delta", " end")
ERROR = {"message": "engine died", "type": "internal", "code": 500}


class Case(NamedTuple):
    """``pieces``: one chunk and one read each. ``cut``: the connection ends inside the body."""

    pieces: tuple[bytes, ...]
    events: int = 5
    tokens: int | None = 5
    outcome: Outcome = Outcome.OK
    cut: bool = False


def event(value: dict[str, Any]) -> bytes:
    """An event as most servers write it."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def delta(finish: str | None = None, usage: dict[str, int] | None = None, **said: Any) -> bytes:
    """A chat chunk with one choice."""
    chunk: dict[str, Any] = {"model": "m", "choices": [{"index": 0, "delta": said, "finish_reason": finish}]}
    return event(chunk | ({"usage": usage} if usage else {}))


def used(tokens: int) -> dict[str, int]:
    """The usage of an answer."""
    return {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}


def tail(tokens: int, finish: str = "stop") -> tuple[bytes, ...]:
    """How a stream ends: a finish reason, usage, DONE."""
    return delta(finish), event({"model": "m", "choices": [], "usage": used(tokens)}), DONE


def call(**function: str) -> bytes:
    """A piece of a tool call."""
    return delta(tool_calls=[{"index": 0, "function": function}])


def inside(whole: bytes, part: str, extra: int = 0) -> tuple[bytes, bytes]:
    """Split before ``part``, or ``extra`` bytes into it."""
    at = whole.index(part.encode()) + extra
    return whole[:at], whole[at:]


def ended(end: bytes, *pieces: bytes) -> tuple[bytes, ...]:
    """The same with other line ends."""
    return tuple(piece.replace(b"\n", end) for piece in pieces)


DONE = b"data: [DONE]\n\n"
ROLE = delta(role="assistant", content="")
T = tuple(delta(content=word) for word in WORDS)
PLAIN = (*T, *tail(5))
CALL = delta(tool_calls=[{"index": 0, "id": "x", "type": "function", "function": {"name": "f", "arguments": ""}}])
CALLS = (CALL, call(arguments='{"a"'), call(arguments=":1"), call(arguments="}"))

CASES = {
    "plain": Case(PLAIN),
    "one_read": Case((b"".join(PLAIN),)),
    "byte_by_byte": Case(tuple(bytes([byte]) for byte in b"".join((*T[:2], *tail(2)))), 2, 2),
    "crlf": Case(ended(b"\r\n", *PLAIN)),
    "crlf_one_read": Case(ended(b"\r\n", b"".join(PLAIN))),
    "cr": Case(ended(b"\r", *PLAIN)),
    "no_space": Case(tuple(piece.replace(b"data: ", b"data:") for piece in PLAIN)),
    "comment_first": Case((b": ping\n\n", *PLAIN)),
    "comment_mid": Case((*T[:2], b": ping\n\n", *T[2:], *tail(5))),
    "event_line": Case(tuple(b"event: message\n" + piece for piece in PLAIN)),
    "id_retry": Case(tuple(b"id: 1\nretry: 10\n" + piece for piece in PLAIN)),
    "multiline_data": Case((T[0].replace(b'"delta"', b'\ndata: "delta"'), *PLAIN[1:])),
    "bom": Case((b"\xef\xbb\xbf" + PLAIN[0], *PLAIN[1:])),
    "split_utf8": Case((*inside(delta(content="naïve"), "ï", 1), *PLAIN[1:])),
    "split_space": Case((*inside(delta(content="hello world foo"), " world"), *tail(3)), 1, 3),
    "u2028": Case((delta(content="al\u2028pha"), *PLAIN[1:])),
    "role_early": Case((ROLE, *PLAIN)),
    "zero_text_mid": Case((*T[:2], delta(content=""), *T[2:], *tail(5))),
    "multi_token_chunks": Case((delta(content="alpha beta"), delta(content=" gamma delta"), T[4], *tail(5)), 3),
    "usage_last_choices": Case((*T[:4], delta("stop", used(5), content=" end"), DONE)),
    "usage_empty_delta": Case((*T, delta("stop"), delta(usage=used(5)), DONE)),
    "no_usage": Case((*T, delta("stop"), DONE)),
    "reasoning": Case((*(delta(reasoning_content=word) for word in WORDS[:3]), *T[3:], *tail(5))),
    "tool_call": Case((*CALLS, *tail(4, "tool_calls")), 4, 4),
    "no_done": Case((*T, *tail(5)[:2])),
    "no_blank_at_end": Case((*T, *tail(5)[:2], b"data: [DONE]")),
    "error_mid": Case((*T[:2], event({"error": ERROR}), DONE), 2, 2, Outcome.STREAM_ERROR),
    "error_event": Case((*T[:2], b"event: error\n" + event({"message": "engine died"})), 2, 2, Outcome.STREAM_ERROR),
    "bad_json_mid": Case((*T[:2], b"data: {oops\n\n", *T[2:], *tail(5)), outcome=Outcome.MALFORMED),
    "truncated_clean": Case(T[:3], 3, 3, Outcome.TRUNCATED),
    "cut": Case(T[:3], 3, 3, Outcome.TRUNCATED, cut=True),
    "only_done": Case((DONE,), 0, None, Outcome.EMPTY),
    "empty_body": Case((), 0, None, Outcome.EMPTY),
    # not in the list of those who stumble, but seen as well
    "reasoning_vllm": Case((ROLE, delta(reasoning="hm"), T[0], *tail(2)), 2, 2),
    "error_string": Case((*T[:2], event({"error": "engine died"})), 2, 2, Outcome.STREAM_ERROR),
    "error_detail": Case((event({"detail": "engine died"}),), 0, None, Outcome.STREAM_ERROR),
    "error_object": Case((event({"object": "error", "message": "engine died"}),), 0, None, Outcome.STREAM_ERROR),
    "null_content": Case((delta(role="assistant", content=None), *PLAIN)),
    "bytes_that_are_not_text": Case((*T[:2], b"data: \xff\xfe\n\n", *T[2:], *tail(5)), outcome=Outcome.MALFORMED),
    "not_events": Case((b"<html>busy</html>",), 0, None, Outcome.TRUNCATED),
    "finish_alone": Case((ROLE, *tail(0)), 0, 0, Outcome.EMPTY),
}
