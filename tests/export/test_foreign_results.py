"""Results of other tools, made up after their formats, read as runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from exported_runs import failure, record, run

from inferometer.errors import UserError
from inferometer.export import suite as suite_export
from inferometer.export.foreign import files, suite, vllm

NATIVE = {
    "date": "20260302-091500", "backend": "openai-chat", "model_id": "org/m", "tokenizer_id": "org/m", "num_prompts": 4,
    "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 2, "duration": 2.0, "completed": 3, "failed": 1,
    "total_input_tokens": 30, "total_output_tokens": 12, "request_throughput": 1.5, "request_goodput": None,
    "output_throughput": 6.0, "total_token_throughput": 21.0, "mean_ttft_ms": 60.0, "median_ttft_ms": 59.0,
    "p95_ttft_ms": 70.0, "mean_itl_ms": 10.0, "P99_ITL_ms": 12.0,
}  # fmt: skip
DETAILED = NATIVE | {
    "output_lens": [4, 4, 0, 4], "ttfts": [0.06, 0.05, 0.0, 0.07], "itls": [[0.01] * 3, [0.01] * 3, [], [0.02] * 3],
    "latencies": [0.09, 0.08, 0.0, 0.13], "start_times": [5.0, 4.0, 4.5, 6.0], "queue_times": [0.1, 0.2, 0.3, 0.4],
    "errors": ["", "", "boom", ""],
}  # fmt: skip
LATENCY = {"mean": 1.3, "min": 0.9, "max": 2.2, "median": 1.28, "p95": 2.0, "p99": 2.1}
STAGE = {
    "load_summary": {"count": 90, "requested_rate": 3.0, "achieved_rate": 3.02},
    "successes": {
        "count": 89,
        "latency": {"request_latency": LATENCY, "time_to_first_token": None},
        "throughput": {"output_tokens_per_sec": 187.5, "total_tokens_per_sec": 1067.5, "requests_per_sec": 2.93},
        "prompt_len": {"mean": 300.2},
        "output_len": {"mean": 64.0},
    },
    "failures": {"count": 1, "request_latency": None, "prompt_len": None},
}
WILD = {
    "timestamp": "2026-03-02T09:15:00.120000",
    "metadata": {"target": "lab", "scenario": "latency_benchmark", "base_url": "http://lab", "model": "m",
                 "num_requests": 100, "concurrency": 1, "max_tokens": 100},
    "metrics": {"num_requests": 100, "num_successful": 99, "num_failed": 1, "ttft_p50": 0.06, "ttft_p95": 0.08,
                "tpot_p50": 0.011, "tpot_p95": 0.013, "latency_p50": 1.2, "latency_p95": 1.4,
                "total_prompt_tokens": 300, "total_completion_tokens": 100,
                "total_tokens": 400, "avg_completion_tokens": 100.0, "throughput_tokens_per_sec": 80.0,
                "throughput_requests_per_sec": 0.8, "mlperf_compliant": True},
}  # fmt: skip


def values(stage):
    return {name: found.value for name, found in stage.figures.items()}


def save(path: Path, told) -> Path:
    path.write_text(told if isinstance(told, str) else json.dumps(told))
    return path


def test_a_native_result(tmp_path):
    (made,) = files.read(save(tmp_path / "c2.json", NATIVE))
    assert made.label == "c2"
    (stage,) = made.stages
    assert stage.key == "concurrency 2"
    told = values(stage)
    assert told["ttft_p50_ms"] == 59.0
    assert told["itl_mean_ms"] == told["event_gap_mean_ms"] == 10.0
    assert told["itl_p99_ms"] == 12.0
    assert told["success_rate"] == 0.75
    assert "goodput_per_s" not in told
    assert "tpot_mean_ms" not in told
    assert stage.facts["output tokens got"] == 4.0
    assert stage.facts["stamps"] == "userland"


def test_details_become_series_in_the_order_of_their_start():
    ((stage,),) = (made.stages for made in vllm.read("x", [DETAILED]))
    assert list(stage.series["ttft"]) == pytest.approx([50, 60, 70])
    assert list(stage.series["e2el"]) == pytest.approx([80, 90, 130])
    assert list(stage.series["tpot"]) == pytest.approx([10, 10, 20])


def test_an_event_without_a_token_makes_the_gaps_no_itl():
    odd = DETAILED | {"itls": [[0.0, 0.01, 0.01, 0.01], [0.01] * 3, [], [0.02] * 3]}
    told = values(vllm.read("x", [odd])[0].stages[0])
    assert "itl_mean_ms" not in told
    assert told["event_gap_mean_ms"] == 10.0


def test_latencies_of_an_open_loop_start_at_the_schedule():
    told = values(vllm.read("x", [DETAILED | {"request_rate": 2.0}])[0].stages[0])
    assert told["ttft_from_send_mean_ms"] == 60.0
    assert told["ttft_mean_ms"] == pytest.approx((160 + 250 + 470) / 3)
    hidden = values(vllm.read("x", [NATIVE | {"request_rate": 2.0}])[0].stages[0])
    assert "ttft_mean_ms" not in hidden  # a cap made requests wait, and nobody told for how long
    plain = values(vllm.read("x", [NATIVE | {"request_rate": 2.0, "max_concurrency": None}])[0].stages[0])
    assert plain["ttft_mean_ms"] == 60.0


def test_old_files_and_odd_numbers(tmp_path):
    old = {key: value for key, value in NATIVE.items() if key not in ("failed", "request_goodput")}
    text = json.dumps(old | {"request_goodput:": 1.0, "request_rate": float("inf"), "p95_ttft_ms": float("nan")})
    stage = files.read(save(tmp_path / "old.json", text))[0].stages[0]
    told = values(stage)
    assert stage.key == "concurrency 2"
    assert told["success_rate"] == 0.75
    assert told["goodput_per_s"] == 1.0
    assert "p95_ttft_ms" not in told


def test_appended_results_are_stages(tmp_path):
    text = "\n".join(json.dumps(NATIVE | {"max_concurrency": cap}) for cap in (1, 2)) + '\n{"cut'
    (made,) = files.read(save(tmp_path / "all.json", text))
    assert [stage.key for stage in made.stages] == ["concurrency 1", "concurrency 2"]


def test_a_folder_of_inference_perf(tmp_path):
    for number in (0, 1, 10):
        told = STAGE | {"load_summary": STAGE["load_summary"] | {"requested_rate": number + 1.0}}
        save(tmp_path / f"stage_{number}_lifecycle_metrics.json", told)
    save(tmp_path / "summary_lifecycle_metrics.json", STAGE)
    save(
        tmp_path / "per_request_lifecycle_metrics.json",
        [{"start_time": 1.0, "info": {"output_token_times": [1.1, 1.2]}}],
    )
    (made,) = files.read(tmp_path)
    assert [stage.key for stage in made.stages] == ["1 req/s", "2 req/s", "11 req/s"]
    told = values(made.stages[0])
    assert told["e2el_p50_ms"] == pytest.approx(1280)
    assert told["success_rate"] == pytest.approx(89 / 90)
    assert "ttft_mean_ms" not in told
    assert made.stages[0].series == {}  # nobody says which stage the row is of


def test_rows_of_the_only_stage_are_its_series(tmp_path):
    save(tmp_path / "stage_0_lifecycle_metrics.json", STAGE)
    times = [1.1, 1.2, 1.4]
    new = {
        "start_time": 1.0,
        "info": {"response_metrics": {"output_tokens": 3, "output_token_times": times}},
        "error": None,
    }
    old = {"start_time": 0.5, "info": {"output_tokens": 3, "output_token_times": [0.7, 0.8, 0.9]}}
    lost = {"start_time": 0.7, "info": {"response_metrics": None}, "error": {"error_type": "x", "error_msg": "y"}}
    save(tmp_path / "per_request_lifecycle_metrics.json", [new, old, lost])
    series = files.read(tmp_path)[0].stages[0].series
    assert list(series["ttft"]) == pytest.approx([200, 100])
    assert list(series["e2el"]) == pytest.approx([400, 400])
    assert list(series["tpot"]) == pytest.approx([100, 150])


def test_the_documented_form_of_the_suite(tmp_path):
    told = suite_export.document(run([*(record(i, sent_ms=100 * i) for i in range(9)), failure(9, sent_ms=900)]))
    (made,) = files.read(save(tmp_path / "mine.json", told))
    assert made.context["model"] == "org/tiny"
    (stage,) = made.stages
    assert stage.key == "ladder"
    assert values(stage)["e2el_p95_ms"] == pytest.approx(80)
    assert values(stage)["success_rate"] == 0.9
    assert stage.facts["stamps"] is None  # this instrument may have used either


def test_the_other_form_of_the_suite(tmp_path):
    (made,) = files.read(save(tmp_path / "wild.json", WILD))
    (stage,) = made.stages
    told = values(stage)
    assert stage.key == "concurrency 1"
    assert told["ttft_p95_ms"] == pytest.approx(80)
    assert told["e2el_p50_ms"] == pytest.approx(1200)
    assert told["output_tokens_per_s"] == pytest.approx(20)
    assert told["success_rate"] == 0.99


@pytest.mark.parametrize("change", [{"tpot_p50": 1e-6}, {"ttft_p50": 1.195}])
def test_what_was_not_streamed_has_no_ttft_and_no_verdict_to_trust(change):
    told = WILD | {"metrics": WILD["metrics"] | change}
    (stage,) = suite.read_wild("x", told)[0].stages
    assert stage.verdict == "INVALID"
    assert not [name for name in stage.figures if name.startswith(("ttft", "tpot"))]
    assert "e2el_p50_ms" in stage.figures


def test_a_run_without_success_measured_nothing():
    metrics = {
        "num_requests": 5,
        "num_successful": 0,
        "num_failed": 5,
        "ttft_p50": 0.0,
        "tpot_p50": 0.0,
        "mlperf_compliant": False,
    }
    (stage,) = suite.read_wild("x", WILD | {"metrics": metrics})[0].stages
    assert values(stage) == {"success_rate": 0.0, "error_rate": 1.0}


def test_a_comparison_is_a_run_per_model(tmp_path):
    rows = [{"model": name, "ttft_p50": 0.05, "ttft_p95": 0.08, "tpot_p50": 0.01, "tpot_p95": 0.013, "throughput": 82.4,
             "error_rate": 0.01, "mlperf_compliant": True} for name in ("a", "b")]  # fmt: skip
    told = {
        "timestamp": "t",
        "target": "lab",
        "scenario": "s",
        "base_url": "u",
        "models_tested": ["a", "b"],
        "results": rows,
    }
    made = files.read(save(tmp_path / "c.json", told))
    assert [one.label for one in made] == ["c a", "c b"]
    assert values(made[0].stages[0])["ttft_p50_ms"] == pytest.approx(50)


@pytest.mark.parametrize(
    ("name", "told", "said"),
    [
        ("a.json", {"x": 1}, "no result of another tool"),
        ("a.json", "no json", "is not JSON"),
        ("a.json", {"results": {"ttft_ms": 3, "successful": 1}}, "looks like a result of suite and is not one"),
    ],
)
def test_what_is_no_result_is_one_sentence(tmp_path, name, told, said):
    with pytest.raises(UserError, match=said):
        files.read(save(tmp_path / name, told))


def test_several_tools_in_a_folder_are_refused(tmp_path):
    save(tmp_path / "a.json", NATIVE)
    save(tmp_path / "b.json", WILD)
    with pytest.raises(UserError, match="several tools"):
        files.read(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        files.read(tmp_path / "gone.json")
