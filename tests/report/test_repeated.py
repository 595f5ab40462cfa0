"""Repeats of a stage in every form of a report: one table with the spread between them."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from inferometer.analysis.frame import from_table
from inferometer.analysis.summary import summarise
from inferometer.config.models import Plan
from inferometer.report import repeated
from inferometer.report.charts import trade
from inferometer.report.console import render
from inferometer.report.html import page
from inferometer.report.markdown import record
from inferometer.report.plots import pictures
from inferometer.report.points import points, stages_csv
from inferometer.report.run_context import context_rows
from inferometer.report.tables import sweep
from reported_run import content, plan, rows

LEVELS = (4, 8, 4, 8)


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    """Two loads, each played twice."""
    document = plan(LEVELS).model_dump(mode="json")
    for number, stage in enumerate(document["scenario"]["stages"]):
        stage["repeat"] = 1 + number // 2
    document["scenario"] |= {"repeats": 2, "thresholds": ["ttft_p95<=1"]}
    return summarise(Plan.model_validate(document), from_table(rows(LEVELS)), [])


def test_a_line_for_each_load_with_the_spread(summary: dict[str, Any]) -> None:
    lines = repeated.table(summary).splitlines()
    assert [cell.strip() for cell in lines[0].split("|")[1:6]] == [
        "concurrency",
        "repeats",
        "req/s",
        "out tok/s",
        "goodput",
    ]
    assert [line.split("|")[1:3] for line in lines[2:4]] == [
        [" 4           ", " 2       "],
        [" 8           ", " 2       "],
    ]
    assert lines[2].count("±") == 9
    assert len({len(line) for line in lines[:4]}) == 1


def test_each_stage_stands_with_its_round(summary: dict[str, Any]) -> None:
    lines = sweep(summary).splitlines()
    told = [[cell.strip() for cell in line.split("|")[1:3]] for line in (lines[0], *lines[2:6])]
    assert told == [["concurrency", "round"], ["4", "1"], ["8", "1"], ["4", "2"], ["8", "2"]]


def test_pictures_draw_each_load_once(summary: dict[str, Any]) -> None:
    drawn = {picture.name: json.dumps(picture.spec) for picture in pictures(content(summary=summary))}
    assert '"4"' in drawn["throughput_vs_latency"]
    assert "#1" not in drawn["throughput_vs_latency"]


def test_lines_through_loads_go_by_load_and_not_by_the_order_of_play(summary: dict[str, Any]) -> None:
    repeats = [group | {"stage": stage} for group, stage in zip(summary["repeats"], (7, 2), strict=True)]
    drawn = trade(points({"stages": repeats}), "ttft", "TTFT").to_dict()
    (marks,) = drawn["datasets"].values()
    assert [(one["label"], one["order"]) for one in marks] == [("4", 0), ("8", 1)]
    assert drawn["layer"][0]["encoding"]["order"]["field"] == "order"


def test_the_context_tells_how_often_each_load_was_played(summary: dict[str, Any]) -> None:
    shown = dict(context_rows(content(LEVELS, summary=summary)))
    assert shown["Load pattern"] == "closed loop, concurrency 4, 8; each 2 times"


def test_without_repeats_nothing_is_said() -> None:
    told = content((1, 4)).summary
    assert (repeated.table(told), repeated.section(told)) == ("", "")
    assert 'id="repeats"' not in page(content((1, 4)))
    assert "as it was played" not in page(content((1, 4)))


def test_the_console_shows_repeats_together_then_each(summary: dict[str, Any]) -> None:
    shown = render(summary)
    assert shown.count("Serving Benchmark Result") == 2
    assert "concurrency 4: 2 repeats (stages 1, 3)" in shown
    assert shown.count("\n| 4 ") == 3
    assert "Thresholds: 2 of 2 missed." in shown


def test_the_page_draws_each_load_once(summary: dict[str, Any]) -> None:
    whole = page(content(LEVELS, summary=summary))
    assert 'id="repeats"' in whole
    assert "the lowest and the highest of the repeats" in whole
    assert whole.index("Each stage as it was played</summary>") < whole.index(">4 #2</th>")
    assert '"label":"4 #2"' in whole  # over time, each as it was played
    assert '"concurrency":4,"label":"4","verdict"' in whole


def test_records_and_csv_have_them(summary: dict[str, Any]) -> None:
    assert "### Repeats" in record(content(LEVELS, summary=summary))
    lines = list(csv.DictReader(io.StringIO(stages_csv(summary))))
    assert [line["stage"] for line in lines] == ["1", "2", "3", "4", "1 3", "2 4"]
    assert [line["repeats"] for line in lines] == ["", "", "", "", "2", "2"]
    told = summary["repeats"][0]["figures"]["requests_per_s"]
    assert (float(lines[4]["requests_per_s"]), float(lines[4]["requests_per_s_low"])) == (told["value"], told["low"])
