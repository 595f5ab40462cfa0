"""Answers without a stream: what is read from the document of every API, and what is wrong with those that are none."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from exchanges import fed, observer
from hypothesis import given
from hypothesis import strategies as st

from inferometer.client.apis import APIS, spoken
from inferometer.client.jobs import request_head
from inferometer.records.record import Outcome, Record, Source
from inferometer.workload.asks import Ask

MS = 1_000_000


class Document(NamedTuple):
    """What a server answers, and what it says."""

    api: str
    body: dict[str, Any]
    prompt: int | None = 7
    output: int | None = 3
    cached: int | None = None
    reasoned: int | None = None
    finish: str | None = "stop"
    model: str | None = "m"
    text: str = "one two three"


USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 1},
}


def choice(**said: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "finish_reason": "stop", **said}], "usage": USAGE}


def chat(**message: Any) -> dict[str, Any]:
    return choice(message={"role": "assistant", "content": None, **message})


def response(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    counts = {"input_tokens": 7, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 0}}
    plain = {"object": "response", "model": "m", "status": "completed", "error": None, "usage": counts}
    return plain | {"output": list(output)} | more


SAID = {"type": "message", "content": [{"type": "output_text", "text": "one two three"}]}
THOUGHT = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]}
CALL = {"type": "function_call", "name": "look", "arguments": "{}"}
MESSAGE = {"type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
COUNTS = {"input_tokens": 2, "cache_read_input_tokens": 5, "output_tokens": 3}
OLLAMA = {"model": "m", "done": True, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 3}

GOOD = {
    "chat": Document("openai-chat", chat(content="one two three")),
    "chat, counted in detail": Document(
        "openai-chat", chat(content="one two three") | {"usage": USAGE | DETAILS}, cached=4, reasoned=1
    ),
    "chat, thinking": Document("openai-chat", chat(content="one two three", reasoning_content="hm")),
    "chat, a tool": Document("openai-chat", chat(tool_calls=[{"function": {"name": "f"}}]), text=""),
    "chat, uncounted": Document("openai-chat", chat(content="a") | {"usage": None}, prompt=None, output=None, text="a"),
    "completions": Document("openai-completions", choice(text="one two three")),
    "responses": Document("openai-responses", response(SAID), cached=0, finish="completed"),
    "responses, thinking": Document("openai-responses", response(THOUGHT, SAID), cached=0, finish="completed"),
    "responses, a tool": Document("openai-responses", response(CALL), cached=0, finish="completed", text=""),
    "responses, cut": Document(
        "openai-responses",
        response(SAID, status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
        cached=0,
        finish="max_output_tokens",
    ),
    "messages": Document(
        "anthropic",
        MESSAGE | {"content": [{"type": "text", "text": "one two three"}], "usage": COUNTS},
        cached=5,
        finish="end_turn",
    ),
    "messages, a tool": Document(
        "anthropic",
        MESSAGE | {"content": [{"type": "tool_use", "name": "f", "input": {}}], "usage": COUNTS},
        cached=5,
        finish="end_turn",
        text="",
    ),
    "tgi": Document(
        "tgi",
        {
            "generated_text": "one two three",
            "details": {"finish_reason": "length", "generated_tokens": 3, "prefill": [], "tokens": []},
        },
        prompt=None,
        finish="length",
        model=None,
    ),
    "tgi, without details": Document(
        "tgi", {"generated_text": "one"}, prompt=None, output=None, finish=None, model=None, text="one"
    ),
    "ollama-chat": Document("ollama-chat", OLLAMA | {"message": {"role": "assistant", "content": "one two three"}}),
    "ollama-generate": Document("ollama-generate", OLLAMA | {"response": "one two three"}),
    "ids": Document("vllm-generate", choice(token_ids=[1, 2, 3]), model=None, text=""),
}


def reads(body: bytes, kind: bytes = b"application/json", status: bytes = b"200 OK") -> list[tuple[int, bytes]]:
    """The head at 40 ms with half of the body, the rest at 50 ms."""
    head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (status, kind, len(body))
    half = len(body) // 2
    return [(40 * MS, head + body[:half]), (50 * MS, body[half:])]


def play(api: str, body: bytes, **more: Any) -> Record:
    return fed(reads(body, **more)).record(observer(api, stream=False))


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
def test_a_document(case: Document) -> None:
    record = play(case.api, json.dumps(case.body, indent=1).encode())
    assert (record.outcome, record.detail) == (Outcome.OK, None)
    assert (record.first_byte_ns, record.last_token_ns) == (40 * MS, 50 * MS)
    assert (record.first_token_ns, record.first_answer_ns) == (None, None)
    assert record.event_ns.tolist() == [50 * MS]
    assert (record.prompt_tokens, record.output_tokens) == (case.prompt, case.output)
    assert record.output_tokens_source == (None if case.output is None else Source.USAGE)
    assert (None if record.event_tokens is None else record.event_tokens.tolist()) == (case.output and [case.output])
    assert (record.cached_tokens, record.reasoning_tokens) == (case.cached, case.reasoned)
    assert (record.finish_reason, record.model_answered) == (case.finish, case.model)


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
def test_its_text_goes_into_the_next_turn(case: Document) -> None:
    assert fed(reads(json.dumps(case.body).encode())).said(observer(case.api, stream=False)) == case.text


BROKEN: dict[str, tuple[str, bytes, Outcome, str]] = {
    "a stream": ("openai-chat", b'data: {"choices": []}\n\n', Outcome.MALFORMED, "leave --disable-stream out"),
    "a web page": ("openai-chat", b"<html></html>", Outcome.MALFORMED, "web page of 13 bytes"),
    "a list": ("tgi", b'[{"generated_text": "a"}]', Outcome.MALFORMED, "not a JSON object"),
    "a text": ("openai-chat", b"hello", Outcome.MALFORMED, "not a JSON object"),
    "nothing": ("openai-chat", b"", Outcome.EMPTY, "the body is empty"),
    "lines": ("ollama-chat", b'{"done": false}\n{"done": true}\n', Outcome.MALFORMED, "the document of 31 bytes"),
    "no JSON": ("openai-chat", b"{oops", Outcome.MALFORMED, "the document of 5 bytes cannot be read"),
    "no text": ("openai-chat", json.dumps(chat(content="")).encode(), Outcome.EMPTY, "the answer has no text"),
    "an error": ("openai-chat", b'{"error": {"message": "engine died"}}', Outcome.STREAM_ERROR, "engine died"),
    "an error of responses": (
        "openai-responses",
        json.dumps(response(status="failed", error={"message": "engine died"})).encode(),
        Outcome.STREAM_ERROR,
        "engine died",
    ),
    "a failed response": (
        "openai-responses",
        json.dumps(response(status="failed")).encode(),
        Outcome.STREAM_ERROR,
        "the response failed",
    ),
    "an error of messages": (
        "anthropic",
        b'{"type": "error", "error": {"type": "overloaded_error", "message": "too busy"}}',
        Outcome.STREAM_ERROR,
        "too busy",
    ),
    "an error of tgi": ("tgi", b'{"error": "overloaded", "error_type": "x"}', Outcome.STREAM_ERROR, "overloaded"),
    "an error of ollama": ("ollama-chat", b'{"error": "no such model"}', Outcome.STREAM_ERROR, "no such model"),
}


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_what_is_no_answer(case: tuple[str, bytes, Outcome, str]) -> None:
    api, body, outcome, detail = case
    record = play(api, body)
    assert record.outcome == outcome, record.detail
    assert detail in (record.detail or "")


@pytest.mark.parametrize("body", [b'{"choices": [{"mess', b"da"])
def test_a_connection_that_ends_inside_the_document(body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n"
    record = fed([(1, head), (2, body)], closed=True).record(observer(stream=False))
    assert record.outcome == Outcome.TRUNCATED


def test_refusals_are_those_of_streams() -> None:
    record = play("openai-chat", b'{"error": {"message": "slow down"}}', status=b"429 Too Many Requests")
    assert (record.outcome, record.detail) == (Outcome.HTTP_429, "HTTP 429: slow down")


@given(st.sampled_from(sorted(APIS)), st.binary(max_size=60))
def test_no_body_is_too_odd(api: str, body: bytes) -> None:
    for odd in (body, b"{" + body + b"}"):
        assert play(api, odd).outcome in set(Outcome)


@given(
    st.sampled_from(sorted(APIS)),
    st.dictionaries(
        st.sampled_from(["choices", "usage", "output", "content", "details", "message", "error", "type", "status"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=6,
        ),
    ),
)
def test_no_document_is_too_odd(api: str, document: dict[str, Any]) -> None:
    assert play(api, json.dumps(document).encode()).outcome in set(Outcome)


@pytest.mark.parametrize("api", [name for name, api in APIS.items() if api.whole is not None])
def test_the_server_is_told_to_answer_at_once(api: str) -> None:
    prompt: Any = [5, 6] if APIS[api].needs_ids else "hello"
    asked, streamed = (spoken(api, stream=stream).write("m", Ask(prompt, None, 9)) for stream in (False, True))
    assert asked == {key: value for key, value in streamed.items() if key != "stream_options"} | {"stream": False}


def test_embeddings_know_no_streams() -> None:
    assert spoken("openai-embeddings", stream=False) is APIS["openai-embeddings"]


def test_a_request_head_says_which_answer_is_taken_and_whether_the_connection_stays() -> None:
    head = request_head("/v1", "h", {}, stream=False, keep_alive=False)
    assert b"accept: application/json\r\n" in head
    assert b"connection: close\r\n" in head
    assert b"connection" not in request_head("/v1", "h", {})
