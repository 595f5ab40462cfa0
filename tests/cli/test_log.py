"""The log of a run: stamped lines, no secrets, one writer."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from inferometer.cli import log
from inferometer.client.counters import Totals
from inferometer.config import files
from inferometer.config.models import ClosedLoop, Phase, Plan, Stage
from inferometer.errors import UserError
from inferometer.records import store
from inferometer.runner.local import Progress

STAMPED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (.*)")
STAGE = Stage(load=ClosedLoop(concurrency=4), num_requests=20, warmup_requests=2)


def lines(directory: Path) -> list[str]:
    matches = [STAMPED.fullmatch(line) for line in (directory / store.LOG).read_text().splitlines()]
    assert all(matches)
    return [match[1] for match in matches if match]


def test_one_line_each_without_secrets_and_tricks(tmp_path: Path) -> None:
    with log.opened(tmp_path, ("sk-0451", "other")) as say:
        say("the key is sk-0451, and the other is another")
        say("two\nlines and \x1b[31mcolour\x1b[0m ≈ 3 µs")
    assert lines(tmp_path) == ["the key is ***, and the *** is an***", "two lines and  [31mcolour [0m ≈ 3 µs"]


def test_a_later_session_appends(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with log.opened(tmp_path, ()) as say:
            say(text)
    assert lines(tmp_path) == ["first", "second"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("no server"), "ended: no server"),
        (KeyboardInterrupt(), "ended: KeyboardInterrupt"),
        (ValueError("x"), "ended: ValueError: x"),
    ],
)
def test_what_ends_a_run_is_its_last_line(tmp_path: Path, error: BaseException, said: str) -> None:
    with pytest.raises(type(error)), log.opened(tmp_path, ()):
        raise error
    assert lines(tmp_path)[-1].startswith(said)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with log.opened(tmp_path, ()) as say:
        with pytest.raises(UserError, match="another process is playing"), log.opened(tmp_path, ()):
            pass
        say("still here")
    with log.opened(tmp_path, ()) as say:
        say("free again")
    assert lines(tmp_path) == ["still here", "free again"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*run\.log"), log.opened(tmp_path / "nosuch", ()):
        pass


def test_a_full_disk_loses_the_line_alone(tmp_path: Path) -> None:
    (tmp_path / store.LOG).symlink_to("/dev/full")
    with log.opened(tmp_path, ()) as say:
        say("nobody will know")


def progress(phase: Phase, ended: int, *, over: bool = False, number: int = 1) -> Progress:
    return Progress(number, 2, STAGE, phase, ended / 10, Totals(ended + 1, ended, ended - 1, 99), over)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    plan = Plan.model_validate({"target": {"model": "tiny"}, "scenario": {"stages": [STAGE, STAGE]}, "seed": 5})
    (tmp_path / store.PLAN).write_text(files.dump(plan))
    return tmp_path


def test_stages_begin_and_end_with_their_counts(directory: Path) -> None:
    said: list[str] = []
    watch = log.watching(said.append, directory)
    for one in (
        progress(Phase.WARMUP, 1),
        progress(Phase.WARMUP, 2, over=True),
        progress(Phase.MEASURED, 3),
        progress(Phase.MEASURED, 4),
        progress(Phase.MEASURED, 20, over=True),
        progress(Phase.MEASURED, 20, over=True, number=2),
    ):
        watch(one)
    assert said == [
        f"plan.yaml sha256:{store.plan_digest(directory)}: scenario sweep, stages: 2, workers: 1, seed 5, model tiny",
        "stage 1/2 (concurrency 4, warm-up) begins",
        "stage 1/2 (concurrency 4, warm-up) ended after 0.2 s: 3 sent, 2 ended",
        "stage 1/2 (concurrency 4) begins",
        "stage 1/2 (concurrency 4) ended after 2.0 s: 21 sent, 20 ended, 19 ok",
        "stage 2/2 (concurrency 4) begins",
        "stage 2/2 (concurrency 4) ended after 2.0 s: 21 sent, 20 ended, 19 ok",
    ]


def test_progress_now_and_then(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"s": 1000.0}
    monkeypatch.setattr(log.time, "monotonic", lambda: clock["s"])
    said: list[str] = []
    watch = log.watching(said.append, directory)
    for _ in range(301):  # half a minute, ten times a second
        watch(progress(Phase.MEASURED, 7))
        clock["s"] += 0.1
    assert len([line for line in said if "7/20" in line]) == 2


def test_a_lost_stderr_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stream:
        lost = False

        def isatty(self) -> bool:
            return not self.lost

    stream: Any = Stream()
    monkeypatch.setattr(sys, "stderr", stream)
    said: list[str] = []
    watch = log.losses(said.append)
    for lost in (False, True, True):
        stream.lost = lost
        watch(progress(Phase.MEASURED, 7))
    assert len(said) == 1
