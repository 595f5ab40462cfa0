"""The environment of the in-cluster benchmark Job -> its sweep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inferometer.config.foreign.translated import Translated, Where
from inferometer.config.stages import DEFAULT_LADDER
from inferometer.errors import UserError

#: What the Job measures if its ConfigMap says nothing.
USUAL = {"BASE_URL": "http://raw-vllm:8000", "BENCH_MODEL": "qwen2.5-0.5b-instruct", "ENDPOINT": "/v1/chat/completions"}
#: Both have to be there before a run without any flag goes to a server: one alone may be meant for something else.
TELLING = ("BASE_URL", "BENCH_MODEL")


def looks_like(_: Mapping[str, Any]) -> bool:
    """It is no document."""
    return False


def alone(environment: Mapping[str, str]) -> bool:
    """Whether the environment says which server is meant. Raises ``UserError`` if it says half of it."""
    told = [name for name in TELLING if environment.get(name)]
    if len(told) == 1:
        missing = next(name for name in TELLING if name not in told)
        raise UserError(
            f"{told[0]} is set and {missing} is not: set both to measure that server, or give --base-url, or "
            "--target simulator to practise"
        )
    return bool(told)


def translate(_: Mapping[str, Any], where: Where, environment: Mapping[str, str]) -> Translated:  # noqa: ARG001
    """The sweep over concurrencies: 256 tokens in, 128 out, to the end of each answer. The key is OPENAI_API_KEY."""
    told = {name: environment.get(name) or usual for name, usual in USUAL.items()}
    target: dict[str, Any] = {
        "name": "bench-target",
        "base_url": told["BASE_URL"],
        "model": told["BENCH_MODEL"],
        "endpoint": told["ENDPOINT"],
    }
    if tokenizer := environment.get("TOKENIZER"):
        target["tokenizer"] = tokenizer
    stages = [
        {
            "load": {"type": "closed", "concurrency": level},
            "num_requests": min(20 * level, 320),
            "warmup_requests": level,
        }
        for level in DEFAULT_LADDER
    ]
    workload = {"type": "random", "input_tokens": {"mean": 256}, "output_tokens": {"mean": 128}, "ignore_eos": True}
    plan = {"target": target, "scenario": {"name": "vllm-bench", "workload": workload, "stages": stages}, "seed": 42}
    notes = () if tokenizer else ("TOKENIZER is not set: prompts are made by calibration with the server's own counts",)
    return Translated((plan,), notes=notes, names=("vllm-bench",))
