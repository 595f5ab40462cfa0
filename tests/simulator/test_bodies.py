from typing import Any

import msgspec
import pytest

from inferometer.simulator.bodies import ApiError, Ask, Hint, Served, hint, read_chat, read_completion, read_tokenize

SERVED = Served(("m", "second"), 100)


def chat(**fields: Any) -> Ask:
    return read_chat(msgspec.json.encode({"messages": [{"role": "user", "content": "a b"}], **fields}), SERVED)


def completion(**fields: Any) -> Ask:
    return read_completion(msgspec.json.encode({"prompt": "a b", **fields}), SERVED)


@pytest.mark.parametrize(
    ("fields", "attributes"),
    [
        ({}, {"model": "m", "chat": True, "stream": False, "max_tokens": 93, "ignore_eos": False}),
        ({"model": "m", "stream": True}, {"stream": True, "include_usage": False, "continuous_usage": False}),
        ({"model": "second"}, {"model": "second"}),
        ({"max_tokens": 5}, {"max_tokens": 5}),
        ({"max_tokens": 5, "max_completion_tokens": 6}, {"max_tokens": 6}),
        ({"ignore_eos": True, "min_tokens": 3, "n": 1}, {"ignore_eos": True, "min_tokens": 3}),
        ({"temperature": 0.5, "unheard_of": {}}, {"chat": True}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"include_usage": True}),
        (
            {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
            {"continuous_usage": True},
        ),
    ],
)
def test_chat_fields(fields: dict[str, Any], attributes: dict[str, Any]) -> None:
    ask = chat(**fields)
    assert {name: getattr(ask, name) for name in attributes} == attributes


def test_content_may_be_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert chat(messages=[{"role": "user", "content": parts}]) == chat()


@pytest.mark.parametrize(
    ("prompt", "tokens"), [("a b", 2), ([5, 6, 7], 3), (["a b c d"], 4), ([[5, 6]], 2), (["a" * 13], 4)]
)
def test_prompt_forms(prompt: Any, tokens: int) -> None:
    assert len(completion(prompt=prompt).prompt_ids) == tokens


def test_completions_stop_after_sixteen_tokens_by_default() -> None:
    assert completion().max_tokens == 16


@pytest.mark.parametrize(
    ("fields", "status", "param", "words"),
    [
        ({"model": "other"}, 404, "model", "The model `other` does not exist. Valid aliases: m, second."),
        ({"n": 2}, 400, "n", "one choice"),
        ({"max_tokens": 0}, 400, "max_tokens", "Expected `int` >= 1"),
        ({"max_tokens": "many"}, 400, "max_tokens", "Expected `int"),
        ({"max_tokens": 99}, 400, "max_tokens", "maximum context length is 100 tokens"),
        ({"prompt": "w " * 100}, 400, "input_tokens", "maximum context length is 100 tokens"),
        ({"prompt": ""}, 400, "prompt", "cannot be empty"),
        ({"prompt": []}, 400, "prompt", "cannot be empty"),
        ({"prompt": ["a", "b"]}, 400, "prompt", "one prompt per request"),
        ({"prompt": [-1]}, 400, "prompt[0]", "Expected"),
        ({"prompt": None}, 400, "prompt", "Expected"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options", "stream=True"),
    ],
)
def test_refusals(fields: dict[str, Any], status: int, param: str, words: str) -> None:
    with pytest.raises(ApiError, match=words) as caught:
        completion(**fields)
    error = msgspec.json.decode(caught.value.body)["error"]
    assert (caught.value.status, error["code"], error["param"]) == (status, status, param)
    assert words in error["message"]


@pytest.mark.parametrize("body", [b"", b"{bad", b'{"prompt": "\xff"}', b"[]", b"{}", b'{"x": ' + b"[" * 100_000])
def test_broken_bodies(body: bytes) -> None:
    with pytest.raises(ApiError, match="1 validation error") as caught:
        read_completion(body, SERVED)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    ("body", "model", "stream"),
    [
        (b'{"model": "m", "stream": true, "prompt": 1}', "m", True),
        (b"{}", None, None),
        (b"{bad", None, None),
        (b'{"model": 1}', None, None),
        (b'{"model": "\xff"}', None, None),
        (b"[]", None, None),
        (b'{"x": ' + b"[" * 100_000, None, None),
    ],
)
def test_hints_are_taken_from_what_can_be_read(body: bytes, model: str | None, stream: bool | None) -> None:
    assert hint(body) == Hint(model, stream)


def test_a_chat_needs_messages() -> None:
    with pytest.raises(ApiError, match="messages"):
        chat(messages=[])


def test_tokenize_reads_texts_and_chats() -> None:
    assert len(read_tokenize(b'{"model": "m", "prompt": "a b c"}', SERVED)) == 3
    assert len(read_tokenize(b'{"messages": [{"role": "user", "content": "a b c"}]}', SERVED)) == 8
    assert read_tokenize(b'{"prompt": ""}', SERVED) == []
    with pytest.raises(ApiError, match="prompt or messages"):
        read_tokenize(b"{}", SERVED)
