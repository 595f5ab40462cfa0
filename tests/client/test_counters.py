from pathlib import Path

import pytest
from cases import CASES, PLAIN
from exchanges import UNTIL_CLOSE, play

from inferometer.client.counters import ABORT, END_STAGE, STOP, Board, Counters, Totals
from inferometer.config.models import Phase
from inferometer.records.record import Record


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "board", 2, create=True)


def ok(ttft_ns: int) -> Record:
    return play([(ttft_ns, UNTIL_CLOSE + b"".join(PLAIN))], closed=True)


def test_workers_add_up_in_one_shared_file(board: Board, tmp_path: Path) -> None:
    for worker in (0, 1):
        counters = Counters(Board(tmp_path / "board", 2), worker)
        for _ in range(3):
            counters.started()
        counters.ended(ok(1000), closed=True)
        counters.ended(play([(0, UNTIL_CLOSE + b"".join(CASES["error_mid"].pieces))]), closed=True)
    assert board.totals()[:4] == (6, 4, 2, 10)
    board.clear()
    assert board.totals() == Totals(0, 0, 0, 0)


def test_failures_in_a_row_end_with_a_success(board: Board) -> None:
    counters = Counters(board, 0)
    bad = play([(0, UNTIL_CLOSE + b"".join(CASES["error_mid"].pieces))], closed=True)
    rows = []
    for record in (bad, bad, ok(1000), bad):
        counters.ended(record, closed=True)
        rows.append(board.totals().failed_in_a_row)
    assert rows == [1, 2, 2, 2]  # the most, so that a look that comes late does not miss them


def test_warm_up_is_no_success(board: Board) -> None:
    warm = play([(5, UNTIL_CLOSE + b"".join(PLAIN))], closed=True)
    fields = {name: getattr(warm, name) for name in warm.__struct_fields__} | {"phase": Phase.WARMUP}
    Counters(board, 0).ended(Record(**fields), closed=True)
    assert board.totals() == Totals(0, 1, 0, 0)


@pytest.mark.parametrize("ttft_ns", [1, 2_000, 1_000_000, 52_345_678, 10**10, 600 * 10**9])
def test_the_median_is_good_to_nine_percent(board: Board, ttft_ns: int) -> None:
    counters = Counters(board, 1)
    for _ in range(3):
        counters.ended(ok(ttft_ns), closed=True)
    totals = board.totals()
    assert totals.ttft_p50_ms == totals.ttft_p95_ms == totals.e2el_p95_ms
    assert totals.ttft_p50_ms == pytest.approx(max(ttft_ns, 1024) / 1e6, rel=0.09)


def test_orders_reach_everyone_and_outlive_a_stage(board: Board) -> None:
    counters = Counters(board, 1)
    assert not counters.stopping
    board.order(STOP)
    board.clear()
    assert (counters.stopping, counters.aborting) == (True, False)
    board.order(ABORT)
    assert counters.aborting


def test_the_end_of_a_stage_is_forgotten_with_it(board: Board) -> None:
    counters = Counters(board, 0)
    board.order(END_STAGE)
    assert (counters.stopping, counters.aborting) == (True, False)
    board.clear()
    assert not counters.stopping
