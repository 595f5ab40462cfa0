"""Whole runs over worker processes: every row once, nothing secret on disk, and what happens when things die."""

import gzip
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from conftest import Asked, Said, Serve, good
from inferometer.config.files import read_plan
from inferometer.config.models import DatasetWorkload, Plan
from inferometer.errors import UserError
from inferometer.records import store
from inferometer.runner.conduct import conduct
from inferometer.runner.local import Crew, Progress, Task
from inferometer.workload.asks import Materials
from inferometer.workload.tokens import PromptSpec

CLOSED = {"load": {"type": "closed", "concurrency": 3}, "num_requests": 11, "warmup_requests": 2}
OPEN = {"load": {"type": "open", "rate": 200.0, "arrivals": "constant"}, "num_requests": 10}


def plan_of(base_url: str, *stages: dict[str, Any], workers: int = 2, **target: Any) -> Plan:
    return Plan.model_validate(
        {
            "target": {"base_url": base_url, **target},
            "scenario": {"workload": {"input_tokens": {"mean": 9}}, "stages": list(stages)},
            "workers": workers,
        }
    )


def ignore(_: object) -> None:
    """What a run says on the way is not asked."""


def rows(directory: Path) -> list[dict[str, Any]]:
    return list(store.read(directory).to_pylist())


