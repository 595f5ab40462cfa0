"""llm-d's ``config.yaml``: variables, anchors, workloads of every harness."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from translating import ENVIRONMENT, plans, strange, translated

from inferometer.config import files
from inferometer.config.foreign import detect
from inferometer.config.foreign.substitution import expanded, substituted
from inferometer.config.foreign.translated import Where
from inferometer.config.models import ClosedLoop, DatasetWorkload, OpenLoop, Plan, SharedPrefixWorkload
from inferometer.errors import UserError

HEAD = """\
endpoint:
  stack_name: &stack_name lab-stack
  model: &model org/some
  namespace: &namespace $NAMESPACE  # not ${UNKNOWN}
  base_url: &url http://${GATEWAY_SVC}.${NAMESPACE}.svc:80
  hf_token_secret: llm-d-hf-token
control: {work_dir: $HOME/work, kubectl: kubectl}
harness:
  name: &harness HARNESS
  results_pvc: ${BENCHMARK_PVC}
  namespace: *namespace
  parallelism: 2
  wait_timeout: 60
  image: some:v1
env:
  - {name: RAYON_NUM_THREADS, value: "4"}
workload:
"""
PERF = """\
  short:
    load: {type: constant, stages: [{rate: 1, duration: 30}]}
    api: {streaming: true}
    server: {type: vllm, model_name: *model, base_url: *url}
    tokenizer: {pretrained_model_name_or_path: *model}
    data:
      type: random
      input_distribution: {min: 10, max: 100, mean: 50, std: 10, total_count: 100}
      output_distribution: {min: 10, max: 100, mean: 50, std: 10, total_count: 100}
  Shared_prefix:
    load: {type: poisson, interval: 5, stages: [{rate: 2, duration: 40}, {rate: 5, duration: 50}]}
    api: {streaming: true}
    server: {type: vllm, model_name: *model, base_url: *url}
    data: {type: shared_prefix, shared_prefix: {num_groups: 32, num_prompts_per_group: 32, output_len: 256}}
"""
GUIDE = """\
  rates:
    target: *url
    model: *model
    request_type: text_completions
    profile: constant
    rate: [1, 5]
    max_seconds: 20
    data: {prompt_tokens: 50, output_tokens: 50}
  streams:
    spec:
      backend: {kind: openai_http, target: *url, model: *model}
      profile: {kind: concurrent, streams: 4}
      constraints: [{kind: max_requests, count: 9}]
      data: [{kind: synthetic_text, prompt_tokens: 10, output_tokens: 10}]
"""
FLAGS = """\
  random_concurrent:
    executable: benchmark_serving.py
    model: *model
    base-url: *url
    dataset-name: random
    random-input-len: 1000
    random-output-len: 100
    max-concurrency: 3
    num-prompts: 32
    metric-percentiles: "0.1,50,99.9"
    ignore-eos: none
"""
CHATS = """\
  chats:
    executable: benchmark_serving.py
    model: *model
    base-url: *url
    dataset-name: sharegpt
    dataset-path: /workspace/chats.json
    request-rate: 8
    num-prompts: 20
    sharegpt-output-len: 64
