"""A sweep that was cut goes on where it was: nothing measured is lost, nothing is measured twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from e2e.support import COMMAND, environment
from inferometer.records import store

LENGTHS = ("--random-input-len", "16", "--random-range-ratio", "0.5", "--random-output-len", "4", "--ignore-eos")
SWEEP = ("--request-rate", "40", "15", "15", "--num-prompts", "40", "--num-warmups", "2", *LENGTHS, "--seed", "7",
         "--workers", "2")  # fmt: skip


def begun(folder: Path, *words: object) -> subprocess.Popen[str]:
    """The command in a session of its own, so that all of it can be killed at once."""
    return subprocess.Popen(
        [COMMAND, "run", *map(str, words)],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill(process: subprocess.Popen[str]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


def context(directory: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((directory / store.CONTEXT).read_text())
    return document


def until(process: subprocess.Popen[str], holds: Callable[[], bool]) -> None:
    """Wait for something to happen while a process runs."""
    deadline = time.monotonic() + 60
    while not holds():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def playing(directory: Path, stage: int) -> Callable[[], bool]:
    """Are the stages before this one finished, and rows of it on disk?"""

    def holds() -> bool:
        if not (directory / store.CONTEXT).exists() or stage - 1 not in context(directory)["finished_stages"]:
            return False
        return stage in store.measured_rows(directory)

    return holds


def of_stages(directory: Path, *stages: int) -> pa.Table:
    table = store.read(directory)
    return table.filter(pc.is_in(table["stage"], pa.array(stages, pa.int32())))


def asked(table: pa.Table) -> list[tuple[Any, ...]]:
    """What was asked for and when, from the first request of each stage on: the same in every run of a plan."""
    rows = table.filter(pc.equal(table["phase"], "measured")).to_pylist()
    begin_ns = {row["stage"]: row["scheduled_ns"] for row in reversed(rows)}
    return [
        (row["stage"], row["index"], row["scheduled_ns"] - begin_ns[row["stage"]], row["asked_prompt_tokens"],
         row["prompt_tokens"], row["asked_output_tokens"])
        for row in rows
    ]  # fmt: skip


@pytest.fixture(scope="module")
def whole(simulator: str, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Any, ...]]:
    """What a run asks for that nobody cuts."""
    folder = tmp_path_factory.mktemp("whole")
    process = begun(folder, "--base-url", simulator, "--run-dir", "r", *SWEEP)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return asked(store.read(folder / "r"))


def test_a_killed_sweep_goes_on_and_may_be_killed_again(inferometer, simulator, tmp_path, whole):
    directory = tmp_path / "r"
    process = begun(tmp_path, "--base-url", simulator, "--run-dir", "r", *SWEEP)
    until(process, playing(directory, 1))
    kill(process)
    first, cut = of_stages(directory, 0), of_stages(directory, 1)
    assert cut.num_rows
    time.sleep(1)  # the pause is part of the axis of time

    process = begun(tmp_path, "--resume", "r")
    until(process, playing(directory, 2))
    kill(process)
    assert of_stages(directory, 0).equals(first)
    second = of_stages(directory, 1)

    resumed = inferometer("run", "--resume", "r")
    assert resumed.returncode == 0, resumed.stderr
    assert "2 of 3 stages are done" in resumed.stderr
    assert "rows of a stage that was cut are dropped" in resumed.stderr
    assert of_stages(directory, 0).equals(first)
    assert of_stages(directory, 1).equals(second)
    assert asked(store.read(directory)) == whole
    assert len(json.loads((directory / store.SUMMARY).read_text())["stages"]) == 3
    assert not list(directory.glob("*.arrow"))

    sessions = context(directory)["sessions"]
    assert [(one["why"], one["finished_stages"]) for one in sessions] == [
        ("killed", [0]),
        ("killed", [1]),
        ("complete", [2]),
    ]
    assert context(directory)["state"] == "complete"
    assert {report["stage"] for report in context(directory)["workers"]} == {0, 1, 2}

    ends_ns = [pc.max(of_stages(directory, stage)["end_ns"]).as_py() for stage in (0, 1)]
    starts_ns = [pc.min(of_stages(directory, stage)["sent_ns"]).as_py() for stage in (1, 2)]
    assert starts_ns[0] - ends_ns[0] > 1_000_000_000
    assert starts_ns[1] > ends_ns[1]
    said = (directory / store.LOG).read_text()
    assert said.count("begins in r") == 1
    assert said.count("goes on in r") == 2


def test_the_axis_of_time_is_the_wall_clock_s(inferometer, simulator, tmp_path):
    """What the rows say, added to the epoch, is when the sessions were, whatever the monotonic clock did meanwhile."""
    process = begun(tmp_path, "--base-url", simulator, "--run-dir", "r", *SWEEP)
    until(process, playing(tmp_path / "r", 1))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    document = context(tmp_path / "r")
    assert (document["state"], document["sessions"][0]["why"]) == ("interrupted", "interrupted")
    document["epoch_monotonic_ns"] = 12345  # the machine was started anew
    store.write_json(tmp_path / "r" / store.CONTEXT, document)

    before_ns = time.time_ns()
    resumed = inferometer("run", "--resume", "r")
    assert resumed.returncode == 0, resumed.stderr
    later = of_stages(tmp_path / "r", 1, 2)
    at_ns = document["epoch_unix_ns"]
    assert before_ns < at_ns + pc.min(later["sent_ns"]).as_py()
    assert at_ns + pc.max(later["end_ns"]).as_py() < time.time_ns()


def test_a_server_that_is_not_there_changes_nothing(inferometer, simulator, tmp_path):
    process = begun(tmp_path, "--base-url", simulator, "--run-dir", "r", *SWEEP)
    until(process, playing(tmp_path / "r", 1))
    kill(process)
    plan, document = tmp_path / "r" / store.PLAN, context(tmp_path / "r")
    rows = store.read(tmp_path / "r")
    plan.write_text(plan.read_text().replace(simulator, "http://127.0.0.1:1"))
    changed = inferometer("run", "--resume", "r")
    assert (changed.returncode, "a changed plan needs a new run" in changed.stderr) == (2, True)
    store.write_json(tmp_path / "r" / store.CONTEXT, document | {"plan_sha256": store.plan_digest(tmp_path / "r")})
    refused = inferometer("run", "--resume", "r")
    assert (refused.returncode, "nothing listens at 127.0.0.1:1" in refused.stderr) == (2, True)
    assert store.read(tmp_path / "r").equals(rows)
    assert context(tmp_path / "r")["finished_stages"] == [0]


def test_rows_that_did_not_reach_the_disk_make_their_stage_unfinished(inferometer, simulator, tmp_path):
    """After a loss of power ``context.json`` may know of rows that are not there."""
    process = begun(tmp_path, "--base-url", simulator, "--run-dir", "r", *SWEEP)
    until(process, playing(tmp_path / "r", 1))
    kill(process)
    stream = tmp_path / "r" / "requests-1.arrow"
    stream.write_bytes(stream.read_bytes()[:1000])
    resumed = inferometer("run", "--resume", "r")
    assert resumed.returncode == 0, resumed.stderr
    assert "0 of 3 stages are done" in resumed.stderr
    assert store.measured_rows(tmp_path / "r") == {0: 40, 1: 40, 2: 40}


def test_a_run_with_an_engine_of_its_own_starts_it_again(inferometer, tmp_path):
    words = ("--max-concurrency", 4, 3, "--num-prompts", 40, "--random-output-len", 32, "--run-dir", "r")
    process = begun(tmp_path, *words)
    until(process, playing(tmp_path / "r", 1))
    kill(process)
    resumed = inferometer("run", "--resume", "r", "--output", "out.json", "--strict")
    assert resumed.returncode in (0, 4), resumed.stderr  # a busy machine may spoil the verdict
    assert store.measured_rows(tmp_path / "r") == {0: 40, 1: 40}
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads((tmp_path / "r" / "summary.json").read_text())


def test_a_complete_run_is_shown_and_left_alone(inferometer, simulator, tmp_path):
    done = inferometer("run", "--base-url", simulator, "--max-concurrency", 1, "--num-prompts", 3, "--run-dir", "r")
    assert done.returncode == 0, done.stderr
    before = (tmp_path / "r" / store.PARQUET).stat()
    again = inferometer("run", "--resume", "r")
    assert again.returncode == 0, again.stderr
    assert "nothing left to do" in again.stderr
    assert "Successful requests:" in again.stdout
    assert (tmp_path / "r" / store.PARQUET).stat().st_ino == before.st_ino
    assert len(context(tmp_path / "r")["sessions"]) == 1


def test_a_run_that_a_rule_ended_is_complete(inferometer, simulator, tmp_path):
    words = ("--max-concurrency", 1, 2, "--num-prompts", 30, "--stop-ttft-p95", 1, "--run-dir", "r")
    stopped = inferometer("run", "--base-url", simulator, *words)
    assert stopped.returncode == 1, stopped.stderr
    again = inferometer("run", "--resume", "r")
    assert again.returncode == 1
    assert "a rule ended it" in again.stderr
    assert set(store.measured_rows(tmp_path / "r")) == {0}


def test_two_processes_never_play_in_one_directory(inferometer, simulator, tmp_path):
    process = begun(tmp_path, "--base-url", simulator, "--run-dir", "r", *SWEEP)
    until(process, playing(tmp_path / "r", 1))
    other = inferometer("run", "--resume", "r")
    assert other.returncode == 2
    assert "another process is playing" in other.stderr
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert store.measured_rows(tmp_path / "r") == {0: 40, 1: 40, 2: 40}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--resume", "nosuch"), "is not a run directory"),
        (("--resume", "r", "--seed", 3, "--max-concurrency", 4), "leave out --max-concurrency, --seed"),
        (("--resume", "r", "--insecure"), "leave out --insecure"),
        (("--resume", "r", "--target", "simulator", "-c", "x.yaml"), "leave out --config, --target"),
        (("--resume", "r", "--dry-run"), "leave out --dry-run"),
        (("--resume", "r", "--run-dir", "q"), "leave out --run-dir"),
    ],
)
def test_mistakes(inferometer, tmp_path, words, said):
    (tmp_path / "r").mkdir()
    done = inferometer("run", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "r").iterdir()) == []
