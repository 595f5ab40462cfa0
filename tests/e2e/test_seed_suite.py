"""The pages of the benchmarking suite and of the in-cluster Job, command by command, against the simulator."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from e2e.support import COMMAND, environment, rows, simulating

QWEN, PHI, GEMMA = "Qwen/Qwen2.5-3B-Instruct", "microsoft/Phi-3-mini-4k-instruct", "google/gemma-2b-it"
MODELS = (QWEN, PHI, GEMMA)
SHORT = ("--max-tokens", 5)
#: The result of the suite's page, name by name, with the type of each value.
SAMPLE = {
    "timestamp": str,
    "target": str,
    "scenario": str,
    "base_url": str,
    "model": str,
    "results": {
        "total_requests": int,
        "successful": int,
        "failed": int,
        "success_rate": float,
        **{name: dict.fromkeys(("mean", "p50", "p95", "p99"), float) for name in ("ttft_ms", "tpot_ms", "latency_s")},
        "throughput": {"tokens_per_sec": float, "requests_per_sec": float},
        "mlperf_compliant": bool,
    },
}
TARGETS = """\
targets:
  slow-start: {base_url: "%s", model: "%s", api_key_env: LAB_KEY}
my-custom-target:
  name: "My Custom Deployment"
  base_url: "%s"
  model: "%s"
  max_tokens: 4
  backend: "vLLM"
  supported_models:
    - "%s"
"""
SCENARIOS = "scenarios: {tiny: {num_requests: 6, concurrency: 2, prompt_tokens: [10, 20], max_tokens: [3, 9]}}"


class Done(NamedTuple):
    code: int
    out: str
    err: str


def commands(url: str) -> dict[str, tuple[object, ...]]:
    """The page's commands in its order, with ours in place of its scripts."""
    run = ("run", "--target")
    pattern2 = (*run, "llm-d-pattern2-gpu")
    bench = (
        "--base-url",
        url,
        "--model",
        GEMMA,
        "--random-input-len",
        16,
        "--random-output-len",
        3,
        "--num-prompts",
        5,
    )
    return {
        "quick_test": ("check", url, PHI),
        "latency": (*run, "tpu-v6e", "--scenario", "latency_benchmark", "--num-requests", 24, *SHORT,
                    "--output", "results/my_test.json", "--html"),
        "models": (*pattern2, "--scenario", "quick_validation", "--all-models", *SHORT,
                   "--output", "results/model_comparison.json", "--html"),
        "custom": ("run", "--base-url", url, "--model", GEMMA, "--num-requests", 20, "--concurrency", 4, *SHORT,
                   "--run-dir", "custom"),
        "targets": (*run, "gke-t4", "tpu-v6e", "--scenario", "quick_validation", *SHORT,
                    "--output", "results/comparison/results.json"),
        "throughput": (*run, "gke-t4", "--scenario", "throughput_benchmark", "--num-requests", 20, *SHORT,
                       "--output", "results/concurrency_test.json"),
        "load": (*run, "my-custom-target", "--targets-file", "targets.yaml", "--scenario", "load_test",
                 "--dry-run"),
        "stress": (*run, "llm-d-pattern3-gpu", "--scenario", "stress_test", "--duration", 0.3, *SHORT,
                   "--stop-e2el-p95", 0.001, "--output", "results/stress_test.json"),
        "pattern2": (*pattern2, "--scenario", "pattern2_routing", "--num-requests", 8, "--run-dir", "p2"),
        "pattern3": (*run, "llm-d-pattern3-gpu", "--scenario", "pattern3_prefix_cache", "--run-dir", "p3"),
        "files": ("run", "-c", "targets.yaml", "-c", "test_scenarios.yaml", "--target", "my-custom-target",
                  "--run-dir", "files"),
        "vllm": ("run", "--vllm-args", " ".join(map(str, ("vllm bench serve", *bench, "--max-concurrency", 2)))),
        "job": ("run", "--random-output-len", 3, "--num-prompts", 4),
    }  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("suite")


