"""The commands of llm-d's guide, in its order, and what it shows of the results; and inference-perf's own file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import yaml

from e2e.support import rows

Command = Callable[..., CompletedProcess[str]]
TEMPLATE = """\
endpoint:
  stack_name: &stack_name lab-stack  # user defined name for the stack
  model: &model ${MODEL}
  namespace: &namespace $NAMESPACE
  base_url: &url http://${GATEWAY_SVC}
  hf_token_secret: llm-d-hf-token
control:
  work_dir: $HOME/llm-d-bench-work
  kubectl: kubectl
harness:
  name: &harness_name inference-perf
  results_pvc: ${BENCHMARK_PVC}
  namespace: *namespace
  parallelism: 1
  wait_timeout: 600
  image: ghcr.io/llm-d/llm-d-benchmark:v0.4.0
env:
  - name: RAYON_NUM_THREADS
    value: "4"
workload:
  sanity_random:
    load: {type: constant, stages: [{rate: 20, duration: 1}]}
    api: {type: completion, streaming: true}
    server: {type: vllm, model_name: *model, base_url: *url, ignore_eos: true}
    tokenizer: {pretrained_model_name_or_path: *model}
    data:
      type: random
      input_distribution: {min: 10, max: 100, mean: 50, std: 10, total_count: 100}
      output_distribution: {min: 10, max: 20, mean: 15, std: 3, total_count: 100}
    report: {request_lifecycle: {summary: true, per_stage: true, per_request: true}}
    storage: {local_storage: {path: /workspace}}
  shared_prefix_synthetic:
    load: {type: constant, interval: 0, stages: [{rate: 10, duration: 1}, {rate: 30, duration: 1}]}
    api: {type: completion, streaming: true}
    server: {type: vllm, model_name: *model, base_url: *url, ignore_eos: true}
    tokenizer: {pretrained_model_name_or_path: *model}
    data:
      type: shared_prefix
      shared_prefix: {num_groups: 4, num_prompts_per_group: 4, system_prompt_len: 256, question_len: 32, output_len: 8}
    report: {request_lifecycle: {summary: true, per_stage: true, per_request: true}}
    storage: {local_storage: {path: /workspace}}
"""
OTHERS = """\
endpoint: {{stack_name: lab-stack, model: &model {model}, base_url: &url {url}}}
harness: {{name: {harness}}}
workload:
{workload}
"""
GUIDELLM = """\
  rate_comparison:
    target: *url
    model: *model
    request_type: text_completions
    profile: constant
    rate: [10, 20]
    max_seconds: 1
    data: {prompt_tokens: 50, output_tokens: 5}
"""
VLLM = """\
  random_concurrent:
    executable: benchmark_serving.py
    model: *model
    base-url: *url
    dataset-name: random
    random-input-len: 100
    random-output-len: 10
    max-concurrency: 2
    num-prompts: 12
    percentile-metrics: "ttft,tpot,itl,e2el"
    metric-percentiles: "0.1,1,5,10,25,75,90,95,99,99.9"
    ignore-eos: none
