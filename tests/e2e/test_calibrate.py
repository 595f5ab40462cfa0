"""``inferometer calibrate`` as a user types it."""

from __future__ import annotations

import re
import signal
import subprocess
import time
from pathlib import Path

import msgspec

from e2e.support import COMMAND, environment
from inferometer import cli
from inferometer.analysis.calibration import Calibration
from inferometer.runner import calibration
from inferometer.telemetry.calibrated import load, state_file, this_machine

BRIEF = calibration.Pace(stamps_s=0.2, load_s={"tokens": 0.2, "requests": 0.2}, budget_s=0.0, ratio=2.0)
PAGE = Path(__file__).parents[2] / "docs" / "calibrate.md"


def labels(text: str) -> list[str]:
    """What stands before the colon of each line, and titles of sections; not the remarks under the table."""
    table, _, _ = text.partition(f"\n{66 * '='}\n")
    found = [re.match(r"([A-Z][^:]*):|[-=]+ ?([A-Z].*?) ?[-=]+$", line) for line in table.splitlines()]
    return [one[1] or one[2] for one in found if one]


def test_quick_prints_the_table_that_the_page_shows(inferometer, tmp_path):
    done = inferometer("calibrate", "--quick", "--output", "c.json", XDG_STATE_HOME=str(tmp_path / "state"))
    assert done.returncode == 0, done.stderr
    found = msgspec.json.decode((tmp_path / "c.json").read_bytes(), type=Calibration)
    assert found.quick
    shown = [label for label in labels(done.stdout) if label != "The machine was not quiet"]
    assert shown[0] == "Calibration Result"
    table = re.search(r"^```text\n(=+ Calibration Result.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert table is not None
    if found.machine.cpus <= 2:
        assert labels(table[1]) == shown
    assert set(labels(table[1])) - {"All workers"} <= {*shown, "Highest Load, 1 Worker"}
    assert len(done.stderr.splitlines()) >= len(found.errors) + len(found.limits)
    assert not (tmp_path / "state").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["c.json"]


def test_a_folder_that_is_not_there_is_said_at_once(inferometer):
    done = inferometer("calibrate", "--output", "nosuch/c.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no folder nosuch" in done.stderr


def test_a_folder_is_no_output_and_that_is_said_at_once(inferometer, tmp_path):
    done = inferometer("calibrate", "--output", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert "that is a folder" in done.stderr


def test_an_interrupt_leaves_nothing(tmp_path):
    process = subprocess.Popen(
        [COMMAND, "calibrate"],
        env=environment(TMPDIR=str(tmp_path), XDG_STATE_HOME=str(tmp_path / "state")),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("inferometer-*/*/context.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_the_result_is_kept_for_later_runs(monkeypatch, tmp_path, capsys):
    """The full pace takes most of a minute; this one is as short as can be."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(calibration, "FULL", BRIEF)
    assert cli.main(["calibrate"]) == 0
    kept = load(state_file(), this_machine())
    assert kept is not None
    assert not kept.quick
    assert kept.errors[0].stamp.count > 0
    assert "kept for later runs" in capsys.readouterr().err


def test_files_that_cannot_be_written_do_not_cost_the_result(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "c.json.partial").mkdir()  # in the way of what is written first
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(calibration, "FULL", BRIEF)
    assert cli.main(["calibrate", "--output", str(tmp_path / "c.json")]) == 2
    told = capsys.readouterr()
    assert "Calibration Result" in told.out
    assert "not kept for later runs" in told.err
    assert "cannot write" in told.err
