"""``inferometer report`` on results of other tools: what they tell, what they do not, and limits on them."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "export"))  # runs with known times are made there

from exported_runs import LADDER, ladder, run

from inferometer.cli import main
from inferometer.export import inference_perf, standardized, suite, vllm
from inferometer.export.documents import Options
from inferometer.export.load import write

SAMPLES = os.environ.get("INFEROMETER_SAMPLES")
#: Name of the folder, what writes it, and what the report calls the tool.
WRITTEN = {
    "vllm": (vllm.export, "inferometer"),
    "inference-perf": (inference_perf.export, "inferometer"),
    "suite": (suite.export, "inference benchmarking suite"),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One run as other tools would have written it, each in a folder of its own."""
    folder = tmp_path_factory.mktemp("results")
    for name, (make, _) in WRITTEN.items():
        write(make(run(ladder(), *LADDER), Options()).documents, folder / name)
    parsed = standardized.export(run(ladder(), *LADDER), Options()).documents
    write([one._replace(name=Path(one.name).name) for one in parsed if "parsed/" in one.name], folder / "standardized")
    return folder


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main(["report", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_name_in_a_result_steers_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made,) = vllm.export(run(ladder()[:20], LADDER[0]), Options()).documents
    told = json.loads("".join(map(str, made.pieces))) | {"model_id": "x\x1b]0;title\x07|y\nz"}
    (tmp_path / "odd.json").write_text(json.dumps(told))
    code, out, _ = said(capsys, tmp_path / "odd.json")
    assert code == 0
    assert "x ]0;title |y z" in out
    assert not {letter for letter in out if not letter.isprintable()} - {"\n"}


@pytest.mark.parametrize("name", WRITTEN)
def test_every_form_of_every_tool(folders: Path, name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = folders / name
    code, out, err = said(capsys, path)
    assert (code, err) == (0, "")
    assert WRITTEN[name][1] in out
    assert "What this result does not tell:" in out
    assert "concurrency 1" in out
    assert "concurrency 2" in out
    rows = list(csv.DictReader(io.StringIO(said(capsys, path, "--format", "csv")[1])))
    assert [row["ok"] for row in rows] == ["20", "20"]
    # 50 to 69 ms, and 60 to 79 ms
    assert [float(row["ttft_p50_ms"]) for row in rows] == pytest.approx([59.5, 69.5])
    told = json.loads(said(capsys, path, "--json")[1])
    assert [stage["figures"]["tpot_mean_ms"] for stage in told["runs"][0]["stages"]] == pytest.approx([10.0, 12.0])
    assert "### Results" in said(capsys, path, "--format", "markdown")[1]
    code, _, err = said(capsys, path, "--html", "--output", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert (code, page.count("<table")) == (0, 3)
    assert "<script" not in page
    assert "<h2>What this result does not tell</h2>" in page


def test_one_file_and_what_is_not_in_it(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = (folders / "standardized").glob("*c1*")
    code, out, _ = said(capsys, file)
    assert (code, "concurrency 1" in out, "concurrency 2" in out) == (0, True, False)
    assert "| TTFT " in out
    told = json.loads(file.read_text())
    told["performance"]["latency"] = {"e2el_ms": {"mean": 90.0}}
    file.write_text(json.dumps(told))
    out = said(capsys, file)[1]
    assert "- No TTFT.\n- No TPOT.\n- No ITL.\n" in out
    assert "- No verdict: whether the client itself kept up is not known." in out


def test_limits_are_held_against_it(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folders / "vllm"
    code, out, err = said(capsys, path, "--threshold", "ttft_p50_ms<=65", "--threshold", "success_rate>=0.9")
    assert code == 1
    assert err == "missed: ttft_p50_ms<=65: concurrency 2: TTFT p50 69.5 ms, should be at most 65.0 ms\n"
    assert out.count("success rate") == 2
    assert said(capsys, path, "--threshold", "ttft_p50_ms<=65 @ concurrency 1")[0] == 0
    code, _, err = said(capsys, path, "--threshold", "ttft_p50_ms<=65 @ concurrency 9")
    assert (code, "there is no stage" in err) == (1, True)


def test_limits_are_held_against_every_result_of_one_load(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, ttft_ms in (("a", 900.0), ("b", 100.0)):
        told = {"max_concurrency": 8, "completed": 10, "failed": 0, "mean_ttft_ms": ttft_ms, "median_ttft_ms": ttft_ms}
        (tmp_path / f"{name}.json").write_text(json.dumps(told))
    code, out, err = said(capsys, tmp_path, "--threshold", "ttft_p50_ms<=200")
    assert (code, out.count("TTFT p50 "), err.count("missed:")) == (1, 2, 1)


def test_a_record_is_added_once(folders: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    records = tmp_path / "benchmarks.md"
    records.write_text("# Ours\n")
    for _ in range(2):
        assert said(capsys, folders / "vllm", "--format", "markdown", "--output", records)[0] == 0
    text = records.read_text("utf-8")
    assert text.startswith("# Ours\n\n<!-- inferometer")
    assert text.count("### Results") == 1


def test_a_summary_that_lost_its_run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "kept.json"
    file.write_text(json.dumps(run(ladder(), *LADDER).summary))
    code, out, _ = said(capsys, file)
    assert code == 0
    assert "No rows of our own" in out
    assert "whether the client itself" not in out  # it was judged
    file.write_text(json.dumps(run(ladder(), *LADDER).summary | {"schema_version": 0}))
    assert said(capsys, file)[0] == 2


def test_mistakes_are_one_sentence(folders: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "text.json").write_text("no json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "deep.yaml").write_text("[" * 10_000)
    (tmp_path / "ours.json").write_text('{"tool": "inferometer", "schema_version": 1, "stages": [{}]}')
    (tmp_path / "huge.json").write_text(f'{{"completed": 1, "mean_ttft_ms": {10**400}}}')
    for words, part in (
        ([folders / "vllm", "--format", "png"], "charts are drawn from the rows of a run directory"),
        ([folders / "vllm", "--format", "charts"], "console, markdown, csv, json, html"),
        ([tmp_path / "other.json"], "no result of another tool that can be read"),
        ([tmp_path / "text.json"], "is not JSON"),
        ([tmp_path / "deep.json"], "is not JSON"),
        ([tmp_path / "deep.yaml"], "is not YAML"),
        ([tmp_path / "ours.json"], "looks like a summary of ours and is not one"),
        ([tmp_path / "huge.json"], "looks like a result of vllm and is not one"),
        ([tmp_path / "gone.json"], "is not a run directory"),
    ):
        code, _, err = said(capsys, *words)
        assert code == 2
        assert part in err
        assert len(err.strip().splitlines()) == 1, err


@pytest.mark.skipif(SAMPLES is None, reason="INFEROMETER_SAMPLES names no folder of results of other tools")
def test_results_that_other_tools_wrote(capsys: pytest.CaptureFixture[str]) -> None:
    for path, stages in (("vllm-bench", 2), ("inference-perf", 1)):
        told = json.loads(said(capsys, Path(SAMPLES or "") / path, "--json")[1])
        assert len(told["runs"][0]["stages"]) == stages
        assert all(stage["figures"]["ttft_mean_ms"] > 0 for stage in told["runs"][0]["stages"])
