"""The command lines of the clients, all asked for the same work."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from processes import BUILD, HERE, Server

INPUT_TOKENS = 32


@dataclass(frozen=True)
class Tools:
    """Where the clients are. ``peer`` is vLLM's Rust client, which needs a ``tokenizer`` folder."""

    product: str
    peer: str | None
    tokenizer: str | None


@dataclass(frozen=True)
class Work:
    """A closed loop of ``streams`` until ``requests`` of ``tokens`` output tokens are done; results in ``folder``."""

    streams: int
    requests: int
    tokens: int
    folder: Path


def receiver(_tools: Tools, server: Server, work: Work) -> list[str]:
    streams = min(work.streams, work.requests)
    counts = ["--connections", str(streams), "--requests", str(work.requests // streams)]
    return [str(BUILD / "receiver"), "--port", str(server.port), *counts, "--max-tokens", str(work.tokens)]


def aiohttp(_tools: Tools, server: Server, work: Work) -> list[str]:
    counts = ["--streams", str(work.streams), "--requests", str(work.requests), "--max-tokens", str(work.tokens)]
    return [sys.executable, str(HERE / "aiohttp_client.py"), "--port", str(server.port), *counts]


def product_base(tools: Tools, server: Server, tokens: int, folder: Path) -> list[str]:
    """Our command, but for the load."""
    target = ["--base-url", server.url, "--backend", "openai", "--model", "m", "--run-dir", str(folder / "run")]
    lengths = ["--random-input-len", str(INPUT_TOKENS), "--random-output-len", str(tokens), "--ignore-eos"]
    return [tools.product, "run", *target, *lengths]


def product(tools: Tools, server: Server, work: Work) -> list[str]:
    load = ["--max-concurrency", str(work.streams), "--num-prompts", str(work.requests)]
    return [*product_base(tools, server, work.tokens, work.folder), *load]


def product_userland(tools: Tools, server: Server, work: Work) -> list[str]:
    return [*product(tools, server, work), "--stamps", "userland"]


def peer(tools: Tools, server: Server, work: Work) -> list[str]:
    assert tools.peer
    assert tools.tokenizer
    target = ["--base-url", server.url, "--backend", "openai", "--model", "m", "--tokenizer", tools.tokenizer]
    lengths = ["--random-input-len", str(INPUT_TOKENS), "--random-output-len", str(work.tokens), "--ignore-eos"]
    load = ["--max-concurrency", str(work.streams), "--num-prompts", str(work.requests)]
    result = ["--save-result", "--result-dir", str(work.folder), "--result-filename", "peer.json"]
    return [tools.peer, "bench", "serve", "--dataset-name", "random", *target, *lengths, *load, *result]


def peer_means_ms(work: Work) -> tuple[float, float]:
    """Mean TTFT and ITL as the peer reports them."""
    result = json.loads((work.folder / "peer.json").read_text())
    return result["mean_ttft_ms"], result["mean_itl_ms"]


Command = Callable[[Tools, Server, Work], list[str]]

COMMANDS: dict[str, Command] = {
    "C receiver": receiver,
    "inferometer": product,
    "inferometer, userland stamps": product_userland,
    "aiohttp client": aiohttp,
    "vllm-rs": peer,
}
