"""Requests as bytes: what one asks, in the words of an API, behind the head that all share."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import reduce
from typing import Any, NamedTuple

import msgspec

from inferometer.client.answers import Body, merged
from inferometer.client.apis import Api, spoken
from inferometer.client.exchange import Job
from inferometer.config.models import Asking, ModelShare, Phase, Plan
from inferometer.config.workloads import PLACE
from inferometer.workload.asks import Ask, Asks
from inferometer.workload.conversation import follow

#: What ends a header, in which the name of a model can stand: a space is in its place (RFC 9110, 5.5).
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
#: The fractional part of the golden ratio: multiples of it are spread evenly over [0, 1) at any length.
_GOLDEN = 0.6180339887498949


class JobWriter(NamedTuple):
    """``first(stage, phase, index)`` writes a request; ``next(job, answer)`` the turn that follows it."""

    first: Callable[[int, Phase, int], Job]
    next: Callable[[Job, str], Job]


def request_head(
    path: str, host: str, headers: dict[str, str], *, stream: bool = True, keep_alive: bool = True
) -> bytes:
    """The request line and the headers that all requests share. Header values must not hold line breaks."""
    ours = {
        "host": host,
        "content-type": "application/json",
        "accept": "text/event-stream, application/json" if stream else "application/json",
        "accept-encoding": "identity",  # without it any coding is allowed (RFC 9110, 12.5.3)
    }
    if not keep_alive:
        ours["connection"] = "close"  # the server need not wait for another request (RFC 9112, 9.6)
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (ours | headers).items())]
    return "".join(line + "\r\n" for line in lines).encode("latin-1")


def job_writer(plan: Plan, asks: Asks, head: bytes) -> JobWriter:
    """The functions that turn what a plan asks into bytes. ``head`` is the start of every request."""
    workload = plan.scenario.workload
    api = spoken(plan.target.api, stream=workload.stream)
    fixed = _fixed(api, workload)
    adapter = api.adapter if plan.target.models else None
    told = {name.lower() for name in plan.target.headers}
    own_headers = {name: value for name, value in api.headers.items() if name not in told}
    fill_body, fill_headers = _filler(workload.extra_body), _filler(workload.headers)
    choose = model_chooser(plan)

    def write(stage: int, phase: Phase, index: int, ask: Ask) -> Job:
        overrides = ask.overrides or {}
        model = str(overrides.get("model") or choose(index))  # a record of a file may name its own
        request_id = f"inferometer-{'warmup-' if phase is Phase.WARMUP else ''}{stage}-{index}"
        if ask.turn:
            request_id += f"-{ask.turn}"
        conversation = index if ask.conversation is None else ask.conversation
        values = (index, stage, conversation, ask.turn, model, request_id)
        names = dict(
            zip(("index", "stage", "conversation", "turn", "model", "request_id"), map(str, values), strict=True)
        )
        parts = (fixed, adapter(model) if adapter else {}, fill_body(names), overrides)
        body = msgspec.json.encode(reduce(merged, parts, api.write(model, ask)))
        named = fill_headers(names | {"model": _CONTROLS.sub(" ", model)})
        lines = {"x-request-id": request_id, "content-length": str(len(body))} | own_headers | named
        tail = "".join(f"{name}: {value}\r\n" for name, value in lines.items()) + "\r\n"
        return Job(
            stage=stage,
            number=index,
            phase=phase,
            payload=head + tail.encode() + body,  # a model may have any name (obs-text, RFC 9110, 5.5)
            asked_prompt_tokens=ask.prompt_tokens,
            asked_output_tokens=ask.output_tokens,
            model=model or None,
            request_class=ask.request_class,
            group=ask.group,
            conversation=ask.conversation,
            turn=ask.turn,
            ask=ask if ask.later else None,
        )

    def first(stage: int, phase: Phase, index: int) -> Job:
        return write(stage, phase, index, asks(stage, phase, index))

    def later(job: Job, answer: str) -> Job:
        assert job.ask is not None  # noqa: S101
        return write(job.stage, job.phase, job.number, follow(job.ask, answer))

    return JobWriter(first, later)


def _fixed(api: Api, workload: Asking) -> Body:
    """What is the same in all bodies: whether answers go on to their full length, which schema they follow."""
    go_on = api.ignore_eos if workload.ignore_eos else None
    schema = workload.json_schema
    return merged(go_on or {}, api.structure(schema) if api.structure is not None and schema is not None else {})


def model_chooser(plan: Plan) -> Callable[[int], str]:
    """Which model request ``index`` asks: in turn if all have equal shares, else spread evenly by their shares."""
    models = plan.target.models or (ModelShare(name=plan.target.model or "-"),)
    names = [one.name for one in models] if plan.target.models else [plan.target.model or ""]
    if len({one.share for one in models}) == 1:
        return lambda index: names[index % len(names)]
    total = sum(one.share for one in models)
    rising = [sum(one.share for one in models[: end + 1]) / total for end in range(len(models) - 1)]
    return lambda index: names[sum((index + 1) * _GOLDEN % 1 >= limit for limit in rising)]


def _filler(template: dict[str, Any]) -> Callable[[dict[str, str]], dict[str, Any]]:
    """A function that puts values into the places of a template; the template itself where it has none."""
    if not PLACE.search(msgspec.json.encode(template).decode()):
        return lambda _: template
    return lambda names: {key: _filled(value, names) for key, value in template.items()}


def _filled(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        return PLACE.sub(lambda place: names[place[1]], value)
    if isinstance(value, dict):
        return {key: _filled(each, names) for key, each in value.items()}
    return [_filled(each, names) for each in value] if isinstance(value, list) else value
