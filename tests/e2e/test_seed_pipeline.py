"""The page of the vLLM evaluation pipeline: its commands one to one, in its order, against the simulator."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Call = Callable[..., subprocess.CompletedProcess[str]]

TIME = r"\d{8}_\d{6}"
CONFIG: dict[str, Any] = {
    "name": "Serving benchmark",
    "version": "2.0.0",
    "description": "성능 측정",
    "defaults": {
        "backend": "openai-chat",
        "endpoint_path": "/v1/chat/completions",
        "dataset_type": "random",
        "percentile_metrics": "ttft,tpot,itl,e2el",
        "metric_percentiles": "25,50,75,90,95,99",
    },
    "scenarios": [
        {
            "name": "basic_performance",
            "description": "기본 성능",
            "max_concurrency": 1,
            "num_prompts": 4,
            "random_input_len": 32,
            "random_output_len": 6,
        },
        {"name": "heavy_load", "max_concurrency": 4, "random_input_len": 48, "random_output_len": 6},
    ],
    "thresholds": {"ttft_p95_ms": 60000, "tpot_mean_ms": 60000, "throughput_min": 0.001, "success_rate": 0.95},
}
STATISTICS = ["mean", "median", "std", "p25", "p50", "p75", "p90", "p95", "p99"]


def put(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, ensure_ascii=False))


def names(folder: Path) -> list[str]:
    """What is in a folder, without times."""
    return sorted(re.sub(TIME, "TIME", path.name) for path in folder.iterdir())


@pytest.fixture
def played(inferometer: Call, simulator: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """``./run_vllm_benchmark.sh`` with the variables of the page."""
    put(tmp_path / "configs" / "custom_benchmark.json", CONFIG)
    return inferometer(
        "run",
        MODEL_ENDPOINT=simulator,
        CONFIG_PATH="configs/custom_benchmark.json",
        OUTPUT_DIR="./benchmark_results",
        TOKENIZER="gpt2",
    )


def test_the_page_from_the_run_to_the_aggregation(
    inferometer: Call, played: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    assert played.returncode == 0, played.stderr
    _the_tables_are_those_of_the_page(played)
    output = tmp_path / "benchmark_results"
    _the_tree_is_that_of_the_page(output)
    _the_standardised_result_is_complete(output / "parsed")
    native = next(output.glob("scenario_basic_performance_*/benchmark_results.json"))
    _results_are_analysed(inferometer, native, tmp_path)
    _a_result_is_standardised(inferometer, native, tmp_path)
    _results_are_aggregated(inferometer, tmp_path)


def _the_tables_are_those_of_the_page(played: subprocess.CompletedProcess[str]) -> None:
    labels = ("Successful requests:", "Maximum request concurrency:", "Benchmark duration (s):", "Total input tokens:",
              "Total generated tokens:", "Request throughput (req/s):", "Output token throughput (tok/s):",
              "Mean TTFT (ms):", "Median TTFT (ms):", "P25 TTFT (ms):", "P99 TPOT (ms):", "P75 ITL (ms):",
              "P95 E2EL (ms):")  # fmt: skip
    assert [label for label in labels if played.stdout.count(label) != 2] == []
    assert played.stdout.count("Thresholds: all met.") == 2
    assert "from the environment, over the file: MODEL_ENDPOINT, TOKENIZER" in played.stderr


def _the_tree_is_that_of_the_page(output: Path) -> None:
    assert names(output) == [
        "parsed",
        "scenario_basic_performance_TIME",
        "scenario_basic_performance_TIME.log",
        "scenario_heavy_load_TIME",
        "scenario_heavy_load_TIME.log",
        "vllm_benchmark_main_TIME.log",
    ]
    assert names(output / "parsed") == [
        f"{name}_TIME_standardized.json" for name in ("basic_performance", "heavy_load")
    ]
    assert len(set(re.findall(TIME, " ".join(path.name for path in output.rglob("*"))))) == 1
    main = next(output.glob("*main*.log")).read_text()
    assert re.search(r"Z scenario_basic_performance_\S+: exit code 0; 4 ok, 0 failed", main)
    assert re.search(r"Z scenario_heavy_load_\S+: exit code 0; 8 ok, 0 failed", main)  # twice the concurrency
    log = next(output.glob("scenario_heavy_load_*.log")).read_text()
    assert "Serving Benchmark Result" in log
    assert "exit code 0" in log


def _the_standardised_result_is_complete(parsed: Path) -> None:
    told = json.loads(next(parsed.glob("basic_performance_*")).read_text())
    assert list(told) == ["meta", "results", "performance"]
    assert told["meta"]["benchmark_name"] == "vllm_benchmark"
    assert told["meta"]["tasks"] == "basic_performance"
    assert told["meta"]["model"]["source"] == "openai-chat"
    asked = {"num_prompts": 4, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 1}
    assert told["meta"]["config"] == asked
    assert re.fullmatch(r"\d{8}-\d{6}", told["meta"]["run_id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["meta"]["timestamp"])
    summary = told["performance"]["summary"]
    assert summary["completed_requests"] == 4
    assert (summary["total_input_tokens"], summary["total_output_tokens"]) == (128, 24)
    throughput = told["performance"]["throughput"]
    assert list(throughput) == ["requests_per_second", "output_tokens_per_second", "total_tokens_per_second"]
    latency = told["performance"]["latency"]
    assert list(latency) == ["ttft_ms", "tpot_ms", "itl_ms", "e2el_ms"]
    assert all(sorted(found) == sorted(STATISTICS) for found in latency.values())
    assert latency["ttft_ms"]["p25"] >= 15  # the simulator's 20 ms, far from seconds


def _results_are_analysed(inferometer: Call, native: Path, tmp_path: Path) -> None:
    whole = inferometer("analyse", "benchmark_results", "summary.json", "--csv", "summary.csv")
    assert whole.returncode == 0, whole.stderr
    assert "Grade: " in whole.stdout
    assert whole.stdout.count("✓ ") == 8 or whole.stdout.count("+ ") == 8
    told = json.loads((tmp_path / "summary.json").read_text())
    assert told["total_scenarios"] == 2
    assert list(told["scenarios"]["heavy_load"]) == [
        "success_rate", "request_throughput", "output_throughput", "ttft_p95_ms", "tpot_mean_ms", "e2el_p95_ms"
    ]  # fmt: skip
    assert told["scenarios"]["heavy_load"]["success_rate"] == 1.0
    lines = (tmp_path / "summary.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["scenario", "basic_performance", "heavy_load"]
    missed = inferometer("analyse", native, "--threshold", "ttft_p95_ms<=0.1")
    assert missed.returncode == 1
    assert "Thresholds: 1 of 1 missed." in missed.stdout


def _a_result_is_standardised(inferometer: Call, native: Path, tmp_path: Path) -> None:
    before = native.read_bytes()
    done = inferometer("standardize", native, "--output_file", "standardized.json", "--task_name", "performance_test",
                       "--config_path", "configs/custom_benchmark.json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "standardized.json").read_text())
    made = json.loads(next((tmp_path / "benchmark_results" / "parsed").glob("basic_performance_*")).read_text())
    assert told == made | {"meta": made["meta"] | {"tasks": "performance_test"}}
    refused = inferometer("standardize", native, "--output_file", native)
    assert refused.returncode == 2
    assert native.read_bytes() == before


def _results_are_aggregated(inferometer: Call, tmp_path: Path) -> None:
    done = inferometer("aggregate", "--include-vllm-benchmark", "--results-dir", "benchmark_results/parsed",
                       "--model-tag", "release-1")  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    rows = [json.loads(line) for line in (tmp_path / told["rows"]).read_text().splitlines()]
    assert len(rows) == told["total_metrics"]
    assert {row["model_tag"] for row in rows} == {"release-1"}
    assert {row["run_id"] for row in rows} == {told["run_id"]}
    assert {"heavy_load_ttft_p95_ms", "basic_performance_success_rate"} <= {row["metric_name"] for row in rows}
    assert told["regressions_count"] == 0


def test_stress_levels_duration_and_a_missed_threshold(inferometer: Call, simulator: str, tmp_path: Path) -> None:
    put(tmp_path / "b.json", CONFIG | {"scenarios": CONFIG["scenarios"][:1], "thresholds": {"ttft_p95_ms": 0.1}})
    done = inferometer("run", "-c", "b.json", MODEL_ENDPOINT=simulator, OUTPUT_DIR="results", PARSED_DIR="parsed",
                       CONCURRENCY_LEVELS="2,4", DURATION="0.5")  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Thresholds: 2 of 2 missed." in done.stdout
    assert names(tmp_path / "parsed") == [f"basic_performance_c{level}_TIME_standardized.json" for level in (2, 4)]
    folder = next(path for path in (tmp_path / "results").iterdir() if path.is_dir())
    assert {"benchmark_results_c2.json", "benchmark_results_c4.json"} <= set(names(folder))
    told = [json.loads((folder / f"benchmark_results_c{level}.json").read_text()) for level in (2, 4)]
    assert [one["max_concurrency"] for one in told] == [2, 4]
    assert all(one["completed"] > 4 for one in told)  # not the num_prompts of the file


def test_mistakes_run_nothing(inferometer: Call, refusing_url: str, tmp_path: Path) -> None:
    put(tmp_path / "b.json", CONFIG | {"thresholds": {"ttft_p59": 1, "tpot_maen_ms": 1}})
    wrong = inferometer("run", "-c", "b.json", MODEL_ENDPOINT=refusing_url, OUTPUT_DIR="results")
    assert wrong.returncode == 2
    assert "thresholds.tpot_maen_ms: " in wrong.stderr
    assert "did you mean tpot_mean_ms?" in wrong.stderr
    assert not (tmp_path / "results").exists()
    put(tmp_path / "b.json", CONFIG)
    absent = inferometer("run", "-c", "b.json", MODEL_ENDPOINT=refusing_url, OUTPUT_DIR="results")
    assert absent.returncode == 2
    main = next((tmp_path / "results").glob("*main*.log")).read_text()
    assert main.count("exit code 2; nothing was measured") == 2
