"""``inferometer run`` as a user types it, against the simulator."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from e2e.support import rows, simulating

SMALL = ("--random-input-len", 24, "--random-output-len", 8, "--ignore-eos")


def test_without_arguments_it_practises_and_prints_the_sweep(inferometer, tmp_path):
    done = inferometer("run", "--max-concurrency", 1, 2, "--num-prompts", 12, "--run-dir", "r", *SMALL)
    assert done.returncode == 0, done.stderr
    assert "embedded simulator" in done.stderr
    header = next(line for line in done.stdout.splitlines() if line.startswith("| concurrency"))
    assert header.count("|") == 10
    assert len(re.findall(r"^\| [12] ", done.stdout, re.MULTILINE)) == 2
    assert "in flight" not in done.stdout.split("==")[0]
    made = {path.name for path in (tmp_path / "r").iterdir()}
    assert made >= {"plan.yaml", "context.json", "requests.parquet", "summary.json"}
    assert not [name for name in made if name.endswith((".arrow", ".partial")) or name == ".counters"]


def test_every_planned_request_has_one_row_and_the_server_got_what_was_asked(inferometer, simulator, tmp_path):
    done = inferometer("run", "--base-url", simulator, "--max-concurrency", 3, "--num-prompts", 20, "--num-warmups", 5,
                       "--workers", 2, "--run-dir", "r", *SMALL)  # fmt: skip
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path / "r")
    assert sorted(table["index"][table["phase"] == "measured"]) == list(range(20))
    assert sorted(table["index"][table["phase"] == "warmup"]) == list(range(5))
    assert set(table["outcome"]) == {"ok"}
    assert set(table["prompt_tokens"]) == {24}
    assert set(table["output_tokens"]) == {8}
    assert set(table["worker"]) == {0, 1}
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())
    assert summary["stages"][0]["counts"]["ok"] == 20
    assert summary["stages"][0]["throughput"]["peak_in_flight"] == 3


def test_what_is_reported_is_what_was_served(inferometer, tmp_path):
    """The simulator writes down when it wrote each event; kernel stamps must agree to well below a token gap."""
    log = tmp_path / "served.jsonl"
    with simulating("--exact", "--ttft-ms", 30, "--itl-ms", 5, "--log-served", log) as url:
        done = inferometer("run", "--base-url", url, "--max-concurrency", 8, "--num-prompts", 40, "--run-dir", "r",
                           "--random-input-len", 16, "--random-output-len", 16, "--ignore-eos")  # fmt: skip
    assert done.returncode == 0, done.stderr
    epoch_ns = json.loads((tmp_path / "r" / "context.json").read_text())["epoch_monotonic_ns"]
    served = {line["request_id"]: line["written_ns"] for line in map(json.loads, log.read_text().splitlines())}
    table = pq.read_table(tmp_path / "r" / "requests.parquet").to_pylist()
    errors_ns = np.concatenate(
        [
            np.array(row["event_ns"]) + epoch_ns - np.array(served[f"inferometer-0-{row['index']}"])
            for row in table
            if row["phase"] == "measured"
        ]
    )
    assert len(errors_ns) == 40 * 16
    assert abs(np.median(errors_ns)) < 1_000_000


def test_one_seed_sends_the_same_requests_at_the_same_offsets(inferometer, simulator, tmp_path):
    offsets = {}
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        done = inferometer("run", "--base-url", simulator, "--request-rate", 40, "--num-prompts", 30, "--seed", seed,
                           "--random-input-len", 24, "--random-output-len", 8, "--random-range-ratio", 0.5,
                           "--run-dir", name)  # fmt: skip
        assert done.returncode == 0, done.stderr
        table = rows(tmp_path / name)
        order = np.argsort(table["index"])
        scheduled = table["scheduled_ns"][order]
        offsets[name] = (list(scheduled - scheduled[0]), list(table["asked_prompt_tokens"][order]))
    assert offsets["a"] == offsets["b"]
    assert offsets["a"] != offsets["c"]


def test_a_saved_plan_runs_again(inferometer, simulator, tmp_path):
    first = inferometer(
        "run", "--base-url", simulator, "--max-concurrency", 2, "--num-prompts", 6, "--run-dir", "a", *SMALL
    )
    again = inferometer("run", "-c", tmp_path / "a" / "plan.yaml", "--run-dir", "b")
    assert (first.returncode, again.returncode) == (0, 0), again.stderr
    assert (tmp_path / "a" / "plan.yaml").read_text() == (tmp_path / "b" / "plan.yaml").read_text()


def test_the_key_is_sent_and_never_kept(inferometer, tmp_path):
    with simulating("--exact", "--api-key-env", "PLANTED", PLANTED="sk-planted-0451") as url:
        words = ("--max-concurrency", 1, "--num-prompts", 2, "--run-dir", "r", "--output", "o.json", *SMALL)
        key = {"PLANTED": "sk-planted-0451"}
        done = inferometer("run", "--base-url", url, "--api-key-env", "PLANTED", *words, **key)
        refused = inferometer("run", "--base-url", url, "--num-prompts", 2, "--run-dir", "q")
    assert done.returncode == 0, done.stderr
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and b"planted-0451" in path.read_bytes()]
    assert kept == []
    assert "planted-0451" not in done.stdout + done.stderr
    assert refused.returncode == 2
    assert "OPENAI_API_KEY" in refused.stderr


def test_percentiles_metrics_goodput_and_output_file(inferometer, simulator, tmp_path):
    words = ("--percentile-metrics", "ttft,e2el", "--metric-percentiles", "25,90", "--goodput", "ttft:10000")
    load = (
        "--backend",
        "openai",
        "--max-concurrency",
        2,
        "--num-prompts",
        10,
        "--output",
        "out.json",
        "--run-dir",
        "r",
    )
    done = inferometer("run", "--base-url", simulator, *load, *words, *SMALL)
    assert done.returncode == 0, done.stderr
    assert "P25 TTFT (ms):" in done.stdout
    assert "Mean ITL" not in done.stdout
    assert "Request goodput (req/s):" in done.stdout
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads((tmp_path / "r" / "summary.json").read_text())


@pytest.mark.parametrize("more", [(), ("--workers", 2)])
def test_an_open_loop_keeps_its_schedule_above_what_the_server_can_do(inferometer, tmp_path: Path, more):
    """Far more requests than the server has room for: none is dropped, and the wait counts from the schedule."""
    with simulating("--max-num-seqs", 1, "--profile", "l4-qwen2.5-0.5b") as url:
        done = inferometer(
            "run", "--base-url", url, "--request-rate", 100, "--num-prompts", 30, "--run-dir", "r", *SMALL, *more
        )
    assert done.returncode == 0, done.stderr
    table = rows(tmp_path / "r")
    assert len(table["index"]) == 30
    assert (table["sent_ns"] >= table["scheduled_ns"]).all()
    summary = json.loads((tmp_path / "r" / "summary.json").read_text())["stages"][0]
    assert summary["throughput"]["requests_per_s"] < 60
