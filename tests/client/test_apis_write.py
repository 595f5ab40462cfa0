"""What every API is asked, as its server gets it."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from inferometer.client.answers import merged
from inferometer.client.apis import APIS
from inferometer.client.fit import check_fit
from inferometer.client.jobs import job_writer
from inferometer.config.models import Phase, Plan, Target
from inferometer.errors import UserError
from inferometer.workload.asks import Ask

PICTURE = "data:image/png;base64,QUJD"
TALK = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "hi"},
    {"role": "user", "content": "and now?"},
]
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
USAGE = {"stream": True, "stream_options": {"include_usage": True}}
USER = {"role": "user", "content": "hello"}


def plan_of(target: dict[str, Any], **workload: Any) -> Plan:
    stages = [{"load": {"type": "closed", "concurrency": 1}, "num_requests": 2}]
    return Plan.model_validate(
        {"target": {"model": "m"} | target, "scenario": {"workload": workload, "stages": stages}}
    )


def body_of(ask: Ask, target: dict[str, Any], index: int = 0, **workload: Any) -> dict[str, Any]:
    """The body that the server gets."""
    job = job_writer(plan_of(target, **workload), lambda *_: ask, b"").first(0, Phase.MEASURED, index)
    body: dict[str, Any] = msgspec.json.decode(job.payload.partition(b"\r\n\r\n")[2])
    return body


def test_every_api_of_a_plan_has_a_row() -> None:
    assert set(get_args(Target.model_fields["api"].annotation)) == set(APIS)


PLAIN: dict[str, dict[str, Any]] = {
    "openai-chat": {"model": "m", "messages": [USER], "max_tokens": 8} | USAGE,
    "openai-completions": {"model": "m", "prompt": "hello", "max_tokens": 8} | USAGE,
    "openai-responses": {"model": "m", "input": "hello", "max_output_tokens": 8, "stream": True, "store": False},
    "openai-embeddings": {"model": "m", "input": "hello", "encoding_format": "float"},
    "anthropic": {"model": "m", "messages": [USER], "max_tokens": 8, "stream": True},
    "tgi": {"inputs": "hello", "parameters": {"max_new_tokens": 8, "details": True}, "stream": True},
    "ollama-chat": {"model": "m", "messages": [USER], "stream": True, "options": {"num_predict": 8}},
    "ollama-generate": {"model": "m", "prompt": "hello", "stream": True, "options": {"num_predict": 8}},
}


@pytest.mark.parametrize("api", PLAIN)
def test_a_text(api: str) -> None:
    assert body_of(Ask("hello", 1, 8), {"api": api}) == PLAIN[api]


@pytest.mark.parametrize(
    ("api", "field"), [("openai-completions", "prompt"), ("openai-embeddings", "input"), ("vllm-generate", "token_ids")]
)
def test_token_ids(api: str, field: str) -> None:
    assert APIS[api].takes_ids
    assert body_of(Ask([5, 6], 2, 8), {"api": api})[field] == [5, 6]


def test_an_api_of_ids_takes_no_text() -> None:
    assert body_of(Ask([5], 1, 8), {"api": "vllm-generate"})["sampling_params"] == {"max_tokens": 8}
    with pytest.raises(UserError, match="takes token ids alone, and this prompt is text"):
        body_of(Ask("hello", 1, 8), {"api": "vllm-generate"})


SAID = "be brief\nhello\nhi\nand now?"
CONVERSATIONS: dict[str, tuple[str, Any]] = {
    "openai-chat": ("messages", TALK),
    "openai-completions": ("prompt", SAID),
    "openai-responses": ("input", TALK),
    "anthropic": ("messages", TALK[1:]),
    "tgi": ("inputs", SAID),
    "ollama-chat": ("messages", TALK),
    "ollama-generate": ("prompt", SAID),
}


@pytest.mark.parametrize("api", CONVERSATIONS)
def test_a_conversation(api: str) -> None:
    field, said = CONVERSATIONS[api]
    body = body_of(Ask(TALK, None, 8), {"api": api})
    assert body[field] == said
    assert body.get("system") == ("be brief" if api == "anthropic" else None)


PICTURES: dict[str, tuple[str, Any]] = {
    "openai-chat": (
        "messages",
        [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": PICTURE}}],
    ),
    "openai-responses": (
        "input",
        [{"type": "input_text", "text": "look"}, {"type": "input_image", "image_url": PICTURE}],
    ),
    "anthropic": (
        "messages",
        [
            {"type": "text", "text": "look"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
        ],
    ),
}


@pytest.mark.parametrize("api", PICTURES)
def test_pictures_are_parts_of_the_last_message(api: str) -> None:
    field, parts = PICTURES[api]
    body = body_of(Ask("look", 1, 8, images=(PICTURE,)), {"api": api})
    assert body[field] == [{"role": "user", "content": parts}]
    later = body_of(Ask([*TALK, {"role": "user", "content": "look"}], 1, 8, images=(PICTURE,)), {"api": api})
    assert later[field][-1]["content"] == parts
    assert later[field][-2]["content"] == "and now?"


def test_pictures_beside_messages_and_in_texts() -> None:
    ask = Ask("look", 1, 8, images=(PICTURE, PICTURE))
    [message] = body_of(ask, {"api": "ollama-chat"})["messages"]
    assert message == {"role": "user", "content": "look", "images": ["QUJD", "QUJD"]}
    assert body_of(ask, {"api": "ollama-generate"})["images"] == ["QUJD", "QUJD"]
    assert body_of(ask, {"api": "tgi"})["inputs"] == f"![]({PICTURE})![]({PICTURE})look"


STRUCTURES: dict[str, dict[str, Any]] = {
    "openai-chat": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
        "ignore_eos": True,
    },
    "openai-completions": {
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}},
        "ignore_eos": True,
    },
    "openai-responses": {
        "text": {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA}},
        "ignore_eos": True,
    },
    "anthropic": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    "tgi": {
        "parameters": {"max_new_tokens": 8, "details": True, "grammar": {"type": "json", "value": SCHEMA}},
    },
    "ollama-chat": {"format": SCHEMA, "options": {"num_predict": 8}},
    "ollama-generate": {"format": SCHEMA, "options": {"num_predict": 8}},
}


@pytest.mark.parametrize("api", STRUCTURES)
def test_a_schema_and_the_full_length(api: str) -> None:
    body = body_of(Ask("hello", 1, 8), {"api": api}, json_schema=SCHEMA, ignore_eos=True)
    assert body == PLAIN[api] | STRUCTURES[api]


def test_parts_of_sampling_stand_side_by_side() -> None:
    options = {"sampling_params": {"temperature": 0}}
    body = body_of(Ask([5], 1, 8), {"api": "vllm-generate"}, json_schema=SCHEMA, ignore_eos=True, extra_body=options)
    assert body["sampling_params"] == {
        "max_tokens": 8,
        "ignore_eos": True,
        "structured_outputs": {"json": SCHEMA},
        "temperature": 0,
    }


def test_an_option_leaves_those_beside_it_alone() -> None:
    assert merged({"a": {"b": 1, "c": {"d": 2}}, "e": 3}, {"a": {"c": {"f": 4}}, "e": {"g": 5}}) == {
        "a": {"b": 1, "c": {"d": 2, "f": 4}},
        "e": {"g": 5},
    }
    body = body_of(Ask("hello", 1, 8), {"api": "ollama-chat"}, extra_body={"options": {"num_ctx": 8192}, "think": True})
    assert (body["options"], body["think"]) == ({"num_predict": 8, "num_ctx": 8192}, True)


def test_adapters_of_tgi_are_models_by_share() -> None:
    target = {"api": "tgi", "models": ["tgi", "summaries"]}
    bodies = [body_of(Ask("hello", 1, 8), target, index) for index in range(4)]
    assert [body["parameters"].get("adapter_id") for body in bodies] == [None, "summaries", None, "summaries"]
    assert "adapter_id" not in body_of(Ask("hello", 1, 8), {"api": "tgi", "model": "base"})["parameters"]


def test_the_version_of_the_api_goes_with_every_request() -> None:
    def head(target: dict[str, Any]) -> str:
        job = job_writer(plan_of(target), lambda *_: Ask("hello", 1, 8), b"").first(0, Phase.MEASURED, 0)
        return job.payload.partition(b"\r\n\r\n")[0].decode()

    assert "anthropic-version: 2023-06-01" in head({"api": "anthropic"})
    assert "anthropic-version" not in head({"api": "anthropic", "headers": {"Anthropic-Version": "2099-01-01"}})
    assert "anthropic-version" not in head({"api": "openai-chat"})
    assert APIS["anthropic"].key_headers("k") == {"x-api-key": "k"}
    assert {name for name, api in APIS.items() if api.key_headers("k") == {"authorization": "Bearer k"}} == {*APIS} - {
        "anthropic"
    }


IMAGES = {"count": 1, "width": 4, "height": 4}
UNFIT: list[tuple[str, dict[str, Any], str]] = [
    ("openai-completions", {"images": IMAGES}, "openai-completions takes no pictures"),
    ("vllm-generate", {"images": IMAGES}, "takes no pictures"),
    ("openai-embeddings", {"json_schema": SCHEMA}, "has no structured output"),
    ("openai-embeddings", {"type": "conversation"}, "nothing can follow in a conversation"),
    ("openai-embeddings", {"require_length": True}, "without output tokens"),
    ("vllm-generate", {"type": "conversation"}, "a conversation is text"),
]


@pytest.mark.parametrize(("api", "workload", "says"), UNFIT)
def test_what_an_api_cannot_be_asked_for(api: str, workload: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_fit(plan_of({"api": api}, **workload))


def test_an_api_of_ids_needs_no_tokenizer() -> None:
    with pytest.raises(UserError, match="leave the tokenizer out"):
        check_fit(plan_of({"api": "vllm-generate", "tokenizer": "t"}))


@pytest.mark.parametrize("api", APIS)
def test_answers_that_end_where_the_model_ends_them(api: str) -> None:
    remarks = check_fit(plan_of({"api": api}, ignore_eos=True))
    assert len(remarks) == (api in ("anthropic", "tgi", "ollama-chat", "ollama-generate"))
    assert not check_fit(plan_of({"api": api}))
