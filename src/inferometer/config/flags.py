"""Flags -> plan. Names are those of ``vllm bench serve`` where they mean the same.

Each flag is one row: its name and the field of the plan that it sets. Type, default and help text come from that field.
"""

from __future__ import annotations

import argparse
import json
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from inferometer.config.lengths import in_cells
from inferometer.config.models import Plan
from inferometer.config.stages import (
    SIDES,
    cells_of_means,
    fill_mean,
    refuse_other_lengths,
    stages,
    traffic_scenario,
)
from inferometer.errors import UserError


class Flag(NamedTuple):
    """``path`` leads through the plan to the field; ``parse`` reads one word; ``nargs`` as in argparse."""

    name: str
    path: str
    parse: Callable[[str], Any] = str
    nargs: str | None = None
    help: str | None = None


def _pair(word: str) -> tuple[str, str]:
    name, separator, value = word.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{word!r} is not NAME=VALUE")
    return name, value


def _slo(word: str) -> dict[str, Any]:
    metric, separator, limit = word.partition(":")
    try:
        return {"metric": metric, "limit_ms": float(limit)}
    except ValueError:
        hint = "" if separator else ", with a colon"
        raise argparse.ArgumentTypeError(f"{word!r} is not METRIC:MILLISECONDS{hint}, for example ttft:200") from None


def _json_object(word: str) -> dict[str, Any]:
    try:
        value = json.loads(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('not a JSON object, such as {"temperature": 0}')
    return value


def _backend(word: str) -> str:
    names = {"vllm": "openai-completions", "openai": "openai-completions"}
    return names.get(word, word)


def _commas(word: str) -> list[str]:
    return [part.strip() for part in word.split(",") if part.strip()]


FLAGS: tuple[Flag, ...] = (
    Flag("base-url", "target.base_url"),
    Flag("model", "target.model"),
    Flag("models", "target.models", nargs="+"),
    Flag("check-model", "target.check_model", nargs="yes"),
    Flag("backend", "target.api", _backend, help="openai-chat, or openai (also: vllm) for completions"),
    Flag("endpoint", "target.endpoint"),
    Flag("header", "target.headers", _pair, "+"),
    Flag("api-key-env", "target.api_key_env"),
    Flag("api-key-file", "target.api_key_file"),
    Flag("ca-file", "target.ca_file"),
    Flag("client-cert", "target.client_cert"),
    Flag("client-key", "target.client_key"),
    Flag("insecure", "target.verify_tls", nargs="no", help="do not check the server's certificate"),
    Flag("tokenizer", "target.tokenizer"),
    Flag("vocab-size", "target.vocab_size", int),
    Flag("timeout-connect", "target.timeouts.connect_s", float),
    Flag("timeout-first-token", "target.timeouts.first_token_s", float),
    Flag("timeout-between-tokens", "target.timeouts.between_tokens_s", float),
    Flag("timeout-total", "target.timeouts.total_s", float),
    Flag("retry-attempts", "target.retries.attempts", int),
    Flag("retry-backoff", "target.retries.backoff_s", float),
    Flag("retry-backoff-max", "target.retries.backoff_max_s", float),
    Flag("retry-on", "target.retries.on", nargs="+"),
    Flag("dataset-name", "scenario.workload.type", help="kind of workload: random"),
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
    Flag("ignore-eos", "scenario.workload.ignore_eos", nargs="yes"),
    Flag("require-length", "scenario.workload.require_length", nargs="yes"),
    Flag("extra-body", "scenario.workload.extra_body", _json_object),
    Flag("goodput", "scenario.slos", _slo, "+", help="SLOs in milliseconds: ttft:200 tpot:50 e2el:5000"),
    Flag("stop-failed-share", "scenario.stop_early.failed_share", float),
    Flag("stop-ttft-p95", "scenario.stop_early.ttft_p95_ms", float),
    Flag("stop-e2el-p95", "scenario.stop_early.e2el_p95_ms", float),
    Flag("stop-failures", "scenario.stop_early.consecutive_failures", int),
    Flag("drain", "drain_s", float),
    Flag("seed", "seed", int, help="seed of prompts, lengths and arrivals; a new one for each run if not given"),
    Flag("workers", "workers", int),
    Flag("stamps", "stamps"),
    Flag("percentile-metrics", "report.percentile_metrics", _commas),
    Flag("metric-percentiles", "report.percentiles", _commas),
)

LOAD_FLAGS = (
    ("max-concurrency", int, "+", "requests in flight; several values make a sweep; with a rate it is a cap"),
    ("request-rate", float, "+", "requests per second, or inf; several values make a sweep"),
    ("num-prompts", int, None, "requests of each stage (default: 20 times the concurrency, at most 320)"),
    (
        "duration",
        float,
        None,
        "seconds of arrivals (open loop) or during which requests start (closed loop), in each stage",
    ),
    ("num-warmups", int, None, "warm-up requests before each stage, recorded and never counted"),
    ("burstiness", float, None, "shape of gamma gaps: 1 is Poisson, below 1 burstier, inf constant"),
    (
        "arrivals",
        str,
        None,
        "constant, poisson, gamma, or as in another tool vllm, inference-perf-constant, inference-perf-poisson",
    ),
    (
        "ramp-up-strategy",
        str,
        None,
        "instead of a rate: linear or exponential, over the stage (with vllm: its requests)",
    ),
    ("ramp-up-start-rps", float, None, "requests per second in the beginning of the ramp"),
    ("ramp-up-end-rps", float, None, "requests per second in the end of the ramp"),
    ("random-range-ratio", float, None, "lengths uniform in [mean*(1-r), mean*(1+r)], prompts and outputs"),
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
            dest=flag.path,
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
        dest=flag.path,
        default=argparse.SUPPRESS,
        help=text,
        metavar=metavar,
        action="extend" if flag.nargs == "+" else "store",
    )


def _field(model: type[BaseModel], path: list[str]) -> FieldInfo:
    field = model.model_fields[path[0]]
    if len(path) == 1:
        return field
    kinds = (field.annotation, *get_args(field.annotation))
    inner = next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))
    return _field(inner, path[1:])


