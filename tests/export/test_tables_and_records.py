"""The standardised form, CSV and the Markdown record."""

from __future__ import annotations

import csv
import io
import json

import pytest
from exported_runs import CONTEXT, LADDER, failure, ladder, record, run

from inferometer.export import csv_files, markdown, standardized
from inferometer.export.documents import Options


def texts(made):
    return {document.name: "".join(document.pieces) for document in made.documents}


def test_the_tree_of_the_pipeline():
    found = texts(standardized.export(run(ladder(), *LADDER), Options()))
    names = list(found)
    assert [name.split("/")[0][:17] for name in names] == [
        "scenario_ladder_c",
        "parsed",
        "scenario_ladder_c",
        "parsed",
        "analysis_summary.",
    ]
    parsed = next(name for name in names if name.startswith("parsed/ladder_c1_"))
    assert parsed.endswith("_standardized.json")
    told = json.loads(found[parsed])
    assert list(told) == ["meta", "results", "performance"]
    assert list(told["meta"]) == ["run_id", "timestamp", "benchmark_name", "tasks", "model", "config"]
    assert told["meta"]["benchmark_name"] == "vllm_benchmark"
    assert told["meta"]["tasks"] == "ladder_c1"
    assert told["meta"]["timestamp"] == "2026-03-02T08:15:01Z"
    assert told["meta"]["config"] == {"num_prompts": 20, "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 1}
    assert list(told["performance"]["latency"]) == ["ttft_ms", "tpot_ms", "itl_ms", "e2el_ms"]
    assert set(told["performance"]["latency"]["ttft_ms"]) == {
        "mean",
        "median",
        "std",
        "p25",
        "p50",
        "p75",
        "p90",
        "p95",
        "p99",
    }
    assert told["performance"]["summary"]["completed_requests"] == 20


def test_the_analysis_counts_failures_and_leaves_unknown_null():
    found = texts(standardized.export(run(ladder(), *LADDER), Options()))
    told = json.loads(found["analysis_summary.json"])
    assert told["total_scenarios"] == 2
    assert told["scenarios"]["ladder_c2"]["success_rate"] == pytest.approx(20 / 21)
    assert list(told["scenarios"]["ladder_c1"]) == [
        "success_rate", "request_throughput", "output_throughput", "ttft_p95_ms", "tpot_mean_ms", "e2el_p95_ms",
    ]  # fmt: skip
    assert standardized.analysis({"x": {"completed": 3, "num_prompts": 4}}, "t")["scenarios"]["x"] == {
        "success_rate": 0.75,
        "request_throughput": None,
        "output_throughput": None,
        "ttft_p95_ms": None,
        "tpot_mean_ms": None,
        "e2el_p95_ms": None,
    }


def test_a_native_result_of_vllm_can_be_standardised():
    native = {
        "date": "20260302-091500", "model_id": "m", "tokenizer_id": "m", "backend": "openai-chat", "num_prompts": 4,
        "request_rate": "inf", "burstiness": 1.0, "max_concurrency": 2, "duration": 2.0, "completed": 4,
        "mean_ttft_ms": 60.0, "p99.9_ttft_ms": 70.0,
    }  # fmt: skip
    told = standardized.standardized(native, "light", None)
    assert told["performance"]["latency"] == {"ttft_ms": {"mean": 60.0, "p99.9": 70.0}}
    assert told["meta"]["run_id"] == "20260302-091500"


def test_csv_has_a_line_per_stage_with_the_same_columns():
    rows = list(
        csv.DictReader(io.StringIO(texts(csv_files.export_stages(run(ladder(), *LADDER), Options()))["stages.csv"]))
    )
    assert [row["concurrency"] for row in rows] == ["1", "2"]
    assert float(rows[0]["ttft_p50_ms"]) == pytest.approx(59.5)
    assert rows[1]["failed"] == "1"
    empty = csv_files.stage_rows(run([failure(0)]))
    assert empty[0]["requests_per_s"] == 0
    assert "ttft_p50_ms" not in empty[0]


def test_csv_of_requests_keeps_strange_texts():
    records = [record(0), failure(1, detail='a "word", and\na line')]
    rows = list(csv.DictReader(io.StringIO(texts(csv_files.export_requests(run(records), Options()))["requests.csv"])))
    assert [row["outcome"] for row in rows] == ["ok", "http_5xx"]
    assert rows[1]["detail"] == 'a "word", and\na line'
    assert rows[1]["first_token_ns"] == ""


def test_a_record_has_the_peaks_of_all_replicas_together():
    view = {
        "compared_with": "vllm",
        "engines": {"vllm": {"gauges": {name: gauge(*values) for name, values in TOLD.items()}}},
        "gpus": {"dcgm": {"gauges": {"gpu_utilisation": gauge(0.75, 1.0)}}},
    }
    made = run(ladder(), *LADDER)
    made.summary["stages"][1]["server"] = view
    found = markdown.peaks(made)
    assert list(found.values()) == [
        "75.0 % (of one replica 100.0 %)",
        "unknown",
        "50.0 % (of one replica 90.0 %)",
        "13 / unknown",
    ]
    assert set(markdown.peaks(run(ladder(), *LADDER)).values()) == {"unknown"}
    assert "| 13 / unknown " in markdown.record(made)


TOLD = {"requests_running": (13.0, 10.0), "kv_cache_usage": (0.5, 0.9)}


def gauge(peak, of_one):
    return {"unit": "", "mean": peak, "peak": peak, "peak_of_one": of_one, "samples": 9}


def test_a_record_says_what_is_unknown():
    told = markdown.record(run(ladder(), *LADDER))
    assert "| GPU           | unknown " in told
    assert "| concurrency |" in told
    assert "closed loop (fixed concurrency)" in told
    assert "256-token input / 128-token output" in told
    assert "**1 of 41 requests failed**" in told
    assert "2026-03-02T08:15:00Z" in told
    facts = run(ladder(), *LADDER, context=CONTEXT | {"facts": {"gpu": "1x L4"}})
    assert "1x L4" in markdown.record(facts)
