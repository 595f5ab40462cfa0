"""The vLLM evaluation pipeline: its page's commands as ``docs/coming-from.md`` translates them, in their order."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from e2e.coming_from import Done, commands, differences, only, played
from e2e.support import simulating

Call = Callable[..., subprocess.CompletedProcess[str]]

SECTION = "The vLLM evaluation pipeline"
MODEL = "Qwen/Qwen2-0.5B"
TIME = r"\d{8}_\d{6}"
#: The page's file with its keys, and a second scenario; small, and with thresholds that a busy machine keeps.
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
#: The block of the page, line by line without its numbers.
BLOCK = [
    "Serving Benchmark Result",
    "Successful requests:",
    "Maximum request concurrency:",
    "Benchmark duration (s):",
    "Total input tokens:",
    "Total generated tokens:",
    "Request throughput (req/s):",
    "Output token throughput (tok/s):",
    "Total Token throughput (tok/s):",
    *(
        line
        for title, name in (
            ("Time to First Token", "TTFT"),
            ("Time per Output Token (excl. 1st token)", "TPOT"),
            ("Inter-token Latency", "ITL"),
            ("End-to-end Latency", "E2EL"),
        )
        for line in (title, *(f"{which} {name} (ms):" for which in ("Mean", "Median", *STATISTICS[3:])))
    ),
]
#: The documented tree of a standardised result, with the types of its values.
STANDARDIZED = {
    "meta": {"benchmark_name": str, "tasks": str, "model": dict, "config": dict, "run_id": str, "timestamp": str},
    "results": object,
    "performance": {
        "summary": {"completed_requests": int, "total_input_tokens": int, "total_output_tokens": int},
        "throughput": dict.fromkeys(
            ("requests_per_second", "output_tokens_per_second", "total_tokens_per_second"), float
        ),
        "latency": {f"{name}_ms": dict.fromkeys(STATISTICS, float) for name in ("ttft", "tpot", "itl", "e2el")},
    },
}


def put(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, ensure_ascii=False))


def names(folder: Path) -> list[str]:
    """What is in a folder, without times."""
    return sorted(re.sub(TIME, "TIME", path.name) for path in folder.iterdir())


def native(place: Path) -> Path:
    return next(place.glob("benchmark_results/scenario_basic_performance_*/benchmark_results.json"))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pipeline")


@pytest.fixture(scope="module")
def done(place: Path) -> Mapping[str, Done]:
    """Every command in its order and in one folder; the stress test is smaller and shorter."""
    put(place / "configs" / "vllm_benchmark.json", CONFIG | {"scenarios": CONFIG["scenarios"][:1]})
    put(place / "configs" / "custom_benchmark.json", CONFIG)
    found = {}
    with simulating("--exact", "--ttft-ms", 20, "--itl-ms", 4, "--model", MODEL) as url:
        for command in commands(SECTION):
            less = command.replace('"50,100"', '"2,4"').replace('"600"', '"0.5"')
            found[command] = played(less, place, url, "--model-tag release-1" if " aggregate " in command else "")
    return found


def test_every_command_of_the_page_ends_well(done: Mapping[str, Done]) -> None:
    assert len(done) == 8
    assert {one.command: one.err for one in done.values() if one.code} == {}


def test_the_block_is_that_of_the_page(done: Mapping[str, Done]) -> None:
    out = next(one.out for command, one in done.items() if "custom_benchmark" in command)
    lines = [line.strip("-= ").casefold() for line in out.splitlines()]
    left = iter(lines)
    missing = [label for label in BLOCK if not any(line.startswith(label.casefold()) for line in left)]
    assert missing == []
    assert out.count("Successful requests:") == out.count("Thresholds: all met.") == 2


def test_the_variables_act(done: Mapping[str, Done], place: Path) -> None:
    one = next(one for command, one in done.items() if "custom_benchmark" in command)
    assert "from the environment, over the file: MODEL_ENDPOINT, MODEL_NAME" in one.err
    assert json.loads(native(place).read_text())["model_id"] == MODEL
    assert names(place / "parsed") == ["basic_performance_TIME_standardized.json"]


def test_the_tree_is_that_of_the_page(done: Mapping[str, Done], place: Path) -> None:
    output = place / "benchmark_results"
    assert names(output) == [
        "parsed",
        "scenario_basic_performance_TIME",
        "scenario_basic_performance_TIME.log",
        "scenario_heavy_load_TIME",
        "scenario_heavy_load_TIME.log",
        "vllm_benchmark_main_TIME.log",
    ]
    assert {name for name in names(output / "parsed") if name.endswith("_standardized.json")} == {
        f"{name}_TIME_standardized.json" for name in ("basic_performance", "heavy_load")
    }
    assert len(set(re.findall(TIME, " ".join(path.name for path in output.rglob("*"))))) == 1
    main = next(output.glob("*main*.log")).read_text()
    assert re.search(r"Z scenario_basic_performance_\S+: exit code 0; 4 ok, 0 failed", main)
    assert re.search(r"Z scenario_heavy_load_\S+: exit code 0; 8 ok, 0 failed", main)  # twice the concurrency
    log = next(output.glob("scenario_heavy_load_*.log")).read_text()
    assert "Serving Benchmark Result" in log
    assert "exit code 0" in log


def test_the_standardised_result_is_complete(done: Mapping[str, Done], place: Path) -> None:
    told = json.loads(next(place.glob("benchmark_results/parsed/basic_performance_*")).read_text())
    assert list(told) == ["meta", "results", "performance"]
    assert differences(STANDARDIZED, told) == []
    assert (told["meta"]["benchmark_name"], told["meta"]["tasks"]) == ("vllm_benchmark", "basic_performance")
    assert told["meta"]["model"]["source"] == "openai-chat"
    asked = {"num_prompts": 4, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 1}
    assert told["meta"]["config"] == asked
    assert re.fullmatch(r"\d{8}-\d{6}", told["meta"]["run_id"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", told["meta"]["timestamp"])
    summary = told["performance"]["summary"]
    assert summary["completed_requests"] == 4
    assert (summary["total_input_tokens"], summary["total_output_tokens"]) == (128, 24)
    assert told["performance"]["latency"]["ttft_ms"]["p25"] >= 15  # the simulator's 20 ms, far from seconds


def test_a_stress_test_has_a_load_for_each_level(done: Mapping[str, Done], place: Path) -> None:
    folder = next(path for path in (place / "stress").iterdir() if path.name.startswith("scenario_") and path.is_dir())
    assert {"benchmark_results_c2.json", "benchmark_results_c4.json"} <= set(names(folder))
    told = [json.loads((folder / f"benchmark_results_c{level}.json").read_text()) for level in (2, 4)]
    assert [one["max_concurrency"] for one in told] == [2, 4]
    assert all(one["completed"] > 4 for one in told)  # not the num_prompts of the file
    parsed = [f"basic_performance_c{level}_TIME_standardized.json" for level in (2, 4)]
    assert names(place / "stress" / "parsed") == parsed


def test_results_are_analysed(done: Mapping[str, Done]) -> None:
    one, whole = (done[command] for command in done if " analyse " in command)
    assert "basic_performance" in one.out
    assert "heavy_load" not in one.out
    assert [word for word in ("Grade: ", "Thresholds: all met.", "heavy_load") if word not in whole.out] == []
    assert whole.out.count("✓ ") + whole.out.count("+ ") >= 8


def test_the_analysis_is_left_as_files_and_thresholds_decide(
    done: Mapping[str, Done], inferometer: Call, place: Path, tmp_path: Path
) -> None:
    whole = inferometer("analyse", place / "benchmark_results", "summary.json", "--csv", "summary.csv")
    assert whole.returncode == 0, whole.stderr
    told = json.loads((tmp_path / "summary.json").read_text())
    assert told["total_scenarios"] == 2
    assert list(told["scenarios"]["heavy_load"]) == [
        "success_rate", "request_throughput", "output_throughput", "ttft_p95_ms", "tpot_mean_ms", "e2el_p95_ms"
    ]  # fmt: skip
    assert told["scenarios"]["heavy_load"]["success_rate"] == 1.0
    lines = (tmp_path / "summary.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["scenario", "basic_performance", "heavy_load"]
    missed = inferometer("analyse", native(place), "--threshold", "ttft_p95_ms<=0.1")
    assert missed.returncode == 1
    assert "Thresholds: 1 of 1 missed." in missed.stdout


def test_a_result_is_standardised(done: Mapping[str, Done], inferometer: Call, place: Path) -> None:
    told = json.loads((place / "standardized.json").read_text())
    made = json.loads(next(place.glob("benchmark_results/parsed/basic_performance_*")).read_text())
    assert told == made | {"meta": made["meta"] | {"tasks": "performance_test"}}
    before = native(place).read_bytes()
    refused = inferometer("standardize", native(place), "--output_file", native(place))
    assert refused.returncode == 2
    assert native(place).read_bytes() == before


def test_results_are_aggregated(done: Mapping[str, Done], place: Path) -> None:
    told = json.loads(done[only(done, "aggregate")].out)
    rows = [json.loads(line) for line in (place / told["rows"]).read_text().splitlines()]
    assert len(rows) == told["total_metrics"]
    assert {row["model_tag"] for row in rows} == {"release-1"}
    assert {row["run_id"] for row in rows} == {told["run_id"]}
    assert {"heavy_load_ttft_p95_ms", "basic_performance_success_rate"} <= {row["metric_name"] for row in rows}
    assert told["regressions_count"] == 0


def test_a_missed_threshold_ends_in_its_code(inferometer: Call, simulator: str, tmp_path: Path) -> None:
    put(tmp_path / "b.json", CONFIG | {"scenarios": CONFIG["scenarios"][:1], "thresholds": {"ttft_p95_ms": 0.1}})
    done = inferometer("run", "-c", "b.json", MODEL_ENDPOINT=simulator, OUTPUT_DIR="results", PARSED_DIR="parsed")
    assert done.returncode == 1, done.stderr
    assert "Thresholds: 1 of 1 missed." in done.stdout


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
