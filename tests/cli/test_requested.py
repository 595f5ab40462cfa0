"""What a run is asked to do, whichever way it is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from inferometer import cli

URL = "http://127.0.0.1:9"
OURS = """\
target: {base_url: "http://own:1"}
scenario: {stages: [{load: {type: closed, concurrency: 1}, num_requests: 1}]}
"""


@pytest.fixture(autouse=True)
def _nothing_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BASE_URL", "BENCH_MODEL", "MODEL_ENDPOINT", "CONFIG_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


def dry(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    assert cli.main(["run", *words, "--dry-run"]) == 0, capsys.readouterr().err
    return list(yaml.safe_load_all(capsys.readouterr().out))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(["run", *words]) == 2
    return capsys.readouterr().err


def test_all_models_of_several_targets_are_a_plan_each(capsys: pytest.CaptureFixture[str]) -> None:
    plans = dry(capsys, "--base-url", URL, "--target", "gke-t4", "tpu-v6e", "--scenario", "stress_test", "--all-models")
    assert [plan["target"]["name"] for plan in plans] == ["gke-t4"] * 4 + ["tpu-v6e"] * 4
    assert len({(plan["target"]["name"], plan["target"]["model"]) for plan in plans}) == 8
    assert not any(plan["target"]["all_models"] for plan in plans)


def test_all_models_without_a_scenario_are_mixed_in_one_load(capsys: pytest.CaptureFixture[str]) -> None:
    (plan,) = dry(capsys, "--base-url", URL, "--target", "gke-t4", "--all-models")
    assert plan["target"]["all_models"]


def test_mlperf_by_name_makes_thresholds(capsys: pytest.CaptureFixture[str]) -> None:
    (plan,) = dry(capsys, "--base-url", URL, "--mlperf", "deepseek-r1/interactive")
    assert plan["scenario"]["thresholds"] == ["ttft_p99_ms<=1500", "tpot_p99_ms<=15"]


def test_flags_win_over_a_command_line_of_vllm(capsys: pytest.CaptureFixture[str]) -> None:
    (plan,) = dry(capsys, "--vllm-args", "--num-prompts 9 --max-concurrency 2 --seed 3", "--num-prompts", "5")
    (stage,) = plan["scenario"]["stages"]
    assert (stage["num_requests"], stage["load"]["concurrency"], plan["seed"]) == (5, 2, 3)


def test_a_target_that_a_run_starts_itself_plays_scenarios_too(capsys: pytest.CaptureFixture[str]) -> None:
    (plan,) = dry(capsys, "--target", "smollm2", "--scenario", "load_test", "--concurrency", "2")
    assert plan["engine"]["kind"] == "llamacpp"
    assert [stage["load"]["users"] for stage in plan["scenario"]["stages"]] == [2]
    assert plan["scenario"]["workload"]["ignore_eos"]


def test_the_environment_of_the_job_counts_only_where_nothing_else_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASE_URL", "http://job:1")
    assert cli.main(["run", "--dry-run"]) == 2
    assert "BASE_URL is set and BENCH_MODEL is not" in capsys.readouterr().err
    monkeypatch.setenv("BENCH_MODEL", "m")
    assert dry(capsys)[0]["target"]["base_url"] == "http://job:1"
    assert dry(capsys, "--base-url", URL)[0]["target"]["base_url"] == URL
    assert dry(capsys, "--target", "simulator")[0]["target"]["name"] == "simulator"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--target", "gke-t4"), "set GKE_T4_URL to http"),
        (("--scenario", "quick_validation"), "give --target or --base-url"),
        (("--base-url", URL, "--scenario", "quick_validaton"), "did you mean 'quick_validation'"),
        (("--base-url", URL, "--scenario", "quick_validation", "--all-models"), "names none"),
        (
            ("--base-url", URL, "--target", "gke-t4", "--scenario", "load_test", "--all-models", "--model", "m"),
            "leave one",
        ),
        (("-c", "own.yaml", "-c", "own.yaml"), "-c twice is for targets.yaml"),
        (("-c", "own.yaml", "--format", "suit"), "did you mean 'suite'"),
        (("--base-url", URL, "--mlperf", "gpt"), "MLPerf has no model 'gpt'"),
        (("--base-url", URL, "--scenario", "load_test", "--max-tokens", "0"), "whole numbers from 1 on"),
    ],
)
def test_what_cannot_be(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[str, ...], sentence: str
) -> None:
    (tmp_path / "own.yaml").write_text(OURS)
    assert sentence in refused(capsys, *words)
    assert not (tmp_path / "results").exists()


def test_one_of_several_that_cannot_be_played_keeps_no_other_from_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    error = refused(
        capsys, "--base-url", URL, "--target", "gke-t4", "tpu-v6e", "--scenario", "quick_validation", "--run-dir", "r"
    )
    assert error.count("connection refused") == 2
    assert [name in error for name in ("inferometer: gke-t4: ", "inferometer: tpu-v6e: ")] == [True, True]


def test_the_files_of_the_suite_are_read_where_they_are(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    own = f'my-own: {{base_url: "{URL}", model: m, backend: vLLM}}\n'
    (tmp_path / "config" / "targets.yaml").write_text("targets: {}\ndefaults: {timeout: 600}\n" + own)
    (tmp_path / "config" / "test_scenarios.yaml").write_text("scenarios: {tiny: {num_requests: 3, concurrency: 1}}\n")
    (plan,) = dry(capsys, "--target", "my-own", "--scenario", "tiny")
    assert plan["target"]["base_url"] == URL
    assert plan["target"]["timeouts"]["total_s"] == 600
    assert plan["scenario"]["stages"][0]["num_requests"] == 3
    assert "set GKE_T4_URL" in refused(capsys, "--target", "gke-t4")  # not in the file: that of the catalog


def test_files_of_their_names_are_not_read_if_no_name_is_asked_for(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "targets.yaml").write_text("targets: [somebody else's,\n")
    assert dry(capsys, "--base-url", URL)[0]["target"]["base_url"] == URL  # type: ignore[index]
    assert "config/targets.yaml:2: not YAML" in refused(capsys, "--target", "gke-t4")


def test_a_server_without_a_file_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("MODEL_ENDPOINT", URL)
    assert "there is no configs/vllm_benchmark.json that says what to send there" in refused(capsys, "--dry-run")
    assert dry(capsys, "--base-url", "http://other:1")[0]["target"]["base_url"] == "http://other:1"  # type: ignore[index]
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "vllm_benchmark.json").write_text('{"scenarios": [{"name": "a", "max_concurrency": 1}]}')
    assert dry(capsys)[0]["target"]["base_url"] == URL  # type: ignore[index]
