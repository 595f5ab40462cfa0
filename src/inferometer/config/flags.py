"""Flags -> plan. Names are those of ``vllm bench serve`` where they mean the same.

Each flag is one row: its name and the field of the plan that it sets. Type, default and help text come from that field.
"""

from __future__ import annotations

import argparse
import json
import math
import secrets
from collections.abc import Callable
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from inferometer.config.models import Plan, RandomWorkload
from inferometer.errors import UserError

#: The ladder of a run that is told no load: as long as min(20 C, 320) requests each.
DEFAULT_LADDER = (1, 2, 4, 8, 16, 32)
#: A rate without a number of requests or a duration is held this long.
DEFAULT_OPEN_S = 30.0
#: An infinite rate without a number of requests sends this many.
DEFAULT_BURST = 100


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
    Flag("random-input-len", "scenario.workload.input_tokens.mean", int, help="mean prompt tokens per request"),
    Flag("random-input-std", "scenario.workload.input_tokens.std_dev", float, help="their standard deviation"),
    Flag("random-input-min", "scenario.workload.input_tokens.min", int, help="fewest prompt tokens"),
    Flag("random-input-max", "scenario.workload.input_tokens.max", int, help="most prompt tokens"),
    Flag("random-output-len", "scenario.workload.output_tokens.mean", int, help="mean output tokens per request"),
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
    ("arrivals", str, None, "constant, poisson or gamma; follows from --burstiness if not given"),
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
    if (ratio := options.get("random_range_ratio")) is not None:
        for side in ("input_tokens", "output_tokens"):
            put(document, f"scenario.workload.{side}.range_ratio", ratio)
    _fill_lengths(document["scenario"]["workload"])
    endpoint = document["target"].get("endpoint") or ""
    if "api" not in document["target"] and endpoint.endswith("completions"):
        document["target"]["api"] = "openai-chat" if endpoint.endswith("chat/completions") else "openai-completions"
    document["scenario"]["stages"] = _stages(document["scenario"].get("stages"), options)
    # The same prompts again would be answered from the server's prefix cache: every run asks its own, unless told.
    document.setdefault("seed", secrets.randbelow(1_000_000))
    try:
        return Plan.model_validate(document)
    except ValidationError as error:
        raise UserError(_sentence(error)) from None


def _stages(planned: list[dict[str, Any]] | None, options: dict[str, Any]) -> list[dict[str, Any]]:
    """A concurrency or a rate makes new stages; the other flags of the load change those that there are."""
    if ("arrivals" in options or "burstiness" in options) and not any(
        map(math.isfinite, options.get("request_rate", []))
    ):
        raise UserError("--arrivals and --burstiness shape the gaps of an open loop: give a --request-rate too")
    if planned is None or "max_concurrency" in options or "request_rate" in options:
        return stages_from_flags(options)
    ends = {"num_requests": options.get("num_prompts"), "duration_s": options.get("duration")}
    changes = ends if any(end is not None for end in ends.values()) else {}
    if "num_warmups" in options:
        changes = changes | {"warmup_requests": options["num_warmups"]}
    return [stage | changes for stage in planned]


def stages_from_flags(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One stage for each rate, else for each concurrency. An infinite rate with a cap is a closed loop, as in vLLM."""
    rates: list[float] = options.get("request_rate") or [math.inf]
    caps: list[int | None] = options.get("max_concurrency") or [None]
    if rates == [math.inf] and caps == [None] and "num_prompts" not in options and "request_rate" not in options:
        caps = list(DEFAULT_LADDER)
    if len(rates) > 1 and len(caps) > 1:
        raise UserError(
            "give several values of --request-rate or of --max-concurrency, not of both: one sweep at a time"
        )
    return [_stage(rate, cap, options) for rate in rates for cap in caps]


def _stage(rate: float, cap: int | None, options: dict[str, Any]) -> dict[str, Any]:
    closed = math.isinf(rate) and cap is not None
    stage: dict[str, Any] = {"load": {"type": "closed", "concurrency": cap} if closed else _open(rate, cap, options)}
    stage["num_requests"], stage["duration_s"] = options.get("num_prompts"), options.get("duration")
    if stage["num_requests"] is None and stage["duration_s"] is None:
        if closed:
            stage["num_requests"] = max(20, min(20 * (cap or 1), 320))
        elif math.isinf(rate):
            stage["num_requests"] = DEFAULT_BURST
        else:
            stage["duration_s"] = DEFAULT_OPEN_S
    stage["warmup_requests"] = options.get("num_warmups", 0)
    return stage


def _open(rate: float, cap: int | None, options: dict[str, Any]) -> dict[str, Any]:
    burstiness = options.get("burstiness", 1.0)
    arrivals = options.get("arrivals") or (
        "poisson" if burstiness == 1 else "constant" if math.isinf(burstiness) else "gamma"
    )
    load = {"type": "open", "rate": rate, "arrivals": arrivals, "max_in_flight": cap}
    return load | ({"burstiness": burstiness} if arrivals == "gamma" else {})


def _fill_lengths(workload: dict[str, Any]) -> None:
    """A flag may set the spread of a length without its mean: then the default mean holds."""
    default = RandomWorkload()
    for side in ("input_tokens", "output_tokens"):
        if isinstance(workload.get(side), dict):
            workload[side].setdefault("mean", getattr(default, side).mean)


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


def _sentence(error: ValidationError) -> str:
    """The first thing that is wrong, by the name of its flag if it has one."""
    first = error.errors()[0]
    path = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
    flag = next((f"--{flag.name}" for flag in FLAGS if path.startswith(flag.path)), None)
    leaf = {
        "range_ratio": "--random-range-ratio",
        "concurrency": "--max-concurrency",
        "rate": "--request-rate",
        "num_requests": "--num-prompts",
        "duration_s": "--duration",
    }
    leaf |= {"burstiness": "--burstiness", "arrivals": "--arrivals", "warmup_requests": "--num-warmups"}
    # what is wrong with several fields together is said of the whole
    leaf |= {f"{side}_tokens": f"--random-{side}-len, -std, -min, -max" for side in ("input", "output")}
    leaf |= {"stages": "--num-prompts"}
    name = flag or leaf.get(path.rpartition(".")[2], path)
    message = first["msg"].removeprefix("Value error, ")
    value = first.get("input")
    shown = f" (got {value!r})" if isinstance(value, int | float) else ""  # a text may hold a password
    return f"{name}: {message[0].lower()}{message[1:]}{shown}"
