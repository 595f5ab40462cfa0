"""The page of a comparison: complete, self-contained, and deaf to what runs are called."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from compared_runs import compared, run
from test_html import Outline

from inferometer.analysis.compare import compare
from inferometer.analysis.sides import curves
from inferometer.report.comparison_charts import BASE_INK
from inferometer.report.comparison_page import CURVES, Compared, page
from inferometer.report.comparison_page import MOST_SENTENCES as MOST
from inferometer.report.junit import Case
from reported_run import HOSTILE


def read(whole: str) -> Outline:
    found = Outline()
    found.feed(whole)
    return found


def specs(whole: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(re.findall(r'id="specs">(.*?)</script>', whole, re.DOTALL)[0])
    return found


@pytest.fixture(scope="module")
def whole() -> str:
    return page(compared())


def test_it_is_one_file_that_loads_nothing(whole: str) -> None:
    outline = read(whole)
    assert (outline.wrong, outline.open, outline.sources) == ([], [], [])
    assert len(outline.ids) == len(set(outline.ids))
    assert {link[1:] for link in outline.links} <= set(outline.ids)
    assert len(whole) < 3_000_000
    assert "default-src 'none'" in whole


def test_the_verdict_stands_first(whole: str) -> None:
    text = " ".join(read(whole).text).rpartition("new against old")[2]
    order = ["new: worse", "figures got worse", "limits missed", "regressions", "What differs", "Changes", "In words"]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "The runs are not quite alike, in 1 respect" in text


def test_of_many_limits_those_that_are_kept_are_folded_away() -> None:
    kept = [Case("new: concurrency 1", f"kept_{number}", passed=True, sentence="fine") for number in range(MOST)]
    missed = Case("new: concurrency 1", "broken", passed=False, sentence="not fine")
    few, many = (page(msgspec.structs.replace(compared((1, 2)), cases=[*some, missed])) for some in (kept[:2], kept))
    assert few.index("broken") < few.index("kept_0")
    assert f"{MOST} kept</summary>" not in few
    assert many.index("broken") < many.index(f"<summary>{MOST} kept</summary>") < many.index("kept_0")


def test_no_symbol_of_a_legend_is_black_on_a_dark_ground() -> None:
    drawn = specs(page(compared((1, 2), others=3)))["forest-0"]
    shapes = [layer["encoding"]["shape"]["legend"] for layer in drawn["layer"] if "shape" in layer.get("encoding", {})]
    assert [(one["symbolFillColor"], one["symbolStrokeColor"]) for one in shapes] == [(BASE_INK, BASE_INK)]


def test_every_figure_of_every_stage_is_in_a_table(whole: str) -> None:
    text = " ".join(read(whole).text)
    assert text.count("TTFT p50") >= 5
    assert all(f"concurrency {level}" in text for level in (1, 2, 4, 8, 16))
    assert "not judged" in text


def test_text_of_runs_stays_text(whole: str) -> None:
    assert HOSTILE not in whole
    assert "&lt;img src=http://evil.example/x" in whole
    base, other = (replace(one, label=HOSTILE + one.label) for one in (run("a", 1, (1, 2)), run("b", 2, (1, 2))))
    groups = [[base], [other]]
    taken = page(Compared(compare(groups), curves(groups, CURVES)))
    assert "<script>document.title" not in taken
    assert read(taken).wrong == []


def test_forest_plots_are_about_figures_or_with_few_loads_about_stages(whole: str) -> None:
    names = [name for name in specs(whole) if name.startswith("forest-")]
    assert len(names) == len({row.figure for row in compared().comparison.rows})
    few = [name for name in specs(page(compared((2, 8)))) if name.startswith("forest-")]
    assert len(few) == 2


def test_curves_are_drawn_for_what_has_several_loads(whole: str) -> None:
    assert {"curve-ttft-p50-ms", "curve-output-tokens-per-s", "trade-ttft-p50-ms"} <= specs(whole).keys()
    alone = specs(page(compared((8,))))
    assert [name for name in alone if name.startswith(("curve", "trade"))] == []
    assert "forest-0" in alone


def test_several_runs_have_a_verdict_each() -> None:
    text = " ".join(read(page(compared((1, 8), others=3))).text)
    assert "new: worse" in text
    assert "run 0: no change" in text or "run 0: unclear" in text
    assert "run 1: no change" in text or "run 1: unclear" in text
