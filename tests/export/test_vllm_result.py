from __future__ import annotations

import json

import pytest
from exported_runs import LADDER, LIMITS, failure, ladder, record, run

from inferometer.config.models import ClosedLoop, OpenLoop, Ramp
from inferometer.export import vllm
from inferometer.export.documents import Options
from inferometer.export.run import parts

PLAIN = Options()
STATISTICS = ("mean", "median", "std", "p50", "p95", "p99")
PLAIN_KEYS = [
    "date", "endpoint_type", "backend", "label", "model_id", "tokenizer_id", "num_prompts", "request_rate",
    "burstiness", "max_concurrency", "duration", "completed", "failed", "total_input_tokens", "total_output_tokens",
    "request_throughput", "request_goodput", "output_throughput", "total_token_throughput", "latencies", "queue_times",
    "max_output_tokens_per_s", "max_concurrent_requests", "rtfx",
    *(f"{which}_{name}_ms" for name in ("ttft", "tpot", "itl", "e2el") for which in STATISTICS),
]  # fmt: skip
LISTS = [
    "input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times", "queue_times",
    "generated_texts", "errors",
]  # fmt: skip


def of(records, load=None, options=PLAIN, **scenario):
    made = run(records, *([load] if load else []), **scenario)
    return vllm.document(made, parts(made)[0], options)


def test_keys_and_their_order_are_those_of_vllm():
    told = of([record(i, sent_ms=80 * i) for i in range(20)])
    assert list(told)[: len(PLAIN_KEYS)] == PLAIN_KEYS
    assert all(key.startswith(("benchmark_", "inferometer_")) for key in list(told)[len(PLAIN_KEYS) :])
    json.dumps(told, allow_nan=False)


def test_figures_of_a_known_run():
    records = [*(record(i, sent_ms=100 * i) for i in range(19)), failure(19, sent_ms=1900, end_ms=2000, detail="boom")]
    told = of(records, slos=LIMITS)
    assert (told["completed"], told["failed"], told["num_prompts"]) == (19, 1, 20)
    assert told["duration"] == pytest.approx(2.0)
    assert told["total_input_tokens"], told["total_output_tokens"] == (1900, 76)
    assert told["output_throughput"] == pytest.approx(38.0)
    assert told["request_goodput"] == pytest.approx(9.5)
    assert told["median_ttft_ms"] == told["p50_ttft_ms"] == pytest.approx(50)
    assert told["mean_e2el_ms"] == pytest.approx(80)
    assert told["latencies"] == [pytest.approx(0.08)] * 19 + [0.0]
    assert told["model_id"] == "org/tiny"
    assert told["tokenizer_id"] == "unknown"
    assert (told["request_rate"], told["max_concurrency"]) == ("inf", 4)
    assert told["benchmark_start_time_unix"] == 1_772_439_300.0


def test_detailed_lists_have_an_entry_per_request():
    records = [*(record(i, sent_ms=100 * i) for i in range(3)), failure(3, sent_ms=300, detail="HTTP 500: boom")]
    told = of(records, options=Options(detailed=True))
    start = list(told).index(LISTS[0])
    assert list(told)[start : start + len(LISTS)] == LISTS
    assert {len(told[key]) for key in LISTS} == {4}
    assert told["ttfts"] == [pytest.approx(0.05)] * 3 + [0.0]
    assert told["itls"] == [[pytest.approx(0.01)] * 3] * 3 + [[]]
    assert told["output_lens"] == [4, 4, 4, 0]
    assert told["errors"] == ["", "", "", "http_5xx: HTTP 500: boom"]
    assert told["start_times"] == pytest.approx([1000.0, 1000.1, 1000.2, 1000.3])


def test_an_open_loop_counts_from_the_send_and_tells_the_wait():
    records = [record(i, sent_ms=100 * i + 20, scheduled_ms=100 * i) for i in range(20)]
    told = of(records, OpenLoop(rate=10, max_in_flight=8), slos=(LIMITS[0].model_copy(update={"limit_ms": 60.0}),))
    assert told["mean_ttft_ms"] == pytest.approx(50)
    assert told["queue_times"] == pytest.approx([0.02] * 20)
    assert told["mean_client_queue_time_ms"] == pytest.approx(20)
    assert told["mean_e2el_including_client_queue_ms"] == pytest.approx(100)
    assert told["request_goodput"] == pytest.approx(told["request_throughput"])
    assert told["request_goodput_including_client_queue"] == 0
    assert (told["request_rate"], told["burstiness"], told["max_concurrency"]) == (10.0, 1.0, 8)


def test_a_ramp_has_its_keys():
    told = of([record(0), record(1)], OpenLoop(rate=Ramp(type="linear", start=1, end=2.5)))
    asked = {key: told[key] for key in ("request_rate", "ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps")}
    assert asked == {
        "request_rate": "inf",
        "ramp_up_strategy": "linear",
        "ramp_up_start_rps": 1,
        "ramp_up_end_rps": 2.5,
    }


def test_without_a_success_numbers_are_null_and_none_is_zero():
    told = of([failure(0), failure(1)])
    assert told["completed"] == 0
    assert told["mean_ttft_ms"] is None
    assert told["p95_itl_ms"] is None
    json.dumps(told, allow_nan=False)


def test_metadata_stands_behind_num_prompts_and_the_label_names_the_file():
    options = Options(label="nightly", metadata=(("tp", "1"),))
    told = of([record(0), record(1)], options=options)
    keys = list(told)
    assert keys[keys.index("num_prompts") + 1] == "tp"
    assert (told["label"], told["tp"]) == ("nightly", "1")


def test_one_file_per_stage_under_vllms_names():
    made = vllm.export(run(ladder(), *LADDER), Options())
    names = [document.name for document in made.documents]
    assert [name.rsplit("-", 2)[0] for name in names] == [
        "openai-chat-infqps-concurrency1-tiny",
        "openai-chat-infqps-concurrency2-tiny",
    ]
    assert [json.loads("".join(document.pieces))["max_concurrency"] for document in made.documents] == [1, 2]
    twice = vllm.export(run(ladder(), *LADDER), Options(result_filename="out.json"))
    assert [document.name for document in twice.documents] == ["out-0.json", "out-1.json"]


def test_a_run_that_lost_its_context_has_unknown_dates():
    made = run([record(0), record(1)], ClosedLoop(concurrency=1), context={})
    told = vllm.document(made, parts(made)[0], Options())
    assert told["date"] == "unknown"
    assert told["benchmark_start_time_unix"] is None
