"""``run.log``: what a run did and said, with the time (UTC), whether or not anybody was watching."""

from __future__ import annotations

import contextlib
import fcntl
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from inferometer.cli.display import line, title
from inferometer.config.files import read_plan
from inferometer.config.models import Phase
from inferometer.errors import UserError
from inferometer.records import store
from inferometer.runner.local import Progress, Watch

#: Seconds between two lines on the progress of a stage.
PROGRESS_S = 10.0

Say = Callable[[str], None]


@contextlib.contextmanager
def opened(directory: Path, secrets: Sequence[str]) -> Iterator[Say]:
    """A function that appends one line to ``run.log``, without any of the ``secrets``.

    The file is locked meanwhile, and with it the run directory. An exception that leaves the block is written down.

    Raises:
        UserError: the file cannot be opened, or another process is playing a run in this directory.
    """
    path = directory / store.LOG
    try:
        file = path.open("ab", buffering=0)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    with file:
        _lock(file, directory)

        def say(text: str) -> None:
            with contextlib.suppress(OSError):  # a full disk loses the line, not the run
                file.write(f"{_now()} {_plain(text, secrets)}\n".encode())

        try:
            yield say
        except UserError as error:
            say(f"ended: {error}")
            raise
        except BaseException as error:
            say(f"ended: {type(error).__name__}: {error}")
            raise


def watching(say: Say, directory: Path) -> Watch:
    """What is played, begin and end of each stage with its counts, and its progress now and then."""
    seen: dict[str, tuple[int, Phase] | None] = {"part": None}
    at = {"s": time.monotonic()}

    def watch(progress: Progress) -> None:
        part = (progress.number, progress.phase)
        if seen["part"] is None:
            say(_what(directory))
        if part != seen["part"]:
            seen["part"], at["s"] = part, time.monotonic()
            say(f"{_stage(progress)} begins")
        if progress.over:
            totals = progress.totals
            measured = "" if progress.phase is Phase.WARMUP else f", {totals.ok} ok"
            counts = f"{totals.started} sent, {totals.ended} ended{measured}"
            say(f"{_stage(progress)} ended after {progress.elapsed_s:.1f} s: {counts}")
        elif time.monotonic() - at["s"] > PROGRESS_S:
            at["s"] = time.monotonic()
            say(line(progress))

    return watch


def losses(say: Say) -> Watch:
    """Says it once when nobody reads stderr any more."""
    terminal, told = sys.stderr.isatty(), {"lost": False}

    def watch(_: Progress) -> None:
        lost = getattr(sys.stderr, "lost", False) or (terminal and not sys.stderr.isatty())
        if lost and not told["lost"]:
            told["lost"] = True
            say("nobody reads stderr any more (the terminal is gone, or the reader of a pipe); the run goes on")

    return watch


def _what(directory: Path) -> str:
    """The plan that is saved, with everything that the server told, as ``sha256sum`` would name it."""
    plan, digest = read_plan(directory / store.PLAN), store.plan_digest(directory)
    stages = len(plan.scenario.stages)
    return (
        f"{store.PLAN} sha256:{digest}: scenario {plan.scenario.name}, stages: {stages}, workers: {plan.workers},"
        f" seed {plan.seed}, model {plan.target.model}"
    )


def _stage(progress: Progress) -> str:
    warm_up = ", warm-up" if progress.phase is Phase.WARMUP else ""
    return f"stage {progress.number}/{progress.stages} ({title(progress.stage)}{warm_up})"


def _lock(file: BinaryIO, directory: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UserError(f"another process is playing the run in {directory}: wait for its end, or stop it") from None
    except OSError:  # a file system without locks
        return


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(text: str, secrets: Sequence[str]) -> str:
    """One line, without secrets, and without what could play tricks on a terminal."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return "".join(letter if letter.isprintable() else " " for letter in text)
