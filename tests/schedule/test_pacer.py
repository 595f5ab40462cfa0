"""What is due is handed out in order, once, with the time it was due, however late somebody asks."""

import asyncio
import time
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.schedule.pacer import Due, Pacer

MS = 1_000_000


def with_pacer(offsets: list[int], start_ns: int, act: Callable[[Pacer], None]) -> None:
    loop = asyncio.new_event_loop()
    try:
        pacer = Pacer(loop, iter(enumerate(offsets)), start_ns, lambda: None)
        act(pacer)
        pacer.stop()
    finally:
        loop.close()


@settings(deadline=None)
@given(st.lists(st.integers(0, 1000)).map(sorted), st.lists(st.integers(0, 1100)).map(sorted))
def test_never_early_and_never_forgiven(offsets: list[int], moments: list[int]) -> None:
    start_ns = 5_000

    def act(pacer: Pacer) -> None:
        taken: list[Due] = []
        for moment in moments:
            while (due := pacer.take(start_ns + moment)) is not None:
                taken.append(due)
            assert taken == [Due(i, start_ns + at) for i, at in enumerate(offsets) if at <= moment]

    with_pacer(offsets, start_ns, act)


def test_spare_time_ends_before_the_next_send() -> None:
    def act(pacer: Pacer) -> None:
        assert 0 < pacer.spare_ns(0) < 50 * MS
        assert pacer.spare_ns(50 * MS) <= 0
        assert pacer.spare_ns(500 * MS) >= 1000 * MS  # it waits for a slot, not for time
        pacer.take(500 * MS)
        assert pacer.spare_ns(500 * MS) >= 1000 * MS

    with_pacer([50 * MS], 0, act)


def test_stopped_means_nothing_more() -> None:
    def act(pacer: Pacer) -> None:
        pacer.stop()
        assert (pacer.head, pacer.take(10**18)) == (None, None)

    with_pacer([1, 2, 3], 0, act)


def test_it_wakes_for_every_arrival() -> None:
    async def run() -> list[tuple[int, int]]:
        taken: list[tuple[int, int]] = []
        over = asyncio.Event()

        def wake() -> None:
            while (due := pacer.take(time.monotonic_ns())) is not None:
                taken.append((due.number, time.monotonic_ns() - due.at_ns))
            if pacer.head is None:
                over.set()

        start_ns = time.monotonic_ns()
        pacer = Pacer(asyncio.get_running_loop(), iter(enumerate([0, 2 * MS, 2 * MS, 9 * MS])), start_ns, wake)
        await asyncio.wait_for(over.wait(), 20)
        pacer.stop()
        return taken

    taken = asyncio.run(run())
    assert [number for number, _ in taken] == [0, 1, 2, 3]
    assert min(late_ns for _, late_ns in taken) >= 0
