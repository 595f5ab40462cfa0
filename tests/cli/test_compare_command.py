"""The command on run directories that are written here, with known latencies: no server is needed."""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import fromstring

import numpy as np
import pytest

from inferometer.cli import compare
from inferometer.config import files
from inferometer.config.models import Plan
from inferometer.errors import UserError
from inferometer.records import store
from inferometer.records.record import Record

MS = 1_000_000


def write_run(
    folder: Path,
    seed: int,
    *,
    slower: float = 1.0,
    output_tokens: int = 4,
    levels: tuple[int, ...] = (2, 8),
    failed: int = 0,
) -> Path:
    """A finished run: 100 requests at each level, TTFT lognormal around 50 ms x ``slower``, gaps of 10 ms."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    stages = [{"load": {"type": "closed", "concurrency": level}, "num_requests": 100} for level in levels]
    plan = Plan.model_validate(
        {
            "target": {"name": "sim", "base_url": "http://127.0.0.1:1", "model": "tiny"},
            "scenario": {"stages": stages},
        }
    )
    (folder / store.PLAN).write_text(files.dump(plan))
    told = {"schema_version": 1, "state": "complete", "started": f"2026-01-{seed + 1:02}T00:00:00+00:00"}
    (folder / store.CONTEXT).write_text(json.dumps(told | {"client": {"system": "Linux", "cpus_allowed": 2}}))
    writer = store.Writer(folder, 0)
    ttft_ms = slower * 50 * np.exp(0.1 * rng.standard_normal(100 * len(levels)))
    writer.append(
        [_row(number, float(ttft), output_tokens, number % 100 < failed) for number, ttft in enumerate(ttft_ms)]
    )
    writer.close()
    store.finish(folder)
    return folder


def _row(number: int, ttft_ms: float, tokens: int, bad: bool) -> Record:
    sent_ns = number * 200 * MS
    events = (sent_ns + ttft_ms * MS + 10 * MS * np.arange(tokens)).astype(np.int64)
    times: dict[str, Any] = {"first_token_ns": int(events[0]), "last_token_ns": int(events[-1]), "event_ns": events}
    if bad:
        times = {"event_ns": np.zeros(0, np.int64)}
    return Record(
        stage=number // 100,
        worker=0,
        index=number % 100,
        phase="measured",
        scheduled_ns=sent_ns,
        sent_ns=sent_ns,
        end_ns=int(events[-1]),
        outcome="http_5xx" if bad else "ok",
        asked_prompt_tokens=100,
        asked_output_tokens=tokens,
        prompt_tokens=100,
        output_tokens=None if bad else tokens,
        prompt_tokens_source="usage",
        output_tokens_source="usage",
        model="tiny",
        model_answered="tiny",
        clock="kernel",
        reads=tokens,
        **times,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``base`` and ``again`` are alike, ``slow`` has TTFT + 30 %, ``long`` another workload; ``many`` holds repeats."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "base", 1)
    write_run(folder / "again", 2)
    write_run(folder / "slow", 3, slower=1.3)
    write_run(folder / "long", 4, output_tokens=8)
    write_run(folder / "other", 5, levels=(4, 8))
    (folder / "old.json").write_text('{"tool": "inferometer", "schema_version": 0, "stages": []}')
    (folder / "broken" / "run").mkdir(parents=True)
    (folder / "broken" / "run" / store.SUMMARY).write_text('{"target": {}, "stages": [{"lengths": {}}]}')
    for number in range(3):
        write_run(folder / "many" / f"run-{number}", 10 + number)
    return folder


@pytest.fixture(autouse=True)
def inside(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def command(*words: str) -> int:
    parser = argparse.ArgumentParser()
    compare.arguments(parser)
    return compare.run(parser.parse_args(words))


def test_runs_that_are_alike_have_no_regression(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("base", "again", "--fail-on-regression") == 0
    shown = capsys.readouterr()
    assert "| stage         | figure" in shown.out
    assert "again / base" in shown.out
    assert "regression" not in shown.out
    assert shown.err == ""


def test_a_regression_is_named_and_ends_with_1_only_where_a_rule_asks(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("base", "slow") == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "concurrency 8: TTFT p50" in told
    assert "worse by more than the limit of 5.0 % and the noise." in told
    assert command("base", "slow", "--fail-on-regression", "ttft_p50>10%") == 1
    assert "ttft_p50>10%: concurrency 2: TTFT p50" in capsys.readouterr().err
    assert command("base", "slow", "--fail-on-regression", "ttft_p50>60%") == 0
    assert command("slow", "base", "--fail-on-regression") == 0


def test_another_workload_is_refused_unless_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"not alike: output tokens asked: base: 4, long: 8 .*--anyway"):
        command("base", "long")
    assert command("base", "long", "--anyway") == 0
    assert capsys.readouterr().out.startswith("NOT ALIKE: output tokens asked")


def test_stages_that_not_all_have_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("base", "other") == 0
    assert "not compared: concurrency 2, concurrency 4" in capsys.readouterr().out


def test_a_folder_and_a_label_make_repeats(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("many", "new=base", "new=again", "--metric", "ttft_p50") == 0
    shown = capsys.readouterr().out
    assert "Runs: many 3, new 2." in shown
    assert "new / many" in shown
    assert "E2EL" not in shown


def test_a_baseline_is_kept_by_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    kept = ("--baselines", str(tmp_path / "kept"))
    assert command("--save-baseline", "main", "many", *kept) == 0
    assert command("--baseline", "main", "slow", "--fail-on-regression", "ttft_mean>10%", *kept) == 1
    assert "slow / main" in capsys.readouterr().out
    pointer = json.loads((tmp_path / "kept" / "main.json").read_text())
    assert len(pointer["runs"]) == 3
    with pytest.raises(UserError, match=r"no baseline 'mian'.*known: main"):
        command("--baseline", "mian", "slow", *kept)


def test_thresholds_are_about_the_new_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("slow", "base", "--threshold", "ttft_p95_ms<=70", "--threshold", "success_rate>=99%") == 0
    assert command("base", "slow", "--threshold", "ttft_p95_ms<=70@8") == 1
    assert "concurrency 8: TTFT p95" in capsys.readouterr().out


def test_machines_get_xml_and_a_step_summary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    words = ("--fail-on-regression", "ttft_p50>10% @ 8", "--threshold", "success_rate>=0.9", "--step-summary")
    assert (
        command("base", "slow", *words, "--junit", str(tmp_path / "j.xml"), "--output", str(tmp_path / "out.txt")) == 1
    )
    root = fromstring((tmp_path / "j.xml").read_text())
    assert (root.attrib["tests"], root.attrib["failures"]) == ("3", "1")
    text = summary.read_text()
    assert text.startswith("before\n## slow against base: 1 of 3 missed")
    assert "slow / base" in (tmp_path / "out.txt").read_text()


@pytest.mark.parametrize("form", ["markdown", "csv", "json"])
def test_other_forms(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("base", "slow", "--format", form) == 0
    text = capsys.readouterr().out
    if form == "json":
        rows = json.loads(text)["comparison"]["rows"]
        assert {row["label"] for row in rows} == {"slow"}
    elif form == "csv":
        assert {row["stage"] for row in csv.DictReader(io.StringIO(text))} == {"concurrency 2", "concurrency 8"}
    else:
        assert "| concurrency 8 | TTFT p50" in text


def test_a_summary_file_will_do(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from inferometer.analysis.load import summary_of

    (tmp_path / "old.json").write_text(json.dumps(summary_of(runs / "base")))
    assert command(f"old={tmp_path / 'old.json'}", "slow", "--fail-on-regression", "ttft_p50>10%") == 1
    assert "not judged" in capsys.readouterr().out  # throughput has no interval without rows


def test_results_of_other_tools_stand_beside_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Our base beside itself as vLLM's JSON: where definitions agree there is no difference."""
    from inferometer.cli import main

    assert main(["export", "base", "--to", "vllm", "--output", str(tmp_path / "native")]) == 0
    capsys.readouterr()
    assert command("base", f"vllm={tmp_path / 'native'}", "--metric", "ttft_mean", "--anyway") == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "mean TTFT" in line and line.startswith("|")]
    assert lines
    assert all("+0.0 %" in line for line in lines), lines
    with pytest.raises(UserError, match="vllm is a result of another tool"):
        command("base", f"vllm={tmp_path / 'native'}", "--threshold", "ttft_p95_ms<=200", "--anyway")


