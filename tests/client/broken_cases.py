"""Answers of every API that end badly, and what is said of each."""

from __future__ import annotations

from typing import NamedTuple

from api_cases import (
    CHAT_END,
    CHAT_LINES,
    CREATED,
    DONE,
    EMBEDDED,
    SAID,
    STARTED,
    TEXTS,
    TOKENS,
    completed,
    data,
    ids,
    line,
    stopped,
    typed,
)

from inferometer.records.record import Outcome


class Broken(NamedTuple):
    """A stream that fails: how, and what is said of it. ``closed``: the connection ends inside the body."""

    api: str
    pieces: tuple[bytes, ...]
    outcome: Outcome
    detail: str
    closed: bool = False


ERROR = {"type": "overloaded_error", "message": "engine died"}
STREAM_ERROR, TRUNCATED = Outcome.STREAM_ERROR, Outcome.TRUNCATED
FAILED = typed("response.failed", response={"status": "failed", "error": {"code": "x", "message": "engine died"}})
CUT_LINE = CHAT_LINES[2][:-9]

BROKEN = {
    "responses_failed": Broken("openai-responses", (*SAID[:2], FAILED), STREAM_ERROR, "engine died"),
    "responses_error": Broken(
        "openai-responses", (*SAID[:2], typed("error", message="engine died")), STREAM_ERROR, "engine died"
    ),
    "responses_error_of_vllm": Broken(
        "openai-responses", (SAID[0], data({"error": ERROR})), STREAM_ERROR, "engine died"
    ),
    "responses_unended": Broken("openai-responses", (CREATED, *SAID), TRUNCATED, "after 3 token events"),
    "responses_empty": Broken("openai-responses", (CREATED, completed()), Outcome.EMPTY, "without a token"),
    "responses_bad_json": Broken(
        "openai-responses", (SAID[0], b"data: {oops\n\n", *SAID, completed()), Outcome.MALFORMED, "an event of 5 bytes"
    ),
    "anthropic_error": Broken("anthropic", (STARTED, *TEXTS, typed("error", error=ERROR)), STREAM_ERROR, "engine died"),
    "anthropic_error_untold": Broken("anthropic", (*TEXTS, typed("error")), STREAM_ERROR, "error event"),
    "anthropic_unended": Broken("anthropic", (STARTED, *TEXTS), TRUNCATED, "after 3 token events"),
    "anthropic_cut": Broken("anthropic", (STARTED, *TEXTS), TRUNCATED, "inside the body", closed=True),
    "anthropic_empty": Broken("anthropic", (STARTED, *stopped(output_tokens=0)), Outcome.EMPTY, "without a token"),
    "tgi_error": Broken(
        "tgi",
        (*TOKENS, data({"error": "engine died", "error_type": "generation"}, b"data:")),
        STREAM_ERROR,
        "engine died",
    ),
    "tgi_unended": Broken("tgi", TOKENS, TRUNCATED, "after 2 token events"),
    "ollama_error": Broken("ollama-chat", (*CHAT_LINES, line(error="engine died")), STREAM_ERROR, "engine died"),
    "ollama_error_first": Broken("ollama-chat", (line(error="engine died"),), STREAM_ERROR, "engine died"),
    "ollama_unended": Broken("ollama-chat", CHAT_LINES, TRUNCATED, "after 3 token events"),
    "ollama_cut_in_a_line": Broken(
        "ollama-chat", (*CHAT_LINES[:2], CUT_LINE), TRUNCATED, "inside the body", closed=True
    ),
    "ollama_ends_in_a_line": Broken("ollama-chat", (*CHAT_LINES[:2], CUT_LINE), TRUNCATED, "inside the body"),
    "ollama_bad_line": Broken(
        "ollama-chat", (*CHAT_LINES, b"{oops\n", CHAT_END), Outcome.MALFORMED, "an event of 5 bytes"
    ),
    "ollama_web_page": Broken("ollama-chat", (b"<html>busy</html>",), Outcome.NOT_STREAMING, "web page"),
    "ollama_empty_body": Broken("ollama-chat", (), Outcome.EMPTY, "the body is empty"),
    "embeddings_error": Broken("openai-embeddings", (b'{"error": "engine died"}',), STREAM_ERROR, "engine died"),
    "embeddings_detail": Broken("openai-embeddings", (b'{"detail": "engine died"}',), STREAM_ERROR, "engine died"),
    "embeddings_empty": Broken("openai-embeddings", (b'{"data": []}',), Outcome.EMPTY, "without a token"),
    "embeddings_web_page": Broken("openai-embeddings", (b"<html>busy</html>",), Outcome.NOT_STREAMING, "web page"),
    "embeddings_cut": Broken("openai-embeddings", (EMBEDDED[:-20],), TRUNCATED, "inside the body", closed=True),
    "embeddings_bad_json": Broken("openai-embeddings", (EMBEDDED[:-20],), Outcome.MALFORMED, "cannot be read"),
    "generate_error": Broken("vllm-generate", (ids(5), data({"error": ERROR}), DONE), STREAM_ERROR, "engine died"),
    "generate_abort": Broken("vllm-generate", (ids(5, finish="abort"), DONE), STREAM_ERROR, "finish_reason 'abort'"),
    "generate_unended": Broken("vllm-generate", (ids(5), ids(6)), TRUNCATED, "after 2 token events"),
}
