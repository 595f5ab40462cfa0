"""Several models behind one address: each has its own requests, failures and numbers."""

from __future__ import annotations

from pathlib import Path

from e2e.support import simulating
from faults.playing import QUICK, TRIALS, play
from faults.rows import Row, check

ROWS = (
    Row(
        "one of several models fails (`--models good bad`)",
        "a line for each model: `| good | 12 | 0 |`, `| bad | 0 | 12 |`",
        {"ok": 12, "http_5xx": 12},
        3,
        also="with the model that each was for",
    ),
)


def test_one_of_them_fails(tmp_path: Path) -> None:
    fault = f"status=503,model=bad,after_requests={TRIALS}"
    with simulating(*QUICK, "--fault", fault, "--model", "good", "bad") as url:
        played = play(url, tmp_path / "r", "--max-concurrency", 4, "--num-prompts", 24, "--models", "good", "bad")
    check(ROWS[0], played)
    assert set(played.rows("model", "outcome")) == {("good", "ok"), ("bad", "http_5xx")}
    counts = {one["model"]: (one["counts"]["ok"], one["counts"]["failed"]) for one in played.stage()["models"]}
    assert counts == {"good": (12, 0), "bad": (0, 12)}
    assert "ttft" in next(one["metrics"] for one in played.stage()["models"] if one["model"] == "good")
