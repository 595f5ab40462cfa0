"""Names of the files that the suite's commands leave."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from inferometer.cli.suite_files import Names, ended, folder, names
from inferometer.config.models import Plan

BEGUN = datetime(2026, 1, 26, 17, 1, 7, tzinfo=UTC)


def plan(target: str, accelerator: str = "", scenario: str = "latency_benchmark") -> Plan:
    stages = [{"load": {"type": "closed", "concurrency": 1}, "num_requests": 1}]
    facts = {"gpu": accelerator} if accelerator else {}
    return Plan.model_validate(
        {"target": {"name": target, "facts": facts}, "scenario": {"name": scenario, "stages": stages}}
    )


def written(found: Names) -> list[str]:
    results = [ended(base, ".json") for base in (*found.results, found.comparison)]
    return [str(path) for path in (*results, *(ended(base, ".html") for base in found.reports))]


@pytest.mark.parametrize(
    ("plans", "begin"),
    [
        ([plan("gke-t4"), plan("tpu-v6e")], "comparison_"),
        ([plan("tpu-v6e"), plan("tpu-v6e")], "model_comparison_"),
        ([plan("a", scenario="pattern3_prefix_cache")], "pattern3_"),
    ],
)
def test_folders_have_the_names_of_the_page(plans: list[Plan], begin: str) -> None:
    assert folder(plans, BEGUN) == Path("results") / f"{begin}{BEGUN.astimezone():%Y%m%d_%H%M%S}"


def test_one_run_needs_no_folder() -> None:
    assert folder([plan("gke-t4")], BEGUN) is None


def test_a_gpu_and_a_tpu_have_the_files_of_the_page() -> None:
    plans = [plan("gke-t4", "T4 GPU"), plan("tpu-v6e", "TPU v6e (4 chips)")]
    found = names(plans, ["gke-t4", "tpu-v6e"], None, Path("c"))
    assert written(found) == [
        "c/gpu_results.json", "c/tpu_results.json", "c/comparison_report.json", "c/comparison_report.html"
    ]  # fmt: skip


@pytest.mark.parametrize("accelerator", ["", "T4 GPU", "GPU or TPU"])
def test_other_targets_have_files_of_their_names(accelerator: str) -> None:
    found = names([plan("a", "T4 GPU"), plan("b", accelerator)], ["a", "b"], None, Path("c"))
    assert written(found)[:2] == ["c/a_results.json", "c/b_results.json"]


def test_models_have_the_files_of_the_script() -> None:
    found = names([plan("t"), plan("t")], ["org/a", "b-1.5"], None, Path("m"))
    assert written(found) == [
        "m/results_org_a.json", "m/results_b-1.5.json", "m/results_comparison.json", "m/results_comparison.html"
    ]  # fmt: skip


def test_output_says_where_files_go_whatever_is_compared() -> None:
    found = names([plan("a", "GPU"), plan("b", "TPU")], ["a", "b"], Path("r/x.json"), Path("c"))
    assert written(found) == ["r/x_a.json", "r/x_b.json", "r/x_comparison.json", "r/x.html", "r/x_comparison.html"]
