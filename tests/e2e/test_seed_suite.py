"""The benchmarking suite: its page's commands as ``docs/coming-from.md`` translates them, and what the page shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.coming_from import Done, all_played, commands, differences, only, played
from e2e.support import rows, simulating
from e2e.test_resume import begun, kill, playing, until

SECTION = "The LLM Inference Benchmarking Suite"
QWEN, PHI, GEMMA = "Qwen/Qwen2.5-3B-Instruct", "microsoft/Phi-3-mini-4k-instruct", "google/gemma-2b-it"
#: All models that the page names.
MODELS = (
    GEMMA,
    PHI,
    QWEN,
    "google/gemma-2-9b-it",
    "my-model",
    "llama3.2:3b",
    "gpt-3.5-turbo",
)
NAMED = ("GKE_T4", "TPU_V6E", "LLM_D_PATTERN2_GPU", "LLM_D_PATTERN3_GPU")
#: What makes a command small: the first whose word it has.
SMALLER = {
    "check": "",
    "latency_benchmark": "--num-requests 24 --max-tokens 5",
    "quick_validation": "--max-tokens 5",
    "my-model": "--num-requests 20 --concurrency 4 --max-tokens 5",
    "pattern2_routing": "--num-requests 200 --max-tokens 5 --retry-backoff 0.01",
    "pattern3_prefix_cache": "--replica-header x-replica",
    "ab_benchmark": "--num-requests 40",
    "throughput_benchmark": "--num-requests 20 --max-tokens 5",
    "stress_test": "--duration 0.3 --max-tokens 5 --stop-e2el-p95 0.001",
    "my-deployment": "--concurrency 4 --duration 1 --max-tokens 5",
    "load_test": "--users 8 --spawn-rate 40 --duration 1 --user-think-time 0.1-0.2 --max-tokens 5",
}
#: The result of the page, name by name, with the type of each value.
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
#: Sections of a page that it promises: charts, percentile tables, MLPerf, throughput, errors.
SECTIONS = ("distributions", "percentiles", "limits", "sweep", "time", "errors")
TARGETS = """\
targets:
  my-deployment: {base_url: "%s", model: "%s", backend: vLLM}
  tpu-v6e:
    base_url: "${TPU_V6E_URL}"
    model: "Qwen/Qwen2.5-3B-Instruct"
    accelerator: "TPU v6e (4 chips)"
    backend: vLLM
    supported_models: ["Qwen/Qwen2.5-3B-Instruct", "google/gemma-2-9b-it"]
defaults: {timeout: 300, connect_timeout: 30, read_timeout: 300, stream: false}

my-custom-target:
  name: "My Custom Deployment"
  base_url: "%s"
  model: "%s"
  max_tokens: 4
  accelerator: "A100 GPU"
  backend: "vLLM"
  timeout: 600
  supported_models:  # Optional: for --all-models testing
    - "%s"
"""
LIMITED = """\
scenarios:
  limited: {concurrency_levels: [1, 2], num_requests: 400, prompt_tokens: 10, max_tokens: 4, error_threshold: 0.05,
            mlperf_targets: {ttft_max: 0.001}}
"""
SCENARIOS = "scenarios: {tiny: {num_requests: 6, concurrency: 2, prompt_tokens: [10, 20], max_tokens: [3, 9]}}"


def smaller(command: str) -> str:
    return next(flags for word, flags in SMALLER.items() if word in command)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("suite")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Three replicas behind one address that serve every model."""
    with simulating("--exact", "--ttft-ms", 4, "--itl-ms", 1, "--replicas", 3, "--model", *MODELS) as url:
        yield url


@pytest.fixture(scope="module")
def files(server: str) -> dict[str, str]:
    return {"config/targets.yaml": TARGETS % (server, QWEN, server, QWEN, QWEN), "test_scenarios.yaml": SCENARIOS}


@pytest.fixture(scope="module")
def done(server: str, files: dict[str, str], place: Path) -> dict[str, Done]:
    """Every command of the page but that which needs a router that loses requests."""
    listed = {command: smaller(command) for command in commands(SECTION) if "pattern2_routing" not in command}
    return all_played(listed, place, server, files, {f"{name}_URL": server for name in NAMED})


