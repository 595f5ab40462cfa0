"""Simulators with faults, and what comes back from them."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from simulator.reading import Answer, Heard, answer_of, ask, connected, hear, process

CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
QUIET_S = 0.3
CLOSE = "connection: close\r\n"
ASKED = {"prompt": "once upon a time", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
USAGE = {"stream_options": {"include_usage": True}}


@contextmanager
def simulating(*flags: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A simulator and its port; tokens come every 2 ms unless told otherwise."""
    exact = () if "--profile" in flags else ("--exact", "--ttft-ms", "4", "--itl-ms", "2")
    with process(*exact, *flags) as (server, url):
        yield server, int(url.rpartition(":")[2])


def heard(port: int, model: str, path: str = COMPLETION, stream: bool = True, **fields: Any) -> Heard:
    """All that a request got; the server closes after an answer that is complete."""
    body = {**ASKED, "ignore_eos": True, "model": model, "stream": stream, **(USAGE if stream else {}), **fields}
    with connected(port) as sock:
        ask(sock, path, body, CLOSE + f"x-request-id: {model}\r\n")
        return hear(sock)


def got(port: int, path: str) -> Answer:
    with connected(port) as sock:
        ask(sock, path, headers=CLOSE)
        return answer_of(hear(sock).data)


def faults(port: int) -> dict[str, int]:
    """The counters of /metrics."""
    text = got(port, "/metrics").body.decode()
    found = re.findall(r'^inferometer:simulator_faults_total\{kind="(\w+)"\} (\d+)', text, re.MULTILINE)
    return {kind: int(count) for kind, count in found}
