"""A run that nobody watches any more is as good as any: closed terminals, readers that go, a log of its own."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import termios
import time
from pathlib import Path

import pytest

from e2e.support import COMMAND, environment, rows, simulating

LOAD = ("--max-concurrency", "2", "3", "--num-prompts", "40", "--random-input-len", "16", "--random-output-len", "24",
        "--ignore-eos", "--run-dir", "r")  # fmt: skip
STAMPED = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \S.*$")


def words(url: str) -> list[str]:
    return [COMMAND, "run", "--base-url", url, *LOAD]


def log_of(folder: Path) -> str:
    path = folder / "r" / "run.log"
    return path.read_text() if path.exists() else ""


def until_it_plays(process: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + 60
    while " begins" not in log_of(folder).partition("plan.yaml")[2]:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)


def assert_complete(folder: Path) -> None:
    assert list(rows(folder / "r")["outcome"]) == ["ok"] * 80
    assert json.loads((folder / "r" / "context.json").read_text())["state"] == "complete"
    assert len(json.loads((folder / "r" / "summary.json").read_text())["stages"]) == 2
    assert log_of(folder).rstrip().endswith("ended: complete; exit code 0")
    assert "Traceback" not in log_of(folder)


def test_a_closed_terminal_ends_nothing(simulator, tmp_path):
    """The kernel sends SIGHUP to the whole foreground group, and every later write fails with EIO."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        words(simulator),
        cwd=tmp_path,
        env=environment(TERM="xterm"),
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 (no threads here)
    )
    os.close(end)
    until_it_plays(process, tmp_path)
    shown = os.read(terminal, 65536)
    os.close(terminal)
    assert process.wait(60) == 0
    assert b"prompts:" in shown
    assert_complete(tmp_path)
    assert "nobody reads stderr any more" in log_of(tmp_path)


def test_a_hang_up_alone_ends_nothing(simulator, tmp_path):
    process = subprocess.Popen(
        words(simulator), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    until_it_plays(process, tmp_path)
    os.killpg(process.pid, signal.SIGHUP)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"Successful requests:" in out
    assert_complete(tmp_path)


def test_readers_that_go_end_nothing(simulator, tmp_path):
    process = subprocess.Popen(
        words(simulator), cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    until_it_plays(process, tmp_path)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert process.wait(60) == 0
    assert_complete(tmp_path)


@pytest.mark.parametrize(
    ("redirection", "code"),
    [("| head -1", 0), (">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0), ("2> /dev/full", 0), ("> /dev/full", 3)],
)
def test_streams_that_cannot_be_written_to_lose_no_measurement(simulator, tmp_path, redirection, code):
    command = f"set -o pipefail; {' '.join(words(simulator))} {redirection}"
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert "Error" not in done.stderr
    assert ("cannot write to standard output" in done.stderr) == (code == 3)
    assert_complete(tmp_path)


def test_the_log_says_what_happened_and_no_key(inferometer, tmp_path):
    with simulating("--exact", "--ttft-ms", 20, "--itl-ms", 4, "--api-key-env", "PLANTED", PLANTED="sk-0451-x") as url:
        done = inferometer(
            "run",
            "--base-url",
            url,
            "--api-key-env",
            "PLANTED",
            "--header",
            "x-team=sk-0451-x",
            *LOAD,
            PLANTED="sk-0451-x",
        )
    assert done.returncode == 0, done.stderr
    lines = log_of(tmp_path).splitlines()
    assert all(STAMPED.match(line) for line in lines), lines
    text = "\n".join(line.partition(" ")[2] for line in lines)
    digest = subprocess.run(["sha256sum", tmp_path / "r" / "plan.yaml"], capture_output=True, text=True, check=True)
    for said in (
        "inferometer ",
        f"plan.yaml sha256:{digest.stdout.split()[0]}",
        f"target target: {url}",
        "prompts: ",
        "stage 1/2 (concurrency 2) begins",
        "stage 1/2 (concurrency 2) ended after",
        "40 sent, 40 ended, 40 ok",
        "stage 2: ",
        "ended: complete; exit code 0",
    ):
        assert said in text
    assert re.search(r"^stage 2: (VALID|CLIENT-LIMITED|INVALID)", text, re.MULTILINE)
    assert "0451" not in text


def test_a_run_that_fails_says_why_in_its_log(inferometer, tmp_path):
    with simulating("--exact", "--ttft-ms", 20, "--itl-ms", 4) as url:
        process = subprocess.Popen(
            [*words(url), "--duration", "60", "--workers", "1"],
            cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        until_it_plays(process, tmp_path)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3, err
    assert log_of(tmp_path).splitlines()[-1].partition(" ")[2].startswith("ended: every worker process died")
    assert json.loads((tmp_path / "r" / "context.json").read_text())["sessions"][0]["why"] == "failed"


def test_a_terminal_that_stops_holds_nothing_up(simulator, tmp_path):
    """A connection that is dead without saying so: the terminal takes what fits into its buffer, and then waits."""
    terminal, end = pty.openpty()
    streams = {"stdin": end, "stdout": end, "stderr": end}
    process = subprocess.Popen(words(simulator), cwd=tmp_path, env=environment(TERM="xterm"), **streams)
    os.close(end)
    deadline = time.monotonic() + 60
    while "ended: complete" not in log_of(tmp_path):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert_complete(tmp_path)
    os.close(terminal)
    assert process.wait(60) == 0
