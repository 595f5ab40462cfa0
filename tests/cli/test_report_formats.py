"""``inferometer report``: every form from one run directory, and what it says when it cannot."""

from __future__ import annotations

import csv
import io
import json
import os
import threading
from pathlib import Path

import pyarrow as pa
import pytest

from inferometer.cli import main
from inferometer.cli.report import write_page
from inferometer.config import files
from inferometer.records import store
from reported_run import plan, rows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("run")
    (directory / store.PLAN).write_text(files.dump(plan()))
    pa.parquet.write_table(rows(), directory / store.PARQUET)
    return directory


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["report", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_text_forms_go_to_stdout(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    forms = {
        "console": "Serving Benchmark Result",
        "charts": "TTFT (ms) by concurrency",
        "markdown": "### Run context",
    }
    for form, part in forms.items():
        code, out, _ = said(capsys, run, "--format", form)
        assert code == 0
        assert part in out, form
    assert said(capsys, run)[1] == said(capsys, run, "--format", "console")[1]


def test_csv_and_json_can_be_read(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    table = list(csv.DictReader(io.StringIO(said(capsys, run, "--format", "csv")[1])))
    summary = json.loads(said(capsys, run, "--format", "json")[1])
    assert summary == json.loads(said(capsys, run, "--json")[1])
    assert len(table) == len(summary["stages"]) == 3
    assert said(capsys, run, "--format", "json", "--output", tmp_path / "a.json")[:2] == (0, "")
    assert json.loads((tmp_path / "a.json").read_text()) == summary


def test_page_and_pictures_go_beside_the_run_or_where_they_are_sent(
    run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, err = said(capsys, run, "--format", "html")
    assert (code, out, err) == (0, "", f"{run / 'report.html'}\n")
    assert (run / "report.html").read_text("utf-8").startswith("<!doctype html>")
    assert said(capsys, run, "--format", "png", "--output", tmp_path / "plots")[0] == 0
    assert (tmp_path / "plots" / "latency_vs_qps.png").stat().st_size > 20_000
    assert not list(tmp_path.rglob("*.partial"))


def test_thresholds_are_shown_and_decide(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    limits = ("--threshold", "ttft_p95_ms<=60 @ concurrency 1", "--threshold", "success_rate>=99%")
    code, out, err = said(capsys, run, "--html", "--output", path, *limits)
    assert (code, out) == (1, "")
    assert err.count("missed: success_rate>=99%: concurrency ") == 3
    page = path.read_text("utf-8")
    assert "ttft_p95_ms&lt;=60 @ concurrency 1" in page
    assert "success rate 95.0 %" in page
    assert said(capsys, run, "--threshold", "success_rate>=90%")[0] == 0
    assert said(capsys, run, "--threshold", "ttft_p95_ms>=60")[0] == 2


def test_another_command_can_write_the_page(run: Path, tmp_path: Path) -> None:
    assert write_page(run, tmp_path / "x.html").read_text("utf-8").endswith("</html>\n")


def test_markdown_is_added_to_a_file(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    records = tmp_path / "benchmarks.md"
    records.write_text("# Ours\n")
    for _ in range(2):
        assert said(capsys, run, "--format", "markdown", "--output", records)[0] == 0
    text = records.read_text("utf-8")
    assert text.startswith("# Ours\n\n<!-- inferometer")
    assert text.count("### Results") == 1


def test_mistakes_are_one_sentence(run: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words, part in (
        ([tmp_path], "is not a run directory"),
        ([tmp_path, "--format", "html"], "is not a run directory"),
        ([run, "--format", "pdf"], "invalid choice"),
        ([run, "--format", "html", "--output", tmp_path / "no" / "x.html"], "cannot write"),
        ([run, "--format", "markdown", "--output", tmp_path], "Is a directory"),
    ):
        code, _, err = said(capsys, *words)
        assert code == 2
        assert part in err
        assert len(err.strip().splitlines()) == 1, err


@pytest.mark.parametrize("form", ["json", "markdown"])
def test_a_pipe_as_output_stays_one(run: Path, form: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pipe, arrived = tmp_path / "pipe", list[bytes]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: arrived.append(pipe.read_bytes()), daemon=True)
    reader.start()
    assert said(capsys, run, "--format", form, "--output", pipe)[0] == 0
    reader.join(60)
    assert arrived[0].startswith(b"{" if form == "json" else b"#")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    assert pipe.is_fifo()
