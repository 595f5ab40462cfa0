import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.client import clock
from inferometer.client.clock import STEP_LIMIT_NS, RealtimeOffset


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**62), min_size=1))
def test_a_stamp_goes_there_and_back(stamps_ns: list[int]) -> None:
    offset = RealtimeOffset()
    assert offset.to_monotonic([offset.timespec(at_ns) for at_ns in stamps_ns]).tolist() == stamps_ns


def test_kernel_stamps_are_wall_clock() -> None:
    offset = RealtimeOffset()
    offset.offset_ns = 5_000_000_007
    assert offset.to_monotonic([struct.pack("qq", 9, 8)]).tolist() == [4_000_000_001]
    assert offset.to_monotonic([]).tolist() == []


def test_steps_are_counted_and_slewing_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([0, STEP_LIMIT_NS, -1, -1, 10**12])
    monkeypatch.setattr(clock, "_measure", lambda: next(readings))
    offset = RealtimeOffset()
    counted = []
    for _ in range(4):
        offset.sample()
        counted.append(offset.steps)
    assert counted == [0, 1, 1, 2]
    assert offset.offset_ns == 10**12