@pytest.fixture(scope="module")
def done(place: Path) -> Iterator[dict[str, Done]]:
    """What every command printed; three at a time, as nothing here depends on how long they take."""
    with simulating("--exact", "--ttft-ms", 4, "--itl-ms", 1, "--replicas", 3, "--model", *MODELS) as url:
        (place / "targets.yaml").write_text(TARGETS % (url, QWEN, url, GEMMA, GEMMA))
        (place / "test_scenarios.yaml").write_text(SCENARIOS)
        (place / "bad.yaml").write_text("scenarios:\n  tiny:\n    num_requests: 6\n    concurrency: two\n")
        at = {f"{name}_URL": url for name in ("GKE_T4", "TPU_V6E", "LLM_D_PATTERN2_GPU", "LLM_D_PATTERN3_GPU")}
        job = {"BASE_URL": url, "BENCH_MODEL": QWEN}
        listed = commands(url)
        with ThreadPoolExecutor(3) as pool:
            call = partial(called, place)
            found = pool.map(lambda name: call(listed[name], job if name == "job" else at), listed)
            yield dict(zip(listed, found, strict=True))


def called(place: Path, words: tuple[object, ...], env: dict[str, str]) -> Done:
    process = subprocess.run(
        [COMMAND, *map(str, words)],
        cwd=place,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return Done(process.returncode, process.stdout, process.stderr)


def told(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def differences(sample: dict[str, Any], found: dict[str, Any], at: str = "") -> list[str]:
    """Keys of the sample that are not there, or have another type or unit of nesting."""
    wrong = []
    for key, kind in sample.items():
        if key not in found:
            wrong.append(f"{at}{key} is missing")
        elif isinstance(kind, dict):
            wrong += differences(kind, found[key], f"{at}{key}.")
        elif not isinstance(found[key], kind):
            wrong.append(f"{at}{key} is a {type(found[key]).__name__}")
    return wrong


def test_every_command_of_the_page_ends_well(done: dict[str, Done]) -> None:
    codes = {name: one.code for name, one in done.items() if name != "stress"}
    assert codes == dict.fromkeys(codes, 0), {name: one.err for name, one in done.items() if one.code}


def test_quick_test_ticks(done: dict[str, Done]) -> None:
    assert done["quick_test"].out.count("✓") + done["quick_test"].out.count("+ ") >= 3


def test_the_result_is_that_of_the_page(done: dict[str, Done], place: Path) -> None:
    found = told(place / "results" / "my_test.json")
    assert differences(SAMPLE, found) == []
    assert (found["target"], found["scenario"], found["model"]) == ("tpu-v6e", "latency_benchmark", QWEN)
    results = found["results"]
    assert (results["total_requests"], results["successful"], results["success_rate"]) == (24, 24, 100.0)
    # times of the server: 4 ms to the first token, 1 ms a token after it
    assert results["ttft_ms"]["p50"] >= 4
    assert results["latency_s"]["p50"] >= 0.004
    assert results["mlperf_compliant"] is True
    (run,) = (place / "results").glob("latency_benchmark-tpu-v6e-*")
    (stage,) = told(run / "summary.json")["stages"]
    assert {one["request_class"] for one in stage["classes"]} == {f"{n}/5" for n in (10, 50, 100, 500, 1000, 2000)}
    assert "standard" in done["latency"].out
    page = (place / "results" / "my_test.html").read_text()
    assert "TTFT" in page
    assert "<script src" not in page


def test_all_models_one_after_the_other(done: dict[str, Done], place: Path) -> None:
    folder = place / "results"
    for model in (PHI, GEMMA):
        one = told(folder / f"model_comparison_{model.replace('/', '_')}.json")
        assert (one["model"], one["results"]["total_requests"]) == (model, 10)
    compared = told(folder / "model_comparison_comparison.json")
    assert compared["models_tested"] == 2
    assert [row["model"] for row in compared["results"]] == [PHI, GEMMA]
    assert compared["best"].keys() >= {"ttft_p50", "throughput"}
    pages = [(folder / f"model_comparison{end}.html").read_text() for end in ("", "_comparison")]
    assert pages[0] == pages[1]
    assert PHI in pages[0]
    assert "best TTFT p50" in done["models"].out


def test_targets_side_by_side(done: dict[str, Done], place: Path) -> None:
    folder = place / "results" / "comparison"
    compared = told(folder / "results_comparison.json")
    assert [row["model"] for row in compared["results"]] == ["gke-t4", "tpu-v6e"]
    assert compared["ratios"]["tpu-v6e"]["throughput"] > 0
    assert told(folder / "results_gke-t4.json")["model"] == GEMMA


def test_a_ladder_of_concurrencies(done: dict[str, Done], place: Path) -> None:
    stages = told(place / "results" / "concurrency_test.json")["results"]["stages"]
    assert [stage["load"]["concurrency"] for stage in stages] == [1, 5, 10, 20, 50]
    assert [stage["total_requests"] for stage in stages] == [4] * 5


def test_a_load_test_of_ten_minutes_is_planned(done: dict[str, Done]) -> None:
    plan = yaml.safe_load(done["load"].out)
    assert [(s["load"]["users"], s["duration_s"]) for s in plan["scenario"]["stages"]] == [
        (users, 120) for users in (10, 25, 50, 75, 100)
    ]
    # max_tokens of the target, 4, makes short and long answers alike
    assert {one["output_tokens"]["mean"] for one in plan["scenario"]["workload"]["mix"]} == {4}


def test_a_threshold_ends_the_stress_test(done: dict[str, Done], place: Path) -> None:
    assert done["stress"].code == 1
    assert "p95 E2EL reached" in done["stress"].err
    stages = told(place / "results" / "stress_test.json")["results"].get("stages", ["one"])
    assert len(stages) < 8


def test_plain_numbers_without_a_scenario(done: dict[str, Done], place: Path) -> None:
    plan = yaml.safe_load((place / "custom" / "plan.yaml").read_text())["scenario"]
    (stage,) = plan["stages"]
    assert (stage["load"]["concurrency"], stage["num_requests"]) == (4, 20)
    assert plan["workload"]["output_tokens"] == {"mean": 5}


def test_both_models_answer_behind_one_gateway(done: dict[str, Done], place: Path) -> None:
    found = rows(place / "p2")
    assert sorted(found["model_answered"]) == sorted([PHI, GEMMA] * 4)
    plan = yaml.safe_load((place / "p2" / "plan.yaml").read_text())["target"]
    assert (plan["retries"]["attempts"], plan["retries"]["backoff_s"], plan["check_model"]) == (10, 2.0, True)


def test_warm_prefixes_beside_cold_ones(done: dict[str, Done], place: Path) -> None:
    first = told(place / "p3" / "summary.json")["stages"][0]
    assert {part["part"] for part in first["prefixes"]} >= {"cold", "warm"}


def test_files_as_they_are(done: dict[str, Done], place: Path) -> None:
    plan = yaml.safe_load((place / "files" / "plan.yaml").read_text())
    assert (plan["target"]["name"], plan["scenario"]["name"]) == ("my-custom-target", "tiny")
    mix = plan["scenario"]["workload"]["mix"]
    # max_tokens of the target cuts 9 to 4
    assert [(one["input_tokens"]["mean"], one["output_tokens"]["mean"]) for one in mix] == [
        (10, 3), (10, 4), (20, 3), (20, 4)
    ]  # fmt: skip
    assert "my-custom-target stands at the top of targets.yaml" in done["files"].err


def test_the_table_of_the_job_between_its_markers(done: dict[str, Done]) -> None:
    out = done["job"].out
    table = out.partition("RESULTS_TABLE_BEGIN\n")[2].partition("\nRESULTS_TABLE_END")[0].splitlines()
    header = "| conc | req/s | out_tok/s | ttft_p50 | ttft_p95 | itl_p50 | itl_p95 | e2e_p50 | e2e_p95 |"
    assert table[:2] == [header, "|---|---|---|---|---|---|---|---|---|"]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]
    assert [row[0] for row in cells] == ["1", "2", "4", "8", "16", "32"]
    assert all(float(cell) >= 0 for row in cells for cell in row)
    assert f"model: {QWEN}  endpoint: /v1/chat/completions" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--base-url", "http://127.0.0.1:9", "-c", "bad.yaml"), "bad.yaml:4: scenarios.tiny.concurrency: whole num"),
        (("-c", "targets.yaml"), "which target is meant? give --target: slow-start, my-custom-target"),
        (("--target", "gke-t5"), "did you mean 'gke-t4'"),
    ],
)
def test_mistakes_are_said_and_nothing_runs(
    done: dict[str, Done], place: Path, words: tuple[str, ...], sentence: str
) -> None:
    found = called(place, ("run", *words, "--run-dir", "never"), {})
    assert (found.code, sentence in found.err) == (2, True), found.err
    assert not (place / "never").exists()
