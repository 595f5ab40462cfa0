"""The APIs that llama.cpp serves beside OpenAI's usual ones, with SmolLM2 behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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


@pytest.mark.parametrize("api", ["openai-responses", "anthropic"])
def test_a_run(api: str, inferometer: Callable[..., CompletedProcess[str]], smollm2: Address, tmp_path: Path) -> None:
    done = inferometer(
        "run", "--base-url", smollm2.base_url, "--backend", api, "--max-concurrency", 1, "--num-prompts", 4,
        "--random-input-len", 128, "--random-output-len", 12, "--run-dir", tmp_path / "r",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path / "r")
    assert set(table["outcome"]) == {"ok"}
    assert set(table["output_tokens_source"]) == {"usage"}
    assert (table["output_tokens"] <= 12).all()
    assert np.mean(np.abs(table["prompt_tokens"] / 128 - 1)) < 0.03, done.stderr
    assert (table["first_answer_ns"] == table["first_token_ns"]).all()
    assert set(table["model_answered"]) == {smollm2.model}
