"""Flags of data files and traces, and what the names of ``--dataset-name`` stand for."""

from __future__ import annotations

import argparse
from typing import Any

from inferometer.config.flag import Flag
from inferometer.config.models import Asking

#: Names of vLLM and ours -> the fields of the workload that they set.
DATASET_NAMES: dict[str, dict[str, Any]] = {
    "random": {"type": "random"},
    "shared_prefix": {"type": "shared_prefix"},
    "prefix_repetition": {"type": "shared_prefix"},
    "conversation": {"type": "conversation"},
    "dataset": {"type": "dataset"},
    "sharegpt": {"type": "dataset", "format": "sharegpt"},
    "custom": {"type": "dataset", "format": "custom"},
    "openai": {"type": "dataset", "format": "openai"},
    "batch": {"type": "dataset", "format": "batch"},
    "csv": {"type": "dataset", "format": "csv"},
    "parquet": {"type": "dataset", "format": "parquet"},
    "text": {"type": "dataset", "format": "text"},
    "trace": {"type": "trace"},
    "timed_trace": {"type": "trace"},
    "mooncake": {"type": "trace", "format": "mooncake"},
    "bailian": {"type": "trace", "format": "bailian"},
    "azure": {"type": "trace", "format": "azure"},
    "burstgpt": {"type": "trace", "format": "burstgpt"},
}
#: What vLLM leaves out of a ShareGPT file; it takes a tokenizer to know.
SHAREGPT_LIMITS = {"min_prompt_tokens": 4, "min_output_tokens": 4, "max_prompt_tokens": 1024, "max_total_tokens": 2048}
_FILES = ("dataset", "trace")
_TYPE, _PATH = "scenario.workload.type", "scenario.workload.path"
_UNITS = {1.0: "s", 1e-3: "ms", 1e-6: "us", 1e-9: "ns"}


def named(workload: dict[str, Any], options: dict[str, Any], *, counted: bool) -> dict[str, Any]:
    """The workload of a plan as plain data, of the kind that the flags name.

    Of a workload of another kind only that is kept which all kinds have. ``counted``: there is a tokenizer.
    """
    kind = workload.get("type", "random")
    meant: dict[str, Any] | None = options.get(_TYPE)
    if meant is None and _PATH in options and kind not in _FILES:
        meant = {"type": "dataset"}
    if meant is None:
        return {"type": kind} | workload
    kept = workload if kind == meant["type"] else {key: workload[key] for key in Asking.model_fields if key in workload}
    usual = SHAREGPT_LIMITS if counted and meant.get("format") == "sharegpt" else {}
    return usual | kept | meant


def _dataset_name(word: str) -> dict[str, Any]:
    if word not in DATASET_NAMES:
        raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(DATASET_NAMES)}")
    return DATASET_NAMES[word]


def _output_len(word: str) -> int | None:
    """As in vLLM, -1 leaves it to the file."""
    return None if int(word) == -1 else int(word)


def _multiplier(word: str) -> str:
    unit = _UNITS.get(float(word))
    if unit is None:
        raise argparse.ArgumentTypeError(f"{word!r} is none of {', '.join(f'{factor:g}' for factor in _UNITS)}")
    return unit


FILE_FLAGS: tuple[Flag, ...] = (
    Flag("dataset-name", _TYPE, _dataset_name, help=f"kind of workload: {', '.join(DATASET_NAMES)}"),
    Flag("dataset-path", _PATH, help="file of prompts, or hf://ORG/NAME/FILE on the hub; or of a trace"),
    Flag("skip-bad-lines", "scenario.workload.skip_bad_lines", nargs="yes"),
    Flag("dataset-prompt-key", "scenario.workload.prompt_key"),
    Flag("dataset-output-key", "scenario.workload.output_tokens_key"),
    Flag("disable-shuffle", "scenario.workload.shuffle", nargs="no", help="send the prompts in the order of the file"),
    Flag(
        "no-oversample",
        "scenario.workload.oversample",
        nargs="no",
        help="too few prompts in the file are an error, instead of being sent again",
    ),
    Flag(
        "custom-output-len",
        "scenario.workload.output_tokens",
        _output_len,
        help="output tokens asked for, whatever the file says; -1: as the file says, which is the default",
    ),
    Flag(
        "sharegpt-output-len",
        "scenario.workload.output_tokens",
        _output_len,
        help="output tokens asked for, instead of the length of the recorded answer",
        alias=True,
    ),
    Flag("default-output-len", "scenario.workload.default_output_tokens", int),
    Flag("min-prompt-tokens", "scenario.workload.min_prompt_tokens", int),
    Flag("min-output-tokens", "scenario.workload.min_output_tokens", int),
    Flag("max-prompt-tokens", "scenario.workload.max_prompt_tokens", int),
    Flag("max-total-tokens", "scenario.workload.max_total_tokens", int),
    Flag("multi-turn", "scenario.workload.multi_turn", nargs="yes"),
    Flag("trace-block-tokens", "scenario.workload.block_tokens", int),
    Flag(
        "timed-trace-chunk-hash-size",
        "scenario.workload.block_tokens",
        int,
        help="--trace-block-tokens by its name in vLLM",
        alias=True,
    ),
    Flag("trace-unit", "scenario.workload.unit"),
    Flag(
        "timed-trace-sec-multiplier",
        "scenario.workload.unit",
        _multiplier,
        help="--trace-unit as a factor, as in vLLM: 1, 0.001, 1e-06 or 1e-09",
        alias=True,
    ),
    Flag("trace-model", "scenario.workload.model"),
    Flag("trace-max-tokens", "scenario.workload.max_tokens", int),
)
