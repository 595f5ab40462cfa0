"""Grades of the evaluation pipeline: the limits of its page, and what is not known."""

from __future__ import annotations

from typing import Any

import pytest

from inferometer.analysis.grades import LIMITS, grade

GOOD: dict[str, Any] = {
    "success_rate": 1.0,
    "output_throughput": 100.0,
    "ttft_p95_ms": 50.0,
    "tpot_mean_ms": 10.0,
    "e2el_p95_ms": 900.0,
}


def test_all_within_the_limits_is_an_a() -> None:
    assert grade([GOOD, GOOD]).letter == "A"
    assert grade([GOOD]).issues == ()


@pytest.mark.parametrize(
    ("key", "value", "letter"),
    [
        ("success_rate", 0.98, "A"),
        ("success_rate", 0.979, "B"),
        ("success_rate", 0.95, "B"),
        ("success_rate", 0.949, "C"),
        ("output_throughput", 50.0, "A"),
        ("output_throughput", 49.9, "B"),
        ("output_throughput", 9.9, "C"),
        ("ttft_p95_ms", 200.0, "A"),
        ("ttft_p95_ms", 200.1, "B"),
        ("ttft_p95_ms", 500.1, "C"),
        ("tpot_mean_ms", 50.1, "B"),
        ("tpot_mean_ms", 100.1, "C"),
        ("e2el_p95_ms", 2000.1, "B"),
        ("e2el_p95_ms", 5000.1, "C"),
    ],
)
def test_each_limit(key: str, value: float, letter: str) -> None:
    found = grade([GOOD | {key: value}])
    assert found.letter == letter
    assert len(found.issues) == (letter != "A")
    assert all(LIMITS[key].title in issue for issue in found.issues)


def test_the_mean_over_scenarios_is_graded_and_the_worst_letter_counts() -> None:
    assert grade([GOOD | {"ttft_p95_ms": 100.0}, GOOD | {"ttft_p95_ms": 290.0}]).letter == "A"
    assert grade([GOOD | {"ttft_p95_ms": 600.0, "tpot_mean_ms": 60.0}]).letter == "C"


def test_what_is_not_known_is_named_and_not_graded_as_zero() -> None:
    found = grade([GOOD | {"output_throughput": None}])
    assert (found.letter, found.missing) == ("A", ("output throughput",))
    assert grade([{}]).letter is None
