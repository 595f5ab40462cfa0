from __future__ import annotations

import copy
import json

import pytest
import yaml
from exported_runs import LADDER, LIMITS, failure, ladder, record, run
from pydantic import ValidationError

from inferometer.config.models import ConversationWorkload, Lengths, OpenLoop, SharedPrefixWorkload, Users
from inferometer.export import llmd, report_v01, report_v02
from inferometer.export.documents import Options
from inferometer.export.run import parts

#: Made up after the schema, with what a client alone cannot fill in.
V01 = {
    "version": "0.1",
    "scenario": {
        "host": {
            "accelerator": [{"model": "H100", "memory": 80, "count": 2, "parallelism": {"tp": 2}}],
            "type": ["replica"],
        },
        "platform": {"engine": [{"name": "vllm", "version": "0.11.0", "args": {"--max-model-len": 8192}}]},
        "model": {"name": "org/some-model"},
        "load": {"name": "inference-perf", "args": {"load": {"type": "constant"}}, "metadata": {"stage": 0}},
    },
    "metrics": {
        "time": {"duration": 50.4},
        "requests": {
            "total": 100,
            "failures": 0,
            "input_length": {"units": "count", "mean": 2301.5, "p50": 2301},
            "output_length": {"units": "count", "mean": 250.2},
        },
        "latency": {
            "time_to_first_token": {"units": "ms", "mean": 55.6, "p99p9": 194.5},
            "time_per_output_token": {"units": "ms/token", "mean": 9.6},
        },
        "throughput": {"output_tokens_per_sec": 500.4, "total_tokens_per_sec": 5103.4},
        "resources": {"accelerator": [{"compute": {"utilization": {"units": "percent", "mean": 90}}}]},
    },
}
V02 = {
    "version": "0.2",
    "run": {
        "uid": "3f6a",
        "time": {"start": "2026-03-02T09:15:00+01:00", "duration": "PT50.4S"},
        "keywords": ["nightly"],
    },
    "scenario": {
        "stack": [
            {
                "metadata": {"label": "vllm-0", "cfg_id": "0f3c"},
                "standardized": {
                    "kind": "inference_engine",
                    "tool": "vllm",
                    "tool_version": "0.11.0",
                    "role": "replica",
                    "replicas": 1,
                    "model": {"name": "org/some-model"},
                    "accelerator": {"model": "H100", "count": 2, "parallelism": {"tp": 2}},
                },
                "native": {"args": {"--max-model-len": 8192}, "envars": {}},
            }
        ],
        "load": {
            "metadata": {"cfg_id": "1b2c"},
            "standardized": {
                "tool": "inference-perf",
                "tool_version": "0.6.1",
                "source": "random",
                "stage": 0,
                "rate_qps": 2.0,
                "concurrency": float("inf"),
                "input_seq_len": {"distribution": "gaussian", "value": 2304, "std_dev": 10, "min": 2280, "max": 2340},
                "prefix": {
                    "prefix_len": {"distribution": "fixed", "value": 2048},
                    "num_groups": 32,
                    "num_users_per_group": 32,
                    "num_prefixes": 1,
                },
            },
            "native": {"config": {"load": {"type": "constant"}}},
        },
    },
    "results": {
        "request_performance": {
            "aggregate": {
                "requests": {"total": 100, "failures": 0, "input_length": {"units": "count", "mean": 2301.5}},
                "latency": {"time_to_first_token": {"units": "s", "mean": 0.0556}},
                "throughput": {"request_rate": {"units": "queries/s", "mean": 2.0}},
            }
        },
        "observability": {
            "components": [
                {"component_label": "vllm-0", "aggregate": {"kv_cache_usage": {"units": "percent", "mean": 1.1}}}
            ]
        },
    },
}


def changed(document, path, value):
    """The document with one value changed; REMOVED takes it away."""
    made = copy.deepcopy(document)
    inner = made
    *way, last = path.split(".")
    for name in way:
        inner = inner[int(name) if name.isdigit() else name]
    inner[last] = value
    return made


def test_the_models_take_what_the_schemas_allow():
    report_v01.BenchmarkReport.model_validate(V01)
    report_v01.BenchmarkReport.model_validate(changed(V01, "metrics.new", 1))
    report_v02.BenchmarkReport.model_validate(V02)
    report_v02.BenchmarkReport.model_validate(changed(V02, "results.observability.goodput", {"good": 1}))
    report_v02.BenchmarkReport.model_validate(changed(V02, "results", {}))
    statistics = "results.request_performance.aggregate.latency.time_to_first_token.p42"
    report_v02.BenchmarkReport.model_validate(changed(V02, statistics, 1))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", 0.1),
        ("scenario.load.name", "inferometer"),
        ("scenario.host.type", ["replica", "replica"]),
        ("scenario.platform.engine", []),
        ("metrics.latency.time_to_first_token.units", "count"),
        ("metrics.resources.accelerator", [{"compute": {}}]),
        ("metrics.requests.input_length", None),
    ],
)
def test_v01_refuses(path, value):
    with pytest.raises(ValidationError):
        report_v01.BenchmarkReport.model_validate(changed(V01, path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", "0.1"),
        ("run.submitter", "me"),
        ("results.goodput", 1),
        ("scenario.load.standardized.rate_qps", 0),
        ("scenario.load.standardized.concurrency", 8.0),
        ("scenario.load.standardized.concurrency", 0),
        ("scenario.load.standardized.input_seq_len.distribution", "normal"),
        ("scenario.load.native.extra", 1),
        ("run.time.duration", "50 s"),
        ("results.request_performance.aggregate.throughput.request_rate.units", "tokens/s"),
        ("results.request_performance.aggregate.requests.total", 1.5),
    ],
)
def test_v02_refuses(path, value):
    with pytest.raises(ValidationError):
        report_v02.BenchmarkReport.model_validate(changed(V02, path, value))


