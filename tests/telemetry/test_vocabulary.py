from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferometer.analysis.server_metrics import SERVER_METRICS
from inferometer.records.telemetry import Reading
from inferometer.telemetry.prometheus import parse
from inferometer.telemetry.vocabulary import ENGINES, MIB, NAMES, readings

VLLM = """
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 4.0
vllm:num_requests_waiting{engine="0",model_name="m"} 0.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="m",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 3043.0
vllm:prefix_cache_queries_created{engine="0",model_name="m"} 1.7e+09
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 0.0
vllm:external_prefix_cache_hits_total{engine="0",model_name="m"} 7.0
vllm:prompt_tokens_total{engine="0",model_name="m"} 3043.0
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="local_compute"} 3000.0
vllm:prompt_tokens_by_source_total{engine="0",model_name="m",source="local_cache_hit"} 43.0
vllm:generation_tokens_total{engine="0",model_name="m"} 1500.0
vllm:request_success_total{engine="0",finished_reason="stop",model_name="m"} 1.0
vllm:request_success_total{engine="0",finished_reason="length",model_name="m"} 32.0
vllm:request_success_total{engine="0",finished_reason="abort",model_name="m"} 2.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="m"} 5.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="1.0",model_name="m"} 8.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="m"} 9.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="m"} 9.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="m"} 4.5
"""


def read(text: str) -> dict[tuple[str, str, str], Reading]:
    page = parse(text, NAMES.__contains__)
    return {(one.source, one.name, one.series): one for one in readings(page.samples, 7, "h:1")}


def values(text: str, source: str) -> dict[str, float | None]:
    return {name: one.value for (engine, name, _), one in read(text).items() if engine == source}


def test_every_figure_of_every_engine_is_in_the_vocabulary() -> None:
    for engine in ENGINES.values():
        assert set(engine.metrics) <= set(SERVER_METRICS)
    assert not any(name.endswith("_created") for name in NAMES)


def test_vllm() -> None:
    found = read(VLLM)
    assert found["vllm", "requests_running", "engine=0"] == Reading(
        7, "vllm", "h:1", "engine=0", "requests_running", 3.0
    )
    assert found["vllm", "requests_running", "engine=1"].value == 4.0
    engine = {name: one.value for (_, name, series), one in found.items() if series == "engine=0"}
    assert engine == {
        "requests_running": 3.0,
        "requests_waiting": 0.0,
        "kv_cache_usage": 0.25,
        "prefix_cache_queries_tokens": 3043.0,
        "prefix_cache_hits_tokens": 0.0,
        "prompt_tokens": 3043.0,
        "prompt_tokens_computed": 3000.0,
        "generation_tokens": 1500.0,
        "requests_succeeded": 33.0,
        "requests_failed": 2.0,
        "ttft_s": 4.5,
    }
    ttft = found["vllm", "ttft_s", "engine=0"]
    assert (ttft.observations, ttft.bounds, ttft.buckets) == (9.0, (0.1, 1.0, math.inf), (5.0, 8.0, 9.0))


def test_names_of_older_versions_of_vllm() -> None:
    old = (
        'vllm:gpu_cache_usage_perc{model_name="m"} 0.5\nvllm:num_requests_swapped{model_name="m"} 2\n'
        'vllm:gpu_prefix_cache_hits_total{engine="0"} 4\nvllm:gpu_prefix_cache_queries_total{engine="0"} 8\n'
        "vllm:time_per_output_token_seconds_count 3\nvllm:time_per_output_token_seconds_sum 0.3\n"
    )
    assert values(old, "vllm") == {
        "requests_swapped": 2.0,
        "kv_cache_usage": 0.5,
        "prefix_cache_queries_tokens": 8.0,
        "prefix_cache_hits_tokens": 4.0,
        "itl_s": 0.3,
    }


def test_the_new_name_wins_where_both_are_told() -> None:
    both = 'vllm:gpu_cache_usage_perc{engine="0"} 0.1\nvllm:kv_cache_usage_perc{engine="0"} 0.2\n'
    assert values(both, "vllm") == {"kv_cache_usage": 0.2}


def test_sglang_counts_each_rank_of_a_group_once_and_every_replica_of_its_data() -> None:
    found = read(
        'sglang:num_running_reqs{dp_rank="0",tp_rank="0"} 5\nsglang:num_running_reqs{dp_rank="0",tp_rank="1"} 5\n'
        'sglang:num_running_reqs{dp_rank="1",tp_rank="0"} 6\nsglang:token_usage{tp_rank="0"} 0.4\n'
        'sglang:prompt_tokens_total 100\nsglang:cached_tokens_total{cache_source="device"} 30\n'
        'sglang:cached_tokens_total{cache_source="host"} 10\n'
    )
    assert {series: one.value for (_, name, series), one in found.items() if name == "requests_running"} == {
        "dp_rank=0": 5.0,
        "dp_rank=1": 6.0,
    }
    assert found["sglang", "prefix_cache_hits_tokens", ""].value == 40.0
    assert found["sglang", "prefix_cache_queries_tokens", ""].value == 100.0


