from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferometer.analysis.alike import Difference
from inferometer.analysis.compare import compare
from inferometer.analysis.history import Point, trends
from inferometer.analysis.run_data import RunData, StageData
from inferometer.analysis.stats import Estimate
from inferometer.analysis.thresholds import Judged, parse
from inferometer.report import comparison as report


def run(label: str, ttft_ms: float, success: float = 1.0) -> RunData:
    figures = {
        "ttft_p50_ms": Estimate(ttft_ms, ttft_ms * 0.99, ttft_ms * 1.01, 100),
        "success_rate": Estimate(success, success - 0.005, min(1.0, success + 0.005), 100),
        "requests_per_s": Estimate(5.0, None, None, 100),
    }
    return RunData(label, (StageData("concurrency 8", figures),), {"model": f"model of {label}"})


@pytest.fixture
def three() -> report.Comparison:
    return compare([[run("old", 100.0)], [run("new", 120.0, 0.9)], [run("newer", 100.4)]])


def test_all_lines_of_a_table_are_as_long(three: report.Comparison) -> None:
    lines = report.table(three).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 2 + 3
    assert "new / old" in lines[0]


def test_changes_have_units_signs_and_what_they_mean(three: report.Comparison) -> None:
    shown = report.render(three)
    assert "+20.0 % [+18.3, +21.7]" in shown
    assert "-10.0 points" in shown
    assert "+0.0 % ?" in shown
    assert "-0.0" not in shown
    assert "new, concurrency 8: TTFT p50 100.0 ms -> 120.0 ms, 20.0 % slower" in " ".join(shown.split())
    assert "6 compared: 2 regressions, 2 same, 2 not judged." in shown
    assert shown.startswith("differs: model: old: model of old, new: model of new")


def test_text_of_servers_steers_no_terminal_breaks_no_table_and_is_no_formula() -> None:
    odd = "=1+1\x1b[31m|red\nline"
    runs = [
        RunData(label, (StageData(odd, {"ttft_p50_ms": Estimate(9.0, 8.0, 10.0, 9)}),), {"model": odd + label})
        for label in ("a", "b")
    ]
    compared = compare([[run] for run in runs])
    assert "\x1b" not in "\n".join([*report.differing(compared), report.table(compared)])
    assert len({line.count("|") for line in report.table(compared).splitlines()}) == 1
    assert next(csv.DictReader(io.StringIO(report.as_csv(compared))))["stage"] == f"'{odd}"


def test_the_verdict_names_the_largest_change(three: report.Comparison) -> None:
    found = report.verdict(three)
    assert list(found) == ["new", "newer"]
    assert found["new"] == (
        "worse",
        (
            "2 of 3 figures got worse, most of all TTFT p50 at concurrency 8 (+20.0 % [+18.3, +21.7]). "
            "1 cannot be told from noise."
        ),
    )
    assert found["newer"][0] == "no change"
    assert report.verdict(compare([[run("a", 100.0)], [run("b", 80.0)]]))["b"][0] == "better"
    assert report.verdict(compare([[run("a", 100.0)], [run("b", 80.0, 0.9)]]))["b"][0] == "mixed"


def test_single_runs_say_what_they_do_not_know(three: report.Comparison) -> None:
    assert "One run each" in report.render(three)
    repeats = compare([[run("old", 100.0), run("old", 101.0)], [run("new", 100.0)]])
    assert "Runs: old 2, new 1." in report.render(repeats)


def test_csv_has_a_line_for_each_row(three: report.Comparison) -> None:
    rows = list(csv.DictReader(io.StringIO(report.as_csv(three))))
    assert [row["label"] for row in rows] == ["new"] * 3 + ["newer"] * 3
    assert float(rows[0]["change"]) == pytest.approx(0.2)
    assert rows[0]["outcome"] == "regression"
    assert next(row for row in rows if row["figure"] == "requests_per_s")["p"] == ""


@given(st.lists(st.text(max_size=200), min_size=2, max_size=4))
def test_a_fact_is_told_whatever_its_values(values: list[str]) -> None:
    labels = [f"run {number}" for number in range(len(values))]
    shown = report.difference(Difference("warn", "client", tuple(values), "why"), labels)
    assert shown.startswith("warning: client: run 0:")
    assert max(map(len, shown.splitlines())) <= max(report.WIDTH, *map(len, values), 0) + 10


def test_ticks_and_crosses() -> None:
    judged = [
        Judged(parse("ttft_p50<=1"), "concurrency 8", 2.0, met=met, certain=True, sentence="TTFT p50 2 ms")
        for met in (True, False)
    ]
    assert report.ticks(judged) == "✓ concurrency 8: TTFT p50 2 ms\n✗ concurrency 8: TTFT p50 2 ms"
    assert report.ticks(judged, unicode=False).isascii()


def test_history_is_a_table_and_a_sentence_for_each_change() -> None:
    values = [*([99.0, 101.0] * 5), *([121.0, 119.0] * 5)]
    points = [
        Point(f"r{n:02}", f"t{n:02}", "tiny", "concurrency 8", "ttft_p50_ms", v, None, None)
        for n, v in enumerate(values)
    ]
    shown = report.history(trends(points))
    assert "TTFT p50 is worse from r10 (t10) on: 100.0 ms -> 120.0 ms, +20.0 %" in " ".join(shown.split())
    assert (
        report.history_csv(trends(points)).splitlines()[1].startswith("tiny,concurrency 8,ttft_p50_ms,ms,20,99.0,119.0")
    )
    assert "no history" in report.history([])
