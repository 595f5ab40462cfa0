"""Workloads that a prefix cache helps, with a real model that has one: SmolLM2 in llama.cpp."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest

from e2e.support import rows
from inferometer.config.models import Engine
from inferometer.engine.launch import Address, started

pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with started(Engine(kind="llamacpp"), tmp_path_factory.mktemp("engine") / "engine.log") as address:
        yield address


def test_a_conversation_and_a_shared_prefix(
    inferometer: Callable[..., CompletedProcess[str]], smollm2: Address, tmp_path: Path
) -> None:
    """One at a time, so that llama.cpp's only slot keeps what was said: later turns and warm prompts are cached."""
    words = "--dataset-name conversation --conversation-turns 3 --conversation-input-len 40 --conversation-output-len 8"
    words += " --max-concurrency 1 --num-prompts 3 --run-dir talks"
    done = inferometer("run", "--base-url", smollm2.base_url, *words.split())
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path / "talks")
    assert set(table["outcome"]) == {"ok"}
    grown = [np.median(table["prompt_tokens"][table["turn"] == turn]) for turn in range(3)]
    # each turn adds a message of 40 tokens, an answer of at most 8, and what the template puts around them
    assert all(40 < later - earlier < 70 for earlier, later in pairwise(grown))
    cached = [np.median(table["cached_tokens"][table["turn"] == turn]) for turn in range(3)]
    assert cached[1] >= 0.7 * grown[0]
    assert cached[2] >= 0.7 * grown[1]

    words = "--dataset-name shared_prefix --num-groups 1 --prompts-per-group 6 --prefix-repetition-prefix-len 300"
    words += " --prefix-repetition-suffix-len 20 --prefix-repetition-output-len 4 --max-concurrency 1 --num-prompts 6"
    done = inferometer(
        "run", "--base-url", smollm2.base_url, *words.split(), "--run-dir", "groups", "--output", "g.json"
    )
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path / "groups")
    order = np.argsort(table["sent_ns"])
    ttft_ms = ((table["first_token_ns"] - table["sent_ns"]) / 1e6)[order]
    assert (table["cached_tokens"][order][1:] >= 280).all()
    assert np.median(ttft_ms[1:]) < ttft_ms[0]
    assert json.loads((tmp_path / "g.json").read_text())["stages"][0]["prefixes"]


def test_a_file_of_prompts_and_a_trace(
    inferometer: Callable[..., CompletedProcess[str]], smollm2: Address, tmp_path: Path
) -> None:
    """Prompts as they stand in the file; lengths, times and shared beginnings as they were recorded."""
    asked = [{"prompt": f"Count from {n} to ten.", "output_tokens": 4 + n} for n in range(4)]
    (tmp_path / "asked.jsonl").write_text("".join(json.dumps(line) + "\n" for line in asked))
    words = "--dataset-name custom --dataset-path asked.jsonl --disable-shuffle --max-concurrency 1 --num-prompts 4"
    done = inferometer("run", "--base-url", smollm2.base_url, *words.split(), "--ignore-eos", "--run-dir", "file")
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path / "file")
    assert table["output_tokens"][np.argsort(table["index"])].tolist() == [4, 5, 6, 7]

    recorded = [{"at_s": 1.5 * n, "input_tokens": 200 + n, "output_tokens": 3, "prefix_id": 7} for n in range(5)]
    recorded = [line | {"prefix_tokens": 150} for line in recorded]
    (tmp_path / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in recorded))
    words = "--dataset-name trace --dataset-path trace.jsonl --run-dir trace"
    done = inferometer("run", "--base-url", smollm2.base_url, *words.split())
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path / "trace")
    order = np.argsort(table["index"])
    assert np.allclose(np.diff(table["scheduled_ns"][order]) / 1e9, 1.5, atol=1e-6)
    assert np.mean(np.abs(table["prompt_tokens"][order] / (200 + np.arange(5)) - 1)) < 0.03
    assert (table["cached_tokens"][order][1:] >= 140).any()  # a slow machine answers two at once, in two slots