def told(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def the(done: Mapping[str, Done], *words: str) -> Done:
    return done[only(done, *words)]


def in_folder(one: Done, name: str) -> Path:
    """The one folder of this name in the results of a command, whatever its time."""
    (found,) = (path for path in (one.folder / "results").iterdir() if re.fullmatch(name, path.name))
    return found


def test_every_command_of_the_page_ends_well(done: dict[str, Done]) -> None:
    assert len(done) == 21
    missed = {one.command: one.err for one in done.values() if one.code and "stress_test" not in one.command}
    assert missed == {}


def test_quick_test_ticks(done: dict[str, Done]) -> None:
    for command in (one for one in done if " check " in one):
        assert done[command].out.count("✓") + done[command].out.count("+ ") >= 3
    assert "gpt-3.5-turbo, max_model_len " in the(done, "check", '"gpt-3.5-turbo"').out


def test_the_result_is_that_of_the_page(done: dict[str, Done]) -> None:
    one = the(done, "results/my_test.json")
    found = told(one.folder / "results" / "my_test.json")
    assert differences(SAMPLE, found) == []
    assert (found["target"], found["scenario"], found["model"]) == ("tpu-v6e", "latency_benchmark", QWEN)
    results = found["results"]
    assert (results["total_requests"], results["successful"], results["success_rate"]) == (24, 24, 100.0)
    # times of the server: 4 ms to the first token, 1 ms a token after it
    assert 4 <= results["ttft_ms"]["p50"] < 1000
    assert 0.004 <= results["latency_s"]["p50"] < 1
    assert results["mlperf_compliant"] is True
    run = in_folder(one, r"latency_benchmark-tpu-v6e-\d{8}T\d{6}Z")
    (stage,) = told(run / "summary.json")["stages"]
    assert {one["request_class"] for one in stage["classes"]} == {f"{n}/5" for n in (10, 50, 100, 500, 1000, 2000)}
    assert "success rate 100.0 % (24 of 24 requests" in one.out
    assert re.search(r"standard +TTFT .* ms \(at most 2000 ms\), TPOT", one.out)


def test_the_page_of_a_run_has_what_was_promised(done: dict[str, Done]) -> None:
    page = (the(done, "results/my_test.json").folder / "results" / "my_test.html").read_text()
    assert [name for name in SECTIONS if f'id="{name}"' not in page] == []
    assert "MLPerf levels" in page
    assert "vega" in page  # charts that answer to the mouse
    assert "<script src" not in page  # and nothing from elsewhere
    assert page.startswith("<!doctype html>")


def test_all_models_one_after_the_other(done: dict[str, Done]) -> None:
    one = the(done, "results/model_comparison.json")
    folder = one.folder / "results"
    compared = told(folder / "model_comparison_comparison.json")
    assert compared["models_tested"] == 2
    for row in compared["results"]:
        each = told(folder / f"model_comparison_{row['model'].replace('/', '_')}.json")
        assert differences(SAMPLE, each) == []
        assert (each["model"], each["results"]["total_requests"]) == (row["model"], 24)
        assert row["ttft_p50"] == pytest.approx(each["results"]["ttft_ms"]["p50"] / 1000)
    assert compared["best"].keys() >= {"ttft_p50", "throughput"}
    pages = [(folder / f"model_comparison{end}.html").read_text() for end in ("", "_comparison")]
    assert pages[0] == pages[1]
    assert QWEN in pages[0]
    assert "best TTFT p50" in one.out


def test_targets_side_by_side_in_the_folder_of_the_page(done: dict[str, Done]) -> None:
    one = next(done[command] for command in done if command.startswith("TPU_V6E_URL="))
    folder = in_folder(one, r"comparison_\d{8}_\d{6}")
    assert {path.name for path in folder.iterdir() if path.is_file()} == {
        "gpu_results.json",
        "tpu_results.json",
        "comparison_report.html",
        "comparison_report.json",
    }
    assert [told(folder / f"{kind}_results.json")["target"] for kind in ("gpu", "tpu")] == ["gke-t4", "tpu-v6e"]
    assert [differences(SAMPLE, told(folder / f"{kind}_results.json")) for kind in ("gpu", "tpu")] == [[], []]
    ratios = told(folder / "comparison_report.json")["ratios"]["tpu-v6e"]
    assert {"ttft_p50", "tpot_p50", "latency_p50", "throughput"} == ratios.keys()
    (line,) = [line for line in one.out.splitlines() if line.startswith("tpu-v6e / gke-t4: TTFT p50 ")]
    assert line in (folder / "comparison_report.html").read_text()


def test_models_side_by_side_in_the_folder_of_the_script(done: dict[str, Done]) -> None:
    alone = (one for one in done.values() if "--all-models" in one.command and "--output" not in one.command)
    one = next(one for one in alone if "tpu-v6e" in one.command)
    folder = in_folder(one, r"model_comparison_\d{8}_\d{6}")
    compared = told(folder / "results_comparison.json")
    named = {f"results_{row['model'].replace('/', '_')}.json" for row in compared["results"]}
    left = {path.name for path in folder.iterdir() if path.is_file()}
    assert left == {*named, "results_comparison.json", "results_comparison.html"}
    assert len(named) == 2


def test_the_comprehensive_result_of_pattern_3(done: dict[str, Done]) -> None:
    folder = in_folder(the(done, "pattern3_prefix_cache"), r"pattern3_\d{8}_\d{6}")
    tests = told(folder / "comprehensive_results.json")["tests"]
    assert tests["health"] == {"replicas_expected": 3, "replicas_seen": 3, "successful": 135, "passed": True}
    cache = tests["prefix_cache_routing"]
    assert cache["cold"]["requests"] + cache["warm"]["requests"] == 50
    assert cache["cold_to_warm_ttft_ratio"] > 0
    assert sum(tests["load_distribution"]["requests_by_replica"].values()) == 15
    assert (tests["throughput"]["successful"], tests["throughput"]["baseline_requests_per_sec"]) == (50, 1.0)
    assert tests["throughput"]["improvement_factor"] > 1
    assert tests["latency"]["latency_s"]["p50"] <= tests["latency"]["latency_s"]["p99"]


def test_a_ladder_of_concurrencies(done: dict[str, Done]) -> None:
    folder = the(done, "throughput_benchmark").folder / "results"
    stages = told(folder / "concurrency_test.json")["results"]["stages"]
    assert [stage["load"]["concurrency"] for stage in stages] == [1, 5, 10, 20, 50]
    assert [stage["total_requests"] for stage in stages] == [4] * 5
    assert (folder / "concurrency_test.html").exists()


def test_users_of_locust_come_and_think(done: dict[str, Done]) -> None:
    one = the(done, "load_test", "--users")
    plan = yaml.safe_load((in_folder(one, "load_test-.*") / "plan.yaml").read_text())["scenario"]
    (stage,) = plan["stages"]
    assert (stage["load"]["users"], stage["load"]["spawn_rate"], stage["duration_s"]) == (8, 40, 1)
    assert len(plan["workload"]["mix"]) == 3  # short, medium and long prompts; outputs are all as short as told


def test_a_threshold_ends_the_stress_test(done: dict[str, Done]) -> None:
    one = the(done, "stress_test")
    assert one.code == 1
    assert "p95 E2EL reached" in one.err
    stages = told(one.folder / "results" / "stress_test.json")["results"].get("stages", ["one"])
    assert len(stages) < 8


def test_plain_numbers_without_a_scenario(done: dict[str, Done]) -> None:
    plan = yaml.safe_load((in_folder(the(done, '"my-model"'), ".*") / "plan.yaml").read_text())["scenario"]
    (stage,) = plan["stages"]
    assert (stage["load"]["concurrency"], stage["num_requests"]) == (4, 20)
    assert plan["workload"]["output_tokens"]["mean"] == 5


def test_a_target_that_was_added_is_found_where_the_page_puts_it(done: dict[str, Done]) -> None:
    one = the(done, "my-custom-target")
    target = yaml.safe_load((in_folder(one, ".*") / "plan.yaml").read_text())["target"]
    assert (target["facts"]["gpu"], target["facts"]["title"]) == ("A100 GPU", "My Custom Deployment")
    assert (target["timeouts"]["total_s"], target["timeouts"]["connect_s"]) == (600, 30)
    assert "my-custom-target stands at the top of targets.yaml" in one.err
    ready = told(the(done, "my-deployment", "load_test").folder / "results" / "prod_readiness_load.json")
    assert (ready["target"], ready["scenario"]) == ("my-deployment", "load_test")


@pytest.fixture(scope="module")
def unreliable(place: Path, files: dict[str, str]) -> tuple[Done, Done]:
    """The two models behind a router that loses half of the requests: with retries, and without them."""
    models = ("--exact", "--ttft-ms", 4, "--itl-ms", 1, "--model", PHI, GEMMA)
    lost, wrong = "routing,share=0.4", f"wrong_model=another,share=0.35,model={GEMMA}"
    with simulating(*models, "--fault", lost, "--fault", wrong) as url:
        env = {"LLM_D_PATTERN2_GPU_URL": url}
        command = only(commands(SECTION), "pattern2_routing")
        again = played(command, place / "retries", url, smaller(command), env)
        once = played(command, place / "once", url, f"{smaller(command)} --retry-attempts 1", env)
        return again, once


def test_retries_reach_every_model_behind_a_router_that_loses_half(unreliable: tuple[Done, Done]) -> None:
    again, _ = unreliable
    assert again.code == 0, again.err
    found = told(again.folder / "results" / "pattern2.json")
    assert differences(SAMPLE, found) == []
    assert (found["results"]["success_rate"], found["results"]["failed"]) == (100.0, 0)
    for one in (found["results"], *found["models"].values()):
        stats = one["retry_stats"]
        assert 1 < stats["avg_attempts"] <= stats["max_attempts"] <= 10
    assert list(found["models"]) == [PHI, GEMMA]
    assert [one["total_requests"] for one in found["models"].values()] == [100, 100]
    assert 40 <= found["results"]["retry_stats"]["first_try_success_rate"] <= 60
    routing = found["routing"]
    assert (routing["answered"], routing["by_the_model_asked_for"]) == (200, 200)
    assert routing["tries_of_another_model"] > 0
    assert "success rate 100.0 % (200 of 200 requests" in again.out
    assert re.search(r"retries: [\d.]+ tries per request on average, \d+ at most; [\d.]+ % of first tries", again.out)
    assert "routing: 200 of 200 answers are of the model that was asked for" in again.out
    sent = rows(in_folder(again, "pattern2_routing.*"))
    assert sorted(sent["model_answered"]) == sorted([PHI, GEMMA] * 100)


def test_without_retries_half_is_lost_and_it_is_said_what_to_do(unreliable: tuple[Done, Done]) -> None:
    _, once = unreliable
    assert once.code == 3
    found = told(once.folder / "results" / "pattern2.json")
    assert 40 <= found["results"]["success_rate"] <= 60
    assert "retry_stats" not in found["results"]
    assert re.search(r"hint: \d+ % of the requests failed with an answer .*--scenario pattern2_routing", once.out)


def test_both_files_as_they_are(server: str, files: dict[str, str], tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / Path(name).name).write_text(text)
    words = "inferometer run -c targets.yaml -c test_scenarios.yaml --target my-custom-target --run-dir files"
    one = played(words, tmp_path, server)
    assert one.code == 0, one.err
    plan = yaml.safe_load((tmp_path / "files" / "plan.yaml").read_text())
    assert (plan["target"]["name"], plan["scenario"]["name"]) == ("my-custom-target", "tiny")
    mix = plan["scenario"]["workload"]["mix"]
    # max_tokens of the target cuts 9 to 4
    assert [(one["input_tokens"]["mean"], one["output_tokens"]["mean"]) for one in mix] == [
        (10, 3), (10, 4), (20, 3), (20, 4)
    ]  # fmt: skip


def test_a_load_test_of_ten_minutes_is_planned(server: str, files: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "targets.yaml").write_text(files["config/targets.yaml"])
    words = "inferometer run --target my-custom-target --targets-file targets.yaml --scenario load_test --dry-run"
    plan = yaml.safe_load(played(words, tmp_path, server).out)
    assert [(s["load"]["users"], s["duration_s"]) for s in plan["scenario"]["stages"]] == [
        (users, 120) for users in (10, 25, 50, 75, 100)
    ]
    # max_tokens of the target, 4, makes short and long answers alike
    assert {one["output_tokens"]["mean"] for one in plan["scenario"]["workload"]["mix"]} == {4}


def test_limits_hold_for_a_run_that_is_resumed(server: str, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(LIMITED)
    words = ("--base-url", server, "--model", QWEN, "-c", "s.yaml", "--run-dir", "cut")
    process = begun(tmp_path, *words)
    until(process, playing(tmp_path / "cut", 1))
    kill(process)
    resumed = played("inferometer run --resume cut --output resumed.json", tmp_path, server)
    again = played("inferometer run --resume cut", tmp_path, server)
    assert (resumed.code, again.code) == (1, 1), resumed.err
    for one in (resumed, again):
        assert re.search(r"[x✗] standard +TTFT [\d.]+ ms \(at most 1 ms\)", one.out)
    found = told(tmp_path / "resumed.json")
    assert differences(SAMPLE, found) == []
    assert (found["results"]["total_requests"], found["results"]["mlperf_compliant"]) == (400, False)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--base-url http://127.0.0.1:9 -c bad.yaml", "bad.yaml:4: scenarios.tiny.concurrency: whole num"),
        ("-c targets.yaml", "which target is meant? give --target: my-deployment, tpu-v6e, my-custom-target"),
        ("--target gke-t5", "did you mean 'gke-t4'"),
        ("--target gke-t4", "target gke-t4 has no address: set GKE_T4_URL to http(s)://HOST:PORT, or give --base-url"),
    ],
)
def test_mistakes_are_said_and_nothing_runs(tmp_path: Path, words: str, sentence: str) -> None:
    (tmp_path / "targets.yaml").write_text(TARGETS.replace("%s", "http://127.0.0.1:9"))
    (tmp_path / "bad.yaml").write_text("scenarios:\n  tiny:\n    num_requests: 6\n    concurrency: two\n")
    found = played(f"inferometer run {words} --run-dir never", tmp_path, "http://127.0.0.1:9")
    assert (found.code, sentence in found.err) == (2, True), found.err
    assert not (tmp_path / "never").exists()