def plan_from_flags(options: dict[str, Any], base: dict[str, Any]) -> Plan:
    """Put the flags that were given over ``base`` (a partial plan as plain data) and resolve the whole.

    Raises ``UserError`` that names the flag which is wrong, and why.
    """
    document = merge({"target": {}, "scenario": {"workload": {}}}, base)
    for flag in FLAGS:
        if flag.path in options:
            value = options[flag.path]
            put(document, flag.path, dict(value) if flag.name == "header" else value)
    endpoint = document["target"].get("endpoint") or ""
    if "api" not in document["target"] and endpoint.endswith("completions"):
        document["target"]["api"] = "openai-chat" if endpoint.endswith("chat/completions") else "openai-completions"
    scenario = document["scenario"]
    scenario["stages"] = stages(scenario.get("stages"), options)
    if _says_lengths(options):
        refuse_other_lengths(scenario)
    scenario["stages"] = in_cells(scenario["stages"], _lengths(scenario["workload"], options))
    # The same prompts again would be answered from the server's prefix cache: every run asks its own, unless told.
    document.setdefault("seed", secrets.randbelow(1_000_000))
    try:
        return Plan.model_validate(document)
    except ValidationError as error:
        raise UserError(_sentence(error)) from None


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
    """Set the value at a dotted path, making the dicts on the way."""
    *way, last = path.split(".")
    for key in way:
        document = document.setdefault(key, {})
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
    "stages": "--num-prompts",
}


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong, by the name of its flag if it has one."""
    first = error.errors()[0]
    parts = [str(part) for part in first["loc"] if not isinstance(part, int)]
    path = ".".join(parts)
    flag = next((f"--{flag.name}" for flag in FLAGS if path.startswith(flag.path)), None)
    name = flag or next((_LEAVES[part] for part in reversed(parts) if part in _LEAVES), path)
    message = first["msg"].removeprefix("Value error, ")
    value = first.get("input")
    shown = f" (got {value!r})" if isinstance(value, int | float) else ""  # a text may hold a password
    return f"{name}: {message[0].lower()}{message[1:]}{shown}"
