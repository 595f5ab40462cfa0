"""A calibration plays real runs against a real simulator; here with as few and as short ones as there can be."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from inferometer.client.connection import KERNEL_STAMPS
from inferometer.config.models import ClosedLoop, Stage
from inferometer.errors import UserError
from inferometer.runner import calibration as calibrating
from inferometer.runner.calibration import Bench, Load, Pace, Search

BRIEF = Pace(stamps_s=0.3, load_s={"tokens": 0.3, "requests": 0.3}, budget_s=0.0, ratio=2.0)


def test_without_time_every_search_plays_one_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "FIRST_LOAD", {"tokens": 4, "requests": 50})
    monkeypatch.setattr(calibrating, "STAMPS_RATE_PER_S", 50)
    said: list[str] = []
    found = calibrating.calibrate(BRIEF, said.append)
    clocks = ["kernel", "userland"] if KERNEL_STAMPS else ["userland"]
    assert [one.clock for one in found.errors] == clocks
    for one in found.errors:
        assert one.stamp.count == 32 * one.send.count > 0
        assert 0 < one.stamp.p50_us <= one.stamp.p95_us <= one.stamp.p99_us <= one.stamp.max_us
    assert [limit.what for limit in found.limits[:2]] == ["tokens", "requests"]
    assert {limit.workers for limit in found.limits} == {1, max(1, found.machine.cpus - 1)}
    assert {limit.ended_by for limit in found.limits} == {"time"}
    assert len(said) == len(found.errors) + len(found.limits)
    assert found.took_s > 0
    assert not found.quick


@pytest.fixture
def bench(tmp_path: Path):
    with calibrating.simulating(tmp_path) as running:
        yield running


def test_a_step_knows_what_was_served(bench: Bench) -> None:
    """Every event that the client counts is one that the simulator wrote, and its own log starts anew with each."""
    for streams in (2, 3):
        load = Load(Stage(load=ClosedLoop(concurrency=streams), num_requests=4 * streams), 8, workers=2)
        played = calibrating._play(bench, load)
        assert len(played.frame) == len(played.served) == 4 * streams
        assert {len(one.written_ns) for one in played.served.values()} == {8}
        assert len(played.errors_us) == 8 * 4 * streams
        assert set(played.frame.worker) == {0.0, 1.0}
        assert played.tokens_per_s > 0


def test_a_step_is_what_was_played(bench: Bench) -> None:
    one = calibrating._step(bench, Search("requests", 1, 40), 40, 0.5)
    assert (one.load, one.workers) == (40, 1)
    assert one.tokens_per_s == pytest.approx(4 * one.requests_per_s)
    assert one.schedule_lag_p99_ms is not None
    assert 0 < one.cpu_share < 1


def test_a_load_that_no_simulator_can_serve_is_not_blamed_on_the_client(bench: Bench) -> None:
    """Each stream wants a token every 5 ms: 2,000 of them are 400,000 tokens per second from one process."""
    one = calibrating._step(bench, Search("tokens", 1, 2000), 2000, 0.3)
    assert one.exceeded is not None
    assert one.exceeded.by == "simulator"


def test_a_simulator_that_does_not_start_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrating, "TTFT_MS", -1.0)
    with pytest.raises(UserError, match=r"before it was ready; its last lines .*:\s+.*--ttft-ms"):  # noqa: SIM117
        with calibrating.simulating(tmp_path):
            pytest.fail("it has started")


def test_the_simulator_ends_with_the_block(tmp_path: Path) -> None:
    with calibrating.simulating(tmp_path) as running:
        assert Path(f"/proc/{running.pid}").exists() or not Path("/proc").exists()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{running.pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{running.pid}").exists()
