"""Flags -> plan. Names are those of ``vllm bench serve`` where they mean the same.

Each flag is one row: its name and the field of the plan that it sets. Type, default and help text come from that field.
"""

from __future__ import annotations

import argparse
import secrets
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from inferometer.config.file_flags import FILE_FLAGS, named
from inferometer.config.flag import Flag, commas, json_object, model_share, pair, slo
from inferometer.config.lengths import in_cells
from inferometer.config.load_flags import LOAD_FLAGS
from inferometer.config.models import Plan
from inferometer.config.stages import (
    SIDES,
    cells_of_means,
    fill_mean,
    refuse_other_lengths,
    stages,
    traffic_scenario,
)
from inferometer.config.synthetic_flags import SYNTHETIC_FLAGS
from inferometer.errors import UserError

#: What other tools call the APIs (vllm bench serve, SGLang, AIPerf, genai-bench, inference-perf) -> our name.
_BACKENDS = {
    "openai": "openai-completions",
    "vllm": "openai-completions",
    "sglang-oai": "openai-completions",
    "completion": "openai-completions",
    "completions": "openai-completions",
    "vllm-chat": "openai-chat",
    "sglang-oai-chat": "openai-chat",
    "chat": "openai-chat",
    "responses": "openai-responses",
    "embeddings": "openai-embeddings",
    "messages": "anthropic",
    "anthropic-messages": "anthropic",
    "anthropic_messages": "anthropic",
    "ollama": "ollama-chat",
    "huggingface_generate": "tgi",
}


#: How the path of an endpoint ends -> the API that it speaks; the first that fits.
_ENDPOINTS = {
    "chat/completions": "openai-chat",
    "completions": "openai-completions",
    "/responses": "openai-responses",
    "/embeddings": "openai-embeddings",
    "/messages": "anthropic",
    "/generate_stream": "tgi",
    "/api/chat": "ollama-chat",
    "/api/generate": "ollama-generate",
    "/inference/v1/generate": "vllm-generate",
    "/generate": "tgi",
}


def _backend(word: str) -> str:
    return _BACKENDS.get(word, word)


