"""Stages played in rounds by the installed command, and ended when their figures are known well enough."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree.ElementTree import fromstring

Run = Callable[..., subprocess.CompletedProcess[str]]
LOAD = ("--max-concurrency", "1", "2", "--num-prompts", "8", "--random-input-len", "8", "--random-output-len", "4",
        "--no-telemetry")  # fmt: skip
ROUNDS = ("--repeat", "6", "--shuffle-stages", "--seed", "3")


def test_a_run_ends_when_its_figures_are_known(inferometer: Run, simulator: str, tmp_path: Path) -> None:
    machines = ("--threshold", "ttft_p50<=1", "--junit", "j.xml", "--step-summary")
    words = ("run", "--base-url", simulator, *LOAD, *ROUNDS, "--until-precision", "ttft_mean:100%", *machines)
    done = inferometer(*words, "--run-dir", "run", GITHUB_STEP_SUMMARY=str(tmp_path / "step.md"))
    assert done.returncode == 1, done.stderr  # the threshold
    assert "3 rounds are enough: mean TTFT is known to" in done.stderr
    assert "concurrency 2: 3 repeats (stages" in done.stdout
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert [len(group["stages"]) for group in summary["repeats"]] == [3, 3]
    assert [stage["counts"]["ok"] for stage in summary["stages"]] == [8] * 6
    root = fromstring((tmp_path / "j.xml").read_text())
    assert (root.attrib["tests"], root.attrib["failures"]) == ("3", "2")
    assert (tmp_path / "step.md").read_text().startswith("## sweep on ")

    again = inferometer("run", "--resume", "run", "--junit", "again.xml")
    assert again.returncode == 1, again.stderr  # the threshold is still missed
    assert "is complete: 3 rounds are enough" in again.stderr
    assert (tmp_path / "again.xml").read_text() == (tmp_path / "j.xml").read_text()

    alike = inferometer("compare", "a=run", "b=run", "--metric", "ttft_p50", "--html", "page.html")
    assert alike.returncode == 0, alike.stderr
    assert "Runs: a 3, b 3." in alike.stdout
    assert (tmp_path / "page.html").stat().st_size < 3_000_000


def test_mistakes_are_told_before_anything_is_sent(inferometer: Run, simulator: str, tmp_path: Path) -> None:
    words = ("run", "--base-url", simulator, *LOAD, "--repeat", "3", "--until-precision", "ttft_p95:5% @ 64")
    done = inferometer(*words, "--run-dir", "run")
    assert done.returncode == 2
    assert "there is no such stage (there are concurrency 1, concurrency 2)" in done.stderr
    assert not (tmp_path / "run").exists()
