import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import NamedTuple

import pytest
from exchanges import JOB

from inferometer.client.exchange import Job
from inferometer.client.spool import Build, Spool, packed
from inferometer.client.supply import AHEAD, LATE_IN_A_ROW, Supply
from inferometer.config.models import Phase
from inferometer.workload.asks import Ask, Turn


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


class Elsewhere(NamedTuple):
    """A builder played by the test: ``build`` puts requests into its pipe."""

    supply: Supply
    pipe: int
    orders: list[Build]

    def build(self, *numbers: int) -> None:
        os.write(self.pipe, b"".join(packed(1, JOB._replace(number=number, model="elsewhere")) for number in numbers))

    def builders(self, *numbers: int) -> list[str | None]:
        return [self.supply.take(number).model for number in numbers]


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    """Four requests fit into memory; the fifth is in the pipe when the clock starts."""
    monkeypatch.setattr("inferometer.client.supply.BUDGET_BYTES", 4 * len(JOB.payload))
    reading, writing = os.pipe()
    orders: list[Build] = []

    def spool(after: int) -> Spool:
        spool = Spool(reading, b"", orders.append)
        spool.begin(Build(0, Phase.MEASURED, after))
        os.write(writing, packed(1, JOB._replace(number=4, model="elsewhere")))
        return spool

    yield Elsewhere(Supply(write, count(), endless=False, spool=spool), writing, orders)
    os.close(reading)
    with suppress(OSError):
        os.close(writing)


def test_what_does_not_fit_is_built_elsewhere(elsewhere: Elsewhere) -> None:
    assert elsewhere.orders == [Build(0, Phase.MEASURED, 3, 1)]
    assert len(elsewhere.supply) == 5
    elsewhere.build(*range(5, 20))
    elsewhere.supply.top_up()
    assert len(elsewhere.supply) == 5  # memory is full: the pipe has to wait
    assert elsewhere.builders(*range(20)) == ["m"] * 4 + ["elsewhere"] * 16
    assert elsewhere.supply.late_builds == 0


def test_a_load_that_fits_asks_nobody() -> None:
    def spool(_: int) -> Spool:
        raise AssertionError

    assert len(Supply(write, stride(30), endless=False, spool=spool)) == 10
    assert len(Supply(write, count(), endless=True, spool=spool)) == AHEAD  # and is cheap


def test_a_builder_that_is_behind_is_not_waited_for(elsewhere: Elsewhere) -> None:
    assert elsewhere.builders(*range(6)) == ["m"] * 4 + ["elsewhere", "m"]
    elsewhere.build(5, 6)
    assert elsewhere.builders(6) == ["elsewhere"]
    assert (len(elsewhere.supply), elsewhere.supply.late_builds) == (0, 1)


def test_a_builder_that_stays_behind_leaves_some_out(elsewhere: Elsewhere) -> None:
    elsewhere.builders(*range(5 + LATE_IN_A_ROW))
    assert elsewhere.supply.late_builds == LATE_IN_A_ROW
    last = 4 + LATE_IN_A_ROW
    assert elsewhere.orders[1:] == [Build(0, Phase.MEASURED, last + LATE_IN_A_ROW, 1)]
    elsewhere.build(last + LATE_IN_A_ROW + 1)
    assert set(elsewhere.builders(*range(last + 1, last + LATE_IN_A_ROW + 1))) == {"m"}
    assert elsewhere.builders(last + LATE_IN_A_ROW + 1) == ["elsewhere"]


def test_a_builder_that_died_is_replaced_by_the_worker(elsewhere: Elsewhere) -> None:
    elsewhere.build(5, 6)
    os.close(elsewhere.pipe)
    assert elsewhere.builders(*range(7)) == ["m"] * 4 + ["elsewhere"] * 3
    for _ in range(3):
        elsewhere.supply.top_up()
    assert elsewhere.builders(7, 8) == ["m", "m"]
    assert elsewhere.supply.late_builds == 0


def test_messages_that_follow_count_as_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inferometer.client.supply.BUDGET_BYTES", 1000)
    later = (Turn("x" * 250, 50, 5, 0.0),)
    supply = Supply(lambda index: write(index)._replace(ask=Ask("", 1, 1, later=later)), count(), endless=False)
    assert len(supply) == 4


def test_building_ahead_ends_where_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not where nobody else goes on."""
    monkeypatch.setattr("inferometer.client.supply.LONGEST_NS", 1)
    reading, writing = os.pipe()
    orders: list[Build] = []

    def spool(after: int) -> Spool:
        spool = Spool(reading, b"", orders.append)
        spool.begin(Build(0, Phase.MEASURED, after))
        os.write(writing, packed(1, None))
        return spool

    assert len(Supply(write, stride(30), endless=False, spool=spool)) == 1
    assert orders == [Build(0, Phase.MEASURED, 1, 1)]
    assert len(Supply(write, stride(30), endless=False)) == 10
    os.close(reading)
    os.close(writing)