@pytest.mark.parametrize(("version", "prefix"), [("0.1", "benchmark_report"), ("0.2", "benchmark_report_v0.2")])
def test_a_report_of_each_version_for_each_stage_as_the_guide_lists_them(version, prefix):
    make = {"0.1": llmd.export_v01, "0.2": llmd.export_v02}[version]
    made = make(run(ladder(), *LADDER), Options()).documents
    assert [document.name for document in made] == [
        f"{prefix},_stage_{stage}_lifecycle_metrics.json.yaml" for stage in (0, 1)
    ]
    for document in made:
        told = yaml.safe_load("".join(document.pieces))
        assert told["version"] == version
        {"0.1": report_v01, "0.2": report_v02}[version].BenchmarkReport.model_validate(told)


def test_figures_and_what_the_schemas_have_no_place_for():
    made = run(ladder(), *LADDER, slos=LIMITS)
    old, new = llmd.v01(made, parts(made)[1]), llmd.v02(made, parts(made)[1])
    aggregate = new["results"]["request_performance"]["aggregate"]
    assert old["metrics"]["latency"] == aggregate["latency"]
    assert aggregate["latency"]["time_to_first_token"]["mean"] == pytest.approx(0.0695)
    assert aggregate["latency"]["inter_token_latency"]["units"] == "s/token"
    assert (aggregate["requests"]["total"], aggregate["requests"]["failures"]) == (21, 1)
    assert old["metrics"]["throughput"]["total_tokens_per_sec"] == pytest.approx(2080 / 1.105)
    assert aggregate["throughput"]["total_token_rate"]["mean"] == pytest.approx(2080 / 1.105)
    assert new["scenario"]["load"]["standardized"]["concurrency"] == 2
    assert new["scenario"]["load"]["standardized"]["stage"] == 1
    assert "output_seq_len" not in new["scenario"]["load"]["standardized"]
    assert new["results"]["observability"]["goodput"]["good_requests"] == 20
    assert new["results"]["observability"]["inferometer"]["verdict"]
    assert old["metrics"]["time"]["start"] == pytest.approx(1_772_439_303.0)
    assert new["run"]["time"]["start"] == "2026-03-02T08:15:03+00:00"
    assert new["run"]["uid"] != llmd.v02(made, parts(made)[0])["run"]["uid"]
    assert new["run"]["uid"] == llmd.v02(made, parts(made)[1])["run"]["uid"]


@pytest.mark.parametrize(("rate", "told"), [(2.5, 2.5), (float("inf"), "inf")])
def test_rates_are_in_the_load(rate, told):
    made = run([record(0), record(1, sent_ms=50)], OpenLoop(rate=rate))
    assert llmd.v02(made, parts(made)[0])["scenario"]["load"]["standardized"]["rate_qps"] == told


def test_where_nothing_succeeded_v02_says_so_and_v01_cannot():
    made = run([failure(0), failure(1)])
    exported = llmd.export_v01(made, Options())
    assert exported.documents == []
    assert "stage 1 has no time to first token" in exported.notes[0]
    aggregate = llmd.v02(made, parts(made)[0])["results"]["request_performance"]["aggregate"]
    assert aggregate["requests"] == {"total": 2, "failures": 2, "incomplete": 0}
    assert "latency" not in aggregate


def test_reports_can_be_json():
    made = llmd.export_v02(run(ladder(), *LADDER), Options(as_json=True))
    assert made.documents[0].name == "benchmark_report_v0.2,_stage_0_lifecycle_metrics.json"
    assert json.loads("".join(made.documents[0].pieces))["version"] == "0.2"


def test_shared_prefixes_turns_and_users_are_in_the_load():
    records = [record(0), record(1, sent_ms=50)]
    prefixed = run(
        records, Users(users=3), workload=SharedPrefixWorkload(groups=4, prompts_per_group=5, ignore_eos=True)
    )
    told = llmd.v02(prefixed, parts(prefixed)[0])["scenario"]["load"]["standardized"]
    assert told["concurrency"] == 3
    assert (told["prefix"]["num_groups"], told["prefix"]["num_users_per_group"]) == (4, 5)
    assert told["output_seq_len"] == {"distribution": "fixed", "value": 128}
    talking = run(records, workload=ConversationWorkload(turns=Lengths(min=2, max=6)))
    told = llmd.v02(talking, parts(talking)[0])["scenario"]["load"]["standardized"]
    assert told["multi_turn"]["max_turns"] == {"distribution": "uniform", "value": 4.0, "min": 2, "max": 6}
    assert told["source"] == "random"
