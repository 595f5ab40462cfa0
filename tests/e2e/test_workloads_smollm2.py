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