"""
SPREAD = {"mean", "min", "p0.1", "p1", "p5", "p10", "p25", "median", "p75", "p90", "p95", "p99", "p99.9", "max"}
#: The keys of the page's summary, and which of them hold a distribution.
LATENCIES = (
    "request_latency",
    "normalized_time_per_output_token",
    "time_per_output_token",
    "time_to_first_token",
    "inter_token_latency",
)
RATES = ("input_tokens_per_sec", "output_tokens_per_sec", "total_tokens_per_sec", "requests_per_sec")
SPREADS = [
    "load_summary.schedule_delay",
    *(f"successes.latency.{name}" for name in LATENCIES),
    "successes.prompt_len",
    "successes.output_len",
]
NUMBERS = [
    "load_summary.count",
    "successes.count",
    "failures.count",
    *(f"successes.throughput.{name}" for name in RATES),
]


@pytest.fixture(scope="module")
def model(simulator: str) -> str:
    import httpx

    name: str = httpx.get(f"{simulator}/v1/models").json()["data"][0]["id"]
    return name


@pytest.fixture
def stack(simulator: str, model: str, tmp_path: Path) -> dict[str, str]:
    """The variables that the guide sets, and its template in the folder of the command."""
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    return {"NAMESPACE": "lab", "GATEWAY_SVC": simulator.removeprefix("http://"), "MODEL": model}


def at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document[name]
    return document


def test_the_guide_from_its_template_to_its_results(
    inferometer: Command, stack: dict[str, str], tmp_path: Path
) -> None:
    # ./run_only.sh -c config.yaml -n
    dry = inferometer("run", "-c", "template.yaml", "--dry-run", **stack)
    assert dry.returncode == 0, dry.stderr
    assert [plan["scenario"]["name"] for plan in yaml.safe_load_all(dry.stdout)] == [
        "sanity_random",
        "shared_prefix_synthetic",
    ]
    assert "template.yaml:12: harness.results_pvc" in dry.stderr
    assert "BENCHMARK_PVC is not set" in dry.stderr

    # envsubst < ${BENCHMARK_TEMPLATE} > config.yaml; ./run_only.sh -c config.yaml
    done = inferometer("run", "-c", "template.yaml", "--run-dir", "requests", **stack)
    assert done.returncode == 0, done.stderr
    for name, requests in (("sanity_random", 20), ("shared_prefix_synthetic", 40)):
        sent = rows(tmp_path / "requests" / name)
        assert (len(sent["outcome"]), set(sent["outcome"])) == (requests, {"ok"})
    lengths = rows(tmp_path / "requests" / "sanity_random")["asked_output_tokens"]
    assert (lengths.min() >= 10, lengths.max() <= 20) == (True, True)
    assert 1 < np.std(lengths) < 5  # std: 3 is not the 200 of a key that is ignored

    # kubectl cp ${NAMESPACE}/${HARNESS_POD}:/requests/<results-folder> <destination-path>
    copied = inferometer("export", "requests/shared_prefix_synthetic", "--to", "llm-d", "--output", "test")
    assert copied.returncode == 0, copied.stderr
    listed = {path.name for path in (tmp_path / "test").iterdir()}
    assert listed >= {
        "benchmark_report,_stage_0_lifecycle_metrics.json.yaml",
        "benchmark_report,_stage_1_lifecycle_metrics.json.yaml",
        "per_request_lifecycle_metrics.json",
        "stage_0_lifecycle_metrics.json",
        "stage_1_lifecycle_metrics.json",
        "summary_lifecycle_metrics.json",
    }

    # cat /tmp/test/summary_lifecycle_metrics.json
    summary = json.loads((tmp_path / "test" / "summary_lifecycle_metrics.json").read_text())
    for path in SPREADS:
        spread = at(summary, path)
        assert set(spread) >= SPREAD, path
        assert all(isinstance(value, int | float) for value in spread.values()), path
    assert all(isinstance(at(summary, path), int | float) for path in NUMBERS)
    assert at(summary, "load_summary.count") == at(summary, "successes.count") == 40
    assert (at(summary, "failures.request_latency"), at(summary, "failures.prompt_len")) == (None, None)
    # seconds: the simulator takes 20 ms for the first token, and 4 for every other
    assert 0.02 <= at(summary, "successes.latency.time_to_first_token.median") < 0.5
    assert at(summary, "successes.output_len.median") == 8
    assert at(summary, "successes.prompt_len.median") == 288


@pytest.mark.parametrize("harness", ["guidellm", "vllm-benchmark"])
def test_workloads_of_other_harnesses(
    inferometer: Command, simulator: str, model: str, tmp_path: Path, harness: str
) -> None:
    workload, requests = {"guidellm": (GUIDELLM, [10, 20]), "vllm-benchmark": (VLLM, [12])}[harness]
    text = OTHERS.format(model=model, url=simulator, harness=harness, workload=workload)
    (tmp_path / "config.yaml").write_text(text)
    done = inferometer("run", "-c", "config.yaml", "--run-dir", "out")
    assert done.returncode == 0, done.stderr
    sent = rows(tmp_path / "out")
    assert np.bincount(sent["stage"]).tolist() == requests
    assert set(sent["outcome"]) == {"ok"}


def test_the_file_of_inference_perf_runs_as_it_is(
    inferometer: Command, simulator: str, model: str, tmp_path: Path
) -> None:
    workload = yaml.safe_load(TEMPLATE.replace("${MODEL}", model).replace("http://${GATEWAY_SVC}", simulator))
    config = workload["workload"]["sanity_random"] | {"load": {"type": "concurrent"}}
    config["load"]["stages"] = [{"concurrency_level": 2, "num_requests": 8}]
    (tmp_path / "config.yml").write_text(yaml.safe_dump(config))
    done = inferometer("run", "-c", "config.yml", "--run-dir", "out")
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "out")["outcome"]) == 8
    exported = inferometer("export", "out", "--to", "inference-perf", "--output", "reports")
    assert exported.returncode == 0, exported.stderr
    stage = json.loads((tmp_path / "reports" / "stage_0_lifecycle_metrics.json").read_text())
    assert (stage["load_summary"]["count"], stage["successes"]["count"]) == (8, 8)


def test_a_file_that_is_wrong_runs_nothing(inferometer: Command, stack: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(TEMPLATE.replace("rate: 20", "rat: 20"))
    done = inferometer("run", "-c", "wrong.yaml", "--run-dir", "out", **stack)
    assert done.returncode == 2
    assert (
        "wrong.yaml:22: workload.sanity_random.load.stages.0: 'rate' is missing; is it meant by 'rat'?" in done.stderr
    )
    assert not (tmp_path / "out").exists()
