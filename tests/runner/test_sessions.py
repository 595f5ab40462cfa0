"""What a later session takes over from an earlier one: finished stages, reports, the axis of time."""

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferometer.config import files
from inferometer.config.models import Phase, Plan
from inferometer.errors import UserError
from inferometer.records import store
from inferometer.records.record import Clock, Record, WorkerStage
from inferometer.records.record import Outcome as How
from inferometer.runner.local import Outcome
from inferometer.runner.sessions import (
    Book,
    Earlier,
    context,
    earlier_sessions,
    epoch_ns,
    is_complete,
    joined,
    new_session,
)
from inferometer.workload.tokens import PromptSpec

PROMPTS = PromptSpec(kind="calibrated_text", note="as measured")
STAGE = {"load": {"type": "closed", "concurrency": 1}, "num_requests": 3}
PLAN = Plan.model_validate({"target": {"base_url": "http://lab"}, "scenario": {"stages": [STAGE] * 3}})
HOUR_NS = 3_600_000_000_000


def report(stage: int, worker: int = 0, **changed: Any) -> WorkerStage:
    fields = dict.fromkeys(
        ("cap_hits", "late_builds", "cpu_ns", "loop_lag_p50_ns", "loop_lag_p99_ns", "loop_lag_max_ns", "clock_steps"), 0
    )
    times = {"started_ns": 10 * stage, "ended_ns": 10 * stage + 9, "planned": 3, "sent": 3, "steal_ns": None}
    return WorkerStage(stage=stage, worker=worker, **fields | times | changed)


def outcome(*stages: int, **changed: Any) -> Outcome:
    said = {"interrupted": False, "died": False, "problems": [], "finished": stages}
    return Outcome([report(stage) for stage in stages], **said | changed)


def earlier(*stages: int, stopped: str | None = None, epoch_unix_ns: int = 0) -> Earlier:
    document = {"epoch_unix_ns": epoch_unix_ns, "sessions": [{"why": None, "finished_stages": list(stages)}]}
    return Earlier(document, PROMPTS, stages, [report(stage) for stage in stages], stopped)


def write(directory: Path, rows: dict[int, int], phase: Phase = Phase.MEASURED) -> None:
    """A stream with so many rows of each stage."""
    nothing = np.empty(0, np.int64)
    said = {"worker": 0, "phase": phase, "scheduled_ns": 0, "end_ns": 9, "outcome": How.OK, "clock": Clock.KERNEL}
    writer = store.Writer(directory, 0)
    for stage, count in rows.items():
        writer.append([Record(stage=stage, index=index, event_ns=nothing, **said) for index in range(count)])
    writer.close()


def left(directory: Path, own: Outcome, rows: dict[int, int]) -> None:
    """A run directory after a session that did this and wrote so many rows of each stage."""
    (directory / store.PLAN).write_text(files.dump(PLAN))
    Book(directory, new_session(directory, PROMPTS, None), None).write(own)
    write(directory, rows)


def test_what_a_killed_session_leaves(tmp_path: Path) -> None:
    left(tmp_path, outcome(0, 1), {0: 3, 1: 3, 2: 1})
    found = earlier_sessions(tmp_path)
    assert found is not None
    assert (found.finished, found.prompts, found.stopped) == ((0, 1), PROMPTS, None)
    assert [report.stage for report in found.workers] == [0, 1]
    assert not is_complete(PLAN, found)


def test_a_stage_whose_rows_are_not_all_there_is_not_finished(tmp_path: Path) -> None:
    left(tmp_path, outcome(0, 1, 2), {0: 3, 1: 2, 2: 3})
    found = earlier_sessions(tmp_path)
    assert found is not None
    assert found.finished == (0, 2)
    assert [report.stage for report in found.workers] == [0, 2]


def test_a_stage_without_a_row_can_be_finished(tmp_path: Path) -> None:
    """Every worker says that it sent nothing: there is nothing to miss."""
    left(tmp_path, Outcome([report(0, sent=0)], interrupted=False, died=False, problems=[], finished=(0,)), {})
    found = earlier_sessions(tmp_path)
    assert found is not None
    assert found.finished == (0,)


def test_warm_up_is_no_measured_request(tmp_path: Path) -> None:
    left(tmp_path, outcome(0), {})
    write(tmp_path, {0: 3}, Phase.WARMUP)
    found = earlier_sessions(tmp_path)
    assert found is not None
    assert found.finished == ()