def test_llamacpp_counts_cached_tokens_apart() -> None:
    page = "llamacpp:prompt_tokens_total 53\nllamacpp:prompt_tokens_cached_total 56\nllamacpp:requests_deferred 1\n"
    assert values(page, "llamacpp") == {
        "requests_waiting": 1.0,
        "prefix_cache_queries_tokens": 109.0,
        "prefix_cache_hits_tokens": 56.0,
        "prompt_tokens": 109.0,
        "prompt_tokens_computed": 53.0,
    }


def test_a_sum_with_a_missing_term_is_absent() -> None:
    assert values("llamacpp:prompt_tokens_total 53\n", "llamacpp") == {"prompt_tokens_computed": 53.0}


def test_tgi_and_litellm() -> None:
    tgi = "tgi_queue_size 2\ntgi_batch_current_size 8\ntgi_request_success 5\ntgi_request_generated_tokens_sum 640\n"
    assert values(tgi, "tgi") == {
        "requests_running": 8.0,
        "requests_waiting": 2.0,
        "generation_tokens": 640.0,
        "requests_succeeded": 5.0,
    }
    gateway = (
        'litellm_output_tokens_metric_total{team="a",model="m"} 10\n'
        'litellm_output_tokens_metric_total{team="b",model="m"} 20\n'
    )
    assert values(gateway, "litellm") == {"generation_tokens": 30.0}


def test_dcgm_in_si_units_and_once_per_gpu() -> None:
    found = read(
        'DCGM_FI_DEV_GPU_UTIL{gpu="0",Hostname="n",modelName="NVIDIA L4",pod="a"} 75\n'
        'DCGM_FI_DEV_GPU_UTIL{gpu="0",Hostname="n",modelName="NVIDIA L4",pod="b"} 75\n'
        'DCGM_FI_DEV_FB_USED{gpu="0",Hostname="n"} 900\nDCGM_FI_DEV_FB_FREE{gpu="0",Hostname="n"} 100\n'
        'DCGM_FI_DEV_POWER_USAGE{gpu="1",Hostname="n"} 70.5\n'
        'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="1",Hostname="n"} 5000\n'
    )
    assert {(name, series): one.value for (_, name, series), one in found.items()} == {
        ("gpu_utilisation", "Hostname=n,gpu=0"): 0.75,
        ("gpu_memory_used_bytes", "Hostname=n,gpu=0"): 900.0 * MIB,
        ("gpu_memory_total_bytes", "Hostname=n,gpu=0"): 1000.0 * MIB,
        ("gpu_power_w", "Hostname=n,gpu=1"): 70.5,
        ("gpu_energy_j", "Hostname=n,gpu=1"): 5.0,
    }


@pytest.mark.parametrize(
    "buckets",
    [
        'tgi_request_duration_bucket{le="1"} 5\ntgi_request_duration_bucket{le="2"} 3\n',  # falls
        'tgi_request_duration_bucket{le="x"} 5\n',
        "tgi_request_duration_bucket 5\n",
        'tgi_request_duration_bucket{le="1",m="a"} 5\ntgi_request_duration_bucket{le="2",m="b"} 5\n',  # other bounds
    ],
)
def test_buckets_that_contradict_each_other_are_absent_and_the_mean_stays(buckets: str) -> None:
    one = read(buckets + "tgi_request_duration_count 5\ntgi_request_duration_sum 2.5\n")["tgi", "e2el_s", ""]
    assert (one.value, one.observations, one.bounds, one.buckets) == (2.5, 5.0, None, None)


def test_a_histogram_without_a_count_and_pages_of_others_say_nothing() -> None:
    assert read("tgi_request_duration_sum 2.5\npython_info 1\nprocess_cpu_seconds_total 3\n") == {}


VALUES = st.sampled_from(["1", "1e308", "-1e308", "+Inf", "-Inf", "NaN"])


@given(st.lists(VALUES, min_size=3, max_size=3), st.sampled_from(["0.5", "+Inf", "NaN", "x"]))
def test_whatever_numbers_a_page_has_figures_are_finite(values: list[str], bound: str) -> None:
    """One engine with several models: their values are added."""
    names = ("num_requests_running{{{}}} {}", "kv_cache_usage_perc{{{}}} {}", "generation_tokens_total{{{}}} {}")
    names += tuple("time_to_first_token_seconds_" + part for part in ("count{{{}}} {}", "sum{{{}}} {}"))
    names += ('time_to_first_token_seconds_bucket{{{},le="' + bound + '"}} {}',)
    lines = [name.format(f'model_name="{model}"', value) for name in names for model, value in enumerate(values)]
    for one in read("\n".join(f"vllm:{line}" for line in lines)).values():
        assert all(math.isfinite(value) for value in (one.value, one.observations, *(one.buckets or ())) if value)
        assert not any(math.isnan(bound) for bound in one.bounds or ())
