import re

import pytest

from inferometer.simulator.metrics import Histogram, Metrics, exposition
from inferometer.simulator.model import Figures, Profile, Progress, Request
from inferometer.simulator.profiles import PROFILES

IDLE = Figures(running=0, waiting=0)
SAMPLE = re.compile(r'^(vllm:[a-z0-9_]+)\{([a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*)\} ([0-9.e+-]+)$')


def samples(metrics: Metrics, figures: Figures = IDLE, profile: Profile | None = None) -> dict[str, float]:
    lines = exposition(metrics, figures, "m", profile).decode().splitlines()
    found = {}
    for line in lines:
        if line.startswith("#"):
            continue
        match = SAMPLE.match(line)
        assert match, line
        labels = re.findall(r'([a-z_]+)="', match[2])
        assert labels == sorted(labels)
        found[f"{match[1]}{{{match[2]}}}"] = float(match[3])
    return found


@pytest.mark.parametrize(("value", "bucket"), [(0.0, 0), (1.0, 0), (1.1, 1), (2.0, 1), (2.1, 2)])
def test_bounds_belong_to_their_bucket(value: float, bucket: int) -> None:
    histogram = Histogram((1, 2))
    histogram.observe(value)
    assert histogram.counts.index(1) == bucket


def test_a_finished_request_is_seen_everywhere() -> None:
    metrics = Metrics(8192)
    request = Request(key=1, prompt_tokens=256, output_tokens=3)
    progress = Progress(request, 0, 20_000_000, scheduled_ns=30_000_000, first_ns=50_000_000, generated=3)
    metrics.first_token(progress, 50_000_000)
    metrics.finish(progress, 70_000_000, "length")
    found = samples(metrics)
    ends = {
        "request_prompt_tokens": 256,
        "request_generation_tokens": 3,
        "time_to_first_token_seconds": 0.05,
        "request_time_per_output_token_seconds": 0.01,
        "e2e_request_latency_seconds": 0.07,
        "request_queue_time_seconds": 0.01,
        "request_inference_time_seconds": 0.04,
        "request_prefill_time_seconds": 0.02,
        "request_decode_time_seconds": 0.02,
    }
    both = 'engine="0",model_name="m"'
    for name, value in ends.items():
        assert found[f"vllm:{name}_sum{{{both}}}"] == pytest.approx(value)
        assert found[f"vllm:{name}_count{{{both}}}"] == 1
    assert found['vllm:request_success_total{engine="0",finished_reason="length",model_name="m"}'] == 1
    assert found[f"vllm:prompt_tokens_total{{{both}}}"] == 256
    assert found['vllm:time_to_first_token_seconds_bucket{engine="0",le="0.04",model_name="m"}'] == 0
    assert found['vllm:time_to_first_token_seconds_bucket{engine="0",le="0.06",model_name="m"}'] == 1
    assert found['vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="m"}'] == 1


def test_an_aborted_request_enters_no_histogram() -> None:
    metrics = Metrics(8192)
    progress = Progress(Request(key=1, prompt_tokens=2, output_tokens=3), 0, 0, scheduled_ns=1, first_ns=2)
    metrics.finish(progress, 5, "abort")
    found = samples(metrics)
    assert found['vllm:request_success_total{engine="0",finished_reason="abort",model_name="m"}'] == 1
    assert all(value == 0 for name, value in found.items() if "_bucket" in name or "_count" in name)


def test_gauges_counters_and_cache_description() -> None:
    figures = Figures(running=2, waiting=1, kv_usage=0.25, prefix_queries=9, prefix_hits=4, preemptions=3)
    found = samples(Metrics(8192), figures, PROFILES["l4-qwen2.5-0.5b"])
    values = {
        "num_requests_running": 2,
        "num_requests_waiting": 1,
        "kv_cache_usage_perc": 0.25,
        "prefix_cache_queries_total": 9,
        "prefix_cache_hits_total": 4,
        "num_preemptions_total": 3,
    }
    assert {name: found[f'vllm:{name}{{engine="0",model_name="m"}}'] for name in values} == values
    [info] = [name for name in found if name.startswith("vllm:cache_config_info")]
    assert 'block_size="16"' in info
    assert 'num_gpu_blocks="66000"' in info
    assert "model_name" not in info


def test_faults_are_counted_where_there_are_any() -> None:
    metrics = Metrics(8192)
    assert b"fault" not in exposition(metrics, IDLE, "m", None)
    metrics.faults = {"stall": 2, "die": 0}
    lines = exposition(metrics, IDLE, "m", None).decode().splitlines()
    assert lines[-3:] == [
        "# TYPE inferometer:simulator_faults_total counter",
        'inferometer:simulator_faults_total{kind="stall"} 2.0',
        'inferometer:simulator_faults_total{kind="die"} 0.0',
    ]


@pytest.mark.parametrize(
    ("name", "bounds"),
    [
        (
            "time_to_first_token_seconds",
            "0.001 0.005 0.01 0.02 0.04 0.06 0.08 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10 20 40 80 160 640 2560",
        ),
        (
            "inter_token_latency_seconds",
            "0.01 0.025 0.05 0.075 0.1 0.15 0.2 0.3 0.4 0.5 0.75 1 2.5 5 7.5 10 20 40 80",
        ),
        (
            "e2e_request_latency_seconds",
            "0.3 0.5 0.8 1 1.5 2 2.5 5 10 15 20 30 40 50 60 120 240 480 960 1920 7680",
        ),
        ("request_prompt_tokens", "1 2 5 10 20 50 100 200 500 1000 2000 5000"),
    ],
)
def test_bounds_are_those_of_vllm(name: str, bounds: str) -> None:
    text = exposition(Metrics(8192), IDLE, "m", None).decode()
    assert re.findall(rf'vllm:{name}_bucket{{engine="0",le="([^"]+)"', text) == [
        *(str(float(bound)) for bound in bounds.split()),
        "+Inf",
    ]


def test_model_names_are_escaped() -> None:
    assert r'model_name="a\"b\\c"' in exposition(Metrics(10), IDLE, 'a"b\\c', None).decode()
