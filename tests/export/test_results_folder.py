"""The results folder of llm-d's guide: its listing, and what each file holds."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import pytest
import yaml
from exported_runs import LADDER, failure, ladder, run

from inferometer.config.foreign.origin import Origin, dump, parsed, without_secrets
from inferometer.export import results_folder
from inferometer.export.documents import Options, encoded

WORKLOAD = {
    "load": {"type": "concurrent", "stages": [{"num_requests": 20, "concurrency_level": 1}]},
    "server": {"base_url": "http://lab:8000", "api_key": "sk-1"},
    "tokenizer": {"pretrained_model_name_or_path": "org/tiny", "token": "hf_1"},
    "api": {"headers": {"Authorization": "Bearer 2", "x-team": "lab"}, "session_token_header_key": "x-next"},
    "data": {"shared_prefix": {"num_groups": 2}},
}
ORIGIN = Origin(
    format="llm-d",
    file="config.yaml",
    harness="inference-perf",
    workload="Shared_prefix",
    stack="lab-stack",
    document=without_secrets(WORKLOAD),
)
NAME = "inference-perf_1772439300_Shared_prefix_lab-stack"
#: Without the pictures.
LISTED = {
    "benchmark_report,_stage_0_lifecycle_metrics.json.yaml",
    "benchmark_report,_stage_1_lifecycle_metrics.json.yaml",
    "config.yaml",
    "per_request_lifecycle_metrics.json",
    "Shared_prefix.yaml",
    "stage_0_lifecycle_metrics.json",
    "stage_1_lifecycle_metrics.json",
    "stderr.log",
    "stdout.log",
    "summary_lifecycle_metrics.json",
}
PICTURES = {f"analysis/{name}.png" for name in ("latency_vs_qps", "throughput_vs_latency", "throughput_vs_qps")}
BESIDE = {
    "benchmark_report_v0.2,_stage_0_lifecycle_metrics.json.yaml",
    "benchmark_report_v0.2,_stage_1_lifecycle_metrics.json.yaml",
    "run_metadata.yaml",
}


def played(origin=ORIGIN):
    return replace(run(ladder(), *LADDER), name=NAME, origin=origin, log="it began\nit ended\n")


def texts(made):
    return {one.name: b"".join(encoded(one.pieces)).decode() for one in made.documents if one.name not in PICTURES}


def test_every_file_of_the_listing_and_nothing_else_but_what_came_later():
    made = results_folder.export(played(), Options())
    assert {document.name for document in made.documents} == LISTED | PICTURES | BESIDE
    drawn = next(document for document in made.documents if document.name == "analysis/latency_vs_qps.png")
    assert b"".join(encoded(drawn.pieces)).startswith(b"\x89PNG")


def test_what_they_hold():
    found = texts(results_folder.export(played(), Options()))
    assert found["stderr.log"] == "it began\nit ended\n"
    assert "Successful requests:" in found["stdout.log"]
    config = yaml.safe_load(found["config.yaml"])
    assert config["storage"]["local_storage"]["path"] == NAME
    assert config["load"]["stages"][1] == {"num_requests": 20, "concurrency_level": 2}
    told = yaml.safe_load(found["run_metadata.yaml"])
    assert told["experiment_id"] == "1772439300_Shared_prefix"
    assert (told["harness_name"], told["harness_rc"]) == ("inference-perf", 0)
    assert told["harness_delta"] == "PT4.105000S"
    assert told["harness_start"] == "2026-03-02T08:15:00+00:00"
    assert json.loads(found["summary_lifecycle_metrics.json"])["load_summary"]["count"] == 41


def test_the_workload_is_as_it_was_given_but_for_its_secrets():
    before = copy.deepcopy(WORKLOAD)
    told = yaml.safe_load(texts(results_folder.export(played(), Options()))["Shared_prefix.yaml"])
    wanted = copy.deepcopy(WORKLOAD)
    del wanted["server"]["api_key"], wanted["tokenizer"]["token"], wanted["api"]["headers"]["Authorization"]
    assert told == wanted
    assert before == WORKLOAD


def test_a_run_from_no_file_has_its_plan_in_their_words():
    found = texts(results_folder.export(played(None), Options()))
    told, config = yaml.safe_load(found["ladder.yaml"]), yaml.safe_load(found["config.yaml"])
    assert config.pop("storage")
    assert told == config
    assert yaml.safe_load(found["run_metadata.yaml"])["harness_workload"] == "ladder.yaml"


@pytest.mark.parametrize(("workload", "file"), [("config", "config_workload.yaml"), ("a/../b", "a_.._b.yaml")])
def test_no_workload_takes_the_name_of_another_file_or_leaves_the_folder(workload, file):
    found = texts(results_folder.export(played(ORIGIN.model_copy(update={"workload": workload})), Options()))
    assert set(found) == LISTED - {"Shared_prefix.yaml"} | BESIDE | {file}


def test_flags_of_vllm_have_their_table_apart():
    flat = ORIGIN.model_copy(
        update={"harness": "vllm-benchmark", "document": {"max-concurrency": 2, "header": "a-key=1"}}
    )
    found = texts(results_folder.export(played(flat), Options()))
    assert "Successful requests:" in found["analysis/summary.txt"]


def test_nothing_is_drawn_where_nothing_succeeded():
    made = results_folder.export(run([failure(0), failure(1)]), Options())
    names = {document.name for document in made.documents}
    assert not names & PICTURES
    assert "stage_0_lifecycle_metrics.json" in names
    assert any("stage 1 has no time to first token" in note for note in made.notes)


@pytest.mark.parametrize(
    ("report", "wanted"),
    [
        ({"request_lifecycle": {"per_request": False}}, False),
        ({"request_lifecycle": {"per_request": True}}, True),
        ({"request_lifecycle": {}}, True),
        (None, True),
    ],
)
def test_the_report_of_single_requests_is_left_out_where_nobody_wants_it(report, wanted):
    made = played(ORIGIN.model_copy(update={"document": {"report": report}}))
    assert results_folder.wants_requests(made) is wanted
    names = {one.name for one in results_folder.export(made, Options(), per_request=wanted).documents}
    assert ("per_request_lifecycle_metrics.json" in names) is wanted


def test_an_origin_comes_back_and_has_no_aliases():
    twice = {"a": 1}
    origin = ORIGIN.model_copy(update={"document": {"x": twice, "y": twice, 3: [twice]}})
    assert "&" not in dump(origin)
    assert parsed(dump(origin)) == origin
    assert parsed("just: words") is None
    assert parsed(": [") is None


def test_no_secret_is_kept():
    given = {
        "server": {"api_key": "S", "cert_path": "/c"},
        "backend": {"api-key": "S", "extras": {"headers": {"X-API-Key": "S", "x-team": "lab"}}},
        "header": ["x-api-key=S", "x-team=lab"],
        "list": [{"bearer_token": "S", "max_tokens": 4, "output_tokens": 5}],
    }
    assert without_secrets(given) == {
        "server": {"cert_path": "/c"},
        "backend": {"extras": {"headers": {"x-team": "lab"}}},
        "header": ["x-team=lab"],
        "list": [{"max_tokens": 4, "output_tokens": 5}],
    }
