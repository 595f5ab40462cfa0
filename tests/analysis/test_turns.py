"""Turns of conversations and classes of a mix, each with numbers of its own."""

import pytest
from synthetic_run import failure, frame, record

from inferometer.analysis.classes import classes
from inferometer.analysis.turns import MOST_TURNS, turns

PERCENTS = (50.0,)


def test_each_turn_has_its_numbers() -> None:
    rows = frame(
        record(0, ttft_ms=30, turn=0, prompt_tokens=100, cached_tokens=0),
        record(1, ttft_ms=50, turn=0, prompt_tokens=200, cached_tokens=0),
        record(0, ttft_ms=10, turn=1, prompt_tokens=400, cached_tokens=300),
        failure(1, turn=1),
    )
    first, second = turns(rows, PERCENTS) or []
    assert (first["turn"], first["ok"], first["prompt_tokens_mean"], first["hit_rate"]) == (0, 2, 150, 0)
    assert (second["turn"], second["ok"], second["failed"]) == (1, 1, 1)
    assert second["hit_rate"] == pytest.approx(0.75)
    assert first["metrics"]["ttft"]["median_ms"]["value"] == pytest.approx(40)
    assert set(second["metrics"]) == {"ttft", "tpot", "e2el"}
    assert not first["and_later"]


def test_very_late_turns_are_told_together() -> None:
    found = turns(frame(*(record(0, turn=turn) for turn in range(MOST_TURNS + 5))), PERCENTS) or []
    assert len(found) == MOST_TURNS + 1
    assert (found[-1]["turn"], found[-1]["requests"], found[-1]["and_later"]) == (MOST_TURNS, 5, True)


def test_requests_without_a_second_turn_are_no_conversations() -> None:
    assert turns(frame(record(0), record(1)), PERCENTS) is None
    assert turns(frame(), PERCENTS) is None


def test_each_class_has_its_numbers_and_the_rest_comes_last() -> None:
    rows = frame(
        record(0, ttft_ms=10, request_class="short"),
        record(1, ttft_ms=90, request_class="long"),
        record(2, ttft_ms=70, request_class="long"),
        record(3, ttft_ms=40),
    )
    found = classes(rows, PERCENTS) or []
    assert [(entry["request_class"], entry["requests"]) for entry in found] == [("long", 2), ("short", 1), (None, 1)]
    assert found[0]["metrics"]["ttft"]["median_ms"]["value"] == pytest.approx(80)
    assert classes(frame(record(0)), PERCENTS) is None
