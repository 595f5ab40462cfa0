"""The page in a real Chromium: nothing goes wrong, nothing is fetched, charts are there, every width can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Tab, browsing

from inferometer.report.html import page
from reported_run import content

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]
CHARTS = "[...document.querySelectorAll('.chart')]"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(page(content()), "utf-8")
    return path


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browsing(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_charts_are_drawn_and_fit(tab: Tab, report: Path, width: int, scheme: str) -> None:
    tab.open(report, width=width, scheme=scheme)
    assert tab.evaluate(f"{CHARTS}.length") > 20
    assert (
        tab.evaluate(f"{CHARTS}.filter(c => c.dataset.drawn != 'yes' || !c.querySelector('svg')).map(c => c.id)") == []
    )
    assert tab.evaluate(f"{CHARTS}.filter(c => !c.querySelector('svg .mark-group, svg g path')).map(c => c.id)") == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(f"{CHARTS}.every(c => c.querySelector('svg').getBoundingClientRect().width <= {width})")
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


def test_theme_can_be_switched(tab: Tab, report: Path) -> None:
    tab.open(report, scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    label = "getComputedStyle(document.querySelector('#sweep-ttft svg text')).fill"
    before = tab.evaluate(ground), tab.evaluate(label)
    tab.evaluate("document.getElementById('theme').click()")
    after = tab.evaluate(ground), tab.evaluate(label)
    assert before[0] != after[0]
    assert before[1] != after[1]
    tab.evaluate("document.getElementById('theme').click(); localStorage.clear()")


def test_a_click_opens_a_definition(tab: Tab, report: Path) -> None:
    tab.open(report)
    tab.evaluate("document.querySelector('a[href=\"#def-ttft\"]').click()")
    tab.evaluate("new Promise(done => setTimeout(done, 200))")
    assert tab.evaluate("document.getElementById('def-ttft').closest('details').open")


def test_another_stage_can_be_picked(tab: Tab, report: Path) -> None:
    tab.open(report)
    bars = "document.querySelector('#timeline svg').innerHTML"
    before = tab.evaluate(bars)
    tab.evaluate(
        "(s => { s.selectedIndex = 0; s.dispatchEvent(new Event('input', {bubbles: true})); "
        "s.dispatchEvent(new Event('change', {bubbles: true})) })(document.querySelector('#timeline select'))"
    )
    tab.evaluate("new Promise(done => setTimeout(done, 300))")
    assert tab.evaluate(bars) != before


def test_it_can_be_printed(tab: Tab, report: Path) -> None:
    tab.open(report, scheme="dark")
    tab.send("Emulation.setEmulatedMedia", media="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert tab.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"
    assert len(tab.send("Page.printToPDF", printBackground=True)["data"]) > 50_000
    tab.send("Emulation.setEmulatedMedia", media="")


def test_nothing_was_said_and_nothing_was_fetched(tab: Tab, report: Path) -> None:
    tab.open(report)
    assert tab.said("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded") == []
    fetched = {event["request"]["url"].partition(":")[0] for event in tab.said("Network.requestWillBeSent")}
    assert fetched <= {"file", "about", "data"}
    assert tab.evaluate("document.title") != "taken"
