from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from inferometer.client.clock import now_ns
from inferometer.records.telemetry import Reading
from inferometer.telemetry.page import MissingError
from inferometer.telemetry.scraper import Scraper, Source

#: No test waits this long unless something is broken.
LONG_S = 30.0


class Kept:
    def __init__(self) -> None:
        self.rows: list[Reading] = []

    def append(self, readings: Sequence[Reading]) -> None:
        self.rows += readings

    def up(self, replica: str) -> list[float | None]:
        return [row.value for row in self.rows if row.name == "up" and row.replica == replica]


def source(replica: str = "a", value: float = 1.0) -> Source:
    return Source("page", replica, lambda: [Reading(now_ns(), "vllm", replica, "", "requests_running", value)])


def failing(error: Exception, replica: str = "b") -> Source:
    def take() -> list[Reading]:
        raise error

    return Source("page", replica, take)


def test_every_source_is_sampled_at_each_edge_however_long_the_interval() -> None:
    kept, epoch_ns = Kept(), now_ns()
    with Scraper([source("a"), source("b")], 1000.0, epoch_ns, kept.append) as scraper:
        for edges in (1, 2, 3):
            before_ns = now_ns() - epoch_ns
            assert scraper.edge(LONG_S)
            for replica in "ab":
                times = [row.t_ns for row in kept.rows if row.name == "up" and row.replica == replica]
                assert len(times) >= edges
                assert times[-1] >= before_ns
                assert [row.series for row in kept.rows if row.name == "up" and row.replica == replica][-1] == "edge"
        cost = scraper.cost
    assert cost.missed == 0
    assert cost.samples == sum(row.name == "up" for row in kept.rows)
    assert 0 <= cost.cpu_s < LONG_S
    assert all(row.t_ns >= 0 for row in kept.rows)


def test_samples_are_taken_without_edges_too() -> None:
    kept, enough = Kept(), threading.Event()

    def append(readings: Sequence[Reading]) -> None:
        kept.append(readings)
        if len(kept.up("a")) >= 5:
            enough.set()

    with Scraper([source()], 0.01, now_ns(), append):
        assert enough.wait(LONG_S)


def test_a_sample_that_does_not_come_is_a_row_with_the_reason_and_others_go_on() -> None:
    kept = Kept()
    broken = [failing(MissingError("connection refused"), "b"), failing(ZeroDivisionError("x"), "c")]
    with Scraper([source("a"), *broken], 1000.0, now_ns(), kept.append) as scraper:
        assert scraper.edge(LONG_S)
        assert scraper.cost.missed >= 2
    reasons = {row.replica: row.detail for row in kept.rows if row.name == "up" and not row.value}
    assert reasons == {"b": "connection refused", "c": "ZeroDivisionError: x"}
    assert set(kept.up("a")) == {1.0}
    assert not [row for row in kept.rows if row.replica in "bc" and row.name != "up"]


def test_a_source_that_hangs_holds_up_an_edge_for_so_long_and_no_longer() -> None:
    release, kept = threading.Event(), Kept()

    def hang() -> list[Reading]:
        release.wait(LONG_S)
        return []

    with Scraper([source("a"), Source("page", "b", hang)], 0.05, now_ns(), kept.append) as scraper:
        began_s = time.monotonic()
        assert not scraper.edge(0.05)
        assert time.monotonic() - began_s < LONG_S / 2
    release.set()
    assert kept.up("a")
    assert not kept.up("b")


def test_a_full_disk_ends_the_sampling_and_is_said_once() -> None:
    calls = []

    def append(readings: Sequence[Reading]) -> None:
        calls.append(readings)
        raise OSError(28, "No space left on device")

    with Scraper([source()], 1000.0, now_ns(), append) as scraper:
        assert scraper.edge(LONG_S)
        assert scraper.edge(LONG_S)
        assert scraper.problem is not None
        assert "No space left" in scraper.problem
    assert len(calls) == 1


def test_nothing_is_kept_after_the_end_and_nothing_to_ask_is_no_trouble() -> None:
    kept = Kept()
    with Scraper([source()], 0.001, now_ns(), kept.append) as scraper:
        assert scraper.edge(LONG_S)
    count = len(kept.rows)
    time.sleep(0.02)
    assert len(kept.rows) == count
    with Scraper([], 1.0, now_ns(), kept.append) as scraper:
        assert scraper.edge(LONG_S)