"""
WILD = os.environ.get("INFEROMETER_WILD")


def config(harness: str, workloads: str) -> str:
    return HEAD.replace("HARNESS", harness) + workloads


def test_every_workload_is_a_run_of_its_own(tmp_path: Path) -> None:
    found = translated(config("inference-perf", PERF), tmp_path, world="llm-d")
    assert found.names == ("short", "Shared_prefix")
    short, shared = plans(found)
    for plan in (short, shared):
        assert (plan.target.name, plan.target.model) == ("lab-stack", "org/some")
        assert plan.target.base_url == "http://gateway.lab.svc:80"
        assert plan.target.facts == {"harness": "inference-perf", "namespace": "lab", "image": "some:v1"}
        assert plan.workers == 2  # the load that is written, shared by two processes
    assert (short.scenario.name, shared.scenario.name) == ("short", "Shared_prefix")
    assert short.scenario.workload.model_dump()["input_tokens"]["std_dev"] == 10
    assert isinstance(shared.scenario.workload, SharedPrefixWorkload)
    assert [stage.load for stage in shared.scenario.stages] == [OpenLoop(rate=r, arrivals="poisson") for r in (2, 5)]


def test_what_belongs_to_the_cluster_is_named(tmp_path: Path) -> None:
    found = translated(config("inference-perf", PERF), tmp_path)
    lines = strange(found)
    assert {"endpoint.hf_token_secret": 6, "control.kubectl": 7, "harness.results_pvc": 10, "env": 15}.items() <= (
        lines.items()
    )
    sentence = next(one.sentence for one in found.not_understood if one.key == "harness.wait_timeout")
    assert sentence == "Shared_prefix lasts 95 s, and is not cut off after 60 s"


def test_every_plan_has_the_part_that_it_is_from(tmp_path: Path) -> None:
    found = translated(config("inference-perf", PERF), tmp_path)
    first, second = found.origins
    assert (first.format, first.harness, first.workload) == ("llm-d", "inference-perf", "short")
    assert (second.workload, second.stack, second.file) == ("Shared_prefix", "lab-stack", "given.yaml")
    assert second.document["server"]["base_url"] == "http://gateway.lab.svc:80"  # no alias, and no variable
    assert second.document["load"]["type"] == "poisson"
    (one, other) = translated(config("guidellm", GUIDE), tmp_path).origins
    assert (one.workload, other.workload) == ("rates", "streams")


def test_guidellm_in_both_forms(tmp_path: Path) -> None:
    rates, streams = plans(translated(config("guidellm", GUIDE), tmp_path))
    assert [stage.load for stage in rates.scenario.stages] == [OpenLoop(rate=r, arrivals="constant") for r in (1, 5)]
    assert streams.scenario.stages[0].load == ClosedLoop(concurrency=4)
    assert {plan.target.base_url for plan in (rates, streams)} == {"http://gateway.lab.svc:80"}


@pytest.mark.parametrize("harness", ["vllm-benchmark", "inferencemax"])
def test_flags_of_vllm(tmp_path: Path, harness: str) -> None:
    (plan,) = plans(translated(config(harness, FLAGS), tmp_path))
    assert (plan.target.api, plan.target.model) == ("openai-completions", "org/some")
    assert plan.target.base_url == "http://gateway.lab.svc:80"
    assert plan.scenario.workload.model_dump()["input_tokens"] == {"mean": 1000}
    assert plan.scenario.workload.ignore_eos
    assert plan.scenario.stages[0].load == ClosedLoop(concurrency=3)
    assert plan.scenario.stages[0].num_requests == 32
    assert plan.report.percentiles == (0.1, 50, 99.9)


def test_the_file_that_a_pod_would_have_downloaded(tmp_path: Path) -> None:
    url = "https://huggingface.co/datasets/some/Chats/resolve/main/chats.json"
    text = config("vllm-benchmark", CHATS).replace("image: some:v1", f"dataset_url: {url}")
    (plan,) = plans(translated(text, tmp_path))
    assert isinstance(plan.scenario.workload, DatasetWorkload)
    assert (plan.scenario.workload.path, plan.scenario.workload.output_tokens) == ("hf://some/Chats/chats.json", 64)
    (plan,) = plans(translated(config("vllm-benchmark", CHATS), tmp_path))
    assert isinstance(plan.scenario.workload, DatasetWorkload)
    assert plan.scenario.workload.path == "/workspace/chats.json"


def test_flags_of_vllm_alone(tmp_path: Path) -> None:
    text = "\n".join(line[4:] for line in FLAGS.splitlines()[1:]).replace("*model", "org/some")
    found = translated(text.replace("*url", "http://h:1/") + "\nbest-of: 3\n", tmp_path, world="vllm-benchmark")
    assert plans(found)[0].target.base_url == "http://h:1"
    assert strange(found) == {"best-of": 11}


@pytest.mark.parametrize(
    ("harness", "workloads", "sentence"),
    [
        ("inference-pref", PERF, "given.yaml:9: harness.name: 'inference-pref' is no harness"),
        ("inference-pref", PERF, "did you mean 'inference-perf'?"),
        (
            "vllm-benchmark",
            FLAGS.replace("1000", "many"),
            "given.yaml:23: workload.random_concurrent.random-input-len: ",
        ),
        ("vllm-benchmark", FLAGS.replace("random\n", "sonnet\n"), "given.yaml:22: "),
        (
            "inference-perf",
            PERF.replace("duration: 30", "duration: -3"),
            "given.yaml:19: workload.short.load.stages.0.",
        ),
        ("guidellm", GUIDE.replace("max_seconds: 20", "max_seconds: x"), "given.yaml:24: workload.rates.max_seconds: "),
        ("inference-perf", "", "workload"),
    ],
)
def test_wrong_files(tmp_path: Path, harness: str, workloads: str, sentence: str) -> None:
    with pytest.raises(UserError) as error:
        translated(config(harness, workloads), tmp_path, world="llm-d")
    assert sentence in str(error.value)


def test_variables_that_are_not_set_are_named(tmp_path: Path) -> None:
    found = translated(config("inference-perf", PERF), tmp_path, {"HOME": "/home/me", "NAMESPACE": "lab"})
    sentences = {one.key: one.sentence for one in found.not_understood if "left out" in one.sentence}
    assert sentences["endpoint.base_url"] == "left out: GATEWAY_SVC is not set in the environment"
    assert sentences["harness.results_pvc"] == "left out: BENCHMARK_PVC is not set in the environment"
    assert all("base_url" not in plan["target"] for plan in found.plans)


def test_substitution_is_that_of_envsubst(tmp_path: Path) -> None:
    values = {
        "both": "$A-${A}",
        "kept": "$(A) ${A:-x} $ $1 100%",
        "number": "${N}",
        "inner": ["x", "REPLACE_ENV_A/REPLACE_ENV_N", "${GONE}"],
        "empty": "$EMPTY",
    }
    environment = {"A": "a", "N": "7", "EMPTY": ""}
    filled = substituted(values, Where(tmp_path / "x.yaml", {}), environment)
    assert filled.document == {
        "both": "a-a",
        "kept": "$(A) ${A:-x} $ $1 100%",
        "number": 7,
        "inner": ["x", "a/7"],
    }
    assert [one.key for one in filled.left_out] == ["inner.2", "empty"]
    assert expanded("{pvc: ${A}, other: ${GONE}}", environment) == "{pvc: a, other: $GONE}"


def wild_files() -> list[Path]:
    return sorted(path for path in Path(WILD or ".").rglob("*") if path.is_file() and "llm-d" in str(path.parent))


@pytest.mark.skipif(WILD is None, reason="INFEROMETER_WILD names no folder of other people's files")
@pytest.mark.parametrize("path", wild_files() if WILD else [], ids=lambda path: path.name)
def test_files_in_the_wild(path: Path) -> None:
    tokens = {
        "LLMDBENCH_DEPLOY_CURRENT_MODEL": "org/some",
        "LLMDBENCH_DEPLOY_CURRENT_TOKENIZER": "org/some",
        "LLMDBENCH_HARNESS_STACK_ENDPOINT_URL": "http://h:80",
        "LLMDBENCH_RUN_DATASET_DIR": "/data",
        "LLMDBENCH_RUN_DATASET_FILE": "chats.json",
    }
    document, lines, text = files.document(path)
    make = detect.FORMATS[detect.detect(document)].translate
    if "data" in (document.get("tokenizer") or {}):
        with pytest.raises(UserError, match="'data' is a section of its own"):
            make(document, Where(path, lines, text), ENVIRONMENT | tokens)
        return
    found = make(document, Where(path, lines, text), ENVIRONMENT | tokens)
    for plan in plans(found):
        assert isinstance(plan, Plan)
        assert plan.target.base_url.startswith("http://")
        assert plan.target.model
    assert not [one for one in found.not_understood if "unknown" in one.sentence or "left out" in one.sentence]