FLAGS: tuple[Flag, ...] = (
    Flag("base-url", "target.base_url"),
    Flag("model", "target.model"),
    Flag("models", "target.models", model_share, "+"),
    Flag("all-models", "target.all_models", nargs="yes"),
    Flag("check-model", "target.check_model", nargs="yes"),
    Flag(
        "backend",
        "target.api",
        _backend,
        help="openai-chat; openai (also: vllm) for completions; openai-responses, openai-embeddings, anthropic, tgi, "
        "ollama-chat, ollama-generate, vllm-generate",
    ),
    Flag("endpoint", "target.endpoint"),
    Flag("header", "target.headers", pair, "+"),
    Flag("api-key-env", "target.api_key_env"),
    Flag("api-key-file", "target.api_key_file"),
    Flag("ca-file", "target.ca_file"),
    Flag("client-cert", "target.client_cert"),
    Flag("client-key", "target.client_key"),
    Flag("insecure", "target.verify_tls", nargs="no", help="do not check the server's certificate"),
    Flag("tokenizer", "target.tokenizer"),
    Flag("vocab-size", "target.vocab_size", int),
    Flag("metrics-url", "target.metrics_urls", nargs="+"),
    Flag("no-telemetry", "target.telemetry.enabled", nargs="no", help="do not ask the server for its metrics"),
    Flag("telemetry-interval", "target.telemetry.interval_s", float),
    Flag("gpu-metrics", "target.telemetry.gpu"),
    Flag("prometheus-url", "target.telemetry.prometheus.url"),
    Flag("prometheus-selector", "target.telemetry.prometheus.selectors", pair, "+"),
    Flag("prometheus-token-env", "target.telemetry.prometheus.bearer_env"),
    Flag("fact", "target.facts", pair, "+"),
    Flag("replica-header", "target.replica_header"),
    Flag("no-keepalive", "target.keep_alive", nargs="no", help="open a connection for every request, timed with it"),
    Flag("timeout-connect", "target.timeouts.connect_s", float),
    Flag("timeout-first-token", "target.timeouts.first_token_s", float),
    Flag("timeout-between-tokens", "target.timeouts.between_tokens_s", float),
    Flag("timeout-total", "target.timeouts.total_s", float),
    Flag("retry-attempts", "target.retries.attempts", int),
    Flag("retry-backoff", "target.retries.backoff_s", float),
    Flag("retry-backoff-max", "target.retries.backoff_max_s", float),
    Flag("retry-on", "target.retries.on", nargs="+"),
    *FILE_FLAGS,
    Flag(
        "random-input-len",
        "scenario.workload.input_tokens.mean",
        int,
        "+",
        help="mean prompt tokens per request; several values make a stage for each",
    ),
    Flag(
        "random-input-distribution",
        "scenario.workload.input_tokens.distribution",
        help="their distribution, if it does not follow: lognormal, exponential, poisson, zipf ...",
    ),
    Flag("random-input-std", "scenario.workload.input_tokens.std_dev", float, help="their standard deviation"),
    Flag("random-input-min", "scenario.workload.input_tokens.min", int, help="fewest prompt tokens"),
    Flag("random-input-max", "scenario.workload.input_tokens.max", int, help="most prompt tokens"),
    Flag(
        "random-output-len",
        "scenario.workload.output_tokens.mean",
        int,
        "+",
        help="mean output tokens per request; several values make a stage for each",
    ),
    Flag(
        "random-output-distribution",
        "scenario.workload.output_tokens.distribution",
        help="their distribution, if it does not follow: lognormal, exponential, poisson, zipf ...",
    ),
    Flag("random-output-std", "scenario.workload.output_tokens.std_dev", float, help="their standard deviation"),
    Flag("random-output-min", "scenario.workload.output_tokens.min", int, help="fewest output tokens"),
    Flag("random-output-max", "scenario.workload.output_tokens.max", int, help="most output tokens"),
    *SYNTHETIC_FLAGS,
    Flag("disable-stream", "scenario.workload.stream", nargs="no", help="ask for each answer at once, as one document"),
    Flag("ignore-eos", "scenario.workload.ignore_eos", nargs="yes"),
    Flag("require-length", "scenario.workload.require_length", nargs="yes"),
    Flag("extra-body", "scenario.workload.extra_body", json_object),
    Flag("request-header", "scenario.workload.headers", pair, "+"),
    Flag("json-schema", "scenario.workload.json_schema", json_object),
    Flag("images", "scenario.workload.images.count", int),
    Flag("image-width", "scenario.workload.images.width", int),
    Flag("image-height", "scenario.workload.images.height", int),
    Flag("goodput", "scenario.slos", slo, "+", help="SLOs in milliseconds: ttft:200 tpot:50 e2el:5000"),
    Flag(
        "threshold",
        "scenario.thresholds",
        nargs="+",
        help="limits that the run has to keep, else exit code 1: ttft_p95_ms<=200 'success_rate>=99% @ concurrency 8'",
    ),
    Flag("repeat", "scenario.repeats", int),
    Flag("shuffle-stages", "scenario.shuffle_stages", nargs="yes"),
    Flag("until-precision", "scenario.until_precision", nargs="+"),
    Flag("stop-failed-share", "scenario.stop_early.failed_share", float),
    Flag("stop-ttft-p95", "scenario.stop_early.ttft_p95_ms", float),
    Flag("stop-e2el-p95", "scenario.stop_early.e2el_p95_ms", float),
    Flag("stop-failures", "scenario.stop_early.consecutive_failures", int),
    Flag("drain", "drain_s", float),
    Flag("seed", "seed", int, help="seed of prompts, lengths and arrivals; a new one for each run if not given"),
    Flag("workers", "workers", int),
    Flag("stamps", "stamps"),
    Flag("percentile-metrics", "report.percentile_metrics", commas),
    Flag("metric-percentiles", "report.percentiles", commas),
)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """All flags that make a plan. Those not given leave no trace in the parsed options."""
    for flag in FLAGS:
        field = _field(Plan, flag.path.split("."))
        _add(parser, flag, field)
    group = parser.add_argument_group("load")
    for name, kind, nargs, text in LOAD_FLAGS:
        group.add_argument(
            f"--{name}", type=kind, nargs=nargs, default=argparse.SUPPRESS, help=text, metavar=kind.__name__.upper()
        )
    group.add_argument(
        "--traffic-scenario",
        type=traffic_scenario,
        nargs="+",
        action="extend",
        default=argparse.SUPPRESS,
        metavar="SCENARIO",
        help="lengths as in genai-bench: D(100,200), N(480,240)/(300,150), U(50,100)/(200,250); a stage for each",
    )