def test_a_session_that_sent_nothing_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / store.PLAN).write_text(files.dump(PLAN))
    assert earlier_sessions(tmp_path) is None


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "damaged"),
        (b"{}", "it has no 'prompts'"),
        (json.dumps({"prompts": msgspec.to_builtins(PROMPTS), "workers": []}).encode(), "it has no 'finished_stages'"),
        (json.dumps({"prompts": 3}).encode(), "damaged"),
    ],
)
def test_a_context_that_nobody_can_go_on_from(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / store.PLAN).write_text(files.dump(PLAN))
    (tmp_path / store.CONTEXT).write_bytes(content)
    with pytest.raises(UserError, match=f"cannot go on from .*{said}"):
        earlier_sessions(tmp_path)


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a run directory"):
        earlier_sessions(tmp_path)


def test_a_changed_plan_is_another_measurement(tmp_path: Path) -> None:
    left(tmp_path, outcome(0), {0: 3})
    (tmp_path / store.PLAN).write_text(files.dump(PLAN.model_copy(update={"seed": 8})))
    with pytest.raises(UserError, match=r"was changed since the run began"):
        earlier_sessions(tmp_path)


@pytest.mark.parametrize(
    ("stages", "stopped", "complete"), [((0, 1), None, False), ((0, 1, 2), None, True), ((0,), "p95", True)]
)
def test_when_nothing_is_left(stages: tuple[int, ...], stopped: str | None, complete: bool) -> None:
    assert is_complete(PLAN, earlier(*stages, stopped=stopped)) is complete


def test_repeats_that_were_enough_are_not_gone_on_with(tmp_path: Path) -> None:
    left(tmp_path, outcome(0, settled="3 rounds are enough"), {0: 3})
    before = earlier_sessions(tmp_path)
    assert before is not None
    assert before.settled == "3 rounds are enough"
    assert is_complete(PLAN, before)


@given(st.integers(0, HOUR_NS), st.integers(0, 1000 * HOUR_NS), st.integers(-HOUR_NS, 1000 * HOUR_NS))
def test_times_go_on_by_the_wall_clock_and_never_back(monotonic_ns: int, epoch_unix_ns: int, passed_ns: int) -> None:
    before = earlier(0, 1, epoch_unix_ns=epoch_unix_ns)
    now_ns = monotonic_ns - epoch_ns(before, monotonic_ns, epoch_unix_ns + passed_ns)
    assert now_ns == max(passed_ns, before.workers[-1].ended_ns)


def test_the_first_session_begins_at_zero() -> None:
    assert epoch_ns(None, 77, 10**18) == 77


def test_reports_and_stages_of_all_sessions_come_together() -> None:
    whole = joined(earlier(0, 2), outcome(1, interrupted=True))
    assert whole.finished == (0, 1, 2)
    assert [report.stage for report in whole.workers] == [0, 2, 1]
    assert whole.interrupted
    assert joined(None, outcome(1)) == outcome(1)


def test_the_context_says_what_each_session_did(tmp_path: Path) -> None:
    left(tmp_path, outcome(0), {0: 3})
    first = json.loads((tmp_path / store.CONTEXT).read_text())
    assert (first["state"], first["finished_stages"], first["sessions"][0]["why"]) == ("running", [0], None)
    found = earlier_sessions(tmp_path)
    assert found is not None
    session = new_session(tmp_path, PROMPTS, found)
    own = outcome(1, 2)
    document = context(session, own, joined(found, own), "complete", "complete")
    assert [(one["why"], list(one["finished_stages"])) for one in document["sessions"]] == [
        ("killed", [0]),
        ("complete", [1, 2]),
    ]
    assert (document["state"], list(document["finished_stages"])) == ("complete", [0, 1, 2])
    same = ("epoch_monotonic_ns", "epoch_unix_ns", "started", "plan_sha256", "prompts")
    assert {key: document[key] for key in same} == {key: first[key] for key in same}
    assert document["sessions"][1]["ended"] is not None
    assert document["sessions"][1]["epoch_monotonic_ns"] == session.epoch_ns


def test_a_failure_is_the_end_of_its_session(tmp_path: Path) -> None:
    (tmp_path / store.PLAN).write_text(files.dump(PLAN))
    book = Book(tmp_path, new_session(tmp_path, PROMPTS, None), None)

    def play() -> None:
        book.write(outcome(0))
        raise UserError("the disk is full")

    with pytest.raises(UserError, match="full") as caught, book.open():
        play()
    assert caught.value.exit_code == 3
    document = json.loads((tmp_path / store.CONTEXT).read_text())
    assert (document["state"], document["finished_stages"]) == ("running", [0])
    assert (document["sessions"][0]["why"], document["sessions"][0]["finished_stages"]) == ("failed", [0])


def test_a_failure_that_cannot_be_written_down_is_still_the_failure(tmp_path: Path) -> None:
    (tmp_path / store.PLAN).write_text(files.dump(PLAN))
    book = Book(tmp_path, new_session(tmp_path, PROMPTS, None), None)
    (tmp_path / (store.CONTEXT + ".partial")).mkdir()
    with pytest.raises(UserError, match="every worker died"), book.open():
        raise UserError("every worker died")
