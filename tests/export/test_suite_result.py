from __future__ import annotations

import json
from dataclasses import replace

import pytest
from exported_runs import LADDER, failure, ladder, record, run

from inferometer.config.models import ModelShare
from inferometer.export import suite
from inferometer.export.documents import Options


def test_keys_of_the_page():
    told = suite.document(run([record(i, sent_ms=100 * i) for i in range(10)]))
    assert list(told) == ["timestamp", "target", "scenario", "base_url", "model", "results"]
    assert list(told["results"])[:9] == [
        "total_requests", "successful", "failed", "success_rate", "ttft_ms", "tpot_ms", "latency_s", "throughput",
        "mlperf_compliant",
    ]  # fmt: skip
    assert list(told["results"]["ttft_ms"]) == ["mean", "p50", "p95", "p99"]
    assert list(told["results"]["throughput"])[:2] == ["tokens_per_sec", "requests_per_sec"]
    assert told["results"]["throughput"]["total_tokens"] == 10 * told["results"]["throughput"]["avg_tokens_per_request"]


def test_all_stages_are_one_result_with_units_of_the_page():
    told = suite.document(run(ladder(), *LADDER))["results"]
    assert (told["total_requests"], told["successful"], told["failed"]) == (41, 40, 1)
    assert told["success_rate"] == pytest.approx(100 * 40 / 41)
    assert told["ttft_ms"]["p50"] == pytest.approx(64.5)
    assert told["latency_s"]["mean"] == pytest.approx((0.0895 + 0.1055) / 2)
    seconds = (19 * 90 + 50 + 19 + 30) / 1000 + 1.105
    assert told["throughput"]["tokens_per_sec"] == pytest.approx(160 / seconds)
    assert told["mlperf_compliant"] is True
    assert [stage["load"]["concurrency"] for stage in told["stages"]] == [1, 2]
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(
    ("ttft_ms", "gap_ms", "standard", "interactive"),
    [
        (500, 30, True, True),
        (501, 30, True, False),
        (500, 31, True, False),
        (2001, 1, False, False),
        (1, 101, False, False),
    ],
)
def test_levels_are_met_up_to_their_limit(ttft_ms, gap_ms, standard, interactive):
    told = suite.document(run([record(0, ttft_ms=ttft_ms, gaps_ms=(gap_ms,))]))["results"]
    assert (told["mlperf_compliant"], told["mlperf_interactive"]) == (standard, interactive)


def test_what_was_not_measured_never_complies():
    told = suite.document(run([failure(0), failure(1)]))["results"]
    assert told["mlperf_compliant"] is False
    assert told["mlperf_measured"] is False
    assert told["ttft_ms"] == {"mean": None, "p50": None, "p95": None, "p99": None}


def test_several_models_have_a_file_each_and_a_comparison():
    names = ("org/a", "b")
    records = [record(i, sent_ms=100 * i, ttft_ms=50 + 10 * (i % 2), model=names[i % 2]) for i in range(20)]
    made = suite.export(of_models(records, names), Options(result_filename="x.json"))
    assert [document.name for document in made.documents] == ["x_org_a.json", "x_b.json", "x_comparison.json"]
    told = json.loads("".join(made.documents[2].pieces))
    assert told["models_tested"] == 2
    assert list(told["results"][0]) == [
        "model", "ttft_p50", "ttft_p95", "tpot_p50", "tpot_p95", "throughput", "error_rate", "mlperf_compliant",
    ]  # fmt: skip
    assert [row["ttft_p50"] for row in told["results"]] == pytest.approx([0.05, 0.06])
    assert told["best"]["ttft_p50"] == "org/a"
    assert json.loads("".join(made.documents[1].pieces))["model"] == "b"


def of_models(records, names):
    made = run(records)
    target = made.plan.target.model_copy(update={"models": tuple(ModelShare(name=name) for name in names)})
    return replace(made, plan=made.plan.model_copy(update={"target": target}))
