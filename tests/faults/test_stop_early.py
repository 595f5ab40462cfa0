"""Rules that end a stage before its time: it says why, skips the stages after it, and keeps what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.support import simulating
from faults.playing import QUICK, TRIALS, play
from faults.rows import Row, check, models

SHARE = Row(
    "`--stop-failed-share 0.2`, and every fourth request fails",
    "`stage 1 was stopped early:`, `requests failed (limit 20 %); 2 later stages skipped`",
    {"ok": None, "http_5xx": None},
    3,
    spec=(f"status=500,every=4,after_requests={TRIALS}",),
    flags="--stop-failed-share 0.2",
)
LITTLE = Row(
    "`--stop-failed-share 0.01`, and one request in 40 fails",
    "`requests failed (limit 1 %); 2 later stages skipped`",
    {"ok": None, "http_5xx": None},
    1,
    spec=(f"status=500,every=40,after_requests={TRIALS}",),
    flags="--stop-failed-share 0.01",
)
IN_A_ROW = Row(
    "`--stop-failures 5`, and nothing works any more",
    "`requests in a row failed (limit 5); 2 later stages skipped`",
    {"ok": None, "http_5xx": None},
    3,
    spec=(f"status=500,after_requests={TRIALS + 20}",),
    flags="--stop-failures 5",
)
FIRST_TOKEN = Row(
    "`--stop-ttft-p95 100`, and first tokens take 200 ms",
    "`p95 TTFT reached about`, `(limit 100 ms); 2 later stages skipped`",
    {"ok": None},
    1,
    spec=(f"slow_headers=200,after_requests={TRIALS}",),
    flags="--stop-ttft-p95 100",
)
WHOLE = Row(
    "`--stop-e2el-p95 100`, and answers take 200 ms",
    "`p95 E2EL reached about`, `(limit 100 ms); 2 later stages skipped`",
    {"ok": None},
    1,
    spec=(f"stall,after_tokens=3,for_ms=200,after_requests={TRIALS}",),
    flags="--stop-e2el-p95 100",
)
LATER = Row(
    "`--stop-ttft-p95 100`, and the last of three stages is slow",
    "`stage 3 was stopped early:`",
    {"ok": None},
    1,
    spec=(f"slow_headers=200,after_requests={TRIALS + 400}",),
    flags="--stop-ttft-p95 100 --max-concurrency 4 5 6 --num-prompts 200",
    also="of all three stages",
)
ROWS = (SHARE, LITTLE, IN_A_ROW, FIRST_TOKEN, WHOLE, LATER)
LOAD = ("--max-concurrency", 4, 5, 6, "--num-prompts", 4000)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with simulating(*QUICK, *models(ROWS, "right")) as url:
        yield url


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(row: Row, server: str, tmp_path: Path) -> None:
    played = play(server, tmp_path / "r", *row.load(LOAD), "--model", row.name, flags=row.flags)
    check(row, played)
    stages = played.summary["stages"]
    ended = [stage["counts"]["ok"] + stage["counts"]["failed"] for stage in stages]
    assert ended[:-1] == ([200, 200] if row is LATER else [])
    assert ended[-1] < (200 if row is LATER else 2000)


def test_rules_that_hold_change_nothing(server: str, tmp_path: Path) -> None:
    rules = ("--stop-failed-share", 0.5, "--stop-failures", 5, "--stop-ttft-p95", 60000, "--stop-e2el-p95", 60000)
    load = ("--max-concurrency", 4, 8, "--num-prompts", 40)
    played = play(server, tmp_path / "r", *load, *rules, "--model", "right")
    assert played.code == 0, played.text
    assert "stopped early" not in played.text
    assert len(played.measured("outcome")) == 80


def test_a_warm_up_breaks_no_rule(server: str, tmp_path: Path) -> None:
    load = ("--max-concurrency", 4, "--num-prompts", 40, "--num-warmups", 40, "--stop-failed-share", 0.5)
    played = play(server, tmp_path / "r", *load, "--model", "right")
    assert played.code == 0, played.text
    assert len(played.measured("outcome")) == 40
