from collections.abc import Iterator
from itertools import count

import pytest
from exchanges import JOB

from inferometer.client.exchange import Job
from inferometer.client.supply import AHEAD, Supply


def write(index: int) -> Job:
    return JOB._replace(number=index)


def stride(total: int) -> Iterator[int]:
    return iter(range(1, total, 3))


def test_everything_is_built_before_the_clock() -> None:
    supply = Supply(write, stride(30), endless=False)
    assert len(supply) == 10
    assert [supply.take(index).number for index in stride(30)] == list(stride(30))
    assert (len(supply), supply.late_builds) == (0, 0)


def test_an_endless_load_is_built_ahead_and_topped_up() -> None:
    supply = Supply(write, count(), endless=True)
    assert len(supply) == AHEAD
    for index in range(2 * AHEAD):
        assert supply.take(index).number == index
        supply.top_up()
    assert supply.late_builds == 0


def test_what_is_built_at_send_time_is_counted() -> None:
    supply = Supply(write, iter(()), endless=False)
    supply.top_up()
    assert supply.take(5).number == 5
    assert supply.late_builds == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inferometer.client.supply.BUDGET_BYTES", 10 * len(JOB.payload))
    supply = Supply(write, count(), endless=False)
    assert len(supply) == 10


def test_a_supply_that_fell_behind_catches_up() -> None:
    """More in flight than are built ahead: what was built late is not built again."""
    supply = Supply(write, count(), endless=True)
    taken = iter(count())
    for _ in range(AHEAD + 500):
        supply.take(next(taken))
    for _ in range(1000):
        supply.top_up()
    assert supply.late_builds == 500
    for _ in range(1000):
        supply.take(next(taken))
    assert supply.late_builds == 500
    assert len(supply) == 0
