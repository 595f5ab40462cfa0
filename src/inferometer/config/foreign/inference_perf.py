"""inference-perf's ``config.yml`` -> one plan."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from inferometer.config.foreign.checked import Reader, reader, valid
from inferometer.config.foreign.inference_perf_data import Sent, sent
from inferometer.config.foreign.inference_perf_schema import (
    Api,
    Breaker,
    Config,
    Goodput,
    Load,
    LoadStage,
    Metrics,
    Report,
    Server,
    Tokenizer,
)
from inferometer.config.foreign.substitution import substituted
from inferometer.config.foreign.translated import Translated, Where, nearest
from inferometer.config.models import Plan, Stage, Target

_APIS = {
    "completion": "openai-completions",
    "chat": "openai-chat",
    "anthropic_messages": "anthropic",
    "embeddings": "openai-embeddings",
}
_SLO_UNITS_MS = {"s": 1000.0, "ms": 1.0, "us": 0.001}
_METRICS = {"request_latency": "e2el"}
#: Seconds between two stages.
_INTERVAL_S = 1.0
_SECTIONS = tuple(Config.model_fields)
_LOAD_IGNORED = {
    "num_workers": "--workers says how many processes send",
    "worker_max_concurrency": "requests in flight are not capped, so that an open loop stays one",
    "worker_max_tcp_connections": "every request in flight has its connection",
    "stage_teardown_grace_seconds": "requests are waited for; their limit is request_timeout",
}
_LIFECYCLE_IGNORED = {
    "use_server_output_tokens": "output tokens are always those that the server counted, if it says so",
    "max_error_messages": "every failure is kept, each in its row",
}


def looks_like(document: Mapping[str, Any]) -> bool:
    """A load or data beside a server, an API or a tokenizer, each a section."""
    sections = {name for name in _SECTIONS if isinstance(document.get(name), Mapping)}
    return bool(sections & {"load", "data"}) and len(sections) > 1


def translate(document: Mapping[str, Any], where: Where, environment: Mapping[str, str]) -> Translated:
    """The plan of a whole file. ``${VARIABLE}`` and ``REPLACE_ENV_VARIABLE`` in values are filled in."""
    filled = substituted(document, where, environment)
    read = reader(where)
    read.ignored.extend(filled.left_out)
    plan = plan_of(filled.document, read, environment)
    return Translated((plan,), tuple(read.ignored), tuple(read.notes))


def plan_of(document: Mapping[str, Any], reader: Reader, environment: Mapping[str, str]) -> dict[str, Any]:
    """The plan of a document, or of the part of one at ``reader.at``, as plain data; ``base_url`` may be missing."""
    _refuse_misplaced(document, reader)
    config = reader.read(Config, document)
    data = sent(config, reader)
    workload = data.workload | _asking(config, reader)
    load = config.load or Load()
    target = _target(config, data, reader, environment)
    scenario: dict[str, Any] = {
        "name": (config.data.type if config.data else None) or "mock",
        "workload": workload,
        "stages": _stages(load, data, reader),
    }
    slos = [*_goodput(config.report), *_slo_headers(config.api or Api(), reader)]
    scenario |= {"slos": slos} if slos else {}
    stop = _stop_early(config.circuit_breakers or [], load, reader)
    scenario |= {"stop_early": stop} if stop else {}
    plan: dict[str, Any] = {"target": target, "scenario": scenario} | _report(config.report, reader)
    seed = _seed(config)
    plan |= {} if seed is None else {"seed": seed}
    if config.server is not None and config.server.type == "mock":
        reader.note("server.type mock: the simulator takes its place")
        plan["engine"] = {"kind": "simulator"}
    _storage(config.storage, reader)
    valid(Plan, plan, reader.where, reader.at)
    return plan


def _refuse_misplaced(document: Mapping[str, Any], reader: Reader) -> None:
    """A section inside another one is an indentation gone wrong: nothing of it would be played."""
    for outer, section in document.items():
        if not isinstance(section, Mapping) or outer not in _SECTIONS or outer == "storage":
            continue
        known = Config.model_fields[outer].annotation
        fields = {name for kind in getattr(known, "__args__", ()) for name in getattr(kind, "model_fields", {})}
        for name in section:
            if name in _SECTIONS and name not in fields:
                sentence = f"{name!r} is a section of its own: it must stand beside {outer!r}, not in it"
                raise reader.wrong((outer, name), sentence)


def _seed(config: Config) -> int | None:
    load, data = config.load, config.data
    if load is not None and load.base_seed is not None:
        return load.base_seed
    parts = (data.shared_prefix, data.conversation_replay) if data is not None else ()
    return next((part.seed for part in parts if part is not None and part.seed is not None), None)


def _target(config: Config, data: Sent, reader: Reader, environment: Mapping[str, str]) -> dict[str, Any]:
    api, server, load = config.api or Api(), config.server or Server(), config.load or Load()
    target: dict[str, Any] = {"api": _APIS[api.type or "completion"]}
    if server.base_url:
        target["base_url"] = address(server.base_url)
    if server.model_name:
        target["model"] = server.model_name
    if server.api_key:
        refuse_key(reader, ("server", "api_key"), environment)
    target |= {"client_cert": server.cert_path} if server.cert_path else {}
    target |= {"client_key": server.key_path} if server.key_path else {}
    if api.headers:
        valid(Target, {"headers": api.headers}, reader.where, (*reader.at, "api", "headers"))
        target["headers"] = dict(api.headers)
    if load.request_timeout is not None:
        target["timeouts"] = {"total_s": load.request_timeout}
    if load.request_retries:
        wait = {} if load.request_retry_backoff_sec is None else {"backoff_s": load.request_retry_backoff_sec}
        target["retries"] = {"attempts": load.request_retries + 1} | wait
    if load.lora_traffic_split:
        target["models"] = _adapters(load, reader)
    target |= tokenizer(config.tokenizer or Tokenizer(), data.workload, reader)
    return target | _metrics(config.metrics, reader)


def address(url: str) -> str:
    """An address as the plan has it, without the part that every API brings itself."""
    return url.rstrip("/").removesuffix("/v1").rstrip("/")


def refuse_key(reader: Reader, keys: tuple[str | int, ...], environment: Mapping[str, str]) -> None:
    """A key in a file would be stored with the plan; one in the environment is used instead, if there is one."""
    if not environment.get("OPENAI_API_KEY"):
        raise reader.wrong(keys, "a key would be stored with the plan: put it into OPENAI_API_KEY and take it out here")
    reader.ignore(keys, "the key is taken from OPENAI_API_KEY")


def tokenizer(given: Tokenizer, workload: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    """A tokenizer is fetched only where one has to count: other prompts have their length without one."""
    at = ("tokenizer",)
    told = {"trust_remote_code": "no code of a model is run", "token": "the hub's token is taken from HF_TOKEN"}
    reader.ignore_given(given, at, told)
    return needed_tokenizer(given.pretrained_model_name_or_path, workload, reader)


def needed_tokenizer(name: str | None, workload: Mapping[str, Any], reader: Reader) -> dict[str, Any]:
    """The tokenizer of that name, if it is a file or has to count; the fields of the target."""
    if not name:
        return {}
    counts = workload["type"] == "dataset" and any(key.startswith(("min_", "max_")) for key in workload)
    if counts or name.startswith(("/", "./", "../", "~")) or name.endswith(".json"):
        return {"tokenizer": name}
    reader.note(f"no tokenizer is needed for these prompts; to count with {name!r} all the same, give --tokenizer")
    return {}


def _adapters(load: Load, reader: Reader) -> list[dict[str, Any]]:
    split = load.lora_traffic_split or []
    total = sum(one.split for one in split)
    if abs(total - 1) > 1e-6:
        raise reader.wrong(("load", "lora_traffic_split"), f"the splits add up to {total:g}, not to 1")
    return [{"name": one.name, "share": one.split} for one in split if one.split]


def _metrics(given: Metrics | None, reader: Reader) -> dict[str, Any]:
    at = ("metrics", "prometheus")
    source = given.prometheus if given is not None else None
    if source is None:
        return {}
    told = {
        "bearer_token": "a token would be stored: put it into a variable and give --prometheus-token-env",
        "headers": "no headers are sent to a Prometheus",
    }
    reader.ignore_given(source, at, told)
    if source.google_managed:
        reader.ignore((*at, "google_managed"), "only a Prometheus with an address can be asked: give its url")
    if not source.url:
        return {}
    asked: dict[str, Any] = {"url": source.url}
    asked |= {"settle_s": source.scrape_interval + 2} if source.scrape_interval is not None else {}
    asked |= {"verify_tls": source.verify_ssl} if source.verify_ssl is not None else {}
    matchers = [re.fullmatch(r"""\s*(\w+)\s*=\s*["'](.*)["']\s*""", text) for text in source.filters or []]
    if None in matchers:
        reader.ignore((*at, "filters"), "only matchers of the form label='value' are known")
    selectors = {found[1]: found[2] for found in matchers if found is not None}
    asked |= {"selectors": selectors} if selectors else {}
    return {"telemetry": {"prometheus": asked}}


def _asking(config: Config, reader: Reader) -> dict[str, Any]:
    """What is said of every request."""
    api, server = config.api or Api(), config.server or Server()
    asking: dict[str, Any] = {"ignore_eos": server.ignore_eos is not False}
    asking |= {} if api.streaming is True or api.type == "embeddings" else {"stream": False}
    if api.session_id_header_key:
        asking["headers"] = {api.session_id_header_key: "{conversation}"}
    if api.session_token_header_key:
        reader.ignore(("api", "session_token_header_key"), "no header of an answer is sent back")
    form = api.response_format
    if form is None:
        return asking
    if form.type == "json_object":
        return asking | {"extra_body": {"response_format": {"type": "json_object"}}}
    if form.json_schema is None:
        raise reader.wrong(("api", "response_format"), "'json_schema' is missing")
    return asking | {"json_schema": form.json_schema}


def _goodput(report: Report | None) -> list[dict[str, Any]]:
    """Limits of inference-perf are in seconds."""
    limits = (report.goodput if report else None) or Goodput()
    constraints = limits.constraints or {}
    return [{"metric": _METRICS.get(name, name), "limit_ms": limit * 1000} for name, limit in constraints.items()]


def _slo_headers(api: Api, reader: Reader) -> list[dict[str, Any]]:
    """The SLOs that go to the server in a header hold for the report as well."""
    unit, headers = api.slo_unit or "ms", {name.lower(): value for name, value in (api.headers or {}).items()}
    slos = []
    for metric, told in (("ttft", api.slo_ttft_header), ("tpot", api.slo_tpot_header)):
        name = told or f"x-slo-{metric}-{unit}"
        value = headers.get(name.lower())
        if value is None:
            continue
        if not re.fullmatch(r"\d+(\.\d+)?", value):
            raise reader.wrong(("api", "headers", name), f"{value!r} is not a number of {unit}")
        slos.append({"metric": metric, "limit_ms": float(value) * _SLO_UNITS_MS[unit]})
    return slos


def _stop_early(breakers: list[Breaker], load: Load, reader: Reader) -> dict[str, Any]:
    """Breakers that the load names. They end the stage and those after it."""
    used, rules = set(load.circuit_breakers or []), dict[str, Any]()
    if missing := sorted(used - {breaker.name for breaker in breakers}):
        raise reader.wrong(("load", "circuit_breakers"), f"there is no circuit breaker named {missing[0]!r}")
    for number, breaker in enumerate(breakers):
        at = ("circuit_breakers", number)
        if breaker.name not in used:
            continue
        if breaker.metrics is not None:
            reader.ignore((*at, "metrics"), "all requests count, and every failure is a hit")
        for trigger in breaker.triggers:
            if trigger.type == "consecutive":
                rules["consecutive_failures"] = round(trigger.threshold)
            else:
                rules |= {"failed_share": trigger.threshold, "after_requests": max(1, trigger.min_samples or 1)}
    return rules


def _report(report: Report | None, reader: Reader) -> dict[str, Any]:
    lifecycle = report.request_lifecycle if report else None
    if lifecycle is None:
        return {}
    reader.ignore_given(lifecycle, ("report", "request_lifecycle"), _LIFECYCLE_IGNORED)
    percentiles = [percentile for percentile in lifecycle.percentiles or [] if 0 < percentile < 100]
    return {"report": {"percentiles": percentiles}} if percentiles else {}


def _storage(storage: Any, reader: Reader) -> None:
    """Reports are made from the run directory, whenever they are wanted."""
    for name in storage if isinstance(storage, Mapping) else ():
        if name == "local_storage":
            reader.note(
                "results go to the run directory (--run-dir), and in the form of inference-perf wherever they shall: "
                "inferometer export DIR --to inference-perf"
            )
        else:
            reader.ignore(("storage", name), "results stay on this machine")


def _stages(load: Load, data: Sent, reader: Reader) -> list[dict[str, Any]]:
    kind = load.type or "constant"
    if load.sweep is not None:
        raise reader.wrong(
            ("load", "sweep"), "no rates are found out beforehand: give stages with a rate and a duration"
        )
    if kind == "trace_session_replay":
        raise reader.wrong(
            ("load", "type"), "trace_session_replay cannot be played: sessions of traces are not known here"
        )
    reader.ignore_given(load, ("load",), _LOAD_IGNORED)
    if kind == "trace_replay":
        return _replayed(data, reader)
    if not load.stages:
        raise reader.wrong(("load",), "'stages' is missing or empty: give at least one")
    if kind in _NOTES:
        reader.note(_NOTES[kind])
    pause_s = _INTERVAL_S if load.interval is None else load.interval
    stages = []
    for number, stage in enumerate(load.stages):
        plain = _LOADS[kind](stage, data, reader, number) | ({"pause_s": pause_s} if number and pause_s else {})
        reader.made(Stage, plain, ("load", "stages", number))
        stages.append(plain)
    return stages


def _replayed(data: Sent, reader: Reader) -> list[dict[str, Any]]:
    if data.workload["type"] != "trace":
        raise reader.wrong(("load", "type"), "a trace is replayed with the lengths it has: use data.type random")
    return [{"load": {"type": "trace"}}]


_NOTES = {
    "constant": "constant arrivals have equal gaps; inference-perf's own are random: arrivals: inference-perf-constant",
    "poisson": "poisson arrivals last as long as the duration says; inference-perf's own do not: arrivals: "
    "inference-perf-poisson",
}


def _rated(arrivals: str) -> Callable[[LoadStage, Sent, Reader, int], dict[str, Any]]:
    def stage(given: LoadStage, data: Sent, reader: Reader, number: int) -> dict[str, Any]:
        _only(given, ("rate", "duration"), reader, number)
        load = {"type": "open", "rate": (given.rate or 0) / data.requests_per_item, "arrivals": arrivals}
        return {"load": load, "duration_s": given.duration}

    return stage


def _concurrent(given: LoadStage, data: Sent, reader: Reader, number: int) -> dict[str, Any]:
    _only(given, ("num_requests", "concurrency_level"), reader, number)
    items = max(1, round((given.num_requests or 0) / data.requests_per_item))
    return {"load": {"type": "closed", "concurrency": given.concurrency_level}, "num_requests": items}


def _only(given: LoadStage, needed: tuple[str, str], reader: Reader, number: int) -> None:
    """A stage has both of these, and none of the other keys."""
    at = ("load", "stages", number)
    for name in LoadStage.model_fields:
        if name in needed and getattr(given, name) is None:
            raise reader.wrong(at, f"{name!r} is missing{_meant(name, given)}")
        if name not in needed and getattr(given, name) is not None:
            raise reader.wrong((*at, name), f"a stage of this type of load has {needed[0]} and {needed[1]} instead")


def _meant(name: str, given: LoadStage) -> str:
    near = nearest(name, list(given.model_extra or {}))
    return near.replace("did you mean", "is it meant by") if near else ""


_LOADS: dict[str, Callable[[LoadStage, Sent, Reader, int], dict[str, Any]]] = {
    "constant": _rated("constant"),
    "poisson": _rated("poisson"),
    "concurrent": _concurrent,
}
