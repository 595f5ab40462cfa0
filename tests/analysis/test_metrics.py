from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import MS, failure, frame, record

from inferometer.analysis import metrics
from inferometer.analysis.metrics import BY_NAME
from inferometer.config.models import Slo
from inferometer.records.record import Record


def values(name: str, *records: Record, open_loop: bool = False) -> list[float]:
    samples = BY_NAME[name].samples(frame(*records, open_loop=open_loop))
    return [round(value, 6) for value in samples.values.tolist()]


@pytest.mark.parametrize(
    ("name", "closed", "opened"),
    [
        ("ttft", [50], [70]),
        ("e2el", [80], [100]),
        ("ntpot", [20], [25]),
        ("tpot", [10], [10]),
        ("itl", [10, 10, 10], [10, 10, 10]),
        ("event_gap", [10, 10, 10], [10, 10, 10]),
        ("ttft_from_send", [50], [50]),
        ("e2el_from_send", [80], [80]),
        ("ntpot_from_send", [20], [20]),
    ],
)
def test_start_is_the_send_or_the_schedule(name: str, closed: list[float], opened: list[float]) -> None:
    late = record(sent_ms=20, scheduled_ms=0)
    assert values(name, late) == closed
    assert values(name, late, open_loop=True) == opened


@pytest.mark.parametrize("name", BY_NAME)
def test_failures_have_no_latency(name: str) -> None:
    wire = {"first_try_ns": 0, "connected_ns": 1000, "first_byte_ns": 40 * MS}
    cut = record(1, outcome="truncated", **wire)
    assert values(name, failure(0), cut) == []
    both = BY_NAME[name].samples(frame(failure(0), cut, record(2, **wire)))
    assert set(both.rows.tolist()) == {2}


def test_undefined_is_absent_and_never_zero() -> None:
    one_token = record(gaps_ms=[])
    assert values("ttft", one_token) == [50]
    assert values("ntpot", one_token) == [50]
    for name in ("tpot", "itl", "event_gap"):
        assert values(name, one_token) == []
    assert values("ntpot", record(output_tokens=0)) == []


def unary(index: int = 0, **changed: Any) -> Record:
    """Begun at 0 with a connection that took 3 ms, sent at 4, answered from 60 to 64 ms with 8 tokens at once."""
    own = {"first_try_ns": 0, "connected_ns": 3 * MS, "first_byte_ns": 60 * MS, "first_token_ns": None}
    counts = {"event_tokens": [8], "output_tokens": 8}
    return record(index, sent_ms=4, scheduled_ms=0, ttft_ms=60, gaps_ms=[], **{**own, **counts, **changed})


def test_an_answer_that_was_not_streamed_has_a_latency_and_no_first_token() -> None:
    assert {name: values(name, unary()) for name in BY_NAME if not BY_NAME[name].from_send} == {
        "ttft": [],
        "tpot": [],
        "itl": [],
        "event_gap": [],
        "e2el": [64],
        "ntpot": [8],
        "connect": [3],
        "ttfb": [56],
    }
    assert values("e2el_from_send", unary()) == [60]


@pytest.mark.parametrize("changed", [{"attempts": 2}, {"first_try_ns": 4 * MS}, {"connected_ns": None}])
def test_the_time_of_a_connection_is_known_where_the_request_began_with_it(changed: dict[str, Any]) -> None:
    assert values("connect", unary(**changed)) == []
    assert values("ttfb", unary(**changed)) == [56]


