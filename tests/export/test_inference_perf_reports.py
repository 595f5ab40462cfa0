from __future__ import annotations

import json

import pytest
from exported_runs import LADDER, LIMITS, failure, ladder, record, run

from inferometer.config.models import OpenLoop
from inferometer.export import inference_perf
from inferometer.export.documents import Options
from inferometer.export.run import parts

DIST = ["mean", "min", "max", "p0.1", "p1", "p5", "p10", "p25", "median", "p75", "p90", "p95", "p99", "p99.9"]
LATENCIES = [
    "request_latency", "normalized_time_per_output_token", "time_per_output_token", "time_to_first_token",
    "inter_token_latency",
]  # fmt: skip


def stage(records, *loads, number=0, **scenario):
    made = run(records, *loads, **scenario)
    return inference_perf.stage(made, parts(made)[number])


def test_names_and_nesting_of_a_stage():
    told = stage(ladder(), *LADDER, number=1)
    assert list(told["load_summary"]) == [
        "count", "schedule_delay", "send_duration", "requested_rate", "achieved_rate", "concurrency",
    ]  # fmt: skip
    assert list(told["successes"]["latency"]) == LATENCIES
    for name in LATENCIES:
        assert list(told["successes"]["latency"][name]) == DIST
    assert {"prompt_len", "prompt_tokens", "output_len", "output_tokens"} <= set(told["successes"])
    assert set(told["failures"]) == {"count", "request_latency", "prompt_len", "prompt_tokens", "by_label"}
    json.dumps(told, allow_nan=False)


def test_figures_of_a_known_stage():
    told = stage(ladder(), *LADDER, number=1)
    good = told["successes"]
    assert (told["load_summary"]["count"], good["count"], told["failures"]["count"]) == (21, 20, 1)
    assert told["benchmark_time_seconds"] == pytest.approx(1.105)
    assert good["latency"]["time_to_first_token"]["median"] == pytest.approx(0.0695)
    assert good["latency"]["time_per_output_token"]["mean"] == pytest.approx(0.012)
    assert good["latency"]["inter_token_latency"]["max"] == pytest.approx(0.014)
    assert good["throughput"]["output_tokens_per_sec"] == pytest.approx(80 / 1.105)
    assert told["load_summary"]["send_duration"] == pytest.approx(1.1)
    assert told["load_summary"]["achieved_rate"] == pytest.approx(21 / 1.1)
    assert good["prompt_tokens"]["total"] == 2000
    assert good["prompt_tokens"]["cached"] is None
    assert told["failures"]["by_label"] == {
        "503 - Service Unavailable": {"count": 1, "messages": [{"message": "HTTP 503: no room"}]}
    }


def test_a_request_lasts_to_the_end_of_its_answer():
    late = [record(i, sent_ms=100 * i, end_ns=(100 * i + 85) * 1_000_000) for i in range(4)]
    latency = stage(late)["successes"]["latency"]
    assert latency["request_latency"]["mean"] == pytest.approx(0.085)
    assert latency["normalized_time_per_output_token"]["mean"] == pytest.approx(0.085 / 4)


def test_an_open_loop_tells_its_rate_and_the_delay_apart():
    records = [record(i, sent_ms=100 * i + 5, scheduled_ms=100 * i) for i in range(11)]
    told = stage(records, OpenLoop(rate=10))
    assert told["load_summary"]["requested_rate"] == 10
    assert told["load_summary"]["achieved_rate"] == pytest.approx(11)
    assert told["load_summary"]["schedule_delay"]["mean"] == pytest.approx(0.005)
    assert told["successes"]["latency"]["time_to_first_token"]["mean"] == pytest.approx(0.05)
    assert "concurrency" not in told["load_summary"]


def test_goodput_is_over_all_requests():
    told = stage([record(0), record(1, sent_ms=10, ttft_ms=101), failure(2), failure(3)], slos=LIMITS)
    good = told["successes"]["goodput_metrics"]
    assert (good["good_requests"], good["total_requests"], good["goodput_percentage"]) == (1, 4, 25.0)
    assert (good["ttft_attainment_percentage"], good["tpot_attainment_percentage"]) == (25.0, 50.0)
    assert "goodput_metrics" not in stage([record(0)])["successes"]


def test_the_summary_has_all_stages():
    told = inference_perf.summary(run(ladder(), *LADDER))
    assert told["load_summary"]["count"] == 41
    assert told["benchmark_time_seconds"] == pytest.approx(4.105)
    assert list(told["load_summary"]) == ["count", "schedule_delay"]


def test_rows_say_tokens_and_times_in_both_forms():
    rows = list(inference_perf.requests(run([record(0), failure(1, sent_ms=100, detail="HTTP 500: boom")])))
    first, second = (row["info"] for row in rows)
    assert first["response_metrics"]["output_token_times"] == first["output_token_times"]
    assert first["output_token_times"] == pytest.approx([1000.05, 1000.06, 1000.07, 1000.08])
    assert first["response_metrics"]["output_tokens"] == first["output_tokens"] == 4
    assert rows[0]["start_time"] == 1000.0
    assert rows[0]["error"] is None
    assert second["response_metrics"] is None
    assert rows[1]["error"] == {"error_type": "http_5xx", "error_msg": "HTTP 500: boom"}
    made = inference_perf.export(run([record(0)]), Options()).documents
    assert [document.name for document in made] == [
        "summary_lifecycle_metrics.json", "stage_0_lifecycle_metrics.json", "per_request_lifecycle_metrics.json",
    ]  # fmt: skip
    assert len(json.loads("".join(made[2].pieces))) == 1


@pytest.mark.parametrize(
    ("kind", "detail", "label"),
    [
        ("http_429", "HTTP 429: slow down", "429 - Rate Limit"),
        ("http_5xx", "HTTP 502: x", "502 - Bad Gateway"),
        ("http_4xx", "HTTP 400: This model's maximum context length is 4096", "400 - Context Window"),
        ("http_4xx", "HTTP 404: The model `x` does not exist.", "404 - Model Not Found"),
        ("http_4xx", "HTTP 418: tea", "418 - other"),
        ("timeout_total", "", "Timeout"),
        ("connect_refused", "refused", "Connection Error"),
        ("empty", "", "empty"),
    ],
)
def test_labels_of_failures(kind, detail, label):
    assert inference_perf.label_of(kind, detail) == label


def test_nothing_succeeded():
    told = stage([failure(0), failure(1)])
    assert told["successes"]["latency"]["time_to_first_token"] is None
    assert told["successes"]["output_len"] is None
    json.dumps(told, allow_nan=False)


def test_what_a_stage_leaves_out_is_in_no_report():
    made = run([record(i, sent_ms=1000 * i, ttft_ms=500 if i == 0 else 50) for i in range(5)], warmup_s=0.5)
    assert inference_perf.summary(made)["load_summary"]["count"] == 4
    told = inference_perf.stage(made, parts(made)[0])
    assert told["successes"]["latency"]["time_to_first_token"]["max"] == pytest.approx(0.05)
    assert len(list(inference_perf.requests(made))) == 4
