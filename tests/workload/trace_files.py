"""Traces of tests, read, and what is in them as lists."""

from pathlib import Path
from typing import Any

import msgspec

from inferometer.workload.trace import Trace, TraceSpec, read_trace

#: Of fixtures.
NAMES = ["mooncake.jsonl", "bailian.jsonl", "azure.csv", "burstgpt.csv", "burstgpt_3.csv", "own.jsonl"]
MOONCAKE = '{"timestamp": 0, "input_length": 10, "output_length": 2, "hash_ids": [1]}\n'


def read(path: Path, **spec: Any) -> Trace:
    return read_trace(path, msgspec.convert(spec, TraceSpec))


def rows(trace: Trace) -> list[tuple[int, int, int]]:
    return list(zip(trace.at_ns.tolist(), trace.input_tokens.tolist(), trace.output_tokens.tolist(), strict=True))


def blocks(trace: Trace) -> list[list[tuple[int, int]]]:
    return [trace.blocks(index) for index in range(len(trace.at_ns))]


def equal(one: Trace, other: Trace) -> bool:
    return rows(one) == rows(other) and blocks(one) == blocks(other)