def test_a_run_leaves_every_row_once(serve: Serve, tmp_path: Path) -> None:
    seen: list[Progress] = []
    outcome = conduct(plan_of(serve(good), CLOSED, OPEN), tmp_path, seen.append, ignore)
    assert (outcome.interrupted, outcome.problems) == (False, [])
    keys = [(row["stage"], row["phase"], row["index"]) for row in rows(tmp_path)]
    assert keys == [
        *[(0, "warmup", index) for index in range(2)],
        *[(0, "measured", index) for index in range(11)],
        *[(1, "measured", index) for index in range(10)],
    ]
    assert {(row["outcome"], row["output_tokens"], row["model"]) for row in rows(tmp_path)} == {("ok", 3, "tiny")}
    assert {row["worker"] for row in rows(tmp_path)} == {0, 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == [store.CONTEXT, store.PLAN, store.PARQUET]
    last = seen[-1]
    assert (last.number, last.stages, last.totals.ended) == (2, 2, 10)


def test_a_run_touches_nothing_that_it_did_not_make(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "workload").mkdir()
    (tmp_path / "workload" / "prompts.txt").write_text("mine")
    conduct(plan_of(serve(good), OPEN), tmp_path, ignore, ignore)
    assert (tmp_path / "workload" / "prompts.txt").read_text() == "mine"


def test_the_run_directory_says_what_was_done(serve: Serve, tmp_path: Path) -> None:
    notes: list[str] = []
    outcome = conduct(plan_of(serve(good), CLOSED), tmp_path, ignore, notes.append)
    plan = read_plan(tmp_path / store.PLAN)
    assert (plan.target.model, plan.workers) == ("tiny", 2)
    context = json.loads((tmp_path / store.CONTEXT).read_text())
    assert [worker["sent"] for worker in context["workers"]] == [report.sent for report in outcome.workers] == [6, 5]
    assert context["prompts"]["kind"] == "calibrated_text"
    assert any(note.startswith("prompts: ") for note in notes)


def test_times_count_from_the_epoch_and_late_sends_are_told(serve: Serve, tmp_path: Path) -> None:
    conduct(plan_of(serve(good), OPEN), tmp_path, ignore, ignore)
    scheduled = [row["scheduled_ns"] for row in rows(tmp_path)]
    assert [one - scheduled[0] for one in scheduled] == [5_000_000 * index for index in range(10)]
    assert scheduled[0] > 0
    assert all(row["sent_ns"] >= row["scheduled_ns"] for row in rows(tmp_path))


def test_no_key_is_on_disk(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "planted-key")
    monkeypatch.setenv("TEAM_KEY", "planted-too")
    asked: list[Asked] = []

    def respond(one: Asked) -> Said:
        asked.append(one)
        return good(one) if one.headers.get("authorization") == "Bearer planted-key" else Said({"error": "no"}, 401)

    notes: list[str] = []
    plan = plan_of(serve(respond), CLOSED, headers={"x-team-key": "$TEAM_KEY"})
    conduct(plan, tmp_path, ignore, notes.append)
    assert {row["outcome"] for row in rows(tmp_path)} == {"ok"}
    assert {one.headers["x-team-key"] for one in asked if one.method == "POST"} == {"planted-too"}
    for path in tmp_path.iterdir():
        assert b"planted" not in path.read_bytes(), path.name
    assert "planted" not in "".join(notes)


def test_failures_are_rows(serve: Serve, tmp_path: Path) -> None:
    turns = iter(range(1000))

    def respond(asked: Asked) -> Said:
        refused = "x-request-id" in asked.headers and next(turns) % 2
        return Said({"error": {"message": "slow down"}}, 429) if refused else good(asked)

    conduct(plan_of(serve(respond), CLOSED, workers=1), tmp_path, ignore, ignore)
    outcomes = [row["outcome"] for row in rows(tmp_path)]
    assert (outcomes.count("ok"), outcomes.count("http_429")) == (7, 6)


def test_a_server_that_is_not_there_is_said_before_anything_is_sent(refusing_url: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=refusing_url.removeprefix("http://")):
        conduct(plan_of(refusing_url, CLOSED), tmp_path, ignore, ignore)
    assert list(tmp_path.iterdir()) == []


# --- things that die -------------------------------------------------------------------------------------------------


@contextmanager
def streaming_for_ever() -> Iterator[str]:
    """Begins every answer and ends none."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    event = b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n'
    held: list[socket.socket] = []

    def accept() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            held.append(sock)
            sock.sendall(head + event)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for sock in held:
        sock.close()


def once(when: Callable[[Progress], bool], act: Callable[[], None]) -> Callable[[Progress], None]:
    """A watcher that acts the first time that ``when`` holds."""
    done: list[Progress] = []

    def watch(progress: Progress) -> None:
        if not done and when(progress):
            done.append(progress)
            act()

    return watch


def task(plan: Plan, directory: Path) -> Task:
    return Task(plan, Materials(prompts=PromptSpec(kind="calibrated_text")), directory, epoch_ns=0)


def test_ctrl_c_twice_ends_at_once_and_keeps_every_row(tmp_path: Path) -> None:
    def interrupt() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    stage = {"load": {"type": "closed", "concurrency": 4}, "num_requests": 20}
    before = signal.getsignal(signal.SIGINT)
    with streaming_for_ever() as url, Crew(2) as crew:
        watch = once(lambda progress: progress.totals.started == 4, interrupt)
        outcome = crew.run(task(plan_of(url, stage, stage), tmp_path), watch, ignore)
    assert outcome.interrupted
    assert [(row["stage"], row["outcome"]) for row in rows(tmp_path)] == [(0, "client_aborted")] * 4
    assert signal.getsignal(signal.SIGINT) == before


def test_ctrl_c_once_lets_what_runs_end(serve: Serve, tmp_path: Path) -> None:
    stage = {"load": {"type": "closed", "concurrency": 2}, "duration_s": 60}
    with Crew(2) as crew:
        watch = once(lambda progress: progress.totals.ended > 5, lambda: signal.raise_signal(signal.SIGTERM))
        outcome = crew.run(task(plan_of(serve(good), stage, stage, model="tiny"), tmp_path), watch, ignore)
    assert outcome.interrupted
    assert {(row["stage"], row["outcome"]) for row in rows(tmp_path)} == {(0, "ok")}
    assert sum(report.sent for report in outcome.workers) == len(rows(tmp_path)) > 5


def test_a_worker_that_dies_is_told_and_the_others_go_on(serve: Serve, tmp_path: Path) -> None:
    stage = {"load": {"type": "closed", "concurrency": 2}, "duration_s": 2.0}
    with Crew(2) as crew:
        victim = crew._workers[1]._process.pid
        watch = once(lambda progress: progress.totals.ended > 0, lambda: os.kill(victim, signal.SIGKILL))
        outcome = crew.run(task(plan_of(serve(good), stage, model="tiny"), tmp_path), watch, ignore)
    assert len(outcome.problems) == 1
    assert "worker 1 died" in outcome.problems[0]
    assert [report.worker for report in outcome.workers] == [0]
    mine = [row for row in rows(tmp_path) if row["worker"] == 0]
    assert len(mine) == outcome.workers[0].sent


def test_more_workers_than_there_can_be_are_one_sentence() -> None:
    """In a process of its own, which may have few files open."""
    code = "import resource; from inferometer.runner.local import Crew; "
    code += "resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32)); Crew(40)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "UserError: cannot start 40 worker processes: Too many open files; give fewer --workers" in done.stderr


def test_a_worker_that_dies_between_two_stages_is_told(serve: Serve, tmp_path: Path) -> None:
    stage = {"load": {"type": "closed", "concurrency": 2}, "num_requests": 4}
    with Crew(1) as crew:
        victim = crew._workers[0]._process

        def kill(_: object) -> None:
            victim.kill()
            victim.wait()

        with pytest.raises(UserError, match=r"every worker process died: worker 0 died \(signal SIGKILL\)"):
            crew.run(task(plan_of(serve(good), stage, stage, model="tiny"), tmp_path), ignore, kill)


def test_when_one_worker_fails_the_others_end_by_themselves(serve: Serve, tmp_path: Path) -> None:
    """The files of one may not grow any more. The other one sends nothing more, and keeps its rows."""
    stage = {"load": {"type": "closed", "concurrency": 2}, "duration_s": 600}
    crew = Crew(2)
    victim, other = (worker._process for worker in crew._workers)
    limit = once(lambda _: True, lambda: resource.prlimit(victim.pid, resource.RLIMIT_FSIZE, (100, 100)))
    with pytest.raises(UserError, match="cannot write what was measured"), crew:
        crew.run(task(plan_of(serve(good), stage, model="tiny"), tmp_path), limit, ignore)
    assert other.returncode == 0  # it was not killed
    assert any(row["worker"] == 1 for row in rows(tmp_path))
    assert not (tmp_path / ".counters").exists()


def test_counters_that_cannot_be_written_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / ".counters").mkdir()
    with Crew(1) as crew, pytest.raises(UserError, match=r"cannot write .*counters: Is a directory") as caught:
        crew.run(task(plan_of("http://127.0.0.1:9", CLOSED), tmp_path), ignore, ignore)
    assert caught.value.exit_code == 3


def test_a_run_that_fails_keeps_no_prompts(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed records are copied for the workers."""
    packed = tmp_path / "prompts.jsonl.gz"
    packed.write_bytes(gzip.compress(b'{"prompt": "a private prompt"}\n' * 4))
    plan = plan_of(serve(good), CLOSED, workers=1)
    workload = DatasetWorkload(path=str(packed))
    plan = plan.model_copy(update={"scenario": plan.scenario.model_copy(update={"workload": workload})})
    seen: list[bool] = []

    def fail(_: Crew, task: Task, *__: Any, **___: Any) -> None:
        seen.append(any(b"private" in path.read_bytes() for path in task.directory.rglob("rows")))
        raise UserError("every worker process died")

    monkeypatch.setattr(Crew, "run", fail)
    (tmp_path / "run").mkdir()
    with pytest.raises(UserError, match="died"):
        conduct(plan, tmp_path / "run", ignore, ignore)
    assert seen == [True]
    assert not any(b"private" in path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())


def test_when_every_worker_has_died_the_run_ends(serve: Serve, tmp_path: Path) -> None:
    stage = {"load": {"type": "closed", "concurrency": 2}, "duration_s": 60}
    with Crew(1) as crew:
        victim = crew._workers[0]._process.pid
        watch = once(lambda progress: progress.totals.ended > 5, lambda: os.kill(victim, signal.SIGKILL))
        with pytest.raises(UserError, match="every worker process died") as caught:
            crew.run(task(plan_of(serve(good), stage, model="tiny"), tmp_path), watch, ignore)
    assert caught.value.exit_code == 3
    assert (tmp_path / "requests-0.arrow").exists()
