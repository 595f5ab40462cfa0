"""Cold and warm by the timeline, hit rates by the tokens, and what a perfect cache would have found."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import failure, record, table

from inferometer.analysis.frame import Frame, from_table, stage_of
from inferometer.analysis.prefixes import (
    cached_tokens,
    groups,
    perfect_hit_rate,
    perfect_tokens,
    prefixes,
    warm_rows,
)
from inferometer.records.record import Record
from inferometer.simulator.blocks import chain_hashes
from inferometer.simulator.model import Engine, Request
from inferometer.simulator.profiles import PROFILES

PERCENTS = (50.0, 95.0)


def stages(*records: Record) -> tuple[Frame, Frame]:
    run = from_table(table(records))
    return stage_of(run, 0, open_loop=False), run


def parts(*records: Record, **more: Any) -> dict[str, dict[str, Any]]:
    rows, run = stages(*records)
    return {entry["part"]: entry for entry in prefixes(rows, run, PERCENTS, **more) or []}


def test_a_request_is_warm_if_another_of_its_group_had_its_first_token_before_it_was_sent() -> None:
    rows, run = stages(
        record(0, sent_ms=0, prefix_group=1),
        record(1, sent_ms=49, prefix_group=1),
        record(2, sent_ms=51, prefix_group=1),
        record(3, sent_ms=60, prefix_group=2),
        record(4, sent_ms=200, prefix_group=None),
        record(5, sent_ms=200, prefix_group=1, model="another"),
        failure(6, sent_ms=200, end_ms=201, prefix_group=2),
    )
    assert warm_rows(rows, run).tolist() == [False, False, True, False, False, False, True]


def test_earlier_stages_and_warm_ups_make_warm_and_later_ones_do_not() -> None:
    rows, run = stages(
        record(0, sent_ms=0, prefix_group=1, phase="warmup"),
        record(0, sent_ms=100, prefix_group=1),
        record(1, sent_ms=100, prefix_group=2),
        record(0, sent_ms=500, prefix_group=2, stage=1),
    )
    assert warm_rows(rows, run).tolist() == [True, False]
    later = stage_of(run, 1, open_loop=False)
    assert warm_rows(later, run).tolist() == [True]


def test_cold_and_warm_stand_side_by_side() -> None:
    found = parts(
        record(0, sent_ms=0, ttft_ms=80, prefix_group=0, cached_tokens=0),
        record(1, sent_ms=200, ttft_ms=20, prefix_group=0, cached_tokens=64),
        record(2, sent_ms=300, ttft_ms=30, prefix_group=0, cached_tokens=80),
        failure(3, sent_ms=400, end_ms=405, prefix_group=0),
        prefix_tokens=lambda _: 90,
    )
    assert list(found) == ["all", "cold", "warm"]
    assert {name: entry["ok"] for name, entry in found.items()} == {"all": 3, "cold": 1, "warm": 2}
    assert found["warm"]["failed"] == 1
    assert found["cold"]["hit_rate"] == 0
    assert found["warm"]["hit_rate"] == pytest.approx(144 / 200)
    assert found["all"]["hit_rate"] == pytest.approx(144 / 300)
    assert found["all"]["perfect_hit_rate"] == pytest.approx(160 / 300)
    assert found["warm"]["perfect_hit_rate"] == pytest.approx(0.8)
    assert found["cold"]["metrics"]["ttft"]["median_ms"]["value"] == pytest.approx(80)
    assert found["warm"]["metrics"]["ttft"]["mean_ms"]["value"] == pytest.approx(25)
    assert found["warm"]["metrics"]["ttft"]["count"] == 2


def test_a_server_that_is_silent_about_misses_has_them_counted_and_one_that_never_tells_has_no_rate() -> None:
    told = parts(record(0, prefix_group=0), record(1, sent_ms=200, prefix_group=0, cached_tokens=64))
    assert told["cold"]["hit_rate"] == 0
    assert told["all"]["hit_rate"] == pytest.approx(0.32)
    silent = parts(record(0, prefix_group=0), record(1, sent_ms=200, prefix_group=0))
    assert {entry["hit_rate"] for entry in silent.values()} == {None}
    assert silent["warm"]["metrics"]["ttft"]["count"] == 1


def test_without_groups_there_is_nothing_to_tell() -> None:
    rows, run = stages(record(0), record(1))
    assert prefixes(rows, run, PERCENTS) is None
    assert groups(rows, run) is None


def test_warm_requests_that_met_another_replica_are_counted() -> None:
    found = parts(
        record(0, sent_ms=0, prefix_group=0, replica="a"),
        record(1, sent_ms=100, prefix_group=0, replica="b"),
        record(2, sent_ms=200, prefix_group=0, replica="a"),
        record(3, sent_ms=300, prefix_group=0, replica="b"),
    )
    assert found["warm"]["same_replica_share"] == pytest.approx(2 / 3)
    assert found["cold"]["same_replica_share"] == 0


def test_groups_come_by_how_often_they_were_asked() -> None:
    rows, run = stages(
        record(0, sent_ms=0, prefix_group=7, cached_tokens=0, replica="a"),
        record(1, sent_ms=100, prefix_group=3, cached_tokens=0, replica="a"),
        record(2, sent_ms=200, prefix_group=3, cached_tokens=48, replica="b"),
    )
    first, second = groups(rows, run) or []
    assert first == {
        "group": 3,
        "requests": 2,
        "share": pytest.approx(2 / 3),
        "cold": 1,
        "warm": 1,
        "replicas": 2,
        "cached_tokens": 48,
        "hit_rate": pytest.approx(0.24),
    }
    assert (second["group"], second["cold"]) == (7, 1)


@pytest.mark.parametrize(
    ("prefix", "prompt", "block", "cached"),
    [(256, 320, 16, 256), (250, 320, 16, 240), (256, 256, 16, 240), (15, 100, 16, 0), (33, 34, 1, 33), (0, 9, 16, 0)],
)
def test_whole_blocks_of_a_prefix_are_shared_and_the_last_token_is_computed(
    prefix: int, prompt: int, block: int, cached: int
) -> None:
    assert cached_tokens(np.array([prefix]), np.array([prompt]), block).tolist() == [cached]


ORDERS = st.lists(st.integers(0, 4), min_size=1, max_size=40)


@given(ORDERS, st.integers(0, 200), st.integers(1, 100))
def test_the_analytic_rate_is_that_of_the_rows(order: list[int], prefix: int, question: int) -> None:
    """The formula for equal lengths, and the sum over records in the same order."""
    tokens = prefix + question
    rows, run = stages(
        *(record(i, sent_ms=100 * i, prefix_group=group, prompt_tokens=tokens) for i, group in enumerate(order))
    )
    found = perfect_tokens(rows, run, lambda _: prefix).sum() / (tokens * len(order))
    assert math.isclose(found, perfect_hit_rate(order, prefix, question), abs_tol=1e-12)


@given(ORDERS, st.integers(0, 100), st.integers(1, 40))
def test_the_analytic_rate_is_that_of_an_engine(order: list[int], prefix: int, question: int) -> None:
    """One request after the other, in virtual time, against the simulator's own cache."""
    engine = Engine(PROFILES["l4-qwen2.5-0.5b"])
    for key, group in enumerate(order):
        ids = [*(1000 * group + i for i in range(prefix)), *(100_000 + 1000 * key + i for i in range(question))]
        progress = engine.submit(
            Request(key=key, prompt_tokens=len(ids), output_tokens=1, hashes=chain_hashes(ids, 16)),
            engine.due_ns() or 0,
        )
        while not progress.done:
            engine.play()
    figures = engine.figures()
    assert figures.prefix_queries == len(order) * (prefix + question)
    rate = figures.prefix_hits / figures.prefix_queries
    assert math.isclose(rate, perfect_hit_rate(order, prefix, question), abs_tol=1e-12)
