from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import MS, failure, frame, record

from inferometer.analysis import window
from inferometer.analysis.window import Window
from inferometer.config.models import ClosedLoop, OpenLoop
from inferometer.records.record import Record


def waves(count: int, concurrency: int) -> list[Record]:
    """Lockstep: each wave starts when the one before has ended; 80 ms, 4 tokens each."""
    return [record(i, sent_ms=80 * (i // concurrency)) for i in range(count * concurrency)]


def test_the_window_runs_from_the_first_send_to_the_last_completion() -> None:
    rows = frame(record(0, sent_ms=10), failure(1, sent_ms=20, end_ms=500), failure(2, sent_ns=None, end_ms=900))
    assert window.whole_window(rows) == Window(10 * MS, 900 * MS)
    assert window.whole_window(frame(failure(sent_ns=None))) is None


def test_throughput_counts_successes_only() -> None:
    rows = frame(record(0), record(1), failure(2, end_ms=1000))
    whole = window.whole_window(rows)
    assert whole is not None
    assert window.throughput(rows, whole) == pytest.approx(
        {"requests_per_s": 2, "output_tokens_per_s": 8, "total_tokens_per_s": 208}
    )


def test_a_rate_without_counts_is_absent() -> None:
    rows = frame(record(prompt_tokens=None))
    assert set(window.throughput(rows, Window(0, 80 * MS))) == {"requests_per_s", "output_tokens_per_s"}


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 80), st.integers(1, 9)), min_size=1, max_size=12))
def test_the_whole_window_holds_everything_once(shapes: list[tuple[int, int, int]]) -> None:
    rows = frame(*(record(i, sent_ms=s, ttft_ms=t, output_tokens=n) for i, (s, t, n) in enumerate(shapes)))
    whole = window.whole_window(rows)
    assert whole is not None
    rates = window.throughput(rows, whole)
    assert rates["requests_per_s"] * whole.length_s == pytest.approx(len(shapes))
    assert rates["output_tokens_per_s"] * whole.length_s == pytest.approx(sum(n for *_, n in shapes))


def test_the_steady_window_of_a_closed_loop_is_its_full_level() -> None:
    ramp = [record(i, sent_ms=10 * i, gaps_ms=[450]) for i in range(4)]
    rows = frame(*ramp)
    assert window.steady_window(rows, ClosedLoop(concurrency=4)) == Window(30 * MS, 500 * MS)
    assert window.steady_window(rows, ClosedLoop(concurrency=5)) is None


def test_dips_stay_inside_the_steady_window() -> None:
    rows = frame(record(0), record(1, sent_ms=100))
    assert window.steady_window(rows, ClosedLoop(concurrency=1)) == Window(0, 180 * MS)


def test_lockstep_waves_lose_nothing_at_the_edges() -> None:
    rows, load = frame(*waves(3, 4)), ClosedLoop(concurrency=4)
    whole, steady = window.whole_window(rows), window.steady_window(rows, load)
    assert whole == steady
    assert whole is not None
    assert window.throughput(rows, whole)["requests_per_s"] == pytest.approx(50)
    assert window.mean_in_flight(rows, whole) == pytest.approx(4)


def test_a_request_counts_in_part_at_the_edge() -> None:
    rates = window.throughput(frame(record()), Window(0, 60 * MS))  # 3/4 of its time, 2 of its 4 events
    assert rates["requests_per_s"] * 0.06 == pytest.approx(0.75)
    assert rates["output_tokens_per_s"] * 0.06 == pytest.approx(2)


def test_the_steady_window_of_an_open_loop_is_the_span_of_its_schedule() -> None:
    rows = frame(*(record(i, sent_ms=100 * i + 5, scheduled_ms=100 * i) for i in range(4)), open_loop=True)
    assert window.steady_window(rows, OpenLoop(rate=10)) == Window(0, 300 * MS)
    at_once = frame(record(0), record(1), open_loop=True)
    assert window.steady_window(at_once, OpenLoop(rate=float("inf"))) is None


def test_peak_in_flight_is_exact_and_ends_come_before_starts() -> None:
    assert window.peak_in_flight(frame(*waves(5, 4))) == 4
    assert window.peak_in_flight(frame(record(0), record(1, sent_ms=79.999999))) == 2
    assert window.peak_in_flight(frame(failure(sent_ns=None))) == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 30)), min_size=1, max_size=20))
def test_peak_in_flight_is_that_of_counting(spans: list[tuple[int, int]]) -> None:
    rows = frame(*(record(i, sent_ms=s, ttft_ms=n, gaps_ms=[]) for i, (s, n) in enumerate(spans)))
    counted = max(sum(s <= t < s + n for s, n in spans) for t in range(81))
    assert window.peak_in_flight(rows) == counted


def test_peak_output_counts_tokens_in_seconds() -> None:
    rows = frame(
        record(0, ttft_ms=0, gaps_ms=[400, 400, 400], event_tokens=[1, 2, 3, 4], output_tokens=10),
        failure(1, event_ns=np.array([1], np.int64)),
    )
    whole = window.whole_window(rows)
    assert whole is not None
    assert window.peak_output_tokens_per_s(rows, [whole]) == [6]
    assert window.peak_output_tokens_per_s(frame(failure()), [Window(0, 1)]) == [0]
    assert window.peak_output_tokens_per_s(rows, []) == []
