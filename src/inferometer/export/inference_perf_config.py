"""A plan in the words of inference-perf's ``config.yml``: the way of ``config/foreign/inference_perf`` back. Pure.

What inference-perf has no word for is left out, and named in a sentence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from inferometer.config.foreign.origin import plain_address
from inferometer.config.headers import is_secret
from inferometer.config.lengths import Lengths
from inferometer.config.models import (
    ClosedLoop,
    ConversationWorkload,
    DatasetWorkload,
    Images,
    Open,
    OpenLoop,
    Pause,
    Plan,
    RandomWorkload,
    SharedPrefixWorkload,
    Stage,
    Target,
    TraceWorkload,
    Workload,
)
from inferometer.export.lifecycle import percents

Json = dict[str, Any]
_APIS = {
    "openai-completions": "completion",
    "openai-chat": "chat",
    "anthropic": "anthropic_messages",
    "openai-embeddings": "embeddings",
}
_METRICS = {"e2el": "request_latency"}
_ARRIVALS = {
    "constant": "constant",
    "poisson": "poisson",
    "inference-perf-constant": "constant",
    "inference-perf-poisson": "poisson",
}
#: Lengths without a largest one: inference-perf cuts at 1024 where nothing is said.
_MOST_TOKENS = 2**31 - 1
_FIXED, _SPREADS = "fixed", ("normal", "lognormal", "poisson")
_BREAKER = "inferometer-stop-early"


class Said(NamedTuple):
    """A part of the configuration, and what it could not say, one sentence each."""

    part: Json
    left_out: tuple[str, ...] = ()


class _Unsaid(Exception):  # noqa: N818 (no error: it is caught here, and becomes a sentence)
    """There is no word for this."""


def configuration(plan: Plan, folder: str) -> Said:
    """The effective configuration, in the order of inference-perf's own, with everything resolved.

    Args:
        plan: of the run.
        folder: where the results are.
    """
    left_out: list[str] = []

    def said(name: str, make: Callable[[], Json]) -> Json:
        try:
            return {name: make()}
        except _Unsaid as reason:
            left_out.append(f"config.yaml: {name} is left out: {reason}")
            return {}

    config: Json = {
        **said("load", lambda: _load(plan)),
        **said("api", lambda: _api(plan)),
        "server": _server(plan),
        **({"tokenizer": {"pretrained_model_name_or_path": name}} if (name := plan.target.tokenizer) else {}),
        **said("data", lambda: _data(plan)),
        **_metrics(plan.target),
        "report": _report(plan),
        "storage": {"local_storage": {"path": folder}},
        **_breakers(plan),
    }
    if plan.scenario.stop_early.failed_share is not None:
        left_out.append("config.yaml: circuit_breakers: a share of failures has no window of time here")
    left_out += [f"config.yaml: there is no word for {what}" for what, there in _WORDLESS.items() if there(plan)]
    return Said(config, tuple(left_out))


def _asked_more(plan: Plan) -> bool:
    return any(key != "response_format" for key in plan.scenario.workload.extra_body)


def _has_headers(plan: Plan) -> bool:
    return any(value != "{conversation}" for value in plan.scenario.workload.headers.values())


#: What changes the requests, and is in no part of the configuration.
_WORDLESS: Mapping[str, Callable[[Plan], bool]] = {
    "warm-up and cool-down": lambda plan: any(
        stage.warmup_requests or stage.warmup_s or stage.cooldown_s for stage in plan.scenario.stages
    ),
    "prompts that are asked again": lambda plan: any(stage.same_prompts for stage in plan.scenario.stages),
    "more keys of request bodies (extra_body)": _asked_more,
    "headers of single requests": _has_headers,
    "another path of the API (endpoint)": lambda plan: plan.target.endpoint is not None,
    "a connection for each request": lambda plan: not plan.target.keep_alive,
}


# --- when ------------------------------------------------------------------------------------------------------------


def _load(plan: Plan) -> Json:
    stages, workload = plan.scenario.stages, plan.scenario.workload
    kinds = {_kind(stage) for stage in stages}
    if len(kinds) > 1:
        raise _Unsaid(f"the stages are of several kinds ({', '.join(sorted(kinds))})")
    (kind,) = kinds
    load: Json = {"type": kind}
    if kind == "trace_replay":
        load["trace"] = _azure(workload)
    else:
        load |= _pauses(stages)
        load["stages"] = [_STAGES[kind](stage, _requests_per_item(workload)) for stage in stages]
    load |= {"num_workers": plan.workers, "request_timeout": plan.target.timeouts.total_s, "base_seed": plan.seed}
    retries = plan.target.retries
    if retries.attempts > 1:
        load |= {"request_retries": retries.attempts - 1, "request_retry_backoff_sec": retries.backoff_s}
    if plan.target.models:
        total = math.fsum(model.share for model in plan.target.models)
        load["lora_traffic_split"] = [
            {"name": model.name, "split": model.share / total} for model in plan.target.models
        ]
    if plan.scenario.stop_early.consecutive_failures is not None:
        load["circuit_breakers"] = [_BREAKER]
    return load


def _kind(stage: Stage) -> str:
    load = stage.load
    if stage.input_tokens or stage.output_tokens:
        raise _Unsaid("stages have lengths of their own")
    if isinstance(load, ClosedLoop):
        return "concurrent"
    if load.type == "trace" and not load.times_s and load.speed == 1:
        return "trace_replay"
    if isinstance(load, OpenLoop) and load.steady_rate is not None and load.arrivals in _ARRIVALS:
        return _ARRIVALS[load.arrivals]
    text = getattr(load, "text", "")
    raise _Unsaid(f"there is no stage for a load of the type {load.type}{f' ({text})' if text else ''}")


def _at_rate(stage: Stage, per_item: float) -> Json:
    rate = stage.load.steady_rate if isinstance(stage.load, Open) else None
    if not rate:
        raise _Unsaid("there is no stage without a rate")
    by_count = math.inf if stage.num_requests is None else stage.num_requests / rate
    duration_s = min(by_count, math.inf if stage.duration_s is None else stage.duration_s)
    return {"rate": _short(rate * per_item), "duration": _short(duration_s)}


def _concurrent(stage: Stage, per_item: float) -> Json:
    if stage.num_requests is None or not isinstance(stage.load, ClosedLoop):
        raise _Unsaid("a concurrency is held for a number of requests there, not for a time")
    return {"num_requests": round(stage.num_requests * per_item), "concurrency_level": stage.load.concurrency}


_STAGES: dict[str, Callable[[Stage, float], Json]] = {
    "constant": _at_rate,
    "poisson": _at_rate,
    "concurrent": _concurrent,
}


def _pauses(stages: Sequence[Stage]) -> Json:
    pauses = {stage.pause_s for stage in stages[1:]}
    if len(pauses) > 1:
        raise _Unsaid("the pauses between stages differ")
    return {"interval": _short(pauses.pop())} if pauses else {}


def _requests_per_item(workload: Workload) -> float:
    return float(workload.turns.mean or 1) if isinstance(workload, ConversationWorkload) else 1.0


# --- whom ------------------------------------------------------------------------------------------------------------


def _api(plan: Plan) -> Json:
    target, workload = plan.target, plan.scenario.workload
    if target.api not in _APIS:
        raise _Unsaid(f"there is no word for {target.api}")
    api: Json = {"type": _APIS[target.api], "streaming": workload.stream}
    plain = {name: value for name, value in target.headers.items() if not is_secret(name) and "$" not in value}
    api |= {"headers": plain} if plain else {}
    if workload.json_schema is not None:
        api["response_format"] = {"type": "json_schema", "json_schema": workload.json_schema}
    elif workload.extra_body.get("response_format") == {"type": "json_object"}:
        api["response_format"] = {"type": "json_object"}
    sessions = [name for name, value in workload.headers.items() if value == "{conversation}"]
    return api | ({"session_id_header_key": sessions[0]} if sessions else {})


def _server(plan: Plan) -> Json:
    target = plan.target
    server: Json = {"type": "vllm"}
    server |= {"model_name": target.model} if target.model else {}
    server |= {"base_url": plain_address(target.base_url), "ignore_eos": plan.scenario.workload.ignore_eos}
    files = {"cert_path": target.client_cert, "key_path": target.client_key}
    return server | {name: path for name, path in files.items() if path}


def _metrics(target: Target) -> Json:
    asked = target.telemetry.prometheus
    if asked is None:
        return {}
    told: Json = {
        "url": plain_address(asked.url),
        "scrape_interval": _short(max(1.0, asked.settle_s - 2)),
        "verify_ssl": asked.verify_tls,
    }
    filters = [f"{label}='{value}'" for label, value in asked.selectors.items()]
    return {"metrics": {"type": "prometheus", "prometheus": told | ({"filters": filters} if filters else {})}}


# --- what ------------------------------------------------------------------------------------------------------------


def _data(plan: Plan) -> Json:
    workload = plan.scenario.workload
    data = _KINDS[workload.type](workload, plan)
    return data | ({"multimodal": {"image": _image(workload.images)}} if workload.images else {})


def _random(workload: Any, _plan: Plan) -> Json:
    given: RandomWorkload = workload
    if given.mix or given.prefix_tokens:
        raise _Unsaid("classes of requests have no word" if given.mix else "random prompts share no beginning there")
    sides = {"input_distribution": given.input_tokens, "output_distribution": given.output_tokens}
    return {"type": "random", **{side: _distribution(lengths) for side, lengths in sides.items()}}


def _shared_prefix(workload: Any, _plan: Plan) -> Json:
    given: SharedPrefixWorkload = workload
    if given.popularity or given.new_prefixes or given.repeat_questions or not given.shuffle:
        raise _Unsaid(
            "groups are asked equally often there, in a mixed order, with new questions and the same prefixes"
        )
    groups = {"num_groups": given.groups, "num_prompts_per_group": given.prompts_per_group}
    return {"type": "shared_prefix", "shared_prefix": groups | _three(given.prefix_tokens, given)}


def _three(system: Lengths, given: SharedPrefixWorkload | ConversationWorkload) -> Json:
    sides = {"system_prompt_len": system, "question_len": given.input_tokens, "output_len": given.output_tokens}
    return {name: lengths.mean if lengths.kind == _FIXED else _distribution(lengths) for name, lengths in sides.items()}


def _conversation(workload: Any, plan: Plan) -> Json:
    given: ConversationWorkload = workload
    if given.tool_share:
        raise _Unsaid("turns of tools have no word")
    if given.system_groups > 1:
        return _multi_turn(given, plan)
    sides = {
        "dynamic_system_prompt_len": given.own_system_tokens,
        "turns_per_conversation": given.turns,
        "input_tokens_per_turn": given.input_tokens,
        "output_tokens_per_turn": given.output_tokens,
    }
    replay: Json = {"shared_system_prompt_len": given.system_tokens}
    replay |= {name: _distribution(lengths) for name, lengths in sides.items() if lengths is not None}
    pause = _pause(given.think)
    return {"type": "conversation_replay", "conversation_replay": replay | pause}


def _multi_turn(given: ConversationWorkload, plan: Plan) -> Json:
    """Users of each group: as many as conversations are begun in a stage on average."""
    if given.own_system_tokens is not None or given.think.expected_s or not given.system_tokens:
        raise _Unsaid("conversations of several groups have one system message there, and no pauses")
    items = [_items(stage) for stage in plan.scenario.stages]
    users = max(1, round(sum(items) / len(items) / given.system_groups))
    groups = {"num_groups": given.system_groups, "num_prompts_per_group": users}
    told = groups | _three(Lengths(mean=given.system_tokens), given) | {"enable_multi_turn_chat": True}
    return {"type": "shared_prefix", "shared_prefix": told}


def _items(stage: Stage) -> float:
    rate = stage.load.steady_rate if isinstance(stage.load, Open) else None
    return float(stage.num_requests or (rate or 0.0) * (stage.duration_s or 0.0))


def _pause(think: Pause) -> Json:
    if not think.expected_s:
        return {}
    if think.kind == "uniform":
        limits = {"min": int(think.min_s or 0), "max": math.ceil(think.max_s or 0)}
        return {"tool_call_latency_sec": {"type": "uniform"} | limits}
    if think.kind != "constant":
        raise _Unsaid(f"there is no word for pauses that are {think.kind}")
    return {"tool_call_latency_sec": {"type": _FIXED, "mean": _short(think.expected_s)}}


def _dataset(workload: Any, _plan: Plan) -> Json:
    given: DatasetWorkload = workload
    if given.multi_turn:
        raise _Unsaid("conversations of a file are not played there")
    limits = {"min": given.min_prompt_tokens, "max": given.max_prompt_tokens}
    sides = {"input_distribution": limits, "output_distribution": {"min": given.min_output_tokens}}
    told = {side: known for side, one in sides.items() if (known := _known(one))}
    kind = "cnn_dailymail" if given.prompt_key == "article" else "infinity_instruct"
    return {"type": "shareGPT" if given.format == "sharegpt" else kind, "path": given.path, **told}


def _trace(workload: Any, _plan: Plan) -> Json:
    return {"type": "random", "trace": _azure(workload)}


def _azure(workload: Workload) -> Json:
    if not isinstance(workload, TraceWorkload) or workload.format != "azure":
        raise _Unsaid("only traces of the form of Azure's have a word")
    return {"file": workload.path, "format": "AzurePublicDataset"}


_KINDS: Mapping[str, Callable[[Any, Plan], Json]] = {
    "random": _random,
    "shared_prefix": _shared_prefix,
    "conversation": _conversation,
    "dataset": _dataset,
    "trace": _trace,
}


def _distribution(lengths: Lengths) -> Json:
    low, high = lengths.bounds
    most = _MOST_TOKENS if math.isinf(high) else int(high)
    if lengths.kind == _FIXED:
        return {"type": _FIXED, "min": lengths.mean, "max": lengths.mean, "mean": lengths.mean, "std_dev": 0}
    if lengths.kind == "uniform":
        return {"type": "uniform", "min": low, "max": most}
    if lengths.kind not in _SPREADS:
        raise _Unsaid(f"there is no word for lengths that are {lengths.kind}")
    spread = {} if lengths.kind == "poisson" else {"std_dev": _short(lengths.std_dev)}
    return {"type": lengths.kind, "min": low, "max": most, "mean": lengths.mean, **spread}


def _image(images: Images) -> Json:
    return {"count": images.count, "resolutions": {"width": images.width, "height": images.height}}


# --- reports ---------------------------------------------------------------------------------------------------------


def _report(plan: Plan) -> Json:
    lifecycle = {"summary": True, "per_stage": True, "per_request": True}
    report: Json = {"request_lifecycle": lifecycle | {"percentiles": percents(plan)}}
    limits = {_METRICS.get(slo.metric, slo.metric): slo.limit_ms / 1000 for slo in plan.scenario.slos}
    return report | ({"goodput": {"constraints": limits}} if limits else {})


def _breakers(plan: Plan) -> Json:
    failures = plan.scenario.stop_early.consecutive_failures
    if failures is None:
        return {}
    samples = {"matches": ["`true`"], "rules": ["error != `null`"]}
    trigger = {"type": "consecutive", "threshold": failures}
    return {"circuit_breakers": [{"name": _BREAKER, "metrics": samples, "triggers": [trigger]}]}


def _short(value: float) -> float:
    """Whole numbers without a point."""
    return int(value) if float(value).is_integer() else value


def _known(told: Mapping[str, Any]) -> Json:
    return {key: value for key, value in told.items() if value is not None}
