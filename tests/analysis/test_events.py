"""What the token events of successful requests carry, without a look at each where the requests tell enough."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import MS, failure, frame, record

from inferometer.analysis.events import one_token_each, token_events, tokens_in_buckets
from inferometer.analysis.metrics import carried_tokens
from inferometer.records.record import Record


@st.composite
def requests(draw: st.DrawFn, index: int) -> Record:
    sent_ms = draw(st.floats(0, 3000))
    if draw(st.booleans()):
        return failure(index, sent_ms=sent_ms, end_ms=sent_ms + 5)
    gaps = draw(st.lists(st.floats(0, 700), max_size=5))
    tokens = draw(st.one_of(st.none(), st.lists(st.integers(0, 3), min_size=len(gaps) + 1, max_size=len(gaps) + 1)))
    output = draw(st.sampled_from([None, len(gaps) + 1, len(gaps) + 1, 9]))
    return record(index, sent_ms=sent_ms, gaps_ms=gaps, event_tokens=tokens, output_tokens=output)


RUNS = st.integers(1, 6).flatmap(lambda count: st.tuples(*(requests(index) for index in range(count))))


@given(RUNS)
def test_one_token_each_is_said_only_where_it_is_so(run: tuple[Record, ...]) -> None:
    rows = frame(*run)
    good = rows.ok[rows.event_rows]
    if one_token_each(rows):
        assert (carried_tokens(rows)[good] == 1).all()
    event_ns, tokens = token_events(rows)
    assert list(event_ns) == list(rows.event_ns[good])
    told = np.ones(len(event_ns)) if tokens is None else tokens
    assert list(told) == list(carried_tokens(rows)[good])


def test_plain_streams_carry_one_token_each() -> None:
    assert one_token_each(frame(record(0), record(1, sent_ms=5), failure(2)))
    assert not one_token_each(frame(record(0), record(1, output_tokens=7)))
    assert not one_token_each(frame(record(0, event_tokens=(1, 1, 1, 1))))  # told: may differ, so each is looked at


@given(
    RUNS,
    st.integers(0, 8000 * MS).map(lambda quarters: quarters / 4),
    st.sampled_from([10 * MS, 1000 * MS]),
    st.integers(1, 40),
)
def test_buckets_hold_the_tokens_of_their_time(
    run: tuple[Record, ...], start_ns: float, width_ns: int, count: int
) -> None:
    rows = frame(*run)
    good = rows.ok[rows.event_rows]
    edges = start_ns + width_ns * np.arange(count + 1.0)
    times_ns, tokens = rows.event_ns[good], carried_tokens(rows)[good]
    wanted = [tokens[(times_ns >= low) & (times_ns < high)].sum() for low, high in pairwise(edges)]
    assert tokens_in_buckets(rows, start_ns, width_ns, count) == pytest.approx(np.array(wanted))
