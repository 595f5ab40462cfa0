from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from conftest import NOT_FOUND, Asked, Said, Serve, good
from inferometer import __version__
from inferometer.config.models import Plan, Target, Telemetry
from inferometer.telemetry import context as module
from inferometer.telemetry.context import FIELDS, TOLD, UNKNOWN, Context, context
from inferometer.telemetry.prometheus import Sample, parse

CACHE = 'vllm:cache_config_info{block_size="16",gpu_memory_utilization="0.92",num_gpu_blocks="364",x="None"} 1.0\n'


@pytest.fixture(autouse=True)
def _no_gpu_and_no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.gpu, "is_there", lambda: False)
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)


def plan(base_url: str, **changed: Any) -> Plan:
    document = {
        "target": {"base_url": base_url, "model": "tiny", "timeouts": {"connect_s": 2, "first_token_s": 2}},
        "scenario": {
            "workload": {"type": "random", "input_tokens": {"mean": 256}, "ignore_eos": True},
            "stages": [{"load": {"type": "closed", "concurrency": c}, "num_requests": 1} for c in (1, 8)],
        },
        "seed": 42,
    }
    return Plan.model_validate(document | changed)


def captured(base_url: str, tmp_path: Path, page: str = "", facts: dict[str, str] | None = None) -> Context:
    samples: dict[str, list[Sample]] = {"h:1": parse(page).samples}
    return context(plan(base_url), facts or {}, samples, plan_sha256="abc", folder=tmp_path)


def speaking(pages: dict[str, Any]) -> Any:
    def respond(asked: Asked) -> Said:
        return Said(pages[asked.path]) if asked.path in pages else NOT_FOUND

    return respond


MODELS = {"data": [{"id": "tiny", "max_model_len": 4096, "root": "org/tiny"}]}


def test_a_server_that_tells_nothing_leaves_unknowns_and_nothing_is_guessed(serve: Serve, tmp_path: Path) -> None:
    found = captured(serve(good), tmp_path)
    assert set(found.values) == set(found.sources) == set(FIELDS)
    unknown = {name for name, value in found.values.items() if value == UNKNOWN}
    assert unknown == {"commit", "gpu", "driver", "cuda", "dtype", "engine", "server_args", "kubernetes"}
    assert found.values["model"] == "tiny"
    assert found.values["max_model_len"] == "4096"
    assert found.values["request_shape"] == "256-token input / 128-token output, ignore_eos, seed 42"
    assert found.values["load_pattern"] == "closed loop at concurrency 1, 8"
    assert (found.values["plan_sha256"], found.values["inferometer"]) == ("abc", __version__)
    assert "Python 3" in found.values["client"]


def test_vllm(serve: Serve, tmp_path: Path) -> None:
    settings = {"vllm_config": "model='org/tiny', max_seq_len=4096, dtype=torch.bfloat16, quantization=None"}
    url = serve(speaking({"/v1/models": MODELS, "/version": {"version": "0.32.0"}, "/server_info": settings}))
    found = captured(url, tmp_path, CACHE)
    assert found.values["engine"] == "vLLM 0.32.0"
    assert found.values["model"] == "tiny (org/tiny)"
    assert found.values["dtype"] == "bfloat16"
    assert found.values["server_args"] == "gpu_memory_utilization=0.92 block_size=16 num_gpu_blocks=364"
    assert found.sources["server_args"] == "vllm:cache_config_info"


@pytest.mark.parametrize(
    ("pages", "says"),
    [
        (
            {"/get_server_info": {"version": "0.5.3", "dtype": "auto", "tp_size": 2, "api_key": "secret"}},
            {"engine": "SGLang 0.5.3", "dtype": "auto", "server_args": "tp_size=2"},
        ),
        (
            {"/info": {"version": "3.3.0", "model_dtype": "float16", "max_total_tokens": 2048}},
            {"engine": "TGI 3.3.0", "dtype": "float16", "max_model_len": "2048"},
        ),
        (
            {"/props": {"build_info": "b1-abc", "total_slots": 4}},
            {"engine": "llama.cpp b1-abc", "server_args": "total_slots=4"},
        ),
        ({"/health/readiness": {"litellm_version": "1.80.0"}}, {"engine": "LiteLLM 1.80.0 (a gateway)"}),
        ({"/version": {"version": "9"}}, {"engine": "version 9 of an engine that does not give its name"}),
        ({"/version": {"version": "0.1+simulator"}}, {"engine": "Inferometer simulator 0.1"}),
    ],
)
def test_engines_by_their_own_pages(serve: Serve, tmp_path: Path, pages: dict[str, Any], says: dict[str, str]) -> None:
    found = captured(serve(speaking({"/v1/models": MODELS, **pages})), tmp_path)
    assert {name: found.values[name] for name in says} == says
    assert "secret" not in str(found)


