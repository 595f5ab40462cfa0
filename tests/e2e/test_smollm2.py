"""The real thing: SmolLM2-135M in llama.cpp on this machine's CPU, compared with the server's own counters."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from e2e.support import rows
from inferometer.config.models import Engine
from inferometer.engine.launch import Address, started

pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory) -> Iterator[Address]:
    with started(Engine(kind="llamacpp"), tmp_path_factory.mktemp("engine") / "engine.log") as address:
        yield address


def counters(url: str) -> dict[str, float]:
    with urllib.request.urlopen(f"{url}/metrics") as answer:
        return {
            name: float(value)
            for name, value in re.findall(r"^llamacpp:(\S+) (\S+)$", answer.read().decode(), re.MULTILINE)
        }


def run(inferometer, address: Address, folder: Path, *words: object):
    before = counters(address.base_url)
    done = inferometer("run", "--base-url", address.base_url, "--run-dir", folder, *words)
    assert done.returncode == 0, done.stderr + done.stdout
    after = counters(address.base_url)
    return rows(folder), {name: after[name] - before[name] for name in after}, done


def test_counts_and_times_agree_with_the_server(inferometer, smollm2, tmp_path):
    """One request at a time: what the server counts and times, and what we see, differ by less than 5 %."""
    table, grown, done = run(
        inferometer, smollm2, tmp_path / "r", "--max-concurrency", 1, "--num-prompts", 8, "--random-input-len", 256,
        "--random-output-len", 48, "--ignore-eos",
    )  # fmt: skip
    context = json.loads((tmp_path / "r" / "context.json").read_text())
    assert context["prompts"]["kind"] == "calibrated_text"
    assert set(table["outcome"]) == {"ok"}
    assert set(table["finish_reason"]) == {"length"}
    assert set(table["output_tokens"]) == {48}
    assert set(table["output_tokens_source"]) == {"usage"}
    assert np.mean(np.abs(table["prompt_tokens"] / 256 - 1)) < 0.03
    assert set(table["clock"]) == {"kernel"}

    # The trial stream and the probes of the calibration are in the server's counters too.
    assert 8 * 48 <= grown["tokens_predicted_total"] <= 8 * 48 * 1.05
    tpot_s = np.mean((table["last_token_ns"] - table["first_token_ns"]) / 47) / 1e9
    server_tpot_s = grown["tokens_predicted_seconds_total"] / grown["tokens_predicted_total"]
    assert tpot_s == pytest.approx(server_tpot_s, rel=0.05)

    measured_prompt = table["prompt_tokens"].sum() - table["cached_tokens"].sum()
    assert measured_prompt <= grown["prompt_tokens_total"]
    ttft_per_token_s = np.sum(table["first_token_ns"] - table["sent_ns"]) / 1e9 / measured_prompt
    server_per_token_s = grown["prompt_seconds_total"] / grown["prompt_tokens_total"]
    # HTTP, the first sample and a busy machine lie outside the server's clock: up to 20 ms a request
    outside_s = 0.02 * len(table["sent_ns"]) / measured_prompt
    assert 0.95 * server_per_token_s <= ttft_per_token_s <= 1.05 * server_per_token_s + outside_s
    assert "Mean TTFT (ms):" in done.stdout


def test_completions_with_token_ids_and_a_closing_server(inferometer, smollm2, tmp_path):
    """The vocabulary comes from the server; its usage stands beside a choice; it closes after every stream."""
    table, _, _ = run(
        inferometer, smollm2, tmp_path / "r", "--backend", "openai", "--max-concurrency", 2, "--num-prompts", 8,
        "--random-input-len", 32, "--random-output-len", 8, "--ignore-eos",
    )  # fmt: skip
    context = json.loads((tmp_path / "r" / "context.json").read_text())
    assert (context["prompts"]["kind"], context["prompts"]["end_id"]) == ("token_ids", 49152)
    assert set(table["outcome"]) == {"ok"}
    assert set(table["prompt_tokens"]) == {32}
    assert set(table["output_tokens"]) == {8}


def test_the_target_smollm2_is_started_measured_and_stopped(inferometer, tmp_path):
    done = inferometer("run", "--target", "smollm2", "--max-concurrency", 1, "--num-prompts", 6, "--run-dir", "r",
                       "--random-output-len", 8)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert set(rows(tmp_path / "r")["model_answered"]) == {"smollm2-135m"}
