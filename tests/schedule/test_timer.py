"""Only what does not depend on how busy the machine is: order, never early, once, and nothing after the end."""

import asyncio
import time
from collections.abc import Callable

import pytest
import uvloop

from inferometer.schedule import timer as timer_module
from inferometer.schedule.timer import Timer

MS = 1_000_000
Loops = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def new_loop(request: pytest.FixtureRequest) -> Loops:
    loops: Loops = request.param
    return loops


@pytest.fixture(params=["timerfd", "fallback"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "fallback":
        monkeypatch.setattr(timer_module, "_open_timerfd", lambda: None)
    return str(request.param)


def test_rings_once_and_never_early(new_loop: Loops, kind: str) -> None:
    async def rings() -> tuple[int, list[int]]:
        rung: list[int] = []
        once = asyncio.Event()

        def ring() -> None:
            rung.append(time.monotonic_ns())
            once.set()

        timer = Timer(asyncio.get_running_loop(), ring)
        at_ns = time.monotonic_ns() + 5 * MS
        timer.arm(at_ns)
        await asyncio.wait_for(once.wait(), 10)
        await asyncio.sleep(0.02)
        timer.close()
        return at_ns, rung

    with asyncio.Runner(loop_factory=new_loop) as runner:
        at_ns, rung = runner.run(rings())
    assert len(rung) == 1
    # The loop's own timers, which the fallback uses, are on a grid of 1 ms.
    assert rung[0] >= at_ns - (0 if kind == "timerfd" else 2 * MS)


def test_a_moment_in_the_past_rings_at_once(new_loop: Loops, kind: str) -> None:
    async def waits() -> None:
        rung = asyncio.Event()
        timer = Timer(asyncio.get_running_loop(), rung.set)
        for at_ns in (0, -5, time.monotonic_ns() - 1):
            timer.arm(at_ns)
            await asyncio.wait_for(rung.wait(), 10)
            rung.clear()
        timer.close()

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(waits())


@pytest.mark.parametrize("end", [Timer.disarm, Timer.close])
def test_nothing_rings_after_disarm_or_close(new_loop: Loops, kind: str, end: Callable[[Timer], None]) -> None:
    async def rings() -> list[str]:
        rung: list[str] = []
        loop = asyncio.get_running_loop()
        replaced, ended = Timer(loop, lambda: rung.append("replaced")), Timer(loop, lambda: rung.append("ended"))
        replaced.arm(time.monotonic_ns() + 2 * MS)
        replaced.arm(time.monotonic_ns() + 3_600_000 * MS)
        ended.arm(time.monotonic_ns() + 2 * MS)
        end(ended)
        await asyncio.sleep(0.03)
        replaced.close()
        ended.close()
        return rung

    with asyncio.Runner(loop_factory=new_loop) as runner:
        assert runner.run(rings()) == []


def test_the_callback_may_arm_again(new_loop: Loops, kind: str) -> None:
    async def rings() -> list[int]:
        rung: list[int] = []
        done = asyncio.Event()

        def again() -> None:
            rung.append(time.monotonic_ns())
            if len(rung) == 5:
                done.set()
            else:
                timer.arm(rung[-1] + MS)

        timer = Timer(asyncio.get_running_loop(), again)
        timer.arm(time.monotonic_ns())
        await asyncio.wait_for(done.wait(), 10)
        timer.close()
        return rung

    with asyncio.Runner(loop_factory=new_loop) as runner:
        rung = runner.run(rings())
    assert rung == sorted(rung)
    assert len(rung) == 5
