"""Reading results of the evaluation pipeline: native, standardised, and runs of our own, one by one and in folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from exported_runs import directory, ladder

from inferometer.analysis.thresholds import judge, parse
from inferometer.errors import UserError
from inferometer.export import standardized
from inferometer.export.foreign.evaluation import native_of, results, stage_of

NATIVE: dict[str, Any] = {
    "date": "20260302-091500",
    "backend": "openai-chat",
    "model_id": "org/some-model",
    "tokenizer_id": "org/some-model",
    "num_prompts": 10,
    "request_rate": "inf",
    "burstiness": 1.0,
    "max_concurrency": 2,
    "duration": 12.4,
    "completed": 9,
    "total_input_tokens": 5120,
    "total_output_tokens": 1280,
    "request_throughput": 0.81,
    "output_throughput": 103.2,
    "total_token_throughput": 516.1,
    "mean_ttft_ms": 61.0,
    "median_ttft_ms": 59.8,
    "std_ttft_ms": 5.1,
    "p95_ttft_ms": 70.2,
    "mean_tpot_ms": 9.3,
    "benchmark_end_time_unix": 1_772_439_300,
}


def put(path: Path, told: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told))
    return path


def plain(told: dict[str, Any]) -> dict[str, Any]:
    return standardized.standardized(told, "light", "2026-03-02T08:15:00Z")


def test_a_standardised_result_says_what_the_native_one_says() -> None:
    again = native_of(plain(NATIVE))
    assert again == {key: value for key, value in NATIVE.items() if key != "benchmark_end_time_unix"}
    assert plain(again) == plain(NATIVE)


def test_only_the_metrics_asked_for_are_standardised() -> None:
    told = standardized.standardized(NATIVE, None, None, ("tpot",))
    assert list(told["performance"]["latency"]) == ["tpot_ms"]


def test_one_file_of_either_form(tmp_path: Path) -> None:
    native = results(put(tmp_path / "results.json", NATIVE))[0]
    assert (native.scenario, native.run, native.native["completed"]) == ("results", "", 9)
    assert native.time is not None
    assert native.time.isoformat() == "2026-03-02T08:15:00+00:00"
    told = results(put(tmp_path / "light_20260302_091500_standardized.json", plain(NATIVE)))[0]
    assert (told.scenario, told.run, told.native["completed"]) == ("light", "20260302_091500", 9)


def test_a_tree_is_read_once_with_the_names_of_its_scenarios(tmp_path: Path) -> None:
    for time in ("20260302_091500", "20260301_091500"):
        put(tmp_path / f"scenario_light_{time}" / "benchmark_results.json", NATIVE)
        put(tmp_path / f"scenario_heavy_load_{time}" / "openai-chat-infqps-some-model.json", NATIVE)
        put(tmp_path / "parsed" / f"light_{time}_standardized.json", plain(NATIVE))
    put(tmp_path / "scenario_steps_20260302_091500" / "benchmark_results_c8.json", NATIVE)
    put(tmp_path / "analysis_summary.json", {"total_scenarios": 2, "scenarios": {}})
    put(tmp_path / "list.json", [1])
    (tmp_path / "broken.json").write_text("{")
    found = results(tmp_path)
    assert sorted((one.run, one.scenario) for one in found) == [
        ("20260301_091500", "heavy_load"),
        ("20260301_091500", "light"),
        ("20260302_091500", "heavy_load"),
        ("20260302_091500", "light"),
        ("20260302_091500", "steps_c8"),
    ]
    assert [one.run for one in found] == sorted(one.run for one in found)
    assert {one.scenario for one in results(tmp_path / "parsed")} == {"light"}


def test_a_run_directory_is_read_with_its_own_thresholds(tmp_path: Path) -> None:
    run = directory(tmp_path / "here", ladder(), thresholds=("ttft_p95_ms<=60", "success_rate>=0.9"))
    found = results(run)
    assert [one.scenario for one in found] == ["ladder_c1", "ladder_c2"]
    assert [one.native["completed"] for one in found] == [20, 20]
    assert [[row["met"] for row in one.judged] for one in found] == [[False, True], [False, True]]
    assert [one.scenario for one in results(tmp_path)] == ["ladder_c1", "ladder_c2"]


@pytest.mark.parametrize(
    ("limit", "met"),
    [
        ("ttft_p95_ms<=200", True),
        ("ttft_p95_ms<=70", False),
        ("ttft_p50_ms<=60", True),
        ("throughput_min>=103", True),
        ("success_rate>=0.9", True),
        ("success_rate>=0.91", False),
        ("e2el_p95_ms<=1000000", False),
    ],
)
def test_thresholds_are_judged_on_what_the_file_says(limit: str, met: bool, tmp_path: Path) -> None:
    one = results(put(tmp_path / "light.json", NATIVE))[0]
    judged = judge({"stages": [stage_of(one)]}, [parse(limit)])
    assert [row.met for row in judged] == [met]
    assert judged[0].stage == "light: concurrency 2"


def test_numbers_that_are_none_are_not_known(tmp_path: Path) -> None:
    told = results(put(tmp_path / "x.json", NATIVE | {"p95_ttft_ms": float("nan"), "duration": float("inf")}))[0].native
    assert (told["p95_ttft_ms"], told["duration"]) == (None, None)


def test_nothing_to_read_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        results(tmp_path / "nowhere")
    with pytest.raises(UserError, match="no result that can be read"):
        results(tmp_path)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match="is not JSON"):
        results(tmp_path / "x.json")
