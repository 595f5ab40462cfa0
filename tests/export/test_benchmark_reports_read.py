"""llm-d benchmark reports read as runs: what ours say comes back, and those of other tools are understood."""

from __future__ import annotations

import pytest
import yaml
from exported_runs import LADDER, ladder, record, run

from inferometer.analysis.run_data import from_summary
from inferometer.config.models import OpenLoop
from inferometer.errors import UserError
from inferometer.export import inference_perf, llmd, results_folder
from inferometer.export.documents import Options
from inferometer.export.foreign import benchmark_report
from inferometer.export.foreign import inference_perf as lifecycle
from inferometer.export.foreign.files import read
from inferometer.export.load import write
from inferometer.export.run import parts

#: As a converter of vLLM's results writes it: in ms, without a failure.
THEIRS = """\
version: "0.1"
scenario:
  model: {name: org/some}
  load: {name: vllm-benchmark, args: {max-concurrency: 4, num-prompts: 32}}
metrics:
  time: {duration: 5.4}
  requests: {total: 32, input_length: {units: count, mean: 128}, output_length: {units: count, mean: 64}}
  latency:
    time_to_first_token: {units: ms, mean: 33.1, p50: 32.0, p99p9: 54.0, stddev: 4.2, max: 60}
    inter_token_latency: {units: ms/token, mean: 10.2}
    request_latency: {units: years, mean: 1}
  throughput: {output_tokens_per_sec: 379.0, total_tokens_per_sec: 1137.0}
"""


def figures(stage):
    return {name: found.value for name, found in stage.figures.items()}


@pytest.mark.parametrize("write_one", [llmd.v01, llmd.v02])
@pytest.mark.parametrize("loads", [LADDER, (OpenLoop(rate=5.0), OpenLoop(rate=10.0))])
def test_our_own_say_what_the_lifecycle_reports_say(write_one, loads):
    made = run(ladder(), *loads)
    documents = [yaml.safe_load(yaml.safe_dump(write_one(made, part))) for part in parts(made)]
    assert all(benchmark_report.is_result(told) for told in documents)
    (got,) = benchmark_report.read("x", documents[::-1])  # in any order
    native = {inference_perf.stage_name(part): inference_perf.stage(made, part) for part in parts(made)}
    (wanted,) = lifecycle.read("x", native)
    ours = from_summary("x", made.summary)
    for stage, theirs, mine in zip(got.stages, wanted.stages, ours.stages, strict=True):
        assert figures(stage) == pytest.approx(figures(theirs))
        assert stage.key == theirs.key == mine.key
        assert stage.verdict == mine.verdict
        assert figures(stage)["success_rate"] == figures(mine)["success_rate"]
    assert got.context["model"] == "org/tiny"


def test_those_of_others_are_read_in_their_units(tmp_path):
    path = tmp_path / "benchmark_report,_results.json.yaml"
    path.write_text(THEIRS)
    (found,) = read(path)
    (stage,) = found.stages
    assert (stage.key, stage.verdict) == ("concurrency 4", "")
    assert figures(stage) == pytest.approx(
        {
            "ttft_mean_ms": 33.1,
            "ttft_p50_ms": 32.0,
            "ttft_p99.9_ms": 54.0,
            "itl_mean_ms": 10.2,
            "output_tokens_per_s": 379.0,
            "total_tokens_per_s": 1137.0,
            "success_rate": 1.0,
            "error_rate": 0.0,
        }
    )
    assert dict(found.context) == {"tool": "vllm-benchmark", "model": "org/some"}


def test_a_folder_of_both_versions_is_one_run_and_a_results_folder_is_its_native_reports(tmp_path):
    made = run([record(0), record(1, sent_ms=90)])
    for version, export in (("old", llmd.export_v01), ("new", llmd.export_v02)):
        write(export(made, Options()).documents, tmp_path / "reports")
        write(export(made, Options(as_json=True)).documents, tmp_path / version)
    (both,) = read(tmp_path / "reports")
    assert len(both.stages) == 1
    assert both.context["started"].startswith("2026-03-02")  # that of v0.2
    assert len(read(tmp_path / "old")[0].stages) == 1
    documents = results_folder.export(made, Options(as_json=True)).documents
    write([one for one in documents if not one.name.startswith("analysis")], tmp_path / "all")
    (native,) = read(tmp_path / "all")
    assert "e2el_p99.9_ms" in native.stages[0].figures


def test_what_only_looks_like_one_is_a_sentence(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text('version: "0.1"\nmetrics: {latency: {}}\n')
    with pytest.raises(UserError, match="looks like a result of llm-d benchmark report and is not one"):
        read(path)
    path.write_text("a: [")
    with pytest.raises(UserError, match="is not YAML"):
        read(path)
    path.write_text("target: {}\n")
    with pytest.raises(UserError, match="no result of another tool"):
        read(path)
