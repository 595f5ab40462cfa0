"""A ``vllm bench serve`` command line -> words of our own command line, with the defaults that it has there."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from inferometer.config.foreign.translated import NotUnderstood, nearest
from inferometer.errors import UserError


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


#: Flags that mean the same here; those with a value or several, and those without.
SAME = _names(
    "base-url backend endpoint header model tokenizer num-prompts seed request-rate burstiness max-concurrency "
    "ramp-up-strategy ramp-up-start-rps ramp-up-end-rps num-warmups metric-percentiles goodput result-dir "
    "result-filename label metadata dataset-name dataset-path random-input-len random-output-len random-prefix-len "
    "sharegpt-output-len custom-output-len prefix-repetition-prefix-len prefix-repetition-suffix-len "
    "prefix-repetition-num-prefixes prefix-repetition-output-len timed-trace-chunk-hash-size timed-trace-sec-multiplier"
)
SWITCHES = _names("insecure ignore-eos save-result save-detailed append-result no-oversample disable-shuffle")
#: Fields of the request body.
SAMPLING = _names("temperature top-p top-k min-p frequency-penalty presence-penalty repetition-penalty logprobs")
#: Flags with a meaning that takes more than their name.
READ = _names(
    "host port served-model-name extra-body random-range-ratio percentile-metrics input-len output-len lora-modules "
    "lora-assignment ready-check-timeout-sec"
)
#: Flags that change nothing that is measured here.
WITHOUT_EFFECT = _names(
    "tokenizer-mode trust-remote-code skip-tokenizer-init disable-tqdm no-stream skip-chat-template no-self-timed "
    "self-timed request-id-prefix plot-timeline timeline-itl-thresholds plot-dataset-stats no-reranker"
)
KNOWN = (*SAME, *SWITCHES, *SAMPLING, *READ, *WITHOUT_EFFECT)
#: Metrics that vLLM may be asked to print, and we print.
METRICS = ("ttft", "tpot", "itl", "e2el")
_LENGTHS = {
    "random": ("random-input-len", "random-output-len"),
    "prefix_repetition": ("", "prefix-repetition-output-len"),
}


class Words(NamedTuple):
    """Words for ``inferometer run``, and what of the command line means nothing here."""

    words: tuple[str, ...]
    not_understood: tuple[NotUnderstood, ...]
    notes: tuple[str, ...]


def words(text: str) -> Words:
    """Read a command line, with or without ``vllm bench serve`` before its flags. Raises ``UserError``."""
    given = _flags(text)
    strange = tuple(
        NotUnderstood(f"--{name}", 1, _why(name)) for name in given if name not in KNOWN[: -len(WITHOUT_EFFECT)]
    )
    made, notes = _usual(given), list(_notes(given))
    for name in (*SAME, *SWITCHES):
        if name in given:
            made[name] = given[name]
    made |= _read(given)
    if made["request-rate"] != ["inf"] or "ramp-up-strategy" in made:
        made["arrivals"] = ["vllm"]
    if "ramp-up-strategy" in made or made["request-rate"] == ["inf"]:
        made.pop("burstiness", None)
    flat = [word for name, values in made.items() for word in (f"--{name}", *values)]
    return Words(tuple(flat), strange, tuple(notes))


def _flags(text: str) -> dict[str, list[str]]:
    """Name -> values of every flag, the last of each; names with hyphens."""
    try:
        parts = shlex.split(text.replace("\\\n", " "))
    except ValueError as error:
        raise UserError(f"--vllm-args: {error}: {text}") from None
    first = next((number for number, part in enumerate(parts) if part.startswith("--")), len(parts))
    if parts[:first] and "bench" not in " ".join(parts[:first]):
        raise UserError(f"--vllm-args: {' '.join(parts[:first])!r} is no vllm bench serve; give its flags")
    found: dict[str, list[str]] = {}
    name = ""
    for part in parts[first:]:
        if part.startswith("--"):
            flag, equals, value = part[2:].partition("=")
            name = flag.replace("_", "-")
            found[name] = [value] if equals else []
        else:
            found[name].append(part)
    for name, values in found.items():
        if name in (*SAME, *SAMPLING, *READ) and not values:
            raise UserError(f"--vllm-args: --{name} needs a value")
    return found


def _usual(given: dict[str, list[str]]) -> dict[str, list[str]]:
    """What vLLM does where its flags say nothing."""
    dataset = _one(given, "dataset-name", "random")
    made = {"dataset-name": [dataset], "backend": ["openai"], "num-prompts": ["1000"], "request-rate": ["inf"]}
    made |= {"seed": ["0"], "percentile-metrics": ["ttft,tpot,itl"], "metric-percentiles": ["99"]}
    host, port = _one(given, "host", "127.0.0.1"), _one(given, "port", "8000")
    made["base-url"] = [f"http://{host}:{port}"]
    if dataset == "random":
        made |= {"random-input-len": ["1024"], "random-output-len": ["128"], "ignore-eos": []}
    if dataset == "custom":
        made["custom-output-len"] = ["256"]
    if dataset == "prefix_repetition":
        made |= {"prefix-repetition-prefix-len": ["256"], "prefix-repetition-suffix-len": ["256"]}
    return made


def _read(given: dict[str, list[str]]) -> dict[str, list[str]]:
    """Flags that take more than their name."""
    made: dict[str, list[str]] = {}
    if "served-model-name" in given:
        made["model"] = given["served-model-name"]
    if "lora-modules" in given:
        made["models"] = given["lora-modules"]
    body = _body(given)
    if body:
        made["extra-body"] = [json.dumps(body)]
    if "percentile-metrics" in given:
        asked = [one for one in _one(given, "percentile-metrics").split(",") if one in METRICS]
        made["percentile-metrics"] = [",".join(asked or METRICS)]
    if "random-range-ratio" in given:
        made["random-range-ratio"] = [_ratio(_one(given, "random-range-ratio"))]
    sides = _LENGTHS.get(_one(given, "dataset-name", "random"), ("", f"{_one(given, 'dataset-name', '')}-output-len"))
    for name, flag in zip(("input-len", "output-len"), sides, strict=True):
        if name in given and flag in SAME:
            made[flag] = given[name]
    return made


def _body(given: dict[str, list[str]]) -> dict[str, object]:
    """Fields of the request body: those of ``--extra-body``, and the sampling flags over them."""
    found: dict[str, object] = _json(given, "extra-body") if "extra-body" in given else {}
    for name in SAMPLING:
        if name in given:
            found[name.replace("-", "_")] = _number(name, _one(given, name))
    return found


def _json(given: dict[str, list[str]], name: str) -> dict[str, object]:
    text = _one(given, name)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise UserError(f"--vllm-args: --{name}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UserError(f"--vllm-args: --{name}: not a JSON object: {text}")
    return value


def _number(name: str, text: str) -> float:
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError:
        raise UserError(f"--vllm-args: --{name}: {text!r} is no number") from None


def _ratio(text: str) -> str:
    """One ratio for both sides; JSON may have one for each."""
    if not text.startswith("{"):
        return text
    sides = _json({"random-range-ratio": [text]}, "random-range-ratio")
    if len(set(map(str, sides.values()))) != 1:
        raise UserError(f"--vllm-args: --random-range-ratio {text}: give one ratio for prompts and outputs")
    return str(next(iter(sides.values())))


def _notes(given: dict[str, list[str]]) -> Sequence[str]:
    ratio = ("a range ratio r means lengths from L(1-r) to L(1+r), as in vLLM since 0.9",)
    return ratio if "random-range-ratio" in given else ()


def _why(name: str) -> str:
    if name in WITHOUT_EFFECT:
        return "changes nothing that is measured here"
    return f"means nothing here{nearest(name, KNOWN)}"


def _one(given: dict[str, list[str]], name: str, usual: str = "") -> str:
    return given[name][-1] if given.get(name) else usual
