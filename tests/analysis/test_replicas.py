"""Who answered how much, and whether that is even."""

import math

import pytest
from synthetic_run import failure, frame, record

from inferometer.analysis.replicas import chi_square_tail, evenness, replicas


def test_each_replica_has_its_numbers() -> None:
    rows = frame(
        record(0, ttft_ms=10, replica="b", prefix_group=0, cached_tokens=50),
        record(1, ttft_ms=20, replica="a", prefix_group=0, cached_tokens=0),
        record(2, ttft_ms=30, replica="a", prefix_group=1),
        record(3, ttft_ms=40, replica="a", prefix_group=1, cached_tokens=30),
        failure(4, replica=None),
    )
    first, second = replicas(rows, (50.0,)) or []
    assert (first["replica"], first["ok"], first["share"], first["groups"]) == ("a", 3, 0.75, 2)
    assert (second["replica"], second["ok"], second["share"], second["groups"]) == ("b", 1, 0.25, 1)
    assert first["hit_rate"] == pytest.approx(0.1)
    assert second["hit_rate"] == pytest.approx(0.5)
    assert first["metrics"]["ttft"]["median_ms"]["value"] == pytest.approx(30)


def test_without_names_there_is_nothing_to_tell() -> None:
    assert replicas(frame(record(0)), (50.0,)) is None
    assert evenness(frame(record(0))) is None
    assert evenness(frame(record(0, replica="only"))) is None


def test_evenness_compares_with_a_fair_share() -> None:
    names = ["a"] * 6 + ["b"] * 3 + ["c"] * 3
    found = evenness(frame(*(record(i, replica=name) for i, name in enumerate(names)))) or {}
    assert (found["replicas"], found["requests"]) == (3, 12)
    assert found["largest_of_fair"] == pytest.approx(1.5)
    assert found["smallest_of_fair"] == pytest.approx(0.75)
    assert found["chi_square"] == pytest.approx(1.5)
    assert found["p"] == pytest.approx(math.exp(-0.75))


# quantiles of the chi-square distribution as tables have them
@pytest.mark.parametrize(
    ("freedom", "statistic", "tail"),
    [(1, 3.841459, 0.05), (2, 5.991465, 0.05), (3, 7.814728, 0.05), (7, 18.475307, 0.01), (10, 2.558212, 0.99)],
)
def test_the_tail_is_that_of_the_tables(freedom: int, statistic: float, tail: float) -> None:
    assert chi_square_tail(statistic, freedom) == pytest.approx(tail, rel=1e-5)


def test_the_tail_is_one_at_zero_and_stays_a_probability() -> None:
    assert chi_square_tail(0.0, 4) == 1.0
    assert 0 <= chi_square_tail(1e5, 3) <= chi_square_tail(1e-9, 3) <= 1
