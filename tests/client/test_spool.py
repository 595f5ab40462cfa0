"""Requests through a pipe: whatever a job holds comes out again, and whoever reads never waits."""

import os
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import pytest
from exchanges import JOB
from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.client.exchange import Job
from inferometer.client.spool import READ_BYTES, Build, Spool, packed
from inferometer.config.models import Phase
from inferometer.workload.asks import Ask, Turn

HEAD = b"POST / HTTP/1.1\r\nauthorization: secret\r\n"
ORDER = Build(0, Phase.MEASURED, -1)

turns = st.builds(
    Turn, st.text(), st.none() | st.integers(0, 9), st.integers(1, 9), st.floats(0, 9), st.none() | st.text()
)
messages = st.lists(st.fixed_dictionaries({"role": st.text(), "content": st.text()}), min_size=1)
asks = st.builds(
    Ask,
    prompt=st.text() | st.lists(st.integers(0, 200_000)) | messages,
    prompt_tokens=st.none() | st.integers(1, 9),
    output_tokens=st.integers(1, 9),
    overrides=st.none() | st.dictionaries(st.text(), st.integers(0, 9) | st.lists(st.text())),
    request_class=st.none() | st.text(),
    group=st.none() | st.integers(0, 9),
    conversation=st.none() | st.integers(0, 9),
    turn=st.integers(0, 9),
    later=st.lists(turns, max_size=3).map(tuple),
    images=st.lists(st.text(), max_size=2).map(tuple),
)
jobs = st.builds(
    JOB._replace,
    number=st.integers(0, 2**40),
    phase=st.sampled_from(Phase),
    payload=st.binary(),
    model=st.none() | st.text(),
    ask=st.none() | asks,
)


class Ends(NamedTuple):
    """A spool, the end of the pipe that a builder writes to, and the orders that it got."""

    spool: Spool
    pipe: int
    orders: list[Build]


@pytest.fixture
def ends() -> Iterator[Ends]:
    reading, writing = os.pipe()
    orders: list[Build] = []
    yield Ends(Spool(reading, HEAD, orders.append), writing, orders)
    os.close(reading)
    with suppress(OSError):
        os.close(writing)


@settings(max_examples=40)
@given(st.lists(jobs, max_size=4), st.integers(1, 50))
def test_whatever_a_job_holds_comes_out_again(sent: list[Job], piece: int) -> None:
    reading, writing = os.pipe()
    spool = Spool(reading, HEAD, lambda _: None)
    spool.begin(ORDER)
    data = b"".join(packed(1, job) for job in sent) + packed(1, None)
    came: list[Job] = []
    for at in range(0, len(data), max(piece, len(data) // 40)):
        os.write(writing, data[at : at + max(piece, len(data) // 40)])
        came += spool.read()
    os.close(writing)
    os.close(reading)
    assert came == [job._replace(payload=HEAD + job.payload) for job in sent]
    assert spool.over
    assert not spool.lost


def test_the_head_is_not_in_the_pipe(ends: Ends) -> None:
    assert b"secret" not in packed(1, JOB)
    ends.spool.begin(ORDER)
    os.write(ends.pipe, packed(1, JOB))
    assert ends.spool.read()[0].payload == HEAD + JOB.payload


def test_an_empty_pipe_is_no_end(ends: Ends) -> None:
    ends.spool.begin(ORDER)
    assert ends.spool.read() == []
    assert (ends.spool.over, ends.spool.lost) == (False, False)


def test_a_builder_that_died_is_noticed(ends: Ends) -> None:
    ends.spool.begin(ORDER)
    os.write(ends.pipe, packed(1, JOB) + packed(1, JOB)[:-1])
    assert [job.number for job in ends.spool.read()] == [JOB.number]
    os.close(ends.pipe)
    ends.spool.wait(60)
    assert ends.spool.read() == []
    assert ends.spool.lost
    assert ends.spool.read() == []


def test_what_was_ordered_for_an_earlier_part_is_passed_over(ends: Ends) -> None:
    ends.spool.begin(ORDER)
    os.write(ends.pipe, packed(1, JOB)[:5])
    assert ends.spool.read() == []
    ends.spool.begin(Build(1, Phase.WARMUP, 6))
    os.write(ends.pipe, packed(1, JOB)[5:] + packed(1, None) + packed(2, JOB._replace(number=9)))
    assert [job.number for job in ends.spool.read()] == [9]
    assert not ends.spool.over
    assert ends.orders == [Build(0, Phase.MEASURED, -1, 1), Build(1, Phase.WARMUP, 6, 2)]


def test_an_order_that_nobody_reads_is_a_lost_builder() -> None:
    def give(_: Build) -> None:
        raise BrokenPipeError

    reading, writing = os.pipe()
    spool = Spool(reading, HEAD, give)
    spool.begin(ORDER)
    os.close(writing)
    os.close(reading)
    assert spool.lost


def test_one_read_takes_a_bounded_amount(ends: Ends) -> None:
    ends.spool.begin(ORDER)
    frame = packed(1, JOB._replace(payload=b"x" * 10_000))
    for _ in range(3 * READ_BYTES // len(frame)):
        os.write(ends.pipe, frame)
    assert 0 < len(ends.spool.read()) <= READ_BYTES // len(frame)
