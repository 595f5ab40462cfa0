"""The profile against the published table that it was fitted to, in virtual time."""

import random
from statistics import median

import pytest

from inferometer.simulator.model import Engine, Request
from inferometer.simulator.profiles import PROFILES
from simulator.replay import closed_loop

#: concurrency: req/s, output tok/s, then p50 of TTFT, ITL, E2E in ms (vLLM 0.23.0, Qwen2.5-0.5B-Instruct, NVIDIA L4)
PUBLISHED = {
    2: (2.9, 367, 37.8, 5.2, 698),
    4: (5.4, 698, 50.1, 5.3, 722),
    8: (10.2, 1312, 60.9, 5.5, 772),
    16: (17.8, 2277, 103.8, 6.0, 880),
    32: (29.5, 3773, 135.3, 7.1, 1082),
}
TOLERANCE = (0.10, 0.10, 0.25, 0.10, 0.10)
#: A client's own delay between requests, from ... to, in microseconds.
DELAYS_US = [(0, 0), (100, 1000), (100, 3000)]


def measured(concurrency: int, seed: int, delays_us: tuple[int, int]) -> tuple[float, ...]:
    dice = random.Random(seed)
    count = min(20 * concurrency, 320)
    requests = [Request(key=key, prompt_tokens=256, output_tokens=128) for key in range(count)]
    engine = Engine(PROFILES["l4-qwen2.5-0.5b"], seed)
    timelines = closed_loop(engine, requests, concurrency, lambda _index: 1000 * dice.randint(*delays_us))
    window_s = (max(t.token_ns[-1] for t in timelines) - min(t.sent_ns for t in timelines)) / 1e9
    ttft_ns = median(t.token_ns[0] - t.sent_ns for t in timelines)
    itl_ns = median(b - a for t in timelines for a, b in zip(t.token_ns, t.token_ns[1:], strict=False))
    e2e_ns = median(t.token_ns[-1] - t.sent_ns for t in timelines)
    return count / window_s, 128 * count / window_s, ttft_ns / 1e6, itl_ns / 1e6, e2e_ns / 1e6


@pytest.mark.parametrize("delays_us", DELAYS_US)
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("concurrency", PUBLISHED)
def test_l4_reproduces_the_published_table(concurrency: int, seed: int, delays_us: tuple[int, int]) -> None:
    values = measured(concurrency, seed, delays_us)
    errors = [value / known - 1 for value, known in zip(values, PUBLISHED[concurrency], strict=True)]
    assert all(abs(error) <= limit for error, limit in zip(errors, TOLERANCE, strict=True)), errors
