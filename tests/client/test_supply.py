from collections.abc import Iterator
from itertools import count

import msgspec
import numpy as np
import pytest
from exchanges import JOB

from inferometer.client.exchange import Job
from inferometer.client.supply import AHEAD, Supply, job_writer, request_head
from inferometer.config.models import Phase, Plan, RandomWorkload, Scenario, Stage, Target
from inferometer.workload.tokens import Prompt


def write(index: int) -> Job:
    return JOB._replace(number=index)


def stride(total: int) -> Iterator[int]:
    return iter(range(1, total, 3))


def test_everything_is_built_before_the_clock() -> None:
    supply = Supply(write, stride(30), endless=False)
    assert len(supply) == 10
    assert [supply.take(index).number for index in stride(30)] == list(stride(30))
    assert (len(supply), supply.late_builds) == (0, 0)


def test_an_endless_load_is_built_ahead_and_topped_up() -> None:
    supply = Supply(write, count(), endless=True)
    assert len(supply) == AHEAD
    for index in range(2 * AHEAD):
        assert supply.take(index).number == index
        supply.top_up()
    assert supply.late_builds == 0


def test_what_is_built_at_send_time_is_counted() -> None:
    supply = Supply(write, iter(()), endless=False)
    supply.top_up()
    assert supply.take(5).number == 5
    assert supply.late_builds == 1


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inferometer.client.supply.BUDGET_BYTES", 10 * len(JOB.payload))
    supply = Supply(write, count(), endless=False)
    assert len(supply) == 10


def test_a_request_on_the_wire() -> None:
    workload = RandomWorkload(ignore_eos=True, extra_body={"temperature": 0, "max_tokens": 3})
    stages = (Stage.model_validate({"load": {"type": "closed", "concurrency": 1}, "num_requests": 2}),)
    plan = Plan(target=Target(model="m"), scenario=Scenario(workload=workload, stages=stages))

    def compose(tokens: int, _: np.random.Generator, serial: int) -> Prompt:
        return f"é {tokens} {serial}"

    head = request_head("/v1/chat/completions", "host:80", {"authorization": "Bearer k"})
    job = job_writer(plan, compose, head)(0, Phase.WARMUP, 1)
    lines, _, body = job.payload.partition(b"\r\n\r\n")
    first, *headers = lines.decode("ascii").split("\r\n")
    named = dict(header.split(": ", 1) for header in headers)
    assert first == "POST /v1/chat/completions HTTP/1.1"
    assert (named["host"], named["authorization"]) == ("host:80", "Bearer k")
    assert named["content-length"] == str(len(body))
    assert named["x-request-id"] == "inferometer-warmup-0-1"
    sent = msgspec.json.decode(body)
    assert sent["messages"] == [{"role": "user", "content": "é 256 1"}]
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})
    assert (sent["max_tokens"], sent["temperature"], sent["ignore_eos"]) == (3, 0, True)
    assert (job.asked_prompt_tokens, job.asked_output_tokens) == (256, 128)


def test_a_supply_that_fell_behind_catches_up() -> None:
    """More in flight than are built ahead: what was built late is not built again."""
    supply = Supply(write, count(), endless=True)
    taken = iter(count())
    for _ in range(AHEAD + 500):
        supply.take(next(taken))
    for _ in range(1000):
        supply.top_up()
    assert supply.late_builds == 500
    for _ in range(1000):
        supply.take(next(taken))
    assert supply.late_builds == 500
    assert len(supply) == 0
