"""``inferometer export`` as a user types it, on run directories with known rows."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "export"))  # run directories are made there

from exported_runs import directory, ladder

from inferometer import cli
from inferometer.cli import export
from inferometer.errors import UserError
from inferometer.export.foreign.files import read
from inferometer.export.formats import FORMATS


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return directory(tmp_path_factory.mktemp("runs") / "here", ladder())


def call(*words):
    return cli.main(["export", *map(str, words)])


def test_the_names_of_the_flag_are_those_of_the_formats():
    assert list(FORMATS) == list(export.NAMES)


@pytest.mark.parametrize("name", export.NAMES)
def test_every_format_writes_its_files_and_names_them(here, name, tmp_path, capsys):
    assert call(here, "--to", name, "--output", tmp_path / "out") == 0
    named = capsys.readouterr().out.splitlines()
    assert sorted(map(Path, named)) == sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    for path in map(Path, named):
        assert path.stat().st_size
        if path.suffix == ".json":
            json.loads(path.read_text(), parse_constant=pytest.fail)


def test_without_an_output_the_run_directory_gets_a_folder(tmp_path, capsys):
    run = directory(tmp_path / "run", ladder())
    assert call(run, "--to", "suite") == 0
    assert (run / "exports" / "suite" / "results.json").exists()
    assert call(run, "--to", "suite") == 0  # again: the same files
    capsys.readouterr()


def test_one_file_can_go_to_stdout_or_to_its_own_name(here, tmp_path, capsys):
    assert call(here, "--to", "csv", "--output", "-") == 0
    assert capsys.readouterr().out.startswith("target,model,scenario,stage")
    assert call(here, "--to", "suite", "--output", tmp_path / "my_test.json") == 0
    assert json.loads((tmp_path / "my_test.json").read_text())["results"]["total_requests"] == 41


def test_results_can_be_appended(here, tmp_path, capsys):
    out = tmp_path / "all.json"
    for _ in range(2):
        assert call(here, "--to", "vllm", "--output", out, "--append", "--metadata", "tp=1", "--label", "x") == 0
    lines = [json.loads(line) for line in out.read_text().splitlines() if line]
    assert [(line["max_concurrency"], line["tp"], line["label"]) for line in lines] == [
        (1, "1", "x"),
        (2, "1", "x"),
    ] * 2
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "vllm", "--output", "x.json"], "makes 2 files: give a folder"),
        (["--to", "vllm", "--append"], "give --output FILE"),
        (["--to", "vllm", "--metadata", "tp"], "write KEY=VALUE"),
        (["--to", "vlm"], "invalid choice"),
    ],
)
def test_mistakes_are_one_sentence(here, words, said, capsys):
    assert call(here, *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (here / "exports").exists()


def test_a_folder_that_is_no_run(tmp_path, capsys):
    assert call(tmp_path, "--to", "csv") == 2
    assert "is not a run directory" in capsys.readouterr().err


def test_a_run_without_a_request(tmp_path, capsys):
    empty = directory(tmp_path / "empty", [])
    assert call(empty, "--to", "csv") == 2
    assert "has no request" in capsys.readouterr().err


def test_no_secret_goes_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-0451")
    target = {"base_url": "http://lab:8000/v1?key=s3cret", "headers": {"Authorization": "$LAB_TOKEN"}}
    run = directory(tmp_path / "run", ladder(), target=target)
    for name in export.NAMES:
        assert call(run, "--to", name) == 0
    texts = [path.read_bytes() for path in (run / "exports").rglob("*") if path.is_file()]
    assert texts
    assert not [text for text in texts if any(word in text for word in (b"sk-0451", b"s3cret", b"LAB_TOKEN"))]
    capsys.readouterr()


def saving(*words):
    parser = argparse.ArgumentParser()
    export.save_flags(parser)
    return parser.parse_args(list(map(str, words)))


def test_a_run_saves_what_vllm_would(here, tmp_path):
    options = saving("--save-result", "--save-detailed", "--result-dir", tmp_path, "--label", "x", "--metadata", "tp=1")
    export.check_save(options)
    found = export.save_result(options, here)
    assert [path.name.split("-")[:3] for path in found] == [
        ["x", "infqps", "concurrency1"],
        ["x", "infqps", "concurrency2"],
    ]
    told = json.loads(found[1].read_text())
    assert told["tp"] == "1"
    assert len(told["ttfts"]) == 21
    assert export.save_result(saving(), here) == []


def test_a_run_appends_all_stages_to_one_file(here, tmp_path):
    options = saving("--append-result", "--result-dir", tmp_path, "--result-filename", "all.json")
    for _ in range(2):
        assert export.save_result(options, here) == [tmp_path / "all.json"]
    assert [stage.key for stage in read(tmp_path / "all.json")[0].stages] == ["concurrency 1", "concurrency 2"] * 2


def test_flags_that_would_save_nothing_are_a_mistake(tmp_path):
    with pytest.raises(UserError, match="--label is about a result that is not saved"):
        export.check_save(saving("--label", "x"))
    with pytest.raises(UserError, match="write KEY=VALUE"):
        export.check_save(saving("--save-result", "--metadata", "tp"))
    export.check_save(saving())


def test_a_link_as_output_keeps_leading_to_its_file(here, tmp_path):
    target, link = tmp_path / "file", tmp_path / "link.csv"
    target.write_text("earlier")
    link.symlink_to(target)
    assert call(here, "--to", "csv", "--output", link) == 0
    assert target.read_text().startswith("target,model,scenario,stage")
    assert link.is_symlink()
