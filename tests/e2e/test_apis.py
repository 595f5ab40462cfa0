"""The installed command speaks every API: what the server received, what it counted, what the rows say."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import Asked, Said, serving
from e2e.support import rows, simulating
from inferometer.client.apis import APIS

Run = Callable[..., subprocess.CompletedProcess[str]]

PROMPT_TOKENS, OUTPUT_TOKENS, REQUESTS = 40, 6, 4
LOAD = ("--num-prompts", REQUESTS, "--max-concurrency", 2, "--random-input-len", PROMPT_TOKENS)
LENGTH = ("--random-output-len", OUTPUT_TOKENS)
#: API -> where its body says how long the answer may be, and where the prompt is.
PLACES: dict[str, tuple[str, str]] = {
    "openai-chat": ("max_tokens", "messages.0.content"),
    "openai-completions": ("max_tokens", "prompt"),
    "openai-responses": ("max_output_tokens", "input"),
    "openai-embeddings": ("", "input"),
    "anthropic": ("max_tokens", "messages.0.content"),
    "tgi": ("parameters.max_new_tokens", "inputs"),
    "ollama-chat": ("options.num_predict", "messages.0.content"),
    "ollama-generate": ("options.num_predict", "prompt"),
    "vllm-generate": ("sampling_params.max_tokens", "token_ids"),
}
#: What makes the simulator think first, for about half of the answer.
THINKING: dict[str, dict[str, Any]] = {
    "openai-chat": {"reasoning_effort": "medium"},
    "anthropic": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    "ollama-chat": {"think": True},
}


class Relay:
    """Stands before a server and remembers what came from the load (not from the questions before it)."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self.received: list[Asked] = []

    def respond(self, asked: Asked) -> Said:
        """Pass a request on and its answer back."""
        if asked.headers.get("x-request-id", "").startswith("inferometer-0-"):
            self.received.append(asked)
        answer = self._client.request(asked.method, asked.path, json=asked.body)
        return Said(answer.content, answer.status_code, answer.headers["content-type"], pieces=None)


def inside(body: Any, place: str) -> Any:
    """What is at a dotted place."""
    for key in filter(None, place.split(".")):
        body = body[int(key)] if isinstance(body, list) else body[key]
    return body


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with simulating("--exact", "--ttft-ms", 5, "--itl-ms", 3, "--model", "m", "other") as url:
        yield url


@pytest.fixture
def relay(server: str) -> Iterator[tuple[Relay, str]]:
    with httpx.Client(base_url=server, trust_env=False, timeout=60) as client:
        relay = Relay(client)
        with serving(relay.respond) as url:
            yield relay, url


@pytest.mark.parametrize("api", APIS)
def test_the_server_gets_what_was_asked_for(
    api: str, inferometer: Run, relay: tuple[Relay, str], tmp_path: Path
) -> None:
    kept, url = relay
    options = {"json_schema": {"type": "object"}} if APIS[api].structure is not None else {}
    workload = {"type": "random", "ignore_eos": APIS[api].ignore_eos is not None, **options}
    stages = [{"load": {"type": "closed", "concurrency": 2}, "num_requests": REQUESTS}]
    plan = {"target": {"base_url": url, "api": api}, "scenario": {"workload": workload, "stages": stages}}
    (tmp_path / "plan.yaml").write_text(json.dumps(plan))
    lengths = ("--random-input-len", PROMPT_TOKENS, *LENGTH)
    done = inferometer("run", "-c", "plan.yaml", *lengths, "--run-dir", "r")
    assert done.returncode == 0, done.stderr
    bodies = [asked.body for asked in kept.received]
    limit, prompt = PLACES[api]
    assert {asked.path for asked in kept.received} == {APIS[api].path}
    assert len(bodies) == len({json.dumps(inside(body, prompt)) for body in bodies}) == REQUESTS
    if limit:
        assert {inside(body, limit) for body in bodies} == {OUTPUT_TOKENS}
    if APIS[api].takes_ids:
        assert {len(inside(body, prompt)) for body in bodies} == {PROMPT_TOKENS}
    if APIS[api].structure is not None:
        assert all('{"type": "object"}' in json.dumps(body) for body in bodies)
    assert all(("ignore_eos" in json.dumps(body)) is (APIS[api].ignore_eos is not None) for body in bodies)
    versions = {asked.headers.get("anthropic-version") for asked in kept.received}
    assert versions == {"2023-06-01" if api == "anthropic" else None}
    columns = rows(tmp_path / "r")
    assert set(columns["outcome"]) == {"ok"}
    assert set(columns["prompt_tokens"]) == {PROMPT_TOKENS}
    assert (columns["first_token_ns"] > columns["sent_ns"]).all()


@pytest.mark.parametrize("api", THINKING)
def test_the_first_answer_comes_after_the_first_token(api: str, inferometer: Run, server: str, tmp_path: Path) -> None:
    more = ("--extra-body", json.dumps(THINKING[api]), "--random-output-len", 12)
    done = inferometer("run", "--base-url", server, "--backend", api, *LOAD, *more, "--run-dir", "r")
    assert done.returncode == 0, done.stderr
    columns = rows(tmp_path / "r")
    waits_ns = columns["first_answer_ns"] - columns["first_token_ns"]
    assert (waits_ns >= 0).all()
    assert waits_ns.max() > 0  # 6 tokens of 3 ms each
    assert (columns["last_token_ns"] >= columns["first_answer_ns"]).all()


def test_adapters_of_tgi_are_models(inferometer: Run, relay: tuple[Relay, str], tmp_path: Path) -> None:
    kept, url = relay
    asked = ("run", "--base-url", url, "--backend", "tgi", *LOAD, *LENGTH)
    done = inferometer(*asked, "--models", "tgi", "other", "--run-dir", "r")
    assert done.returncode == 0, done.stderr
    adapters = [asked.body["parameters"].get("adapter_id") for asked in kept.received]
    assert sorted(adapters, key=str) == [None, None, "other", "other"]
    assert sorted(rows(tmp_path / "r")["model"]) == ["other", "other", "tgi", "tgi"]
    refused = inferometer(*asked, "--models", "tgi", "nobody", "--run-dir", "s")
    assert (refused.returncode, "does not know the model 'nobody'" in refused.stderr) == (2, True), refused.stderr


def test_check_names_the_command_that_fits(inferometer: Run, server: str) -> None:
    for api in ("anthropic", "ollama-chat", "openai-embeddings"):
        done = inferometer("check", server, "m", "--backend", api)
        assert done.returncode == 0, done.stdout
        assert f"{APIS[api].path} answers in" in done.stdout
        assert done.stdout.rstrip().endswith(f"--model m --backend {api}")
