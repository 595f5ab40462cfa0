"""Nothing measured is lost: Ctrl-C, SIGTERM, SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from e2e.support import COMMAND, environment, simulating
from inferometer.records import store


def started(url: str, folder: Path) -> subprocess.Popen[str]:
    words = ["run", "--base-url", url, "--max-concurrency", "4", "--duration", "60", "--run-dir", str(folder),
             "--random-input-len", "16", "--random-output-len", "16", "--ignore-eos"]  # fmt: skip
    return subprocess.Popen(
        [COMMAND, *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_politely_and_reports(simulator, tmp_path, which):
    process = started(simulator, tmp_path / "r")
    time.sleep(4)
    process.send_signal(which)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Successful requests:" in out
    assert "interrupted" in out
    assert set(store.read(tmp_path / "r")["outcome"].to_pylist()) == {"ok"}


def test_a_killed_run_is_readable_but_for_its_last_second(inferometer, tmp_path):
    log = tmp_path / "served.jsonl"
    with simulating("--exact", "--ttft-ms", 20, "--itl-ms", 4, "--log-served", log) as url:
        process = started(url, tmp_path / "r")
        time.sleep(6)
        killed_ns = time.monotonic_ns()
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
        time.sleep(0.5)
    report = inferometer("report", tmp_path / "r")
    assert report.returncode == 0, report.stderr
    assert "did not end" in report.stdout
    kept = {f"inferometer-0-{index}" for index in store.read(tmp_path / "r")["index"].to_pylist()}
    served = [json.loads(line) for line in log.read_text().splitlines()]
    whole = [entry for entry in served if len(entry["written_ns"]) == 16]
    safe = [entry["request_id"] for entry in whole if entry["written_ns"][-1] < killed_ns - 1_100_000_000]
    due = [request for request in safe if request.startswith("inferometer-0-")]
    assert len(due) > 20
    assert set(due) <= kept


def test_the_workers_end_with_their_parent(simulator, tmp_path):
    process = started(simulator, tmp_path / "r")
    time.sleep(4)
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and pids_of_group(process.pid):
        time.sleep(0.2)
    assert pids_of_group(process.pid) == []


def pids_of_group(group: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, _, pgrp = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state != "Z":
            found.append(int(entry.name))
    return found
