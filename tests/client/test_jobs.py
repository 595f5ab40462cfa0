"""Requests as the server gets them."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from inferometer.client.exchange import Job
from inferometer.client.jobs import job_writer, model_chooser, request_head
from inferometer.config.models import Phase, Plan
from inferometer.workload.asks import Ask, Turn


def plan_of(target: dict[str, Any], **workload: Any) -> Plan:
    stages = [{"load": {"type": "closed", "concurrency": 1}, "num_requests": 2}]
    return Plan.model_validate({"target": target, "scenario": {"workload": workload, "stages": stages}})


def sent(job: Job) -> tuple[dict[str, str], dict[str, Any]]:
    """Headers and body."""
    lines, _, body = job.payload.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in lines.decode().split("\r\n")[1:])
    return headers, msgspec.json.decode(body)


def test_a_request_on_the_wire() -> None:
    plan = plan_of({"model": "m"}, ignore_eos=True, extra_body={"temperature": 0, "max_tokens": 3})
    head = request_head("/v1/chat/completions", "host:80", {"authorization": "Bearer k"})
    job = job_writer(plan, lambda *_: Ask("é", 256, 128), head).first(0, Phase.WARMUP, 1)
    lines, _, body = job.payload.partition(b"\r\n\r\n")
    first, *headers = lines.decode("ascii").split("\r\n")
    named = dict(header.split(": ", 1) for header in headers)
    assert first == "POST /v1/chat/completions HTTP/1.1"
    assert (named["host"], named["authorization"]) == ("host:80", "Bearer k")
    assert named["content-length"] == str(len(body))
    assert named["x-request-id"] == "inferometer-warmup-0-1"
    sent = msgspec.json.decode(body)
    assert sent["messages"] == [{"role": "user", "content": "é"}]
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})
    assert (sent["max_tokens"], sent["temperature"], sent["ignore_eos"]) == (3, 0, True)
    assert (job.asked_prompt_tokens, job.asked_output_tokens) == (256, 128)


def test_places_in_headers_and_bodies_are_filled() -> None:
    plan = plan_of(
        {"model": "m"},
        headers={"X-Session": "user-{conversation}"},
        extra_body={"metadata": {"tags": ["{stage}", "turn {turn}"], "id": "{request_id}"}, "odd": "{neither}"},
    )
    write = job_writer(plan, lambda _, __, index: Ask("a", 1, 1, conversation=index + 40, turn=2), b"")
    headers, body = sent(write.first(3, Phase.MEASURED, 7))
    assert headers["X-Session"] == "user-47"
    assert body["metadata"] == {"tags": ["3", "turn 2"], "id": "inferometer-3-7-2"}
    assert body["odd"] == "{neither}"


def test_a_model_of_any_name_can_stand_in_a_header() -> None:
    plan = plan_of({"model": "Łódź/é"}, headers={"X-Model": "{model}"})
    headers, _ = sent(job_writer(plan, lambda *_: Ask("a", 1, 1), b"").first(0, Phase.MEASURED, 0))
    assert headers["X-Model"] == "Łódź/é"


def test_the_name_of_a_model_ends_no_header() -> None:
    plan = plan_of({"model": "a"}, headers={"X-Model": "{model}"})
    ask = Ask("a", 1, 1, overrides={"model": "b\r\nX-Own: 1"})  # as a record of a data file can have it
    headers, body = sent(job_writer(plan, lambda *_: ask, b"").first(0, Phase.MEASURED, 0))
    assert (headers["X-Model"], "X-Own" in headers) == ("b  X-Own: 1", False)
    assert body["model"] == "b\r\nX-Own: 1"


def test_overrides_of_one_request_win() -> None:
    plan = plan_of({"model": "m"}, extra_body={"temperature": 0, "top_p": 1})
    write = job_writer(plan, lambda *_: Ask("a", 1, 8, overrides={"temperature": 0.5, "max_tokens": 3}), b"")
    _, body = sent(write.first(0, Phase.MEASURED, 0))
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.5, 1, 3)


def test_a_later_turn_carries_what_was_really_answered() -> None:
    turns = (Turn("and then?", 3, 9, 0.5), Turn("and last?", 3, 10, 0.5, "tool"))
    write = job_writer(plan_of({"model": "m"}), lambda *_: Ask("hello", 5, 8, conversation=4, later=turns), b"")
    second = write.next(write.first(0, Phase.MEASURED, 4), "hi there")
    third = write.next(second, "more")
    assert (second.turn, second.asked_prompt_tokens, second.asked_output_tokens) == (1, None, 9)
    assert (third.turn, third.request_class, third.asked_prompt_tokens, third.ask) == (2, "tool", None, None)
    roles = [(message["role"], message["content"]) for message in sent(third)[1]["messages"]]
    assert roles == [
        ("user", "hello"),
        ("assistant", "hi there"),
        ("user", "and then?"),
        ("assistant", "more"),
        ("user", "and last?"),
    ]


@pytest.mark.parametrize(
    ("models", "counts"),
    [
        (["a", "b"], {"a": 50, "b": 50}),
        ([{"name": "a", "share": 3}, "b"], {"a": 75, "b": 25}),
        (
            [{"name": "a", "share": 0.7}, {"name": "b", "share": 0.2}, {"name": "c", "share": 0.1}],
            {"a": 70, "b": 20, "c": 10},
        ),
    ],
)
def test_models_are_asked_by_their_shares(models: list[Any], counts: dict[str, int]) -> None:
    choose = model_chooser(plan_of({"models": models}))
    found = Counter(choose(index) for index in range(100))
    assert all(abs(found[name] - count) <= 2 for name, count in counts.items())
