"""The simulator as its users meet it: a process that says where it listens, and answers."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from simulator.reading import process

TEXT = {"prompt": "once upon a time", "max_tokens": 6, "ignore_eos": True}
CHAT = {"messages": [{"role": "user", "content": "hello there"}], "max_tokens": 6, "ignore_eos": True}
FAST = ["--exact", "--ttft-ms", "2", "--itl-ms", "1"]
SLOW = ["--exact", "--ttft-ms", "2", "--itl-ms", "600000"]

Simulate = Callable[..., httpx.Client]


@pytest.fixture
def simulate() -> Iterator[Simulate]:
    with ExitStack() as stack:

        def start(*flags: str, **environment: str) -> httpx.Client:
            url = stack.enter_context(process(*flags, **environment))[1]
            return stack.enter_context(httpx.Client(base_url=url, trust_env=False, timeout=30))

        yield start


@pytest.fixture(scope="module")
def exact() -> Iterator[httpx.Client]:
    with process(*FAST) as (_server, url), httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        yield client


def stream(client: httpx.Client, path: str, body: dict[str, Any]) -> list[Any]:
    answer = client.post(path, json={**body, "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = answer.text.removesuffix("\n\n").split("\n\n")
    assert events.pop() == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def metric(client: httpx.Client, start: str) -> float:
    [line] = [line for line in client.get("/metrics").text.splitlines() if line.startswith(start)]
    return float(line.rpartition(" ")[2])


def test_chat_stream(exact: httpx.Client) -> None:
    role, *tokens, last, usage = stream(
        exact, "/v1/chat/completions", {**CHAT, "stream_options": {"include_usage": True}}
    )
    assert role["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len(tokens) == 5
    assert all(event["choices"][0]["finish_reason"] is None for event in tokens)
    assert all(event["choices"][0]["delta"]["content"] for event in [*tokens, last])
    assert last["choices"][0]["finish_reason"] == "length"
    assert usage["choices"] == []
    assert (usage["usage"]["prompt_tokens"], usage["usage"]["completion_tokens"]) == (7, 6)


def test_completion_stream_without_usage(exact: httpx.Client) -> None:
    events = stream(exact, "/v1/completions", TEXT)
    assert len(events) == 6
    assert not any("usage" in event for event in events)


def test_continuous_usage_counts_up(exact: httpx.Client) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    events = stream(exact, "/v1/chat/completions", {**CHAT, "stream_options": options})
    assert [event["usage"]["completion_tokens"] for event in events] == [0, 1, 2, 3, 4, 5, 6, 6]


def test_streamed_and_whole_answers_are_the_same_text(exact: httpx.Client) -> None:
    whole = exact.post("/v1/completions", json=TEXT).json()
    pieces = [event["choices"][0]["text"] for event in stream(exact, "/v1/completions", TEXT)]
    assert "".join(pieces) == whole["choices"][0]["text"]
    assert len(exact.post("/tokenize", json={"prompt": "".join(pieces)}).json()["tokens"]) == 6


def test_tokens_per_event(simulate: Simulate) -> None:
    client = simulate(*FAST, "--tokens-per-event", "4")
    events = stream(client, "/v1/completions", {**TEXT, "stream_options": {"include_usage": True}})
    assert [len(event["choices"][0]["text"].split()) for event in events[:-1]] == [4, 2]
    assert events[-1]["usage"]["completion_tokens"] == 6


def test_a_gap_of_zero_repeats_no_token(simulate: Simulate) -> None:
    client = simulate("--exact", "--ttft-ms", "0", "--itl-ms", "0")
    pieces = [event["choices"][0]["text"] for event in stream(client, "/v1/completions", TEXT)]
    assert "".join(pieces) == client.post("/v1/completions", json=TEXT).json()["choices"][0]["text"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nowhere", None, 404),
        ("GET", "/v1/completions", None, 405),
        ("POST", "/v1/completions", b"{", 400),
        ("POST", "/v1/completions", b'{"prompt": "a", "model": "other"}', 404),
        ("POST", "/v1/chat/completions", b'{"messages": []}', 400),
        ("GET", "/health", None, 200),
        ("GET", "/health?probe=1", None, 200),
    ],
)
def test_statuses(exact: httpx.Client, method: str, path: str, body: bytes | None, status: int) -> None:
    assert exact.request(method, path, content=body).status_code == status


def test_facts(exact: httpx.Client) -> None:
    [model] = exact.get("/v1/models").json()["data"]
    assert (model["id"], model["max_model_len"]) == ("simulated", 131_072)
    assert exact.get("/version").json()["version"].endswith("+simulator")
    assert exact.get("/nowhere").json() == {"detail": "Not Found"}


def test_only_the_key_opens_v1(simulate: Simulate) -> None:
    client = simulate(*FAST, "--api-key-env", "SIMULATOR_KEY", SIMULATOR_KEY="s3cret")
    refused = client.get("/v1/models", headers={"authorization": "Bearer wrong"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, 401)
    assert client.get("/v1/models", headers={"authorization": "Bearer s3cret"}).status_code == 200
    assert client.get("/health").status_code == 200


def test_all_models_share_the_engine(simulate: Simulate) -> None:
    client = simulate("--model", "small", "large")
    body = {"prompt": list(range(40)), "max_tokens": 3, "ignore_eos": True}
    cached = []
    for name in ("small", "large"):
        answer = client.post("/v1/completions", json={**body, "model": name}).json()
        assert answer["model"] == name
        cached.append(answer["usage"]["prompt_tokens_details"]["cached_tokens"])
    assert cached == [0, 32]
    assert metric(client, 'vllm:generation_tokens_total{engine="0",model_name="small"}') == 6
    assert "faults" not in client.get("/metrics").text


def test_engine_serves_from_its_cache_and_counts(simulate: Simulate) -> None:
    client = simulate("--model", "tiny")
    body = {"prompt": list(range(40)), "max_tokens": 3, "ignore_eos": True}
    cached = [
        client.post("/v1/completions", json=body).json()["usage"]["prompt_tokens_details"]["cached_tokens"]
        for _ in range(2)
    ]
    assert cached == [0, 32]
    labels = 'engine="0",model_name="tiny"'
    assert metric(client, f"vllm:prefix_cache_hits_total{{{labels}}}") == 32
    assert metric(client, f"vllm:prompt_tokens_total{{{labels}}}") == 80
    assert metric(client, f"vllm:generation_tokens_total{{{labels}}}") == 6
    assert metric(client, f"vllm:inter_token_latency_seconds_count{{{labels}}}") == 4
    assert metric(client, f"vllm:time_to_first_token_seconds_count{{{labels}}}") == 2
    assert metric(client, f"vllm:num_requests_running{{{labels}}}") == 0


def test_without_ignore_eos_answers_stop(simulate: Simulate) -> None:
    client = simulate("--exact", "--ttft-ms", "1", "--itl-ms", "0")
    answers = [client.post("/v1/completions", json={"prompt": [n], "max_tokens": 200}).json() for n in range(30)]
    assert {answer["choices"][0]["finish_reason"] for answer in answers} == {"stop", "length"}
    assert len({answer["usage"]["completion_tokens"] for answer in answers}) > 10


def test_a_client_that_leaves_is_forgotten(simulate: Simulate) -> None:
    client = simulate(*SLOW)
    with client.stream("POST", "/v1/completions", json={**TEXT, "stream": True}) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert metric(client, "vllm:num_requests_running") == 1
    aborts = 'vllm:request_success_total{engine="0",finished_reason="abort"'
    assert any(metric(client, aborts) for _ in range(1000))
    assert metric(client, "vllm:num_requests_running") == 0


def test_the_log_says_what_was_served(tmp_path: Path) -> None:
    log = tmp_path / "served.jsonl"
    with process(*FAST, "--log-served", str(log)) as (_server, url), httpx.Client(trust_env=False) as client:
        for name in ("one", "two"):
            client.post(f"{url}/v1/completions", json={**TEXT, "stream": True}, headers={"x-request-id": name})
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["request_id"] for line in lines] == ["one", "two"]
    for line in lines:
        assert line["due_ns"] == [line["arrival_ns"] + 2_000_000 + 1_000_000 * index for index in range(6)]
        assert all(due <= written for due, written in zip(line["due_ns"], line["written_ns"], strict=True))


def test_pipelined_requests_are_answered_in_turn_and_nonsense_closes() -> None:
    with process(*FAST) as (_server, url), socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as sock:
        body = json.dumps(TEXT).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
        sock.sendall(head + body + b"GET /version HTTP/1.1\r\nhost: x\r\n\r\n")
        received = b""
        while b"+simulator" not in received:
            received += sock.recv(65536)
        assert received.index(b"text_completion") < received.index(b"+simulator")
        sock.sendall(b"NONSENSE\r\n\r\n")
        received = b""
        while piece := sock.recv(65536):
            received += piece
        assert received.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_cleanly(number: signal.Signals) -> None:
    with (
        process(*SLOW) as (server, url),
        httpx.stream("POST", f"{url}/v1/completions", json={**TEXT, "stream": True}, trust_env=False) as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        server.send_signal(number)
        assert server.wait(10) == 0
        with pytest.raises(httpx.HTTPError):
            list(lines)


def test_a_taken_port_is_the_users_mistake() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        command = [sys.executable, "-m", "inferometer.simulator", "--port", port]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_costs_the_log_and_not_the_answers() -> None:
    """The first answer that cannot be logged may not leave those that are under way without their engine."""
    flags = ("--exact", "--ttft-ms", "300", "--itl-ms", "1", "--log-served", "/dev/full")
    with process(*flags) as (_server, url), httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(client.post, "/v1/completions", json=TEXT) for _ in range(8)]
        assert [one.result().status_code for one in asked] == [200] * 8


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")
def test_it_dies_with_its_parent() -> None:
    starter = (
        "import subprocess, sys\n"
        "flags = ['--port', '0', '--die-with-parent']\n"
        "child = subprocess.Popen([sys.executable, '-m', 'inferometer.simulator', *flags])\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", starter], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline().startswith("listening on")
        parent.kill()
        assert parent.stdout.read() == ""  # end of file: nobody holds the pipe any more
