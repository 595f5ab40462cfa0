"""The loop keeps its promises: exactly C in flight, every request at its scheduled time, nothing lost."""

import socket
import threading

import pytest
from cases import T
from exchanges import CHUNKED, chunk
from loopback import PATIENCE_S, STREAM, Serve, answering, listening, request, until_closed
from stages import Stage, play

from inferometer.client.counters import ABORT, STOP, Board
from inferometer.errors import UserError
from inferometer.records.record import Outcome, Stamps

MS = 1_000_000


class Gate:
    """Answers one request at a time, and only while ``slots`` are in flight or all ``total`` have been sent."""

    def __init__(self, slots: int, total: int) -> None:
        self._slots, self._total = slots, total
        self._changed = threading.Condition()
        self._arrived = self._answered = self.most = 0

    def serve(self, sock: socket.socket, _: int) -> None:
        while request(sock) is not None:
            with self._changed:
                self._arrived += 1
                self.most = max(self.most, self._arrived - self._answered)
                self._changed.notify_all()
                assert self._changed.wait_for(self._full, PATIENCE_S), "fewer in flight than the load asks for"
                self._answered += 1
                sock.sendall(STREAM)

    def _full(self) -> bool:
        return self._arrived == min(self._total, self._answered + self._slots)


@pytest.mark.parametrize(("slots", "total", "opened"), [(1, 6, 1), (5, 40, 5), (5, 40, 0), (8, 3, 0)])
def test_a_closed_loop_keeps_exactly_its_slots_busy(slots: int, total: int, opened: int) -> None:
    gate = Gate(slots, total)
    with listening(gate.serve) as port:
        played = play(port, Stage([0] * total, slots, opened=opened))
    assert [record.outcome for record in played.records] == [Outcome.OK] * total
    assert [record.index for record in played.records] == list(range(total))
    assert gate.most == min(slots, total)
    assert (played.tally.sent, played.tally.cap_hits) == (total, 0)


def test_a_closed_loop_schedules_at_the_send() -> None:
    with listening(answering(STREAM)) as port:
        records = play(port, Stage([0] * 8, slots=2, opened=2, head_start_ns=50 * MS)).records
    scheduled = [record.scheduled_ns for record in records]
    assert scheduled == sorted(scheduled)
    for record in records:
        assert record.sent_ns is not None
        assert record.sent_ns >= record.scheduled_ns
    ends = sorted(record.end_ns for record in records)
    assert all(later >= ended for later, ended in zip(scheduled[2:], ends, strict=False))


def test_an_open_loop_follows_its_schedule() -> None:
    offsets = [0, 3 * MS, 3 * MS, 40 * MS, 41 * MS]
    with listening(answering(STREAM)) as port:
        played = play(port, Stage(offsets, float("inf"), closed=False, opened=2))
    assert [record.scheduled_ns - played.start_ns for record in played.records] == offsets
    for record in played.records:
        assert record.outcome is Outcome.OK
        assert record.sent_ns is not None
        assert record.sent_ns >= record.scheduled_ns
    assert played.tally.cap_hits == 0


def test_a_late_send_keeps_its_scheduled_time() -> None:
    late_ns, offsets = 500 * MS, [0, 1 * MS, 2 * MS]
    with listening(answering(STREAM)) as port:
        played = play(port, Stage(offsets, float("inf"), closed=False, head_start_ns=late_ns))
    assert [record.scheduled_ns - played.start_ns for record in played.records] == offsets
    for record in played.records:
        assert record.sent_ns is not None
        assert record.sent_ns - record.scheduled_ns >= late_ns - 2 * MS


@pytest.mark.parametrize(("slots", "hits"), [(1, 4), (3, 2), (5, 0)])
def test_waiting_for_a_slot_is_counted_and_not_forgiven(slots: int, hits: int) -> None:
    gate = Gate(slots, 5)
    with listening(gate.serve) as port:
        played = play(port, Stage([0] * 5, slots, closed=False, opened=slots, head_start_ns=20 * MS))
    assert played.tally.cap_hits == hits
    assert gate.most == slots
    assert {record.scheduled_ns for record in played.records} == {played.start_ns}


def test_failures_are_rows_and_free_their_slots() -> None:
    refusal = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\n\r\n"
    with listening(answering(STREAM, refusal, refusal)) as port:
        records = play(port, Stage([0] * 6)).records
    assert [record.outcome for record in records] == [Outcome.OK, Outcome.HTTP_429, Outcome.HTTP_429] * 2


def test_nothing_starts_after_the_deadline() -> None:
    with listening(answering(STREAM)) as port:
        played = play(port, Stage([0] * 5, head_start_ns=10 * MS, deadline_ns=5 * MS))
    assert (played.tally.sent, played.records) == (0, [])


def test_stop_sends_nothing_new_and_waits_for_the_rest() -> None:
    def during(board: Board, index: int) -> None:
        if index == 3:
            board.order(STOP)

    with listening(answering(STREAM)) as port:
        played = play(port, Stage([0] * 50, during=during))
    assert [record.outcome for record in played.records] == [Outcome.OK] * 4


def half(sock: socket.socket, _: int) -> None:
    request(sock)
    sock.sendall(CHUNKED + chunk(T[0]))
    until_closed(sock)


@pytest.mark.parametrize("serve", [half, lambda sock, _: until_closed(sock)], ids=["half an answer", "none"])
def test_abort_ends_what_runs_and_keeps_its_row(serve: Serve) -> None:
    def during(board: Board, index: int) -> None:
        if index == 1:
            board.order(ABORT)

    with listening(serve) as port:
        records = play(port, Stage([0] * 5, slots=2, during=during)).records
    assert [record.outcome for record in records] == [Outcome.CLIENT_ABORTED] * 2


def test_our_own_bug_ends_the_stage_instead_of_hanging_it() -> None:
    def bug(_: object) -> Stamps:
        raise ZeroDivisionError("ours")

    with listening(answering(STREAM)) as port, pytest.raises(UserError, match="ours"):
        play(port, Stage([0] * 3, stamps_ns=bug))


def test_an_empty_share_ends_at_once() -> None:
    with listening(answering(STREAM)) as port:
        played = play(port, Stage([]))
    assert (played.tally.sent, played.records) == (0, [])