def _add(parser: argparse.ArgumentParser, flag: Flag, field: FieldInfo) -> None:
    text = (flag.help or field.description or "").replace("%", "%%")
    if flag.nargs in ("yes", "no"):
        parser.add_argument(
            f"--{flag.name}",
            action="store_const",
            const=flag.nargs == "yes",
            dest=flag.dest,
            default=argparse.SUPPRESS,
            help=text,
        )
        return
    default = field.get_default(call_default_factory=True) if not field.is_required() else None
    if isinstance(default, str | int | float) and default != "" and flag.name != "seed":
        text += f" (default: {default})"
    metavar = flag.name.rpartition("-")[2].upper()
    parser.add_argument(
        f"--{flag.name}",
        type=flag.parse,
        nargs=flag.nargs,
        dest=flag.dest,
        default=argparse.SUPPRESS,
        help=text,
        metavar=metavar,
        action="extend" if flag.nargs == "+" else "store",
    )


def _field(model: type[BaseModel], path: list[str]) -> FieldInfo:
    return next(_fields(model, path))


def _fields(model: type[BaseModel], path: list[str]) -> Iterator[FieldInfo]:
    """Fields at the end of a path; several where it leads through a choice of models."""
    field = model.model_fields.get(path[0])
    if field is None:
        return
    if len(path) == 1:
        yield field
        return
    for kind in _models(field.annotation):
        yield from _fields(kind, path[1:])


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in an annotation: one, or those of a choice, each with its tag or without."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def plan_from_flags(options: dict[str, Any], base: dict[str, Any]) -> Plan:
    """Put the flags that were given over ``base`` (a partial plan as plain data) and resolve the whole.

    Raises ``UserError`` that names the flag which is wrong, and why.
    """
    document = merge({"target": {}, "scenario": {"workload": {}}}, base)
    scenario = document["scenario"]
    counted = bool(options.get("target.tokenizer") or document["target"].get("tokenizer"))
    scenario["workload"] = named(scenario["workload"], options, counted=counted)
    kind = scenario["workload"]["type"]
    if kind in ("dataset", "trace") and _says_lengths(options):
        raise UserError("the file says how long prompts are: leave --random-... and --traffic-scenario out")
    for flag in FLAGS:
        if flag.dest in options and flag.name != "dataset-name":
            value = options[flag.dest]
            put(document, flag.path, dict(value) if flag.parse is pair else value)
    endpoint = document["target"].get("endpoint") or ""
    told = next((api for ending, api in _ENDPOINTS.items() if endpoint.endswith(ending)), None)
    if told is not None:
        document["target"].setdefault("api", told)
    scenario["stages"] = stages(scenario.get("stages"), options, recorded=kind == "trace")
    if _says_lengths(options):
        refuse_other_lengths(scenario)
    scenario["stages"] = in_cells(scenario["stages"], _lengths(scenario["workload"], options))
    # The same prompts again would be answered from the server's prefix cache: every run asks its own, unless told.
    document.setdefault("seed", secrets.randbelow(1_000_000))
    try:
        return Plan.model_validate(document)
    except ValidationError as error:
        raise UserError(_sentence(error, options)) from None


def _says_lengths(options: dict[str, Any]) -> bool:
    return bool({"random_range_ratio", "traffic_scenario"} & options.keys() or _length_flags(options))


def _length_flags(options: dict[str, Any]) -> list[str]:
    return [name for name in options if any(f".workload.{side}." in name for side in SIDES)]


