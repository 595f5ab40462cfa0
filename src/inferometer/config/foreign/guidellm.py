"""GuideLLM's scenario files, flat and nested -> plans."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from inferometer.config.foreign.checked import Reader, reader, valid
from inferometer.config.foreign.guidellm_data import sent
from inferometer.config.foreign.guidellm_schema import Backend, Constraint, Edge, Flat, Nested, Profile, Seed, Spec
from inferometer.config.foreign.inference_perf import address, needed_tokenizer, refuse_key
from inferometer.config.foreign.substitution import substituted
from inferometer.config.foreign.translated import Keys, Translated, Where
from inferometer.config.models import Plan, Stage, Target

#: What kinds of request are called -> our APIs.
_APIS = {
    "text_completions": "openai-completions",
    "/v1/completions": "openai-completions",
    "chat_completions": "openai-chat",
    "/v1/chat/completions": "openai-chat",
    "responses": "openai-responses",
    "/v1/responses": "openai-responses",
    "embeddings": "openai-embeddings",
    "/v1/embeddings": "openai-embeddings",
}
#: Requests in flight of the profile throughput, and requests of a benchmark that nothing ends.
_MOST_IN_FLIGHT, _SAMPLES = 512, 1000
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class Ends(NamedTuple):
    """When a stage ends, and which parts of it do not count."""

    seconds: float | None
    requests: int | None
    warmup: float | Edge | None
    cooldown: float | Edge | None


def looks_like(document: Mapping[str, Any]) -> bool:
    """Either form: a spec with its backend or profile, or a profile and data beside a target."""
    spec = document.get("spec")
    nested = isinstance(spec, Mapping) and bool({"backend", "profile", "data"} & spec.keys())
    return nested or (isinstance(document.get("profile"), str) and bool({"target", "data", "rate"} & document.keys()))


def translate(document: Mapping[str, Any], where: Where, environment: Mapping[str, str]) -> Translated:
    """The plans of a whole file: one, if its benchmarks differ in nothing but their load."""
    filled = substituted(document, where, environment)
    read = reader(where)
    read.ignored.extend(filled.left_out)
    plans = plans_of(filled.document, read, environment)
    names = tuple(str(number + 1) for number in range(len(plans))) if len(plans) > 1 else ()
    return Translated(tuple(plans), tuple(read.ignored), tuple(read.notes), names)


def plans_of(document: Mapping[str, Any], reader: Reader, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """The plans of a document in either form, or of the part of one at ``reader.at``."""
    made = _nested(document, reader, environment) if "spec" in document else [_flat(document, reader, environment)]
    for plan in made:
        valid(Plan, plan, reader.where, reader.at)
    return made


def _flat(document: Mapping[str, Any], reader: Reader, environment: Mapping[str, str]) -> dict[str, Any]:
    given = reader.read(Flat, document)
    reader.ignore_given(given, (), dict.fromkeys(("data_args", "backend_kwargs"), "is not known here"))
    form = given.request_type or given.request_format
    backend = Backend(target=given.target, model=given.model, request_format=form)
    limits = {
        "max_errors": ("count", given.max_errors),
        "max_error_rate": ("rate", given.max_error_rate),
        "max_global_error_rate": ("rate", given.max_global_error_rate),
    }
    constraints = [
        Constraint.model_validate({"kind": kind, name: value}) for kind, (name, value) in limits.items() if value
    ]
    profile = Profile(
        kind=given.profile, streams=_streams(given, reader), rate=given.rate, rampup_duration=given.rampup
    )
    workload = sent(given.data, reader, ("data",)) | _form(backend)
    scenario = {
        "name": given.profile,
        "workload": workload,
        "stages": _stages(
            profile, Ends(given.max_seconds, given.max_requests, given.warmup, given.cooldown), reader, ((), "rate")
        ),
    }
    stop = _stop_early(constraints, reader, None)
    scenario |= {"stop_early": stop} if stop else {}
    target = _target(backend, reader, environment, ())
    target |= needed_tokenizer(given.processor, workload, reader)
    seed = {} if given.random_seed is None else {"seed": given.random_seed}
    return {"target": target, "scenario": scenario} | seed


def _streams(given: Flat, reader: Reader) -> list[int] | None:
    if given.profile != "concurrent" or given.rate is None:
        return None
    if any(rate != int(rate) for rate in given.rate):
        raise reader.wrong(("rate",), "of the profile concurrent are numbers of streams, which are whole")
    return [int(rate) for rate in given.rate]


def _nested(document: Mapping[str, Any], reader: Reader, environment: Mapping[str, str]) -> list[dict[str, Any]]:
    given = reader.read(Nested, document)
    plans: list[dict[str, Any]] = []
    for number, override in enumerate(given.benchmarks or [None]):
        spec, lines = copy.deepcopy(given.spec), dict(reader.where.lines)
        for path, value in (override or {}).items():
            steps = _put(spec, path, value, reader, ("benchmarks", number, path))
            line = reader.where.line((*reader.at, "benchmarks", number, path))
            for end in range(1, len(steps)):
                lines.setdefault((*reader.at, "spec", *steps[:end]), line)
            lines[(*reader.at, "spec", *steps)] = line
        part = Reader(reader.where._replace(lines=lines), (*reader.at, "spec"), [], reader.notes)
        plan = _benchmark(part.read(Spec, spec), part, environment)
        reader.ignored.extend(one for one in part.ignored if one not in reader.ignored)
        if plans and _but_stages(plans[-1]) == _but_stages(plan):
            plans[-1]["scenario"]["stages"] += plan["scenario"]["stages"]
        else:
            plans.append(plan)
    return plans


def _but_stages(plan: dict[str, Any]) -> Any:
    return plan | {"scenario": plan["scenario"] | {"stages": (), "name": ""}}


def _put(spec: dict[str, Any], path: str, value: Any, reader: Reader, keys: Keys) -> Keys:
    """Set what a dotted path such as ``constraints[0].count`` means; the keys on the way."""
    steps: Keys = tuple(name or int(index) for name, index in _STEP.findall(path))
    place: Any = spec
    for step, ahead in pairwise(steps):
        if isinstance(place, dict) and step not in place and isinstance(ahead, str):
            place[step] = {}
        try:
            place = place[step]
        except (LookupError, TypeError):
            raise reader.wrong(keys, f"there is no {step!r} in spec to override") from None
    try:
        place[steps[-1]] = value
    except (LookupError, TypeError):
        raise reader.wrong(keys, f"there is no {steps[-1]!r} in spec to override") from None
    return steps


def _benchmark(spec: Spec, reader: Reader, environment: Mapping[str, str]) -> dict[str, Any]:
    told = {name: [one for one in spec.constraints if one.kind == name] for name in ("max_duration", "max_requests")}
    seconds = min((one.seconds for one in told["max_duration"] if one.seconds), default=None)
    requests = min((one.count for one in told["max_requests"] if one.count), default=None)
    if len(spec.data) != 1:
        raise reader.wrong(("data",), f"{len(spec.data)} sources of data: give one")
    workload = sent(spec.data[0], reader, ("data", 0)) | _form(spec.backend)
    extras = spec.backend.extras
    if extras is not None:
        reader.ignore_given(extras, ("backend", "extras"), {"params": "no parameters are put behind the address"})
        workload |= {"extra_body": extras.body} if extras.body else {}
    profile = spec.profile
    ends = Ends(seconds, requests, profile.warmup, profile.cooldown)
    name = "streams" if profile.kind == "concurrent" else "rate"
    scenario = {
        "name": profile.kind,
        "workload": workload,
        "stages": _stages(profile, ends, reader, (("profile",), name)),
    }
    stop = _stop_early(spec.constraints, reader, "constraints")
    scenario |= {"stop_early": stop} if stop else {}
    target = _target(spec.backend, reader, environment, ("backend",))
    target |= needed_tokenizer(spec.tokenizer.model if spec.tokenizer else None, workload, reader)
    seed = spec.seed.value if isinstance(spec.seed, Seed) else spec.seed
    return {"target": target, "scenario": scenario} | ({} if seed is None else {"seed": seed})


def _form(given: Backend) -> dict[str, Any]:
    """In which form answers come."""
    return {"stream": False} if given.stream is False else {}


def _target(given: Backend, reader: Reader, environment: Mapping[str, str], at: Keys) -> dict[str, Any]:
    target: dict[str, Any] = {"api": _APIS[given.request_format or "/v1/chat/completions"]}
    if given.request_format is None:
        reader.note("no kind of request is named: chat completions")
    target |= {"base_url": address(given.target)} if given.target else {}
    target |= {"model": given.model} if given.model else {}
    if given.api_key:
        refuse_key(reader, (*at, "api_key"), environment)
    limits = {"total_s": given.timeout, "connect_s": given.timeout_connect}
    timeouts = {name: limit for name, limit in limits.items() if limit is not None}
    target |= {"timeouts": timeouts} if timeouts else {}
    target |= {"verify_tls": given.verify} if given.verify is not None else {}
    headers = given.extras.headers if given.extras else None
    if headers:
        valid(Target, {"headers": headers}, reader.where, (*reader.at, *at, "extras", "headers"))
        target["headers"] = dict(headers)
    if given.http2:
        reader.ignore((*at, "http2"), "requests go by HTTP/1.1")
    reader.ignore_given(given, at, {"max_tokens": "the data say how long answers are"})
    return target


def _stop_early(constraints: list[Constraint], reader: Reader, at: str | None) -> dict[str, Any]:
    """Limits on failures end the whole run."""
    rules: dict[str, Any] = {}
    for number, one in enumerate(constraints):
        keys: Keys = (at, number) if at else (one.kind,)
        if one.kind in ("max_error_rate", "max_global_error_rate"):
            least = one.minimum or one.window or 30
            rules |= {"failed_share": one.rate, "after_requests": least}
        elif one.kind == "max_errors":
            rules["consecutive_failures"] = one.count
            reader.ignore(keys, "read as failures in a row: nothing else counts them one by one")
        elif one.kind == "over_saturation":
            reader.ignore(keys, "no rule ends a stage for that: its verdict and the knee of the sweep show it")
    return rules


def _stages(profile: Profile, ends: Ends, reader: Reader, place: tuple[Keys, str]) -> list[dict[str, Any]]:
    at, name = place
    if profile.kind in ("sweep", "replay"):
        kind: Keys = (*at, "kind") if at else ("profile",)
        raise reader.wrong(
            kind, f"{profile.kind} cannot be played: use concurrent with streams, or constant or poisson with rates"
        )
    if ends.seconds is None and ends.requests is None:
        reader.note(f"nothing says when a benchmark ends: after {_SAMPLES} requests")
        ends = ends._replace(requests=_SAMPLES)
    if profile.rampup_duration and profile.kind not in ("constant", "async"):
        reader.ignore((*at, "rampup_duration" if at else "rampup"), "only constant rates rise slowly here")
    around = {"num_requests": ends.requests, "duration_s": ends.seconds} | _edges(ends, reader, at)
    stages = [{"load": load} | around for load in _loads(profile, reader, (*at, name))]
    for stage in stages:
        reader.made(Stage, stage, (*at, name))
    return stages


def _loads(profile: Profile, reader: Reader, keys: Keys) -> list[dict[str, Any]]:
    if profile.kind == "synchronous":
        return [{"type": "closed", "concurrency": 1}]
    if profile.kind == "throughput":
        most = profile.max_concurrency or int((profile.rate or [_MOST_IN_FLIGHT])[0])
        reader.note(f"throughput: {most} requests in flight all the time")
        return [{"type": "closed", "concurrency": most}]
    values = profile.streams if profile.kind == "concurrent" else profile.rate
    if not values:
        raise reader.wrong(keys[:-1] or keys, f"{keys[-1]!r} is missing: the profile {profile.kind} needs it")
    if profile.kind == "concurrent":
        return [{"type": "closed", "concurrency": streams} for streams in values]
    arrivals = "poisson" if profile.kind == "poisson" else "constant"
    cap = {} if profile.max_concurrency is None else {"max_in_flight": profile.max_concurrency}
    return [{"type": "open", "rate": _risen(profile, rate), "arrivals": arrivals} | cap for rate in values]


def _risen(profile: Profile, rate: float) -> Any:
    if not profile.rampup_duration or profile.kind == "poisson":
        return rate
    return {"type": "linear", "start": 0, "end": rate, "over_s": profile.rampup_duration}


def _edges(ends: Ends, reader: Reader, at: Keys) -> dict[str, Any]:
    """Seconds at both ends that do not count: below 1 a share of the duration, else seconds."""
    edges = {}
    for name in ("warmup", "cooldown"):
        given = getattr(ends, name)
        value = (given.percent or given.value) if isinstance(given, Edge) else given
        share = isinstance(given, Edge) and given.percent is not None
        if not value:
            continue
        if ends.seconds is None:
            reader.ignore((*at, name), "without a duration there is no telling how long that is")
            continue
        edges[f"{name}_s"] = value * ends.seconds if share or value < 1 else value
    return edges