@pytest.mark.parametrize("answer", [{"data": "x"}, {"data": [{"id": 3}]}, [], "text", {"version": ["x"]}])
def test_odd_answers_are_unknown(serve: Serve, tmp_path: Path, answer: Any) -> None:
    found = captured(serve(lambda _: Said(answer)), tmp_path)
    assert found.values["engine"] == UNKNOWN


def test_a_server_that_is_gone_is_asked_once(refusing_url: str, tmp_path: Path) -> None:
    assert captured(refusing_url, tmp_path).values["model"] == "tiny"


def test_the_user_knows_better_and_may_add_anything(refusing_url: str, tmp_path: Path) -> None:
    found = captured(refusing_url, tmp_path, facts={"gpu": "8x H100", "zone": "eu-1"})
    assert (found.values["gpu"], found.values["zone"]) == ("8x H100", "eu-1")
    assert found.sources["gpu"] == found.sources["zone"] == TOLD


def test_gpus_of_an_exporter(refusing_url: str, tmp_path: Path) -> None:
    line = 'DCGM_FI_DEV_GPU_UTIL{{gpu="{}",modelName="NVIDIA L4",DCGM_FI_DRIVER_VERSION="580.1"}} 3\n'
    found = captured(refusing_url, tmp_path, line.format(0) + line.format(1))
    assert (found.values["gpu"], found.values["driver"], found.values["cuda"]) == ("2x NVIDIA L4", "580.1", UNKNOWN)
    assert found.sources["gpu"] == "DCGM exporter"


def test_a_gpu_that_pods_share_is_one(refusing_url: str, tmp_path: Path) -> None:
    line = 'DCGM_FI_DEV_GPU_UTIL{{gpu="{}",{},modelName="NVIDIA L4",pod="{}"}} 3\n'
    for own, other in (('Hostname="n"', 'Hostname="m"'), ('UUID="GPU-1"', 'UUID="GPU-2"')):
        page = line.format(0, own, "a") + line.format(0, own, "b") + line.format(0, other, "a")
        assert captured(refusing_url, tmp_path, page).values["gpu"] == "2x NVIDIA L4"


def test_gpus_of_this_machine_if_the_server_is_here(
    refusing_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.gpu, "is_there", lambda: True)
    monkeypatch.setattr(module.gpu, "gpus", lambda: [module.gpu.Gpu("NVIDIA L4", "580.1", 23 << 30)])
    monkeypatch.setattr(module.gpu, "cuda_version", lambda: "13.0")
    found = captured(refusing_url, tmp_path).values
    assert (found["gpu"], found["driver"], found["cuda"]) == ("1x NVIDIA L4 (23 GiB)", "580.1", "13.0")
    assert module._gpus(Target(base_url="http://10.0.0.1"), []) == {}
    assert module._gpus(Target(base_url="http://10.0.0.1", telemetry=Telemetry(gpu="nvidia-smi")), []) != {}
    assert module._gpus(Target(base_url="http://127.0.0.1", telemetry=Telemetry(gpu="none")), []) == {}


def test_the_commit_of_the_folder(refusing_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:  # a hook of git that runs the tests
        monkeypatch.delenv(name)
    git = ["git", "-C", str(tmp_path), "-c", "user.email=a@b", "-c", "user.name=n"]
    (tmp_path / "f").write_text("1")
    for words in (["init", "-q"], ["add", "f"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True, timeout=30)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True, timeout=30).stdout
    assert captured(refusing_url, tmp_path).values["commit"] == head[:12]
    (tmp_path / "f").write_text("2")
    assert captured(refusing_url, tmp_path).values["commit"] == f"{head[:12]} (with changes)"


def test_a_cluster_is_asked_only_from_within_one(tmp_path: Path) -> None:
    assert module._in_cluster({}, tmp_path) is None
    assert module._in_cluster({"KUBERNETES_SERVICE_HOST": "127.0.0.1"}, tmp_path) is None
    (tmp_path / "token").write_text("t")
    (tmp_path / "ca.crt").write_text("no certificate")
    assert module._in_cluster({"KUBERNETES_SERVICE_HOST": "127.0.0.1"}, tmp_path) is None


def test_loads_and_shapes_in_words() -> None:
    stages = [
        {"load": {"type": "open", "rate": 2.0}, "num_requests": 4, "input_tokens": {"mean": 100, "std_dev": 10}},
        {"load": {"type": "open", "rate": 4.0}, "num_requests": 4},
    ]
    told = plan("http://h", scenario={"workload": {"type": "random"}, "stages": stages})
    assert module.load_pattern(told) == "open loop at requests/s of 2, 4"
    assert module.request_shape(told) == (
        "256-token input / 128-token output or N(100,10)-token input / 128-token output, seed 42"
    )
