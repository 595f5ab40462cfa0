"""Runs of the installed command, and what they leave."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any, Literal, NamedTuple

from e2e.support import COMMAND, environment
from inferometer.records import store

#: A run that takes longer than this hangs. Runs here take a second or three.
HANGS_S = 90
#: Requests of 8 tokens, as token ids: one trial request goes before the load.
SMALL = ("--backend", "openai", "--random-input-len", "16", "--ignore-eos", "--seed", "1")
SHORT = ("--random-output-len", "8")
TRIALS = 1
#: A simulator whose answers take 24 ms.
QUICK = ("--exact", "--ttft-ms", 10, "--itl-ms", 2)
FOUR_AT_ONCE = ("--max-concurrency", "4", "--num-prompts", "12")


class Played(NamedTuple):
    """A run that has ended. ``text``: stdout, then stderr, each run of blanks as one."""

    code: int
    out: str
    err: str
    directory: Path

    @property
    def text(self) -> str:
        return " ".join((self.out + "\n" + self.err).split())

    def measured(self, column: str) -> list[Any]:
        """One column of the measured requests, by stage and index."""
        return [value for (value,) in self.rows(column)]

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        """Some columns of the measured requests, by stage and index."""
        rows = store.read(self.directory).to_pylist()
        return [tuple(row[column] for column in columns) for row in rows if row["phase"] == "measured"]

    @property
    def summary(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "summary.json").read_text())
        return found

    def stage(self, number: int = 0) -> dict[str, Any]:
        """What the summary says of a stage."""
        found: dict[str, Any] = self.summary["stages"][number]
        return found


def words(url: str, directory: Path, *more: object, flags: str = "") -> list[str]:
    """The command line of a run. ``flags`` are read as a shell does, and win over the usual ones of the same name."""
    given = [*map(str, more), *shlex.split(flags)]
    usual = () if SHORT[0] in given else SHORT
    return [COMMAND, "run", "--base-url", url, *SMALL, *usual, "--run-dir", str(directory), *given]


def play(url: str, directory: Path, *more: object, flags: str = "", **env: str) -> Played:
    """Run to the end."""
    return ended(words(url, directory, *more, flags=flags), directory, **env)


def ended(command: list[str], directory: Path, **env: str) -> Played:
    """Run a command to its end, which must come."""
    done = subprocess.run(
        command,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )
    return Played(done.returncode, done.stdout, done.stderr, directory)


def unread(command: list[str], directory: Path, stream: Literal["stdout", "stderr"]) -> Played:
    """Run a command to its end; the pipe of a stream is broken before the first line is written to it."""
    process = subprocess.Popen(
        command,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    gone, kept = (process.stdout, process.stderr) if stream == "stdout" else (process.stderr, process.stdout)
    gone.close()
    with kept:
        told = kept.read()
    code = process.wait(HANGS_S)
    return Played(code, "", told, directory) if stream == "stdout" else Played(code, told, "", directory)
