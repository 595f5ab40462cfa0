"""A real builder process: the requests of the worker byte by byte, and no trace of it when either side ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import Asked, Said, Serve, good
from e2e.support import COMMAND, environment, rows
from faults.test_secrets import KEY, leaks, run
from inferometer.client.exchange import Job
from inferometer.client.jobs import job_writer
from inferometer.client.spool import Build, Spool
from inferometer.client.supply import Supply
from inferometer.config.models import Phase, Plan
from inferometer.runner.builder import Builder
from inferometer.runner.messages import Setup, encode
from inferometer.workload.asks import Materials
from inferometer.workload.sources import asks_of
from inferometer.workload.tokens import PromptSpec

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer planted\r\n"
HANGS_S = 60.0
MATERIALS = Materials(prompts=PromptSpec(kind="calibrated_text"))
TALK = {
    "type": "conversation", "turns": {"mean": 3}, "input_tokens": {"mean": 20}, "output_tokens": {"mean": 4},
    "system_tokens": 10,
}  # fmt: skip
RANDOM = {"input_tokens": {"mean": 400}, "headers": {"x-session": "{index}"}}


def plan_of(workload: dict[str, Any]) -> Plan:
    closed = {"type": "closed", "concurrency": 4}
    stages = [{"load": closed, "num_requests": 3000, "warmup_requests": 8}, {"load": closed, "duration_s": 9}]
    scenario = {"workload": workload, "stages": stages}
    return Plan.model_validate({"target": {"base_url": "http://127.0.0.1:9", "model": "m"}, "scenario": scenario})


def setup(workload: dict[str, Any]) -> Setup:
    plan = plan_of(workload).model_dump_json()
    return Setup(plan=plan, materials=MATERIALS, worker=1, workers=2, directory="", board="", epoch_ns=0)


@pytest.fixture
def builder(request: pytest.FixtureRequest) -> Iterator[Builder]:
    """The builder of worker 1 of 2."""
    builder = Builder(setup(getattr(request, "param", RANDOM)), HEAD)
    yield builder
    builder.end()


def writer(workload: dict[str, Any]) -> Callable[[int, Phase, int], Job]:
    plan = plan_of(workload)
    return job_writer(plan, asks_of(plan, MATERIALS), HEAD).first


def read(spool: Spool, count: int) -> list[Job]:
    """The next requests, at least so many; fewer if no more come."""
    jobs: list[Job] = []
    until_s = time.monotonic() + HANGS_S
    while len(jobs) < count and not (spool.over or spool.lost):
        assert time.monotonic() < until_s
        spool.wait(1.0)
        jobs += spool.read()
    return jobs


def children(of: str = "self") -> list[int]:
    """Processes that this one, or another, has started."""
    tasks = Path(f"/proc/{of}/task").iterdir()
    return [int(one) for task in tasks for one in (task / "children").read_text().split()]


def builder_process() -> int:
    [process] = [pid for pid in children() if b"runner.builder" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return process


def test_parts_are_built_one_after_the_other(builder: Builder) -> None:
    """To its end; left in the middle; endless; with a skip."""
    first = writer(RANDOM)
    warmup = read(builder.begin(Build(0, Phase.WARMUP, 0)), 100)
    assert warmup == [first(0, Phase.WARMUP, index) for index in (1, 3, 5, 7)]

    process = builder_process()
    measured = read(builder.begin(Build(0, Phase.MEASURED, 200)), 20)
    assert measured[:20] == [first(0, Phase.MEASURED, index) for index in range(201, 241, 2)]
    assert len(measured) < 1000

    spool = builder.begin(Build(1, Phase.MEASURED, -1))
    assert [(job.stage, job.number) for job in read(spool, 3)[:3]] == [(1, 1), (1, 3), (1, 5)]
    spool.skip(100_000)
    numbers = [0]
    while numbers[-1] < 100_000:
        numbers = [job.number for job in read(spool, 1)]
        assert numbers == sorted(numbers)
    assert 100_001 in numbers
    assert builder_process() == process


@pytest.mark.parametrize("builder", [TALK], indirect=True)
def test_conversations_come_with_their_later_turns(builder: Builder) -> None:
    spool = builder.begin(Build(0, Phase.MEASURED, 100))
    jobs = read(spool, 10)
    assert jobs[:10] == [writer(TALK)(0, Phase.MEASURED, index) for index in range(101, 121, 2)]
    assert {len(job.ask.later) for job in jobs if job.ask is not None} == {2}


def test_a_supply_larger_than_memory(builder: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole stride comes out, whoever built it, and the last requests do not hang for one that never comes."""
    first, built_here = writer(RANDOM), list[int]()

    def write(index: int) -> Job:
        built_here.append(index)
        return first(0, Phase.MEASURED, index)

    monkeypatch.setattr("inferometer.client.supply.BUDGET_BYTES", 100_000)
    supply = Supply(
        write,
        iter(range(1, 3000, 2)),
        endless=False,
        spool=lambda after: builder.begin(Build(0, Phase.MEASURED, after)),
    )
    assert 0 < len(supply) < 200
    for index in range(1, 3000, 2):
        assert supply.take(index) == first(0, Phase.MEASURED, index)
        supply.top_up()
    assert len(supply) == 0
    assert len(built_here) < 1500  # how many, is a matter of how busy the machine is
    assert len(set(built_here)) == len(built_here)


