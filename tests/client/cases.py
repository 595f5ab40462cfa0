"""Streams that real clients stumble over: the right outcome, token events and tokens of each (None: none are known)."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from inferometer.records.record import Outcome

WORDS = ("alpha", " beta", " gamma", " delta", " end")
ERROR = {"message": "engine died", "type": "internal", "code": 500}


class Case(NamedTuple):
    """``pieces``: one chunk and one read each. ``cut``: the connection ends inside the body.

    ``detail`` is a part of the failure's sentence. ``at_ms``: when each piece is read, where that matters, and then
    ``first_ms`` is the time of the first token.
    """

    pieces: tuple[bytes, ...]
    events: int = 5
    tokens: int | None = 5
    outcome: Outcome = Outcome.OK
    cut: bool = False
    detail: str = ""
    at_ms: tuple[int, ...] = ()
    first_ms: int = 0


def event(value: dict[str, Any]) -> bytes:
    """An event as most servers write it."""
    return b"data: " + json.dumps(value, ensure_ascii=False).encode() + b"\n\n"


def delta(finish: str | None = None, usage: dict[str, Any] | None = None, index: int = 0, **said: Any) -> bytes:
    """A chat chunk with one choice."""
    chunk: dict[str, Any] = {"model": "m", "choices": [{"index": index, "delta": said, "finish_reason": finish}]}
    return event(chunk | ({"usage": usage} if usage else {}))


def used(tokens: int) -> dict[str, Any]:
    """The usage of an answer."""
    return {"prompt_tokens": 7, "completion_tokens": tokens, "total_tokens": 7 + tokens}


def closing(usage: Any) -> bytes:
    """The event behind the last choice that tells the usage."""
    return event({"model": "m", "choices": [], "usage": usage})


def tail(tokens: int, finish: str = "stop") -> tuple[bytes, ...]:
    """How a stream ends: a finish reason, usage, DONE."""
    return delta(finish), closing(used(tokens)), DONE


def call(**function: Any) -> bytes:
    """A piece of a tool call."""
    return delta(tool_calls=[{"index": 0, "function": function}])


def inside(whole: bytes, part: str, extra: int = 0) -> tuple[bytes, bytes]:
    """Split before ``part``, or ``extra`` bytes into it."""
    at = whole.index(part.encode()) + extra
    return whole[:at], whole[at:]


def ended(end: bytes, *pieces: bytes) -> tuple[bytes, ...]:
    """The same with other line ends."""
    return tuple(piece.replace(b"\n", end) for piece in pieces)


def amid(*pieces: bytes) -> tuple[bytes, ...]:
    """A plain stream with these pieces behind its second token."""
    return (*T[:2], *pieces, *T[2:], *tail(5))


DONE = b"data: [DONE]\n\n"
ROLE = delta(role="assistant", content="")
T = tuple(delta(content=word) for word in WORDS)
PLAIN = (*T, *tail(5))
CALL = delta(tool_calls=[{"index": 0, "id": "x", "type": "function", "function": {"name": "f", "arguments": ""}}])
CALLS = (CALL, call(arguments='{"a"'), call(arguments=":1"), call(arguments="}"))
STREAM_ERROR, MALFORMED = Outcome.STREAM_ERROR, Outcome.MALFORMED

#: Those that the tools of today were tried with, in the order of that list.
LISTED = {
    "plain": Case(PLAIN),
    "one_read": Case((b"".join(PLAIN),)),
    "byte_by_byte": Case(tuple(bytes([byte]) for byte in b"".join((*T[:2], *tail(2)))), 2, 2),
    "crlf": Case(ended(b"\r\n", *PLAIN)),
    "crlf_one_read": Case(ended(b"\r\n", b"".join(PLAIN))),
    "cr": Case(ended(b"\r", *PLAIN)),
    "no_space": Case(tuple(piece.replace(b"data: ", b"data:") for piece in PLAIN)),
    "comment_first": Case((b": ping\n\n", *PLAIN)),
    "comment_mid": Case(amid(b": ping\n\n")),
    "event_line": Case(tuple(b"event: message\n" + piece for piece in PLAIN)),
    "id_retry": Case(tuple(b"id: 1\nretry: 10\n" + piece for piece in PLAIN)),
    "multiline_data": Case((T[0].replace(b'"delta"', b'\ndata: "delta"'), *PLAIN[1:])),
    "bom": Case((b"\xef\xbb\xbf" + PLAIN[0], *PLAIN[1:])),
    "split_utf8": Case((*inside(delta(content="naïve"), "ï", 1), *PLAIN[1:])),
    "split_space": Case((*inside(delta(content="hello world foo"), " world"), *tail(3)), 1, 3),
    "u2028": Case((delta(content="al\u2028pha"), *PLAIN[1:])),
    "role_200ms_early": Case((ROLE, *PLAIN), at_ms=(20, 240, 260, 280, 300, 320, 340, 360, 380), first_ms=240),
    "zero_text_mid": Case(amid(delta(content=""))),
    "multi_token_chunks": Case((delta(content="alpha beta"), delta(content=" gamma delta"), T[4], *tail(5)), 3),
    "usage_last_choices": Case((*T[:4], delta("stop", used(5), content=" end"), DONE)),
    "usage_empty_delta": Case((*T, delta("stop"), delta(usage=used(5)), DONE)),
    "no_usage": Case((*T, delta("stop"), DONE)),
    "reasoning": Case(
        (*(delta(reasoning_content=word) for word in WORDS[:3]), *T[3:], *tail(5)),
        at_ms=(20, 40, 60, 280, 300, 320, 340, 360),
        first_ms=20,
    ),
    "tool_call": Case((*CALLS, *tail(4, "tool_calls")), 4, 4),
    "no_done": Case((*T, *tail(5)[:2])),
    "no_blank_at_end": Case((*T, *tail(5)[:2], b"data: [DONE]")),
    "error_mid": Case((*T[:2], event({"error": ERROR}), DONE), 2, 2, STREAM_ERROR, detail="engine died"),
    "error_event": Case(
        (*T[:2], b"event: error\n" + event({"message": "engine died"})), 2, 2, STREAM_ERROR, detail="engine died"
    ),
    "bad_json_mid": Case(amid(b"data: {oops\n\n"), outcome=MALFORMED, detail="an event of 5 bytes cannot be read"),
    "truncated_clean": Case(T[:3], 3, 3, Outcome.TRUNCATED, detail="without finish_reason or [DONE] after 3 token"),
    "cut": Case(T[:3], 3, 3, Outcome.TRUNCATED, cut=True),
    "only_done": Case((DONE,), 0, None, Outcome.EMPTY, detail="without a token"),
    "empty_body": Case((), 0, None, Outcome.EMPTY, detail="the body is empty"),
}

#: How servers and the gateways before them write the same things otherwise.
_FORMS = {
    "mixed_line_ends": Case(amid(b": ping\r", b"\r\n", T[0].replace(b"\n\n", b"\r\n\n")), 6),
    "reasoning_vllm": Case((ROLE, delta(reasoning="hm"), T[0], *tail(2)), 2, 2),
    "reasoning_and_content": Case((delta(reasoning_content="so", content="alpha"), *PLAIN[1:])),
    "content_parts": Case((delta(content=[{"type": "text", "text": "alpha"}]), *PLAIN[1:])),
    "refusal": Case((delta(refusal="I can"), delta(refusal="not"), *tail(2)), 2, 2),
    "function_call": Case(
        (delta(function_call={"name": "f"}), delta(function_call={"arguments": "{}"}), *tail(2, "function_call")), 2, 2
    ),
    "tool_call_object": Case((CALL, call(arguments={"a": 1}), *tail(2, "tool_calls")), 2, 2),
    "tool_call_null": Case((delta(content="a", tool_calls=None), delta(tool_calls=[]), *tail(1)), 1, 1),
    "other_deltas": Case(amid(delta(audio={"data": "AAAA"}), delta(annotations=[1]), delta(role="assistant"))),
    "null_content": Case((delta(role="assistant", content=None), *PLAIN)),
    "null_delta": Case(amid(event({"choices": [{"index": 0, "delta": None, "finish_reason": None}]}))),
    "no_delta": Case(amid(event({"choices": [{"index": 0}]}))),
    "null_choices": Case(amid(event({"model": "m", "choices": None}))),
    "no_choices": Case(amid(event({"model": "m"}), event({"id": 3, "object": "ping"}))),
    "finish_with_text": Case((*T[:4], delta("stop", content=" end"), closing(used(5)), DONE)),
    "finish_unterminated": Case((*T, delta("stop").rstrip())),
    "done_without_space": Case((*PLAIN[:-1], b"data:[DONE]\n\n")),
    "done_with_spaces": Case((*PLAIN[:-1], b"data:  [DONE]  \n\n")),
    "done_twice": Case((*PLAIN, DONE)),
    "done_then_more": Case((*PLAIN, T[0], event({"error": "late"}), b"event: error\n" + DONE)),
    "done_without_finish": Case((*T, DONE)),
    "blank_data": Case(amid(b"data:\n\n", b"data: \n\n")),
    "escaped_nul": Case((delta(content="al\0pha"), *PLAIN[1:])),
    "surrogate_halves": Case((*(T[0].replace(b"alpha", half) for half in (b"\\ud83d", b"\\uDE00")), *T[2:], *tail(5))),
}

#: What usage says, and what of it is believed.
_USAGES = {
    "usage_null": Case((*(delta(content=word).replace(b"}\n", b', "usage": null}\n') for word in WORDS), *tail(5))),
    "usage_of_n2_each": Case(
        (T[0], delta(index=1, content="x"), T[1], delta("stop", index=1, content="y"), *[closing(used(2))] * 2, DONE),
        4,
        4,
    ),
    "usage_of_n2_once": Case((T[0], delta(index=1, content="x"), delta("stop"), *tail(6)), 2, 6),
    "usage_twice": Case((*T, delta("stop"), closing(used(5)), closing(used(5)), DONE)),
    "usage_running": Case((*(delta(content="a b", usage=used(n)) for n in (2, 4, 6)), delta("stop"), DONE), 3, 6),
    "usage_floats": Case((*T, delta("stop"), closing({"prompt_tokens": 7.0, "completion_tokens": 12.0}), DONE), 5, 12),
    "usage_zeros": Case((*T, delta("stop"), closing(used(0) | {"prompt_tokens": 0}), DONE)),
    "usage_empty": Case((*T, delta("stop"), closing({}), DONE)),
    "usage_unfinished": Case((*T, delta("stop", usage=used(6)), closing({"prompt_tokens": 7}), DONE), 5, 6),
    "usage_negative": Case((*T, delta("stop"), closing(used(-1)), DONE), outcome=MALFORMED, detail="completion_tokens"),
    "usage_fraction": Case((*T, delta("stop"), closing({"completion_tokens": 5.5}), DONE), outcome=MALFORMED),
    "usage_absurd": Case((*T, delta("stop"), closing(used(3 * 10**9)), DONE), outcome=MALFORMED),
    "usage_absurd_sum": Case(
        (T[0], delta(index=1, content="x"), closing(used(2**31 - 1)), closing(used(2**31 - 1)), DONE), 2, 2, MALFORMED
    ),
}

#: Failures that look like answers.
_FAILURES = {
    "error_first": Case((event({"error": ERROR}),), 0, None, STREAM_ERROR, detail="engine died"),
    "error_string": Case((*T[:2], event({"error": "engine died"})), 2, 2, STREAM_ERROR, detail="engine died"),
    "error_detail": Case((event({"detail": "engine died"}),), 0, None, STREAM_ERROR, detail="engine died"),
    "error_object": Case(
        (event({"object": "error", "message": "engine died"}),), 0, None, STREAM_ERROR, detail="engine died"
    ),
    "error_type": Case(
        (b"event: error\n" + event({"type": "error", "error": ERROR}),), 0, None, STREAM_ERROR, detail="engine died"
    ),
    "error_with_code_only": Case((T[0], event({"error": {"code": 503}})), 1, 1, STREAM_ERROR, detail="503"),
    "code_only": Case((T[0], event({"code": 503})), 1, 1, STREAM_ERROR, detail="code 503"),
    "code_and_msg": Case((T[0], event({"code": 1305, "msg": "engine died"})), 1, 1, STREAM_ERROR, detail="engine died"),
    "code_of_success": Case(amid(event({"code": 0, "msg": "ok"}), event({"code": 200}), event({"error": None}))),
    "error_beside_choices": Case(
        (T[0], delta("error").replace(b"}\n", b', "error": {"message": "engine died"}}\n')),
        1,
        1,
        STREAM_ERROR,
        detail="engine died",
    ),
    "error_not_json": Case((T[0], b"event: error\ndata: engine died\n\n"), 1, 1, STREAM_ERROR, detail="error event"),
    "error_without_data_line": Case((*T[:2], b'{"error": "engine died"}\n\n'), 2, 2, Outcome.TRUNCATED),
    "finish_error": Case((T[0], delta("error"), DONE), 1, 1, STREAM_ERROR, detail="finish_reason 'error'"),
    "finish_abort": Case((T[0], delta("abort"), DONE), 1, 1, STREAM_ERROR, detail="finish_reason 'abort'"),
    "finish_alone": Case((ROLE, *tail(0)), 0, 0, Outcome.EMPTY),
    "cut_inside_usage": Case((T[0], delta("stop"), closing(used(1))[:-9]), 1, 1, Outcome.TRUNCATED, cut=True),
    "comments_alone": Case((b": ping\n\n", b": ping\n\n"), 0, None, Outcome.TRUNCATED, detail="after 0 token events"),
    "cut_inside_event": Case((*T[:2], T[2][:-20]), 2, 2, Outcome.TRUNCATED, cut=True),
    "raw_nul": Case(amid(delta(content="x").replace(b"x", b"\0")), outcome=MALFORMED),
    "broken_utf8": Case(amid(delta(content="x").replace(b"x", b"\xc3")), outcome=MALFORMED),
    "bytes_that_are_not_text": Case(amid(b"data: \xff\xfe\n\n"), outcome=MALFORMED),
    "choices_of_another_type": Case(amid(event({"choices": "none"})), outcome=MALFORMED, detail="`str`"),
    "web_page": Case((b"<!DOCTYPE html><html>busy</html>",), 0, None, Outcome.NOT_STREAMING, detail="web page"),
    "whole_answer": Case(
        (b'{"choices": [{"message": {"content": "alpha"}}]}',), 0, None, Outcome.NOT_STREAMING, detail="one document"
    ),
    "whole_answer_of_ollama": Case(
        (b'{"message": {"content": "private"}, "done": true}',), 0, None, Outcome.NOT_STREAMING, detail="one document"
    ),
    "whole_error": Case((b'{"error": "engine died"}',), 0, None, STREAM_ERROR, detail="engine died"),
}

CASES = LISTED | _FORMS | _USAGES | _FAILURES