def test_history_tells_trends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from inferometer.analysis.load import summary_of

    for number, slower in enumerate([1.0] * 6 + [1.5] * 6):
        folder = write_run(tmp_path / f"run-{number:02}", number, slower=slower, levels=(2,))
        (folder / store.SUMMARY).write_text(json.dumps(summary_of(folder)))
    assert command("--history", str(tmp_path), "--metric", "ttft_p50") == 0
    assert "TTFT p50 is worse from run-06" in " ".join(capsys.readouterr().out.split())
    assert command("--history", str(tmp_path), "--format", "json") == 0
    assert len(json.loads(capsys.readouterr().out)["trends"]) > 3
    assert command("--history", str(tmp_path), "--format", "csv") == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["base"], "needs two runs or more"),
        (["base", "nowhere"], "nowhere is neither a run directory"),
        (["base", "base/plan.yaml"], "base/plan.yaml: no result of another tool"),
        (["base", "base/context.json"], "base/context.json: no result of another tool"),
        (["base", "old.json"], "another version"),
        (["--history", "broken"], "cannot be read"),
        (["base", "slow", "--metric", "ttfb_p50"], "did you mean"),
        (["base", "slow", "--fail-on-regression", "ttft_p95"], "is no rule"),
        (["base", "slow", "--threshold", "ttft_p95<1"], "is no threshold"),
        (["base", "slow", "--step-summary"], "GITHUB_STEP_SUMMARY is not set"),
        (["base", "slow", "--output", "no/such/folder/x"], "cannot write"),
        (["--save-baseline", "a/b", "base"], "is no name for a baseline"),
        (["--save-baseline", "a"], "needs the run to remember"),
        (["--history", "base"], "runs that have ended"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        command(*words)
