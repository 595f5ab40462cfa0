"""A plain client in the way of `vllm bench serve` 0.32: aiohttp, pieces put together, JSON parsed twice an event.

It is a yardstick, not a straw man: one session, keep-alive, a large read buffer and no work beside the measurement.
Prints one line of JSON: {"tokens", "cpu_s", "wall_s", "ttft_mean_ms", "itl_mean_ms"}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp

READ_BUFFER_BYTES = 10 * 1024 * 1024


@dataclass
class Answer:
    """What one request brought: seconds and tokens."""

    ttft_s: float = 0.0
    itl_s: list[float] = field(default_factory=list)
    text: str = ""
    output_tokens: int = 0


class Pieces:
    """Puts events together from pieces and checks each by parsing it: `vllm bench serve` does so, then parses again."""

    def __init__(self) -> None:
        self.buffer = ""

    def add(self, piece: bytes) -> list[str]:
        """The events that are complete with this piece."""
        self.buffer += piece.decode()
        events = []
        while "\n\n" in self.buffer:
            event, self.buffer = self.buffer.split("\n\n", 1)
            if event.strip():
                events.append(event.strip())
        if self.buffer.startswith("data: "):
            content = self.buffer.removeprefix("data: ").strip()
            if content == "[DONE]" or is_json(content):
                events.append(self.buffer.strip())
                self.buffer = ""
        return events


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError:
        return False
    return True


def take_event(answer: Answer, message: str, sent_s: float, latest_s: float) -> float:
    """Add one SSE event to ``answer``; returns the time of the latest token event in seconds."""
    data = message.removeprefix("data: ")
    if message.startswith(":") or data == "[DONE]":
        return latest_s
    event = json.loads(data)
    if usage := event.get("usage"):
        answer.output_tokens = usage["completion_tokens"]
    if not event["choices"]:
        return latest_s
    now_s = time.perf_counter()
    if answer.ttft_s:
        answer.itl_s.append(now_s - latest_s)
    else:
        answer.ttft_s = now_s - sent_s
    answer.text += event["choices"][0]["text"]
    return now_s


async def ask(session: aiohttp.ClientSession, url: str, body: dict[str, object], request_id: str) -> Answer:
    """One streamed completion."""
    answer = Answer()
    sent_s = latest_s = time.perf_counter()
    async with session.post(url, json=body, headers={"x-request-id": request_id}) as response:
        response.raise_for_status()
        pieces = Pieces()
        async for piece in response.content.iter_any():
            for message in pieces.add(piece.strip()):
                latest_s = take_event(answer, message, sent_s, latest_s)
    return answer


async def closed_loop(url: str, streams: int, requests: int, output_tokens: int) -> list[Answer]:
    """``requests`` requests, at most ``streams`` of them at a time."""
    prompt = " ".join(["token"] * 32)
    usage = {"include_usage": True}
    body = {"model": "m", "prompt": prompt, "max_tokens": output_tokens, "stream": True, "stream_options": usage}
    connector = aiohttp.TCPConnector(limit=streams, limit_per_host=streams, force_close=False)
    timeout = aiohttp.ClientTimeout(total=6 * 3600)
    left: Iterator[int] = iter(range(requests))

    async def stream(session: aiohttp.ClientSession) -> list[Answer]:
        return [await ask(session, url, body, f"aiohttp-0-{index}") for index in left]

    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=READ_BUFFER_BYTES) as session:
        done = await asyncio.gather(*(stream(session) for _ in range(streams)))
    return [answer for answers in done for answer in answers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--streams", type=int, default=256)
    parser.add_argument("--requests", type=int, default=1024, help="in all")
    parser.add_argument("--max-tokens", type=int, default=128)
    options = parser.parse_args()
    url = f"http://127.0.0.1:{options.port}/v1/completions"
    start_s = time.perf_counter()
    answers = asyncio.run(closed_loop(url, options.streams, options.requests, options.max_tokens))
    wall_s = time.perf_counter() - start_s
    gaps_s = [gap_s for answer in answers for gap_s in answer.itl_s]
    used = resource.getrusage(resource.RUSAGE_SELF)
    result = {
        "tokens": sum(answer.output_tokens for answer in answers),
        "cpu_s": used.ru_utime + used.ru_stime,
        "wall_s": wall_s,
        "ttft_mean_ms": 1000 * sum(answer.ttft_s for answer in answers) / len(answers),
        "itl_mean_ms": 1000 * sum(gaps_s) / len(gaps_s) if gaps_s else None,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
