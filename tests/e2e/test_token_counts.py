"""Several tokens an event and no usage: a tokenizer counts them; without one the result says what was counted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from e2e.support import rows, simulating
from inferometer.simulator.tokens import WORDS

OUTPUT_TOKENS, EVENT_TOKENS, ITL_MS = 40, 4, 5.0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer to which each word of the simulator is one token, with or without a space before it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([" " + " ".join(WORDS), *WORDS] * 3, trainer)
    assert {len(tokenizer.encode(before + word).ids) for word in WORDS for before in ("", " ")} == {1}
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def silent() -> Iterator[str]:
    """A server of 5 ms a token, 4 tokens an event, whose streams tell no usage."""
    with simulating(
        "--exact", "--ttft-ms", 20, "--itl-ms", ITL_MS, "--tokens-per-event", EVENT_TOKENS, "--fault", "odd=no_usage"
    ) as url:
        yield url


def measured(inferometer: Any, url: str, folder: Path, *flags: object) -> tuple[dict[str, Any], dict[str, Any], str]:
    """The rows of a small run, the summary of its stage, and what the console showed."""
    done = inferometer(
        "run", "--base-url", url, "--run-dir", folder, "--max-concurrency", 2, "--num-prompts", 8, "--ignore-eos",
        "--random-input-len", 16, "--random-output-len", OUTPUT_TOKENS, *flags,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    [stage] = json.loads((folder / "summary.json").read_text())["stages"]
    return rows(folder), stage, done.stdout + done.stderr


def median_ms(stage: dict[str, Any], metric: str) -> float:
    return float(stage["metrics"][metric]["percentiles_ms"]["50"]["value"])


def findings(stage: dict[str, Any]) -> set[str]:
    return {finding["name"] for finding in stage["verdict"]["findings"]}


def test_a_tokenizer_counts_what_the_server_does_not_tell(
    inferometer: Any, silent: str, trained: Path, tmp_path: Path
) -> None:
    table, stage, shown = measured(inferometer, silent, tmp_path / "r", "--tokenizer", trained)
    assert set(table["output_tokens"]) == {OUTPUT_TOKENS}
    assert set(table["output_tokens_source"]) == set(table["prompt_tokens_source"]) == {"tokenizer"}
    np.testing.assert_array_equal(table["prompt_tokens"], table["asked_prompt_tokens"])
    assert median_ms(stage, "tpot") == pytest.approx(ITL_MS, rel=0.2)
    assert "events counted as tokens" not in findings(stage)
    assert "tells no number of output tokens: the tokenizer counts them" in shown
    assert "Requests with output tokens by tokenizer:" in shown


def test_without_a_tokenizer_it_is_told_that_events_were_counted(inferometer: Any, silent: str, tmp_path: Path) -> None:
    table, stage, shown = measured(inferometer, silent, tmp_path / "r")
    assert set(table["output_tokens"]) == {OUTPUT_TOKENS // EVENT_TOKENS}
    assert set(table["output_tokens_source"]) == {"events"}
    assert "events counted as tokens" in findings(stage)
    assert "each event counts as one; with --tokenizer they are counted" in shown
    assert "Requests with output tokens by events:" in shown
