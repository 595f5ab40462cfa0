"""The MLPerf levels on a page: the usual ones, or those of the scenario."""

from __future__ import annotations

from inferometer.config.levels import Level, Levels
from inferometer.report.indicators import mlperf_rows
from inferometer.report.sections import limits
from reported_run import content


def test_the_usual_levels_are_those_of_the_suite() -> None:
    rows = mlperf_rows(content().summary)
    assert list(dict.fromkeys(row.what for row in rows))[:2] == [
        "Standard: TTFT p95 ≤ 2 s, TPOT p95 ≤ 100 ms",
        "Interactive: TTFT p95 ≤ 0.5 s, TPOT p95 ≤ 30 ms",
    ]


def test_levels_of_a_scenario_are_those_of_its_page() -> None:
    own = Levels(standard=Level(ttft_p95_ms=1, tpot_p95_ms=7)).model_dump(mode="json")
    plan = content().plan
    page = limits(content(plan=plan | {"scenario": plan["scenario"] | {"levels": own}}))
    assert "Standard: TTFT p95 ≤ 0.001 s, TPOT p95 ≤ 7 ms" in page
    assert "Standard: TTFT p95 ≤ 2 s" not in page
    rows = [row for row in mlperf_rows(content().summary, own) if row.what.startswith("Standard")]
    assert {row.met for row in rows} == {False}
