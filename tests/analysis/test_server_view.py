from __future__ import annotations

from typing import Any

import pytest
from server_readings import counters, histogram, told, up, view

from inferometer.analysis.server_view import Seen


def test_both_sides_beside_each_other() -> None:
    samples = {9.0: (0.0, 0.0, 0.0, 0.0), 20.1: (1.5, 10.0, 10.0, 10.0)}
    found = view(
        up(9, 20.1),
        histogram("ttft_s", samples),
        told("generation_tokens", {9: 0, 20.1: 640}),
        told("prefix_cache_queries_tokens", {9: 0, 20.1: 200}),
        told("prefix_cache_hits_tokens", {9: 0, 20.1: 50}),
        seen=Seen(ttft_mean_ms=152.5, e2el_mean_ms=900.0, output_tokens=640, requests_ok=10),
    )
    assert found["compared_with"] == "vllm"
    assert found["compared"] == {
        "ttft": {"client_mean_ms": 152.5, "server_mean_ms": pytest.approx(150.0), "difference_ms": pytest.approx(2.5)},
        "output_tokens": {"client": 640, "server": 640.0, "difference": 0.0},
    }
    assert found["engines"]["vllm"]["prefix_cache_hit_rate"] == 0.25
    assert found["notes"] == []


@pytest.mark.parametrize(("server", "says"), [(900, "other clients"), (300, "a replica that was not asked")])
def test_tokens_that_do_not_add_up_are_said(server: float, says: str) -> None:
    found = view(up(9, 20.1), told("generation_tokens", {9: 0, 20.1: server}), seen=Seen(output_tokens=640))
    assert says in found["notes"][0]


@pytest.mark.parametrize(("last_s", "said"), [(18.8, "1.2 s"), (20.0, None), (20.1, None)])
def test_counters_that_end_before_the_requests_do_are_not_compared(last_s: float, said: str | None) -> None:
    """A killed run has rows that are younger than the last sample; histograms have means all the same."""
    samples = {9.0: (0.0, 0.0, 0.0, 0.0), last_s: (1.5, 10.0, 10.0, 10.0)}
    tokens = told("generation_tokens", {9: 0, last_s: 300})
    found = view(up(*samples), tokens, histogram("ttft_s", samples), seen=Seen(150.0, output_tokens=640))
    assert "ttft" in found["compared"]
    assert ("output_tokens" in found["compared"]) == (said is None)
    if said:
        assert found["notes"] == [f"the server last answered {said} before the end: its counters are not compared"]
    else:
        assert found["notes"][0].startswith("the server counted 300 generated tokens and this client 640")


def test_the_replica_that_fell_silent_first_says_how_much_is_missing() -> None:
    both = [*told("generation_tokens", {9: 0, 20.1: 300}), *told("generation_tokens", {9: 0, 15: 40}, replica="b")]
    found = view(up(9, 20.1), up(9, 15, replica="b"), both, seen=Seen(output_tokens=640))
    assert found["compared"] == {}
    assert found["notes"] == ["the server last answered 5 s before the end: its counters are not compared"]


def test_what_a_prometheus_cannot_tell_apart_is_said_with_its_interval() -> None:
    samples = {5.0: 0, 10.0: 0, 15.0: 300, 20.0: 900}
    told_of = told("generation_tokens", samples, replica="prometheus:a")
    (note,) = view(told_of, seen=Seen(output_tokens=640))["notes"]
    assert "a sample every 5 s" in note
    assert "--stage-pause 10" in note
    asked = [*told_of, *told("generation_tokens", {9: 0, 20.1: 900}), *up(9, 20.1)]
    assert "--stage-pause" not in view(asked, seen=Seen(output_tokens=640))["notes"][0]


LLAMACPP = {"prompt_tokens": 2048, "generation_tokens": 512, "prompt_s": 10.24, "generation_s": 4.96}


def counted_seconds(seen: Seen, **gains: float) -> dict[str, Any]:
    """A llama.cpp that counted these in a stage."""
    rows = [told(name, {9: 0, 20.1: gain}, source="llamacpp") for name, gain in gains.items()]
    return view(up(9, 20.1), *rows, seen=seen)


def test_an_engine_that_counts_seconds_has_a_tpot_and_the_time_of_a_prompt() -> None:
    """As llama.cpp: 16 requests with 128 tokens in and 32 out, at 640 ms for a prompt and 10 for a token after it."""
    seen = Seen(1233.7, 10.1, 1550.0, 2048, 512, requests_ok=16)
    found = counted_seconds(seen, **LLAMACPP)
    assert found["compared"]["ttft"]["server_mean_ms"] == pytest.approx(640)
    assert found["compared"]["ttft"]["difference_ms"] == pytest.approx(593.7)
    assert found["compared"]["tpot"]["server_mean_ms"] == pytest.approx(10)
    assert "e2el" not in found["compared"]
    assert found["notes"] == [
        "llamacpp tells no TTFT: its time for a prompt stands for it, without any wait before that"
    ]


@pytest.mark.parametrize(
    ("seen", "gains"),
    [
        (Seen(1233.7, 10.1, 1550.0, 2048, 512, requests_ok=16), LLAMACPP | {"generation_tokens": 600}),
        (Seen(1233.7, 10.1, 1550.0, 2048, 512, requests_ok=16, requests_failed=1), LLAMACPP),
        (Seen(1233.7, 10.1, 1550.0, None, 512, requests_ok=16), LLAMACPP),
        (Seen(1233.7, 10.1, 1550.0, 2048, 512, requests_ok=16), {"generation_tokens": 512, "generation_s": 4.96}),
    ],
)
def test_seconds_of_other_requests_are_no_mean_of_ours(seen: Seen, gains: dict[str, float]) -> None:
    assert not {"ttft", "tpot"} & set(counted_seconds(seen, **gains)["compared"])


def test_an_engine_is_compared_before_the_gateway_in_front_of_it() -> None:
    found = view(
        up(9, 20.1),
        told("generation_tokens", {9: 0, 20.1: 10}, source="litellm"),
        told("generation_tokens", {9: 0, 20.1: 12}, source="sglang"),
        seen=Seen(output_tokens=12),
    )
    assert found["compared_with"] == "sglang"
    assert counters(found, "litellm") == {"generation_tokens": 10}


def test_energy_is_power_over_time_and_unknown_with_a_gap() -> None:
    times = [float(t) for t in range(9, 22)]
    whole = view(told("gpu_power_w", dict.fromkeys(times, 70.0), source="dcgm"), seen=Seen(output_tokens=100))
    assert whole["gpus"]["dcgm"]["energy_j"] == pytest.approx(700.0)
    assert whole["gpus"]["dcgm"]["energy_j_per_output_token"] == pytest.approx(7.0)
    rising = view(told("gpu_power_w", {t: 10 * t for t in times}, source="dcgm"))
    assert rising["gpus"]["dcgm"]["energy_j"] == pytest.approx(1500.0)
    gap = view(told("gpu_power_w", {t: 70.0 for t in times if not 12 < t < 17}, source="dcgm"))
    assert gap["gpus"]["dcgm"]["energy_j"] is None
    assert "missing for more than 3 s" in gap["gpus"]["dcgm"]["energy_unknown"]
    assert gap["gpus"]["dcgm"]["energy_j_per_output_token"] is None
