"""Stages as flat rows: labels, the axis of a sweep, CSV."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferometer.report.points import axis, heading, labels, points, stages_csv
from reported_run import content


def stage(load: dict[str, Any], name: str | None = None) -> dict[str, Any]:
    return {"load": load, "name": name}


def closed(concurrency: int) -> dict[str, Any]:
    return {"type": "closed", "concurrency": concurrency}


def test_labels_differ() -> None:
    found = labels(
        [stage(closed(4)), stage(closed(8)), stage(closed(4)), stage(closed(4), "a name that is far too long")]
    )
    assert found == ["4 #1", "8", "4 #2", "a name that is far too long"]
    assert len(labels([stage(closed(1), "x" * 99)])[0]) == 28


@given(st.lists(st.sampled_from(["a", "a #1", "a #2", "a #1 #1"]), max_size=9))
def test_labels_differ_whatever_stages_are_called(names: list[str]) -> None:
    found = labels([stage(closed(1), name) for name in names])
    assert len(set(found)) == len(names)


@pytest.mark.parametrize(
    ("rows", "field", "log"),
    [
        ([("closed", 1), ("closed", 32)], "concurrency", True),
        ([("closed", 4), ("closed", 8)], "concurrency", False),
        ([("closed", 4), ("closed", 4)], "label", False),
        ([("open", 2.5), ("open", 5.0)], "rate_per_s", False),
        ([("open", "inf"), ("open", 5.0)], "label", False),
        ([("closed", 4), ("open", 5.0)], "label", False),
        ([("users", 10), ("users", 100)], "users", True),
        ([("trace", 4.0)], "label", False),
        ([], "label", False),
    ],
)
def test_axis_is_the_load_where_it_is_a_number(rows: list[tuple[str, Any]], field: str, log: bool) -> None:
    fields = {"closed": "concurrency", "users": "users"}
    made = [
        {"load_type": kind, fields.get(kind, "rate_per_s"): value, "name": None, "label": "x"} for kind, value in rows
    ]
    found = axis(made)
    assert (found.field, found.quantitative, found.log) == (field, field != "label", log)
    assert (heading(made) == "stage") == (field == "label")


def test_csv_has_every_stage_with_units_and_intervals() -> None:
    rows = list(csv.DictReader(io.StringIO(stages_csv(content().summary))))
    assert [row["concurrency"] for row in rows] == ["1", "4", "16"]
    wanted = points(content().summary)[1]
    assert float(rows[1]["ttft_p95_ms"]) == wanted["ttft_p95_ms"]
    assert float(rows[1]["ttft_p95_low_ms"]) <= float(rows[1]["ttft_p95_ms"]) <= float(rows[1]["ttft_p95_high_ms"])
    assert rows[0]["rate_per_s"] == ""


def test_csv_holds_no_formulas() -> None:
    summary = content().summary
    stages = [{**stage, "name": "=HYPERLINK(1)"} for stage in summary["stages"]]
    assert "\n=HYPER" not in stages_csv({**summary, "stages": stages}).replace(",", "\n")
