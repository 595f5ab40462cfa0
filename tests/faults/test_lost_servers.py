"""Servers that go away, come back, or answer now and then: no request is lost without a row, and no run hangs."""

from __future__ import annotations

import urllib.request
from pathlib import Path

from e2e.support import simulating
from faults.playing import QUICK, TRIALS, Played, play
from faults.rows import Row, check

MANY = 200

DIES = Row(
    "the server dies in mid-run",
    "`truncated:`, `connect_refused:`, `nothing listens there`",
    {"ok": None, "truncated": None, "connect_refused": None},
    3,
    may=("connection_reset",),
    also="one row for each planned request; cut answers with the tokens that came",
)
DIES_WITH_RULE = Row(
    "the server dies in mid-run, with `--stop-failures 8`",
    "`stage 1 was stopped early:`, `requests in a row failed (limit 8); 1 later stage skipped`",
    {"ok": None, "truncated": None, "connect_refused": None},
    3,
    may=("connection_reset",),
)
REFUSES = Row(
    "the server is gone for 1.5 s, with `--retry-attempts 20 --retry-backoff-max 0.5`",
    "`requests tried again`, `Success rate with retries (%): 100.00`",
    {"ok": None},
    0,
    also="those that met the gap with their number of attempts",
)
RESETS = Row(
    "every fifth connection is reset when it opens",
    "`Failed requests: 8`, `Connection reset by peer`",
    {"ok": 32},
    3,
    may=("connection_reset", "connect_failed"),
    also="8 failures, by whether the reset or the request was first",
)
ROUTES = Row(
    "a router that loses half of the requests",
    "`failed requests`, `http_4xx:`, `does not exist`, `http_5xx:`",
    {"ok": None, "http_4xx": None, "http_5xx": None},
    3,
    also="half of them",
)
ROUTES_AGAIN = Row(
    "the same, with `--retry-attempts 20 --retry-on http_4xx http_5xx`",
    "`Attempts per request, mean:`, `Attempts per request, max:`, `Success rate with retries (%): 100.00`",
    {"ok": MANY},
    0,
    also="TTFT counts from the first try; the one from the last try stands beside it",
)
PRESSURE = Row(
    "the KV cache is too small: requests are pre-empted",
    "longer gaps; `vllm:num_preemptions_total` of the server says why",
    {"ok": 48},
    0,
)
SEEDED = Row(
    "503 for a seeded share of the requests (`--fault status=503,share=0.3`)",
    "`http_5xx:`, `HTTP 503: Service Unavailable`",
    {"ok": None, "http_5xx": None},
    3,
    also="the same requests fail with the same seed of the simulator",
)
ROWS = (DIES, DIES_WITH_RULE, REFUSES, RESETS, ROUTES, ROUTES_AGAIN, SEEDED, PRESSURE)


def test_a_server_that_dies(tmp_path: Path) -> None:
    with simulating(*QUICK, "--fault", "die,after_requests=40,after_tokens=3") as url:
        played = play(url, tmp_path / "r", "--max-concurrency", 8, "--num-prompts", 80)
    check(DIES, played)
    outcomes = played.measured("outcome")
    assert len(outcomes) == 80
    cut = [tokens for outcome, tokens in played.rows("outcome", "output_tokens") if outcome == "truncated"]
    assert 3 in cut
    assert max(told or 0 for told in cut) < 8
    assert outcomes.count("ok") <= 40 - TRIALS


def test_a_server_that_dies_under_a_rule(tmp_path: Path) -> None:
    with simulating(*QUICK, "--fault", "die,after_requests=40,after_tokens=3") as url:
        played = play(url, tmp_path / "r", "--max-concurrency", 8, 4, "--num-prompts", 4000, "--stop-failures", 8)
    check(DIES_WITH_RULE, played)
    assert len(played.measured("outcome")) < 400
    assert len(played.summary["stages"]) == 1


