"""The page: complete, self-contained, and deaf to what servers say in it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest

from inferometer.analysis.metrics import METRICS
from inferometer.report.html import page
from inferometer.report.markup import markdown
from reported_run import HOSTILE, content

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Outline(HTMLParser):
    """Elements that are open, ids, links, and the text outside of scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.text: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if told.get("id"):
            self.ids.append(str(told["id"]))
        if tag == "a":
            self.links.append(str(told.get("href")))
        self.sources += [str(told[name]) for name in ("src", "srcset", "data") if name in told]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


@pytest.fixture(scope="module")
def whole() -> str:
    return page(content())


@pytest.fixture(scope="module")
def outline(whole: str) -> Outline:
    found = Outline()
    found.feed(whole)
    return found


def specs(text: str) -> dict[str, dict[str, object]]:
    found = re.search(r'<script type="application/json" id="specs">(.*?)</script>', text, re.DOTALL)
    assert found
    read: dict[str, dict[str, object]] = json.loads(found[1])
    return read


def test_elements_are_closed_and_ids_differ(outline: Outline) -> None:
    assert (outline.wrong, outline.open) == ([], [])
    assert len(outline.ids) == len(set(outline.ids))


def test_every_link_leads_to_a_place_on_the_page(outline: Outline) -> None:
    assert outline.links
    assert {link.removeprefix("#") for link in outline.links} <= set(outline.ids)


def test_nothing_is_loaded_from_anywhere(whole: str, outline: Outline) -> None:
    assert outline.sources == []
    assert "default-src 'none'" in whole
    assert "unsafe-eval" not in whole[:2000]
    assert len(whole.encode()) < 3_000_000


def test_what_a_server_says_stays_text(whole: str, outline: Outline) -> None:
    assert outline.open == []
    assert HOSTILE not in whole
    assert " ".join(HOSTILE.split()) in "".join(outline.text)
    assert "<script>document.title" not in whole
    assert "<" not in json.dumps(specs(whole)).replace("<", "", 0) or "</script" not in str(specs(whole)).lower()


def test_verdict_and_context_come_before_charts(whole: str) -> None:
    places = [whole.index(f'id="{name}"') for name in ("verdict", "context", "sweep", "distributions", "definitions")]
    assert places == sorted(places)


def test_a_chart_for_everything_that_was_measured(whole: str, outline: Outline) -> None:
    drawn = specs(whole)
    expected = {f"{kind}-{metric}" for kind in ("cdf", "histogram") for metric in ("ttft", "itl", "tpot", "e2el")}
    expected |= {"sweep-throughput", "sweep-ttft", "sweep-itl", "sweep-e2el", "heat-ttft", "heat-e2el", "timeline"}
    expected |= {"time-in-flight", "time-throughput", "time-failures", "server-kv-cache-usage"}
    assert expected <= set(drawn)
    assert set(drawn) <= set(outline.ids)


def test_one_stage_has_no_sweep() -> None:
    drawn = specs(page(content(levels=(4,))))
    assert "cdf-ttft" in drawn
    assert not [name for name in drawn if name.startswith(("sweep-", "trade-"))]


def test_a_run_with_no_request_still_has_a_page() -> None:
    empty = content()
    summary = {**empty.summary, "stages": []}
    text = page(content(summary=summary, pictures=None, server=[], thresholds=()))
    found = Outline()
    found.feed(text)
    assert (found.wrong, found.open) == ([], [])
    assert "INVALID" in text


def test_limits_have_ticks_and_crosses_with_words(outline: Outline) -> None:
    text = "".join(outline.text)
    assert "✓ met" in text
    assert "✗ missed" in text
    assert "ttft_p95_ms<=50" in text


def test_every_metric_is_one_click_from_its_definition(outline: Outline) -> None:
    assert {f"def-{metric.name}" for metric in METRICS} <= set(outline.ids)
    assert {"#def-ttft", "#def-itl", "#def-requests_per_s"} <= set(outline.links)


def test_context_says_what_is_unknown(outline: Outline) -> None:
    text = "|".join(outline.text)
    assert "GPU|NVIDIA L4" in text
    assert "Kubernetes|unknown" in text


def test_markdown_of_definitions_becomes_elements() -> None:
    text = markdown(
        "# Title\n\nA *word* and `code<`.\n\n| name | x |\n| --- | --- |\n| `ttft` | 1 |\n\n- one\n- two **b**"
    )
    assert text == (
        "<h3>Title</h3>\n<p>A <em>word</em> and <code>code&lt;</code>.</p>\n"
        '<div class="wide" tabindex="0"><table class="words"><thead><tr><th scope="col">name</th>'
        '<th scope="col">x</th></tr></thead><tbody><tr id="def-ttft"><td><code>ttft</code></td><td>1</td></tr>'
        "</tbody></table></div>\n<ul><li>one</li><li>two <strong>b</strong></li></ul>"
    )