@pytest.mark.parametrize(
    ("gaps", "event_tokens", "output_tokens", "itl", "weights"),
    [
        ([10, 10], None, 3, [10, 10], [1, 1]),  # as many events as tokens: one each
        ([10, 30], [1, 1, 3], 5, [10, 10], [1, 3]),  # told: the gap is shared by the tokens that it brought
        ([10, 30], None, 5, [5, 15], [2, 2]),  # not told: spread evenly
        ([10, 10, 10, 10], None, 3, [20, 20, 20, 20], [0.5] * 4),  # more events than tokens
        ([10, 20], [1, 0, 1], 2, [30], [1]),  # no token, no end of a gap
        ([10, 20], [2, 1, 1], 4, [10, 20], [1, 1]),  # what the first event carries has no gap
        ([10], None, None, [10], [1]),  # nobody counted: events
    ],
)
def test_itl_counts_once_per_token(
    gaps: list[float], event_tokens: list[int] | None, output_tokens: int, itl: list[float], weights: list[float]
) -> None:
    row = record(gaps_ms=gaps, event_tokens=event_tokens, output_tokens=output_tokens)
    assert values("itl", row) == itl
    assert BY_NAME["itl"].samples(frame(row)).weights == pytest.approx(weights)
    assert values("event_gap", row) == gaps


def test_gaps_never_cross_requests() -> None:
    assert values("event_gap", record(0, gaps_ms=[1]), record(1, gaps_ms=[]), record(2, gaps_ms=[2, 3])) == [1, 2, 3]


def test_requests_with_spread_tokens_are_known() -> None:
    rows = frame(record(0), record(1, output_tokens=9), record(2, output_tokens=9, event_tokens=[1, 2, 3, 3]))
    assert metrics.guessed_rows(rows).tolist() == [False, True, False]


gap_lists = st.lists(st.integers(1, 10_000).map(lambda us: us / 1000), min_size=1, max_size=30)


@given(gap_lists, st.integers(2, 60), st.floats(0, 1000), st.floats(0, 50))
def test_identities(gaps: list[float], tokens: int, ttft: float, late: float) -> None:
    """E2EL = TTFT + TPOT (n - 1); NTPOT = E2EL / n; the mean ITL of a request is its TPOT when tokens are spread."""
    row = record(sent_ms=late, scheduled_ms=0, ttft_ms=ttft, gaps_ms=gaps, output_tokens=tokens)
    rows = frame(row, open_loop=True)
    ttft_ms, tpot_ms, e2el_ms, ntpot_ms = (
        float(BY_NAME[name].samples(rows).values[0]) for name in ("ttft", "tpot", "e2el", "ntpot")
    )
    itl = BY_NAME["itl"].samples(rows)
    assert e2el_ms == pytest.approx(ttft_ms + tpot_ms * (tokens - 1))
    assert ntpot_ms == pytest.approx(e2el_ms / tokens)
    assert np.average(itl.values, weights=itl.weights) == pytest.approx(tpot_ms)
    assert metrics.carried_tokens(rows).sum() == pytest.approx(tokens)


@given(gap_lists, st.data())
def test_known_tokens_add_up(gaps: list[float], data: st.DataObject) -> None:
    """Gaps and tokens are complete: ITL x tokens is the time from the first event to the last one that adds a token."""
    tokens = data.draw(st.lists(st.integers(0, 4), min_size=len(gaps), max_size=len(gaps)))
    itl = BY_NAME["itl"].samples(frame(record(gaps_ms=gaps, event_tokens=[1, *tokens])))
    last = max((i for i, count in enumerate(tokens) if count), default=-1)
    assert itl.weights is not None
    assert itl.weights.sum() == sum(tokens)
    assert itl.values @ itl.weights == pytest.approx(sum(gaps[: last + 1]), abs=1e-4)


def test_a_good_request_meets_every_slo_with_every_value() -> None:
    rows = frame(
        record(0),
        record(1, ttft_ms=51),
        record(2, gaps_ms=[10, 21, 10]),
        failure(3),
        record(4, gaps_ms=[]),
    )
    slos = (Slo(metric="ttft", limit_ms=50), Slo(metric="itl", limit_ms=20))
    assert metrics.met(rows, slos).tolist() == [True, False, False, False, True]
    assert metrics.met(rows, ()).tolist() == [True, True, True, False, True]
    assert metrics.unjudged(rows, slos).tolist() == [False, False, False, False, True]


def test_slos_judge_from_the_schedule_in_an_open_loop() -> None:
    late, slo = record(sent_ms=20, scheduled_ms=0), (Slo(metric="ttft", limit_ms=50),)
    assert metrics.met(frame(late), slo).all()
    assert not metrics.met(frame(late, open_loop=True), slo).any()
