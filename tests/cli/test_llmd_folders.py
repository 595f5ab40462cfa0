"""Where runs of llm-d's workloads go, and what is written there when they end."""

from __future__ import annotations

import argparse
import re
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent.parent / "export"))  # run directories are made there

from exported_runs import directory, ladder, plan

from inferometer.cli import llmd, origins, worlds
from inferometer.cli.foreign import Asked, Planned
from inferometer.config.foreign.origin import Origin
from inferometer.config.models import ClosedLoop
from inferometer.export.load import origin_of
from inferometer.records import store

BEGUN = datetime(2026, 3, 2, 8, 15, 0, 900_000, UTC)
REPORT = {"request_lifecycle": {"summary": True, "per_stage": True, "per_request": False}}


def planned(name: str = "short", format: str = "llm-d", **changes: str) -> Planned:  # noqa: A002 (the field's name)
    told = {"file": "c.yaml", "harness": "guidellm", "workload": "short", "stack": "lab-stack"} | changes
    made = Origin(format=format, document={"report": REPORT}, **told)
    return Planned(plan(ClosedLoop(concurrency=1)), name, made)


@pytest.mark.parametrize(
    ("one", "parent", "wanted"),
    [
        (planned(), "out", "out/guidellm_TIME_short_lab-stack"),
        (planned(), None, "results/guidellm_TIME_short_lab-stack"),
        (planned(name="short-2"), "out", "out/guidellm_TIME_short-2_lab-stack"),
        (planned(stack=""), "out", "out/guidellm_TIME_short_org_tiny"),
        (planned(name="../up", stack="Qwen3-0.6B x"), "out", "out/guidellm_TIME__up_Qwen3-0.6B_x"),
    ],
)
def test_folders_are_named_as_in_the_guide(one: Planned, parent: str | None, wanted: str) -> None:
    options = argparse.Namespace(run_dir=Path(parent) if parent else None, output=None, html=False)
    found = worlds.world(Asked((one,), world=llmd.WORLD), options).directory(one)
    assert re.sub(r"_\d{10}_", "_TIME_", str(found)) == wanted


def test_the_time_in_names_is_that_of_the_beginning() -> None:
    found = llmd.run_directory(Path("out"), BEGUN, planned())
    assert found == Path("out/guidellm_1772439300_short_lab-stack")


def test_the_files_are_written_when_a_run_has_ended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = directory(tmp_path / "run", ladder())
    assert llmd.keep(here, 2) == 0  # no summary: it was not played
    assert not (here / "config.yaml").exists()
    origins.keep(planned().origin, here)
    assert origin_of(here) == planned().origin
    (here / store.SUMMARY).write_text("{}")
    assert llmd.keep(here, 0) == 0
    assert {"config.yaml", "short.yaml", "summary_lifecycle_metrics.json", "stdout.log"} <= {
        path.name for path in here.iterdir()
    }
    assert not (here / "per_request_lifecycle_metrics.json").exists()  # the workload does not want it
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[" * 9000, b""])
def test_an_origin_that_cannot_be_read_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / store.SOURCE).write_bytes(content)
    assert origin_of(tmp_path) is None


def test_what_cannot_be_written_is_said_and_ends_in_an_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = directory(tmp_path / "run", ladder())
    (here / store.SUMMARY).write_text("{}")
    (here / "config.yaml").mkdir()
    assert llmd.keep(here, 0) == 2
    assert capsys.readouterr().err.startswith("inferometer: run: cannot write ")


def test_runs_of_other_tools_leave_nothing_of_llmds(tmp_path: Path) -> None:
    here = directory(tmp_path / "run", ladder())
    (here / store.SUMMARY).write_text("{}")
    before = set(here.iterdir())
    options = argparse.Namespace(run_dir=here, output=None, html=False)
    assert worlds.world(Asked((planned(format="guidellm"),), world="guidellm"), options).keep(here, 0) == 0
    assert set(here.iterdir()) == before
