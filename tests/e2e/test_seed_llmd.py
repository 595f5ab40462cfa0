"""llm-d's guide: its commands as ``docs/coming-from.md`` translates them, in their order, and what it shows."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import numpy as np
import pytest
import yaml

from e2e.coming_from import commands, only, played
from e2e.support import rows

SECTION = "llm-d and inference-perf"
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
#: The page's listing, of two stages.
LISTED = {
    "analysis/latency_vs_qps.png",
    "analysis/throughput_vs_latency.png",
    "analysis/throughput_vs_qps.png",
    "benchmark_report,_stage_0_lifecycle_metrics.json.yaml",
    "benchmark_report,_stage_1_lifecycle_metrics.json.yaml",
    "config.yaml",
    "per_request_lifecycle_metrics.json",
    "shared_prefix_synthetic.yaml",
    "stage_0_lifecycle_metrics.json",
    "stage_1_lifecycle_metrics.json",
    "stderr.log",
    "stdout.log",
    "summary_lifecycle_metrics.json",
}
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
    """The variables that the guide sets, and its files in the folder of the command."""
    (tmp_path / "config.yaml").write_text(TEMPLATE)
    workload = yaml.safe_load(TEMPLATE.replace("${MODEL}", model).replace("http://${GATEWAY_SVC}", simulator))
    alone = workload["workload"]["sanity_random"] | {"load": {"type": "concurrent"}}
    alone["load"]["stages"] = [{"concurrency_level": 2, "num_requests": 8}]
    (tmp_path / "config.yml").write_text(yaml.safe_dump(alone))
    return {"NAMESPACE": "lab", "GATEWAY_SVC": simulator.removeprefix("http://"), "MODEL": model}


def results(folder: Path, workload: str) -> Path:
    """The results folder of a workload: ``<harness>_<epoch>_<workload>_<stack name>``."""
    (found,) = (path for path in folder.iterdir() if re.fullmatch(rf"[a-z-]+_\d{{10}}_{workload}_lab-stack", path.name))
    return found


def at(document: Any, path: str) -> Any:
    for name in path.split("."):
        document = document[name]
    return document


def test_the_guide_from_its_template_to_its_results(
    inferometer: Command, simulator: str, stack: dict[str, str], tmp_path: Path
) -> None:
    done = {command: played(command, tmp_path, simulator, env=stack) for command in commands(SECTION)}
    assert len(done) == 7
    assert {one.command: one.err for one in done.values() if one.code} == {}

    # ./run_only.sh -c config.yaml -n
    dry = done[only(done, "--dry-run")]
    assert [plan["scenario"]["name"] for plan in yaml.safe_load_all(dry.out)] == [
        "sanity_random",
        "shared_prefix_synthetic",
    ]
    assert "config.yaml:12: harness.results_pvc" in dry.err
    assert "BENCHMARK_PVC is not set" in dry.err

    # envsubst < ${BENCHMARK_TEMPLATE} > config.yaml; ./run_only.sh -c config.yaml
    for name, requests in (("sanity_random", 20), ("shared_prefix_synthetic", 40)):
        sent = rows(results(tmp_path / "results", name))
        assert (len(sent["outcome"]), set(sent["outcome"])) == (requests, {"ok"})
    lengths = rows(results(tmp_path / "results", "sanity_random"))["asked_output_tokens"]
    assert (lengths.min() >= 10, lengths.max() <= 20) == (True, True)
    assert 1 < np.std(lengths) < 5  # std: 3 is not the 200 of a key that is ignored

    # kubectl exec $HARNESS_POD -n $NAMESPACE -- ls /requests; ls -lnR /tmp/test
    here = results(tmp_path / "results", "shared_prefix_synthetic")
    assert here.name in done[only(done, "ls", "results")].out
    listed = {str(path.relative_to(here)) for path in here.rglob("*") if path.is_file()}
    assert listed >= LISTED
    assert yaml.safe_load((here / "config.yaml").read_text())["storage"] == {"local_storage": {"path": here.name}}
    given = yaml.safe_load((here / "shared_prefix_synthetic.yaml").read_text())
    assert given["data"]["shared_prefix"]["system_prompt_len"] == 256
    assert given["server"]["base_url"] == f"http://{stack['GATEWAY_SVC']}"  # variables and aliases are written out
    again = inferometer("run", "-c", here / "config.yaml", "--dry-run")
    assert (
        yaml.safe_load(again.stdout)["scenario"]["stages"]
        == yaml.safe_load((here / "plan.yaml").read_text())["scenario"]["stages"]
    )

    # kubectl cp ${NAMESPACE}/${HARNESS_POD}:/requests/<results-folder> <destination-path>
    assert {str(path.relative_to(tmp_path / "test")) for path in (tmp_path / "test").rglob("*.*")} >= LISTED

    # cat /tmp/test/summary_lifecycle_metrics.json
    summary = json.loads(done[only(done, "cat")].out)
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
    (here,) = (tmp_path / "out").iterdir()
    assert here.name.startswith(f"{harness}_")
    sent = rows(here)
    assert np.bincount(sent["stage"]).tolist() == requests
    assert set(sent["outcome"]) == {"ok"}


def test_the_file_of_inference_perf_runs_as_it_is(inferometer: Command, stack: dict[str, str], tmp_path: Path) -> None:
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
