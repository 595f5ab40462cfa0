from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from calibrations import MACHINE, calibration
from inferometer.errors import UserError
from inferometer.telemetry import calibrated

OTHER = msgspec.structs.replace(MACHINE, kernel="6.2.0")


def test_what_is_saved_is_loaded_by_its_own_machine_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "calibration.json"
    calibrated.save(path, calibration())
    assert calibrated.load(path, MACHINE) == calibration()
    assert calibrated.load(path, OTHER) is None


def test_machines_that_share_a_home_do_not_lose_each_other(tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    for machine in (MACHINE, OTHER, MACHINE):
        calibrated.save(path, calibration(machine=machine))
    assert calibrated.load(path, OTHER) == calibration(machine=OTHER)
    assert len(json.loads(path.read_text())) == 2
    assert [one.name for one in tmp_path.iterdir()] == ["calibration.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b"null",
        b'{"a": NaN}',
        b"[" * 100_000,
        json.dumps({MACHINE.key: 3}).encode(),
        json.dumps({MACHINE.key: {"schema_version": 2}}).encode(),
    ],
)
def test_a_file_that_is_not_ours_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "calibration.json"
    path.write_bytes(content)
    assert calibrated.load(path, MACHINE) is None
    calibrated.save(path, calibration())
    assert calibrated.load(path, MACHINE) == calibration()


def test_no_file_is_no_calibration(tmp_path: Path) -> None:
    assert calibrated.load(tmp_path / "calibration.json", MACHINE) is None
    assert calibrated.load(tmp_path, MACHINE) is None
    assert calibrated.load(None, MACHINE) is None


def test_a_folder_that_cannot_be_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        calibrated.save(tmp_path / "file" / "calibration.json", calibration())


@pytest.mark.parametrize(
    ("told", "folder"), [("/state", "/state"), ("", "/home/u/.local/state"), ("state", "/home/u/.local/state")]
)
def test_the_folder_is_that_of_xdg(monkeypatch: pytest.MonkeyPatch, told: str, folder: str) -> None:
    monkeypatch.setenv("HOME", "/home/u")
    monkeypatch.setenv("XDG_STATE_HOME", told)
    assert calibrated.state_file() == Path(folder) / "inferometer" / "calibration.json"


def test_the_key_says_what_a_calibration_holds_for() -> None:
    machine = calibrated.this_machine()
    assert machine == calibrated.this_machine()
    assert machine.cpus >= 1
    changed = [msgspec.structs.replace(machine, **{name: value}) for name, value in
               {"cpu": "x", "cpus": 999, "kernel": "x", "python": "x", "inferometer": "x"}.items()]  # fmt: skip
    assert len({one.key for one in (machine, *changed)}) == 6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the clocks of proc(5)")
def test_processor_time_of_a_child_is_the_childs() -> None:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as child:
        before = calibrated.cpu_time(child.pid)
        deadline = time.monotonic() + 20
        passed = None
        while time.monotonic() < deadline and (passed is None or passed.child_s < 0.3):
            time.sleep(0.1)
            passed = calibrated.elapsed(before, calibrated.cpu_time(child.pid))
        child.kill()
    assert passed is not None
    assert passed.child_s >= 0.3
    assert passed.others_s >= 0


def test_clocks_that_are_not_told_are_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(calibrated, "_STAT", tmp_path / "none")
    assert calibrated.cpu_time() is None
    assert calibrated.elapsed(None, None) is None


def test_work_of_others_is_what_is_left() -> None:
    early = calibrated.CpuTime(busy_s=10.0, stolen_s=1.0, ours_s=3.0, child_s=2.0)
    late = calibrated.CpuTime(busy_s=12.0, stolen_s=1.5, ours_s=3.5, child_s=2.5)
    assert calibrated.elapsed(early, late) == calibrated.Passed(others_s=1.0, stolen_s=0.5, child_s=0.5)
    assert calibrated.elapsed(early, early._replace(ours_s=9.0)) == calibrated.Passed(0.0, 0.0, 0.0)
