"""Every API of the simulator, read by the letter of that API and by the product's own reader."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from inferometer.client.answers import merged
from inferometer.client.apis import APIS, Answer, spoken
from inferometer.workload.asks import Ask
from simulator.reading import process

TEXT = "once upon a time there was"
#: API -> what asks for 40 % to 60 % of reasoning.
THINKING: dict[str, dict[str, Any]] = {
    "openai-chat": {"reasoning_effort": "medium"},
    "openai-responses": {"reasoning": {"effort": "medium"}},
    "anthropic": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "ollama-chat": {"think": True},
    "ollama-generate": {"think": "medium"},
}
#: Tokens that the simulator adds to a message.
TEMPLATE = 5
TALKS = ("openai-chat", "openai-responses", "anthropic", "ollama-chat")


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    flags = ["--exact", "--ttft-ms", "1", "--itl-ms", "0", "--tokens-per-event", "2", "--model", "m", "other"]
    with process(*flags) as (_server, url), httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        yield client


def asked(client: httpx.Client, api: str, output_tokens: int = 9, **more: Any) -> httpx.Response:
    prompt: Any = [5, 6, 7, 8, 9, 10] if APIS[api].needs_ids else TEXT
    body = APIS[api].write("m", Ask(prompt, None, output_tokens)) | more
    if APIS[api].ignore_eos is not None:
        body |= {"ignore_eos": True}
    return client.post(APIS[api].path, json=body)


def read(api: str, body: bytes) -> Answer:
    events = APIS[api].split(body)
    return APIS[api].read(events.data, events.names)


@pytest.mark.parametrize("api", APIS)
def test_a_stream_says_what_was_asked_for(client: httpx.Client, api: str) -> None:
    response = asked(client, api)
    answer = read(api, response.content)
    assert (response.status_code, answer.error, answer.malformed, answer.done) == (200, None, None, True)
    assert answer.prompt_tokens == 6 + TEMPLATE * (api in TALKS)
    assert answer.output_tokens == (9 if APIS[api].generates else 0)
    assert len(answer.token_events) == {"openai-embeddings": 1, "tgi": 9}.get(api, 5)
    assert answer.model in ("m", None)
    words = APIS[api].text(APIS[api].split(response.content).data).split()
    assert len(words) == (0 if api in ("openai-embeddings", "vllm-generate") else 9)


@pytest.mark.parametrize("api", THINKING)
def test_reasoning_comes_first_and_is_no_part_of_the_text(client: httpx.Client, api: str) -> None:
    response = asked(client, api, **THINKING[api])
    answer = read(api, response.content)
    assert answer.reasoning_events == 2  # 4 tokens, 2 in each event
    assert len(answer.token_events) == 5
    assert answer.output_tokens == 9
    assert answer.reasoning_tokens in (4, None)
    assert len(APIS[api].text(APIS[api].split(response.content).data).split()) == 5


@pytest.mark.parametrize("api", THINKING)
def test_reasoning_may_end_inside_a_write(client: httpx.Client, api: str) -> None:
    response = asked(client, api, 6, **THINKING[api])
    answer = read(api, response.content)
    assert (answer.reasoning_events, len(answer.token_events), answer.output_tokens) == (2, 4, 6)


@pytest.mark.parametrize("api", [name for name, api in APIS.items() if api.whole is not None])
def test_an_answer_at_once_says_what_the_stream_does(client: httpx.Client, api: str) -> None:
    streamed = read(api, asked(client, api).content)
    once = spoken(api, stream=False)
    prompt: Any = [5, 6, 7, 8, 9, 10] if once.needs_ids else TEXT
    response = client.post(once.path, json=merged(once.write("m", Ask(prompt, None, 9)), once.ignore_eos or {}))
    assert response.headers["content-type"] == "application/json"
    data = once.split(response.content).data
    answer = once.read(data, None)
    assert (answer.error, answer.malformed, answer.done, answer.token_events) == (None, None, True, [0])
    assert answer.prompt_tokens == (None if api == "tgi" else streamed.prompt_tokens)
    assert (answer.output_tokens, answer.tokens) == (9, [9])
    assert answer.finish_reason == streamed.finish_reason
    assert len(once.text(data).split()) == (0 if api == "vllm-generate" else 9)


WHOLE: dict[str, tuple[str, ...]] = {
    "openai-chat": ("choices", "message", "content"),
    "openai-responses": ("output", "content", "text"),
    "anthropic": ("content", "text"),
    "ollama-chat": ("message", "content"),
    "ollama-generate": ("response",),
}


@pytest.mark.parametrize("api", WHOLE)
def test_whole_answers_say_what_streams_do(client: httpx.Client, api: str) -> None:
    streamed = asked(client, api)
    body = APIS[api].write("m", Ask(TEXT, None, 9))
    body.pop("stream_options", None)
    whole: Any = client.post(APIS[api].path, json=body | {"stream": False, "ignore_eos": True}).json()
    for key in WHOLE[api]:
        whole = (whole[-1] if isinstance(whole, list) else whole)[key]
    assert whole == APIS[api].text(APIS[api].split(streamed.content).data)


def test_messages_have_blocks_one_inside_the_other(client: httpx.Client) -> None:
    text = asked(client, "anthropic", **THINKING["anthropic"]).text
    events = [json.loads(line.removeprefix("data: ")) for line in text.splitlines() if line.startswith("data: ")]
    names = [line.removeprefix("event: ") for line in text.splitlines() if line.startswith("event: ")]
    assert names == [event["type"] for event in events]
    blocks = [(event["type"], event["index"]) for event in events if "index" in event]
    open_blocks: list[int] = []
    for kind, index in blocks:
        if kind == "content_block_start":
            assert not open_blocks
            open_blocks.append(index)
        elif kind == "content_block_stop":
            open_blocks.remove(index)
        else:
            assert open_blocks == [index]
    assert (names[0], names[-2:]) == ("message_start", ["message_delta", "message_stop"])
    assert events[-2]["delta"]["stop_reason"] in ("max_tokens", "end_turn")


def test_the_system_of_a_message_is_part_of_its_prompt(client: httpx.Client) -> None:
    answer = read("anthropic", asked(client, "anthropic", system="be very brief").content)
    assert answer.prompt_tokens == 6 + 3 + 2 * TEMPLATE


@pytest.mark.parametrize("api", [api for api in APIS if APIS[api].images])
def test_pictures_are_no_text(client: httpx.Client, api: str) -> None:
    body = APIS[api].write("m", Ask(TEXT, None, 2, images=("data:image/png;base64,QUJDRA==",)))
    answer = read(api, client.post(APIS[api].path, json=body).content)
    assert answer.prompt_tokens == 6 + TEMPLATE * (api in TALKS)


def test_adapters_of_tgi_are_the_models_that_are_served(client: httpx.Client) -> None:
    body = {"inputs": "a", "parameters": {"max_new_tokens": 2, "adapter_id": "other"}}
    assert read("tgi", client.post("/generate_stream", json=body).content).done
    body["parameters"] = {"adapter_id": "none"}
    refused = client.post("/generate_stream", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (404, "model")


@pytest.mark.parametrize("api", APIS)
def test_wrong_bodies_are_refused(client: httpx.Client, api: str) -> None:
    assert client.post(APIS[api].path, content=b"{oops").status_code == 400
    assert client.post(APIS[api].path, json={"stream": True}).status_code == 400
    assert client.get(APIS[api].path).status_code == 405


@pytest.mark.parametrize("wrong", [[1.5], [None], [-1], [{}], ["a", None]])
def test_what_cannot_be_embedded_is_refused(client: httpx.Client, wrong: list[object]) -> None:
    assert client.post("/v1/embeddings", json={"input": wrong}).status_code == 400


def test_a_key_may_come_in_either_header() -> None:
    with process("--exact", "--api-key-env", "SIM_KEY", SIM_KEY="k") as (_server, url):
        body = APIS["anthropic"].write("simulated", Ask("a", None, 1))
        for headers, status in (
            ({"x-api-key": "k"}, 200),
            ({"authorization": "Bearer k"}, 200),
            ({"x-api-key": "no"}, 401),
            ({}, 401),
        ):
            assert httpx.post(f"{url}/v1/messages", json=body, headers=headers, trust_env=False).status_code == status


@pytest.mark.parametrize("api", ["anthropic", "ollama-chat", "tgi"])
def test_faults_spoil_other_apis_too(api: str) -> None:
    flags = ("--exact", "--ttft-ms", "1", "--itl-ms", "0", "--fault", "close,after_tokens=2,first=1")
    with process(*flags) as (_, url), httpx.Client(base_url=url, trust_env=False) as client:
        body = APIS[api].write("simulated", Ask("a b", None, 8))
        with pytest.raises(httpx.RemoteProtocolError):
            client.post(APIS[api].path, json=body)
        assert read(api, client.post(APIS[api].path, json=body).content).done