def test_a_server_that_is_gone_for_a_while(tmp_path: Path) -> None:
    """It opens a connection for each request, so that the gap is felt."""
    faults = ("--fault", "refuse,after_s=5,for_s=1.5", "--fault", "odd=until_close")
    load = ("--request-rate", 20, "--duration", 6)
    retries = ("--retry-attempts", 20, "--retry-backoff", 0.1, "--retry-backoff-max", 0.5)
    with simulating(*QUICK, *faults) as url:
        played = play(url, tmp_path / "r", *load, *retries)
    check(REFUSES, played)
    again = [kinds for kinds in played.measured("retried") if kinds]
    assert again
    assert {kind for kinds in again for kind in kinds.split(",")} == {"connect_refused"}


def test_connections_that_are_reset(tmp_path: Path) -> None:
    """Connections 1 and 2 ask before the load; those after it serve one answer each."""
    faults = ("--fault", "reset_on_accept,after_requests=2,every=5", "--fault", "odd=until_close")
    with simulating(*QUICK, *faults) as url:
        played = play(url, tmp_path / "r", "--max-concurrency", 1, "--num-prompts", 40)
    check(RESETS, played)


def test_routing_without_retries(tmp_path: Path) -> None:
    with simulating(*QUICK, "--fault", f"routing,share=0.5,after_requests={TRIALS}") as url:
        played = play(url, tmp_path / "r", "--max-concurrency", 8, "--num-prompts", MANY)
    check(ROUTES, played)
    share = played.stage()["counts"]["ok"] / MANY
    assert 0.35 < share < 0.65
    assert set(played.measured("attempts")) == {1}


def test_routing_with_retries(tmp_path: Path) -> None:
    again = (
        "--retry-attempts",
        20,
        "--retry-backoff",
        0.02,
        "--retry-backoff-max",
        0.1,
        "--retry-on",
        "http_4xx",
        "http_5xx",
    )
    with simulating(*QUICK, "--fault", f"routing,share=0.5,after_requests={TRIALS}") as url:
        played = play(url, tmp_path / "r", "--max-concurrency", 8, "--num-prompts", MANY, *again)
    check(ROUTES_AGAIN, played)
    attempts, metrics = played.stage()["attempts"], played.stage()["metrics"]
    assert 0.35 < attempts["first_try_success_share"] < 0.65
    assert attempts["success_share"] == 1
    assert 1.6 < attempts["mean"] < 2.6
    assert attempts["max"] == max(played.measured("attempts")) >= 4
    assert metrics["ttft"]["mean_ms"]["value"] > metrics["ttft_from_send"]["mean_ms"]["value"]


def test_the_same_seed_spoils_the_same_requests(tmp_path: Path) -> None:
    found = [spoilt(tmp_path / name, seed) for name, seed in (("a", 3), ("b", 3), ("c", 4))]
    assert found[0] == found[1] != found[2]
    assert 10 <= len(found[0]) <= 50


def spoilt(directory: Path, seed: int) -> list[int]:
    """Which of 100 requests, sent one after the other, failed."""
    fault = f"status=503,share=0.3,after_requests={TRIALS}"
    with simulating("--exact", "--ttft-ms", 1, "--itl-ms", 0.2, "--fault", fault, "--seed", seed) as url:
        played = play(url, directory, "--max-concurrency", 1, "--num-prompts", 100)
    check(SEEDED, played)
    return [index for index, outcome in played.rows("index", "outcome") if outcome == "http_5xx"]


def test_memory_pressure(tmp_path: Path) -> None:
    load = ("--max-concurrency", 16, "--num-prompts", 48, "--random-output-len", 64)
    with simulating("--fault", "memory_pressure,blocks=40") as url:
        played = play(url, tmp_path / "r", *load)
        preempted = metric(url, "vllm:num_preemptions_total")
    check_without_server(PRESSURE, played)
    assert preempted > 0
    assert set(played.measured("output_tokens")) == {64}


def check_without_server(row: Row, played: Played) -> None:
    """The row's phrase is the server's."""
    check(row._replace(sees=""), played)


def metric(url: str, name: str) -> float:
    """The sum of a counter of the server over its labels."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))
