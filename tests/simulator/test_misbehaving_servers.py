"""Faults of a whole server: its other paths, its listener, its memory, its death. Each has a server of its own."""

import json
import re
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from simulator.misbehaving import CLOSE, COMPLETION, QUIET_S, faults, got, heard, simulating
from simulator.reading import answer_of, ask, connected, hear, parse_events, text_of


def test_other_paths_have_faults_of_their_own() -> None:
    specs = ("status=500,path=/v1/models,first=1", "slow_headers=300,path=/health", "silence,path=/metrics,every=2")
    with simulating(*(word for spec in specs for word in ("--fault", spec))) as (_server, port):
        assert [got(port, "/v1/models").status for _ in range(2)] == [500, 200]
        began = time.monotonic()
        assert got(port, "/health").status == 200
        assert time.monotonic() - began > 0.25
        assert faults(port) == {"status": 1, "slow_headers": 1, "silence": 0}
        with connected(port) as sock:
            ask(sock, "/metrics")
            assert hear(sock, QUIET_S).end == "quiet"
        assert answer_of(heard(port, "simulated").data).complete


def test_a_listener_that_refuses_for_good() -> None:
    with simulating("--fault", "refuse") as (_server, port), pytest.raises(ConnectionRefusedError):
        connected(port)


def test_a_listener_that_refuses_for_a_while() -> None:
    """Connections that are open are served on; the port stays ours."""
    with simulating("--fault", "refuse,after_s=2,for_s=3") as (_server, port), connected(port) as sock:
        refused = answered_again = False
        deadline = time.monotonic() + 30
        while not answered_again and time.monotonic() < deadline:
            time.sleep(0.05)
            try:
                with connected(port) as other:
                    ask(other, "/health", headers=CLOSE)
                    answered_again = hear(other).end == "fin" and refused
            except ConnectionError:
                if not refused:
                    ask(sock, "/version")
                    assert b"+simulator" in hear(sock, until=b"+simulator").data
                refused = True
        assert answered_again
        assert faults(port) == {"refuse": 1}


def test_connections_that_are_reset_at_once() -> None:
    with simulating("--fault", "reset_on_accept,every=2") as (_server, port):
        ends = []
        for _ in range(4):
            try:
                with connected(port) as sock:
                    ask(sock, "/health", headers=CLOSE)
                    ends.append(hear(sock).end)
            except ConnectionError:
                ends.append("rst")
        assert ends == ["fin", "rst", "fin", "rst"]
        assert faults(port) == {"reset_on_accept": 2}  # this request is the fifth connection


def test_memory_pressure_preempts() -> None:
    flags = ("--profile", "l4-qwen2.5-0.5b", "--fault", "memory_pressure,blocks=60")
    with simulating(*flags) as (_server, port), ExitStack() as stack:
        socks = [stack.enter_context(connected(port)) for _ in range(4)]
        for index, sock in enumerate(socks):
            ask(sock, COMPLETION, {"prompt": [index] * 300, "max_tokens": 200, "ignore_eos": True}, CLOSE)
        answers = [json.loads(answer_of(hear(sock).data).body) for sock in socks]
        assert [answer["usage"]["completion_tokens"] for answer in answers] == [200] * 4
        text = got(port, "/metrics").body.decode()
        [preemptions] = re.findall(r"^vllm:num_preemptions_total\{.*\} (\S+)", text, re.MULTILINE)
        assert float(preemptions) > 0
        assert faults(port) == {"memory_pressure": 1}


@pytest.mark.parametrize("stream", [True, False])
def test_death_in_the_middle_of_an_answer(tmp_path: Path, stream: bool) -> None:
    log = tmp_path / "served.jsonl"
    spec = "die,after_requests=2,after_tokens=3"
    with simulating("--log-served", str(log), "--fault", spec) as (server, port):
        for _ in range(2):
            assert answer_of(heard(port, "simulated", stream=stream).data).complete
        last = heard(port, "simulated", stream=stream)
        assert server.wait(30) == 1
    assert last.end in ("fin", "rst")
    assert not answer_of(last.data).complete
    if stream:
        assert len(text_of(parse_events(answer_of(last.data).body)).split()) == 3
    assert [json.loads(line).get("fault") for line in log.read_text().splitlines()] == [None, None, "die"]


def test_death_at_a_moment() -> None:
    with simulating("--ttft-ms", "600000", "--fault", "die,after_s=2") as (server, port):
        told = heard(port, "simulated")
        assert told.end in ("fin", "rst")
        assert server.wait(30) == 1