@pytest.mark.parametrize("how", ["end", "kill"])
def test_nothing_is_left_of_a_builder(builder: Builder, how: str) -> None:
    """It ends in the middle of its work, and another one takes its place where one is needed."""
    spool = builder.begin(Build(1, Phase.MEASURED, -1))
    assert read(spool, 1)
    process = builder_process()
    if how == "kill":
        os.kill(process, signal.SIGKILL)
        read(spool, 10**9)
        assert spool.lost
        assert read(builder.begin(Build(1, Phase.MEASURED, 50)), 1)[0].number == 51
        assert builder_process() != process
    builder.end()
    assert not [pid for pid in children() if b"runner.builder" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_a_run_sends_the_same_and_keeps_no_key(serve: Serve, tmp_path: Path) -> None:
    """The installed command where next to nothing fits into memory, and where everything does."""
    bodies: list[tuple[str, str]] = []
    keys: set[str | None] = set()

    def respond(asked: Asked) -> Said:
        if asked.method == "POST" and "x-request-id" in asked.headers:
            bodies.append((asked.headers["x-request-id"], str(asked.body)))
        keys.add(asked.headers.get("authorization"))
        return good(asked)

    (tmp_path / "small").mkdir()
    small = "import inferometer.client.supply as supply\nsupply.BUDGET_BYTES = 20_000\n"
    (tmp_path / "small" / "sitecustomize.py").write_text(small)
    url, sent, commands = serve(respond), dict[str, list[tuple[str, str]]](), dict[str, set[bytes]]()
    for name, env in {"small": {"PYTHONPATH": str(tmp_path / "small")}, "large": dict[str, str]()}.items():
        load = ["--max-concurrency", "2", "--num-prompts", "80", "--workers", "2", "--num-warmups", "3", "--seed", "7"]
        words = ["run", "--base-url", url, "--run-dir", str(tmp_path / "runs" / name), *load]
        code, said, commands[name] = run([COMMAND, *words], OPENAI_API_KEY=KEY, **env)
        assert code == 0, said
        sent[name] = sorted(bodies)
        bodies.clear()
    assert len(sent["large"]) == 83
    assert sent["small"] == sent["large"]
    assert [any(b"runner.builder" in one for one in commands[name]) for name in ("small", "large")] == [True, False]
    assert set(rows(tmp_path / "runs" / "small")["outcome"]) == {"ok"}
    assert keys == {f"Bearer {KEY}"}
    assert leaks(tmp_path / "runs") == []
    assert sorted(path.name for path in (tmp_path / "runs" / "small").iterdir()) == sorted(
        path.name for path in (tmp_path / "runs" / "large").iterdir()
    )


#: A worker that has its builder at work, says its process id, and hangs.
WORKER = """
import sys, time
from inferometer.client.spool import Build
from inferometer.config.models import Phase
from inferometer.runner.builder import Builder
from inferometer.runner.messages import decode_order
builder = Builder(decode_order(sys.argv[1]), b"")
spool = builder.begin(Build(1, Phase.MEASURED, -1))
while not spool.read():
    spool.wait(60)
print(builder._process.pid, flush=True)
time.sleep(60)
"""


def lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_builder_does_not_outlive_its_worker() -> None:
    """A killed worker says goodbye to nobody."""
    command = [sys.executable, "-c", WORKER, encode(setup(RANDOM)).decode()]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        process = int(worker.stdout.readline())
        assert lives(process)
        worker.kill()
    until_s = time.monotonic() + HANGS_S
    while lives(process) and time.monotonic() < until_s:
        time.sleep(0.05)
    assert not lives(process)
