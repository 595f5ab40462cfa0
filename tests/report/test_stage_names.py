"""Loads that change in time are shown in words, and stages with names by them."""

from __future__ import annotations

from typing import Any

import pytest

from inferometer.report import tables


def stage(load: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"load": load, "throughput": None, "metrics": {}, "verdict": {"verdict": "VALID"}, **more}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_names_stand_before_the_load_if_there_are_any() -> None:
    closed = {"type": "closed", "concurrency": 4}
    stages = [stage(closed, name="10/50"), stage(closed, name=None), stage(closed)]
    lines = tables.sweep({"stages": stages}).splitlines()
    assert cells(lines[0])[:3] == ["stage", "concurrency", "req/s"]
    assert [cells(line)[:2] for line in lines[2:5]] == [["10/50", "4"], ["", "4"], ["", "4"]]
    assert len({len(cells(line)) for line in lines[:5]}) == 1
    assert "stage" not in tables.sweep({"stages": [stage(closed)]})


@pytest.mark.parametrize("words", ["1 to 20", "5, 0, 20", "2 to 18 sine", "trace x 2"])
def test_a_rate_that_changes_is_shown_in_words(words: str) -> None:
    changing = {"type": "trace" if "trace" in words else "open", "rate_per_s": words}
    lines = tables.sweep({"stages": [stage(changing), stage({"type": "open", "rate_per_s": 2.5})]}).splitlines()
    assert cells(lines[0])[0] == "rate (req/s)"
    assert [cells(line)[0] for line in lines[2:4]] == [words, "2.5"]
