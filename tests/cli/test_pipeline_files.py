"""The files of the evaluation pipeline: one of each kind for every stage that was played."""

from __future__ import annotations

import json
from pathlib import Path

from written_runs import write_run

from inferometer.analysis.load import summary_of
from inferometer.cli import pipeline
from inferometer.export.foreign.evaluation import results
from inferometer.records import store

TIME = "20260301_000000"


def test_rounds_have_a_result_each(tmp_path: Path) -> None:
    run = write_run(tmp_path / f"scenario_basic_{TIME}", 5, levels=(2,), repeats=3, name="basic")
    (run / store.SUMMARY).write_text(json.dumps(summary_of(run)))
    where = pipeline.Tree(tmp_path, tmp_path / "parsed", TIME)
    pipeline.keep(where, run, 0)
    natives = [json.loads(path.read_text()) for path in sorted(run.glob("benchmark_results*.json"))]
    assert len({told["mean_ttft_ms"] for told in natives}) == 3
    parsed = [json.loads(path.read_text()) for path in where.parsed.iterdir()]
    assert {told["meta"]["tasks"] for told in parsed} == {f"basic_c2-{number}" for number in range(3)}
    assert {one.scenario for one in results(tmp_path)} == {f"basic-{number}" for number in range(3)}