def _lengths(workload: dict[str, Any], options: dict[str, Any]) -> list[dict[str, Any]]:
    """Put the lengths into the workload. Several are cells, each for stages of its own; without them there are none."""
    scenarios: list[dict[str, Any]] = options.get("traffic_scenario", [])
    if scenarios and (_length_flags(options) or "random_range_ratio" in options):
        raise UserError("--traffic-scenario says all lengths: leave the flags for them, --random-..., out")
    if scenarios:
        workload.update({side: scenarios[0][side] for side in SIDES})
        return scenarios if len(scenarios) > 1 else []
    if (ratio := options.get("random_range_ratio")) is not None:
        for side in SIDES:
            put(workload, f"{side}.range_ratio", ratio)
    means = {side: options.get(f"scenario.workload.{side}.mean", []) for side in SIDES}
    for side in SIDES:
        if means[side]:
            workload[side]["mean"] = means[side][0]
        if isinstance(workload.get(side), dict):
            fill_mean(workload[side], side)
    return cells_of_means(means, workload)


def put(document: dict[str, Any], path: str, value: Any) -> None:
    """Set the value at a dotted path, making the dicts on the way; what is there and is no dict gives way."""
    *way, last = path.split(".")
    for key in way:
        if not isinstance(document.get(key), dict):
            document[key] = {}
        document = document[key]
    document[last] = value


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A new dict in which ``over`` wins; dicts are merged, everything else is replaced. Shares no dict with either."""
    merged = {key: merge(value, {}) if isinstance(value, dict) else value for key, value in base.items()}
    for key, value in over.items():
        before = merged.get(key)
        both = before if isinstance(before, dict) else {}
        merged[key] = merge(both, value) if isinstance(value, dict) else value
    return merged


#: Fields that have no flag of their own in ``FLAGS`` -> the flags that set them.
_LEAVES = {
    "range_ratio": "--random-range-ratio",
    "concurrency": "--max-concurrency",
    "rate": "--request-rate",
    "start": "--ramp-up-start-rps",
    "end": "--ramp-up-end-rps",
    "linear": "--ramp-up-start-rps",
    "exponential": "--ramp-up-start-rps",
    "open": "--arrivals",
    "num_requests": "--num-prompts",
    "duration_s": "--duration",
    "burstiness": "--burstiness",
    "arrivals": "--arrivals",
    "warmup_requests": "--num-warmups",
    # what is wrong with several fields together is said of the whole
    "input_tokens": "--random-input-len, -std, -min, -max",
    "output_tokens": "--random-output-len, -std, -min, -max",
    "speed": "--trace-speed",
    "start_s": "--trace-start",
    "end_s": "--trace-end",
    "stages": "--num-prompts",
}


def _sentence(error: ValidationError, options: dict[str, Any]) -> str:
    """The first thing that is wrong, by the name of its flag if it has one."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"] if not isinstance(part, int)]
    kind = parts.pop(2) if parts[:2] == ["scenario", "workload"] and len(parts) > 2 else ""
    name = _name(parts, options)
    if kind and first["type"] == "missing":
        return f"{name} is missing: a workload of the type {kind} needs it"
    if kind and first["type"] == "extra_forbidden":
        return f"{name}: a workload of the type {kind} has no {parts[-1]}; --dataset-name says which type is meant"
    message = first["msg"].removeprefix("Value error, ")
    value = first.get("input")
    shown = f" (got {value!r})" if isinstance(value, int | float) else ""  # a text may hold a password
    return f"{name}: {message[0].lower()}{message[1:]}{shown}"


def _name(parts: list[str], options: dict[str, Any]) -> str:
    """The flag that was given for a field; else those that stand for it, or could be given; else its path."""
    path = ".".join(parts)
    flags = [flag for flag in FLAGS if path == flag.path or path.startswith(f"{flag.path}.")]
    given = next((f"--{flag.name}" for flag in flags if flag.dest in options), None)
    leaf = next((_LEAVES[part] for part in reversed(parts) if part in _LEAVES), None)
    return given or leaf or next((f"--{flag.name}" for flag in flags), path)
