"""Trouble on this machine: a full disk, a limit on the size of files, streams that nobody reads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.support import COMMAND, simulating
from faults.playing import FOUR_AT_ONCE, QUICK, TRIALS, Played, ended, play, unread, words
from faults.rows import Row, check

FULL = Row(
    "the disk is full",
    "`inferometer: cannot write`, `No space left on device`",
    {"ok": None},
    3,
    also="as far as the disk went, for `inferometer report`",
)
LIMIT = Row(
    "a limit on the size of files (`ulimit -f`)",
    "`inferometer: cannot write`, `File too large`",
    {"ok": None},
    3,
    also="as far as the limit went, for `inferometer report`",
)
NO_READER = Row(
    "whoever reads stdout goes away (`| head -1`)",
    "what it read, and `run directory:` on stderr",
    {"ok": 12},
    0,
)
FAILING_NO_READER = Row(
    "the same, and requests fail",
    "what it read, and `3 not ok`, `run directory:` on stderr",
    {"ok": 9, "http_5xx": 3},
    3,
)
NO_STDOUT = Row("stdout is closed (`>&-`)", "`run directory:` on stderr", {"ok": 12}, 0)
NO_STDERR = Row("stderr is closed (`2>&-`), or its reader goes away", "`Successful requests: 12`", {"ok": 12}, 0)
ROWS = (FULL, LIMIT, NO_READER, FAILING_NO_READER, NO_STDOUT, NO_STDERR)

ENDLESS = ("--max-concurrency", 8, "--duration", 600)
#: In a name space of its own: a small disk, a run on it, its report, and the rows that it shows.
ON_A_SMALL_DISK = """
mount -t tmpfs -o size=96k none "$1" || exit 99
shift
"$@"
echo "ended with $?"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    fault = f"status=500,model=bad,every=4,after_requests={TRIALS}"
    with simulating(*QUICK, "--model", "good", "bad", "--fault", fault) as url:
        yield url


def can_mount() -> bool:
    """Are name spaces permitted to whoever runs the tests?"""
    if not sys.platform.startswith("linux"):
        return False
    tried = subprocess.run(
        ["unshare", "-rm", "sh", "-c", "mount -t tmpfs none /tmp"], capture_output=True, check=False, timeout=10
    )
    return tried.returncode == 0


def counted(report: Played) -> int:
    """Requests that the report of a run shows as successful."""
    return int(report.text.partition("Successful requests: ")[2].split()[0])


@pytest.mark.skipif(not can_mount(), reason="no name spaces: a disk cannot be filled")
def test_a_full_disk(server: str, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    saved = f"cp -r {disk}/r {tmp_path}/saved"
    script = f"{ON_A_SMALL_DISK}\n{saved}\n{COMMAND} report {tmp_path}/saved"
    command = words(server, disk / "r", *ENDLESS, "--model", "good")
    done = ended(["unshare", "-rm", "sh", "-c", script, "sh", str(disk), *command], tmp_path / "saved")
    assert f"ended with {FULL.code}" in done.text, done.text
    check(FULL._replace(code=0), done)
    assert counted(done) == len(done.measured("outcome")) >= 64


def test_a_limit_on_the_size_of_files(server: str, tmp_path: Path) -> None:
    command = words(server, tmp_path / "r", *ENDLESS, "--model", "good")
    done = ended(["sh", "-c", 'ulimit -f 80; exec "$@"', "sh", *command], tmp_path / "r")
    check(LIMIT, done)
    assert counted(ended([COMMAND, "report", str(tmp_path / "r")], tmp_path / "r")) >= 64


@pytest.mark.parametrize(("model", "row"), [("good", NO_READER), ("bad", FAILING_NO_READER)])
def test_a_reader_that_goes_away(server: str, tmp_path: Path, model: str, row: Row) -> None:
    played = unread(words(server, tmp_path / "r", *FOUR_AT_ONCE, "--model", model), tmp_path / "r", "stdout")
    check(row, played)
    assert played.stage()["counts"]["ok"] == row.kept["ok"]


def test_a_reader_of_stderr_that_goes_away(server: str, tmp_path: Path) -> None:
    command = words(server, tmp_path / "r", *FOUR_AT_ONCE, "--model", "good")
    check(NO_STDERR, unread(command, tmp_path / "r", "stderr"))


@pytest.mark.parametrize(("closed", "row"), [(">&-", NO_STDOUT), ("2>&-", NO_STDERR)])
def test_a_closed_stream(server: str, tmp_path: Path, closed: str, row: Row) -> None:
    command = words(server, tmp_path / "r", *FOUR_AT_ONCE, "--model", "good")
    check(row, ended(["sh", "-c", f'exec "$@" {closed}', "sh", *command], tmp_path / "r"))


def test_an_output_file_that_cannot_be_written(server: str, tmp_path: Path) -> None:
    """It is found before the load, not after it."""
    done = play(server, tmp_path / "r", *FOUR_AT_ONCE, "--model", "good", "--output", tmp_path / "no" / "o.json")
    assert done.code == 2
    assert "there is no folder" in done.err
    assert not (tmp_path / "r").exists()
