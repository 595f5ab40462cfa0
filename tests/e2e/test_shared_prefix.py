"""Shared prefixes through the installed command: hit rates as computed, warm below cold, replicas side by side."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from e2e.support import COMMAND, environment, rows, simulating
from inferometer.analysis.prefixes import perfect_hit_rate

GROUPS, PER_GROUP, PREFIX, QUESTION = 5, 8, 4000, 90
ROUND = GROUPS * PER_GROUP
SHAPE = ("--dataset-name", "shared_prefix", "--num-groups", GROUPS, "--prompts-per-group", PER_GROUP)
LENGTHS = ("--prefix-repetition-prefix-len", PREFIX, "--prefix-repetition-suffix-len", QUESTION)


class Played(NamedTuple):
    """What a run left behind, and what it printed."""

    stages: list[dict[str, Any]]
    rows: dict[str, Any]
    console: str


def play(folder: Path, *simulator: object, flags: tuple[object, ...]) -> Played:
    with simulating(*simulator) as url:
        words = ("run", "--base-url", url, *SHAPE, *LENGTHS, "--random-output-len", 2, *flags, "--run-dir", "out")
        done = subprocess.run(
            [COMMAND, *map(str, words)],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    summary = json.loads((folder / "out" / "summary.json").read_text())
    return Played(summary["stages"], rows(folder / "out"), done.stdout)


@pytest.fixture(scope="module")
def two_stages(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """One client, then two, against one cache; a round of requests each."""
    flags = ("--max-concurrency", 1, 2, "--num-prompts", ROUND)
    return play(tmp_path_factory.mktemp("prefix"), flags=flags)


def part(played: Played, stage: int, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in played.stages[stage]["prefixes"] if one["part"] == name)
    return found


def test_the_server_got_what_was_asked(two_stages: Played) -> None:
    sent = two_stages.rows
    assert set(sent["prompt_tokens"]) == {PREFIX + QUESTION}
    for stage in (0, 1):
        assert Counter(sent["prefix_group"][sent["stage"] == stage]) == dict.fromkeys(range(GROUPS), PER_GROUP)


def test_the_hit_rate_is_the_analytic_one(two_stages: Played) -> None:
    first = two_stages.rows["stage"] == 0
    order = two_stages.rows["prefix_group"][first][np.argsort(two_stages.rows["sent_ns"][first])]
    wanted = perfect_hit_rate(order.tolist(), PREFIX, QUESTION)
    assert wanted == pytest.approx((ROUND - GROUPS) * PREFIX / (ROUND * (PREFIX + QUESTION)))
    assert part(two_stages, 0, "all")["hit_rate"] == pytest.approx(wanted, abs=0.02)
    assert part(two_stages, 0, "all")["perfect_hit_rate"] == pytest.approx(wanted)
    assert part(two_stages, 0, "cold")["hit_rate"] == pytest.approx(0, abs=0.02)
    assert part(two_stages, 0, "warm")["hit_rate"] == pytest.approx(PREFIX / (PREFIX + QUESTION), abs=0.02)


def test_warm_is_faster_than_cold(two_stages: Played) -> None:
    """4,000 tokens cost the simulated engine 70 ms."""
    cold, warm = (part(two_stages, 0, name) for name in ("cold", "warm"))
    assert (cold["ok"], warm["ok"]) == (GROUPS, ROUND - GROUPS)
    assert warm["metrics"]["ttft"]["median_ms"]["value"] < cold["metrics"]["ttft"]["median_ms"]["value"] - 30
    assert warm["metrics"]["ttft"]["count"] == ROUND - GROUPS


def test_the_second_stage_profits_from_beginnings_and_not_from_questions(two_stages: Played) -> None:
    second = two_stages.rows["stage"] == 1
    assert set(two_stages.rows["cached_tokens"][second]) == {PREFIX}
    assert [one["part"] for one in two_stages.stages[1]["prefixes"]] == ["all", "warm"]


def test_the_console_shows_both_sides(two_stages: Played) -> None:
    assert two_stages.console.count("Shared Prefixes") == 2
    assert "| cold   | 5 " in two_stages.console
    assert "Median TTFT warm / cold: 0." in two_stages.console
    assert "Replicas" not in two_stages.console


def test_replicas_name_themselves_and_share_the_load(tmp_path: Path) -> None:
    flags = (
        *("--max-concurrency", 1, "--num-prompts", 30, "--num-warmups", 3),
        *("--replica-header", "X-Replica", "--new-prefixes", "--prefix-popularity", 1),
    )
    played = play(tmp_path, "--replicas", 3, "--routing", "round-robin", flags=flags)
    [stage] = played.stages
    assert [one["replica"] for one in stage["replicas"]] == ["replica-0", "replica-1", "replica-2"]
    assert [one["requests"] for one in stage["replicas"]] == [10, 10, 10]
    assert stage["evenness"]["largest_of_fair"] == 1
    assert stage["evenness"]["p"] == pytest.approx(1)
    measured = played.rows["phase"] == "measured"
    pairs = set(zip(played.rows["replica"][measured], played.rows["prefix_group"][measured], strict=True))
    # every replica computes a beginning once, whatever the warm-up asked
    assert Counter(played.rows["cached_tokens"][measured] == 0)[True] == len(pairs)
    assert "p of an even choice: 1.00" in played.console
