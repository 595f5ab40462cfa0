"""The command on run directories that are written here, with known latencies: no server is needed."""

from __future__ import annotations

import argparse
import csv
import io
import json
from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from written_runs import write_run

from inferometer.cli import compare
from inferometer.errors import UserError
from inferometer.records import store


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
        (["base", "base/plan.yaml"], "base/plan.yaml: not a run directory, and no result"),
        (["base", "base/context.json"], "base/context.json: not a run directory, and no result"),
        (["base", "old.json"], "another version"),
        (["--history", "broken"], "cannot be read"),
        (["base", "slow", "--metric", "ttfx_p50"], "did you mean"),
        (["base", "slow", "--fail-on-regression", "ttft_p95"], "is no rule"),
        (["base", "slow", "--threshold", "ttft_p95<1"], "is no threshold"),
        (["base", "slow", "--step-summary"], "GITHUB_STEP_SUMMARY is not set"),
        (["base", "slow", "--step-summary", "no/folder/x.md"], "there is no folder no/folder"),
        (["base", "slow", "--junit", "."], "that is a folder"),
        (["--step-summary", "base", "again", "slow"], "put the flag behind the runs"),
        (["--step-summary", "old.json", "base", "slow"], "that is a result"),
        (["base", "slow", "--metric", "goodput_per_s"], "none of goodput_per_s in common"),
        (["base", "slow", "--output", "no/such/folder/x"], "cannot write"),
        (["--save-baseline", "a/b", "base"], "is no name for a baseline"),
        (["--save-baseline", "a"], "needs the run to remember"),
        (["--history", "base"], "runs that have ended"),
    ],
)
def test_mistakes_are_one_sentence(words: list[str], told: str) -> None:
    with pytest.raises(UserError, match=told):
        command(*words)


def test_a_page_and_the_verdict_for_github(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, summary = tmp_path / "page.html", tmp_path / "summary.md"
    assert command("base", "slow", "--html", str(page), "--step-summary", str(summary)) == 0
    assert str(page) in capsys.readouterr().err
    text = page.read_text()
    assert "slow: worse" in text
    assert len(text) < 3_000_000
    told = summary.read_text()
    assert told.startswith("## slow against base\n\n**slow: worse.** ")
    assert "<details>" in told


def test_a_rule_that_cannot_be_judged_is_skipped_not_kept(runs: Path, tmp_path: Path) -> None:
    from inferometer.analysis.load import summary_of

    (tmp_path / "old.json").write_text(json.dumps(summary_of(runs / "base")))
    words = ("--fail-on-regression", "requests_per_s>10%", "--junit", str(tmp_path / "j.xml"))
    assert command(f"old={tmp_path / 'old.json'}", "slow", *words) == 0
    root = fromstring((tmp_path / "j.xml").read_text())
    assert (root.attrib["tests"], root.attrib["failures"], root.attrib["skipped"]) == ("2", "0", "2")
    assert len(root.findall(".//skipped")) == 2


def test_without_a_rule_what_cannot_be_judged_is_skipped_too(runs: Path, tmp_path: Path) -> None:
    from inferometer.analysis.load import summary_of

    (tmp_path / "old.json").write_text(json.dumps(summary_of(runs / "base")))
    words = ("--metric", "requests_per_s", "--fail-on-regression", "--junit", str(tmp_path / "j.xml"))
    assert command(f"old={tmp_path / 'old.json'}", "slow", *words) == 0
    root = fromstring((tmp_path / "j.xml").read_text())
    assert (root.attrib["tests"], root.attrib["skipped"]) == ("2", "2")


def test_repeats_inside_a_run_tell_its_spread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        write_run(tmp_path / name, seed, levels=(2,), repeats=3)
    assert command(str(tmp_path / "a"), str(tmp_path / "b"), "--metric", "ttft_p50") == 0
    assert "Runs: a 3, b 3." in capsys.readouterr().out
