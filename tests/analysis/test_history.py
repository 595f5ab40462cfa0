from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from drawn_runs import summary_of

from inferometer.analysis import history
from inferometer.analysis.history import Point, change_points, trends


def test_a_change_is_found_where_it_was_made() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(100, 3, 20), rng.normal(115, 3, 15), rng.normal(90, 3, 20)])
    found = change_points(values)
    assert [place for place, _ in found] == pytest.approx([20, 35], abs=1)
    assert all(p <= history.LEVEL for _, p in found)


def test_noise_has_few_changes() -> None:
    rng = np.random.default_rng(1)
    found = [change_points(np.exp(0.1 * rng.standard_normal(30)), seed) for seed in range(60)]
    assert np.mean([bool(places) for places in found]) <= 0.05


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0, 1.0], [5.0] * 40, [1.0, 1, 1, 1, 99, 1, 1, 1, 1, 1]])
def test_short_constant_and_odd_ones_out_have_no_change(values: list[float]) -> None:
    assert change_points(values) == []


def series(values: list[float], figure: str) -> list[Point]:
    return [
        Point(
            f"run-{number:03}",
            f"2026-01-{number + 1:02}",
            "tiny, 100/4 tokens",
            "concurrency 8",
            figure,
            value,
            None,
            None,
        )
        for number, value in enumerate(values)
    ]


@pytest.mark.parametrize(("figure", "worse"), [("ttft_p50_ms", True), ("output_tokens_per_s", False)])
def test_a_change_says_from_when_by_how_much_and_which_way(figure: str, worse: bool) -> None:
    rng = np.random.default_rng(2)
    values = [*rng.normal(100, 1, 10), *rng.normal(120, 1, 10)]
    (trend,) = trends(series(values, figure))
    (change,) = trend.changes
    assert (change.run, change.worse) == ("run-010", worse)
    assert change.share == pytest.approx(0.2, abs=0.02)
    assert (trend.runs, trend.unit) == (20, "ms" if figure == "ttft_p50_ms" else "tok/s")


def test_the_trend_is_the_median_slope() -> None:
    (trend,) = trends(series([10.0, 12.0, 14.0, 100.0, 18.0], "ttft_p50_ms"))
    assert trend.per_run == pytest.approx(2.0)
    assert (trend.first, trend.last, trend.most) == (10.0, 18.0, 100.0)


def test_points_come_from_many_summaries_by_start(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for number, started in enumerate(["2026-03-01", "2026-01-01", None]):
        folder = tmp_path / f"run-{number}"
        folder.mkdir()
        (folder / "summary.json").write_text(json.dumps(summary_of(rng, 2, 8, requests=20)))
        if started:
            (folder / "context.json").write_text(json.dumps({"started": started, "workers": []}))
    files = [sorted(map(str, tmp_path.glob(f"*/{name}.json"))) for name in ("summary", "context")]
    found = history.points(*files, ["ttft_p50_ms", "success_rate", "goodput_per_s"])
    assert list(dict.fromkeys(point.run for point in found)) == ["run-2", "run-1", "run-0"]
    assert len(found) == 3 * 2 * 2  # without SLOs there is no goodput
    assert {point.stage for point in found} == {"concurrency 2", "concurrency 8"}
    assert all(point.low is not None for point in found)
    assert {point.subject for point in found} == {"tiny, 100/4 tokens"}
    assert len(trends(found)) == 4


def test_another_model_or_length_is_another_history() -> None:
    short, long = series([1.0, 2.0], "ttft_p50_ms"), series([5.0, 6.0], "ttft_p50_ms")
    long = [msgspec.structs.replace(point, subject="tiny, 100/8 tokens") for point in long]
    assert [(trend.runs, trend.first) for trend in trends([*short, *long])] == [(2, 1.0), (2, 5.0)]


def test_no_files_have_no_points() -> None:
    assert history.points([], []) == []
    assert trends([]) == ()
