"""JUnit XML and step summaries of runs: what failed there ends the command with another code than 0."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import pytest
from written_runs import write_run

from inferometer.analysis.load import summary_of
from inferometer.cli import main
from inferometer.records import store
from inferometer.report.judgements import cases


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "one"
    return write_run(folder, 1, failed=4, repeats=2, thresholds=["ttft_p50<=1 @ 8", "success_rate>=90%"])


@pytest.fixture(autouse=True)
def no_actions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


def read(path: Path) -> Element:
    return fromstring(path.read_text())


def test_a_report_has_the_thresholds_of_the_plan_and_those_asked_for(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    words = ["--threshold", "ttft_p50<=100 @ 2", "--junit", str(tmp_path / "j.xml"), "--step-summary"]
    assert main(["report", str(run), "--output", str(tmp_path / "out.txt"), *words]) == 0
    root = read(tmp_path / "j.xml")
    assert (root.attrib["tests"], root.attrib["failures"]) == ("5", "1")
    assert {case.attrib["name"] for case in root.iter("testcase")} == {
        "ttft_p50<=1 @ 8",
        "success_rate>=90%",
        "ttft_p50<=100 @ 2",
        "failed requests<=5%",
    }
    told = (tmp_path / "step.md").read_text()
    assert told.startswith("## sweep on tiny: 1 of 5 missed")
    assert "| concurrency | repeats |" in told


def test_pages_and_records_show_the_thresholds_of_the_plan(run: Path, tmp_path: Path) -> None:
    for form in ("html", "markdown"):
        assert main(["report", str(run), "--format", form, "--output", str(tmp_path / form)]) == 0
        text = (tmp_path / form).read_text()
        assert "ttft_p50&lt;=1 @ 8" in text
        assert "missed" in text


def test_stages_of_one_load_have_a_limit_each_on_the_page(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "alike", 4, levels=(2, 2), thresholds=["ttft_p50<=1000"])
    page = tmp_path / "page.html"
    assert main(["report", str(folder), "--format", "html", "--output", str(page)]) == 0
    columns = page.read_text().partition("limit, by stage</th>")[2].partition("</tr>")[0]
    assert columns.count("<th ") == 2
    assert "2 #1" in columns


def test_failures_and_verdicts_are_cases_as_they_are_exit_codes(tmp_path: Path) -> None:
    summary = summary_of(write_run(tmp_path / "bad", 2, levels=(2,), failed=6))
    (answered,) = cases(summary, "bad")
    assert (answered.group, answered.passed, answered.sentence) == (
        "bad",
        False,
        "6 of 100 requests failed, should be at most 5%",
    )
    verdict = summary["stages"][0]["verdict"]["verdict"]
    strict = list(cases(summary, "bad", strict=True))[-1]
    assert (strict.group, strict.name, strict.passed) == ("bad: concurrency 2", "valid", verdict == "VALID")


@pytest.mark.parametrize(
    ("known", "why"),
    [
        ({"stopped": "stage 1 was stopped early"}, "stage 1 was stopped early"),
        ({"state": "interrupted", "sessions": [{"why": "interrupted"}]}, "interrupted"),
        ({"sessions": [{"why": "killed"}, {"why": "a worker died"}]}, "a worker died"),
        ({"state": "running", "sessions": [{"why": None}]}, "the run was killed, or is still going on"),
    ],
)
def test_a_run_that_ended_early_did_not_pass(tmp_path: Path, known: dict[str, Any], why: str) -> None:
    directory = write_run(tmp_path / "cut", 4, levels=(2,))
    assert [case.passed for case in cases(summary_of(directory))] == [True]
    context = json.loads((directory / store.CONTEXT).read_text())
    (directory / store.CONTEXT).write_text(json.dumps(context | known))
    last = list(cases(summary_of(directory)))[-1]
    assert (last.group, last.name, last.passed, last.sentence) == ("all stages", "played to its end", False, why)


def test_several_runs_are_told_apart(run: Path, tmp_path: Path) -> None:
    from argparse import Namespace

    from inferometer.cli import machines

    other = write_run(tmp_path / "two", 3, levels=(2,))
    for folder in (run, other):
        (folder / store.SUMMARY).write_text(json.dumps(summary_of(folder)))
    options = Namespace(junit=tmp_path / "j.xml", step_summary=str(tmp_path / "s.md"), strict=False)
    machines.write_played(options, [run, other, tmp_path / "never-begun"])
    groups = {suite.attrib["name"] for suite in read(tmp_path / "j.xml")}
    assert groups == {"one: concurrency 2", "one: concurrency 8", "one", "two"}
    assert (tmp_path / "s.md").read_text().startswith("## Benchmark: 1 of 5 missed")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--junit", "no/folder/j.xml"], "--junit no/folder/j.xml: there is no folder no/folder"),
        (["--step-summary"], "GITHUB_STEP_SUMMARY is not set"),
    ],
)
def test_files_that_cannot_be_written_are_told_before_anything_else(
    words: list[str], told: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(run), *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err


def test_results_of_other_tools_have_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "result.json").write_text("{}")
    assert main(["report", str(tmp_path / "result.json"), "--junit", str(tmp_path / "j.xml")]) == 2
    assert "--junit is made of a run directory" in capsys.readouterr().err
