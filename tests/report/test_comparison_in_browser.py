"""The page of a comparison in a real Chromium: nothing goes wrong, nothing is fetched, every width can be read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import CHROMIUM, Tab, browsing
from compared_runs import compared

from inferometer.report.comparison_page import page

pytestmark = [pytest.mark.browser, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]
CHARTS = "[...document.querySelectorAll('.chart')]"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """By the number of other runs."""
    folder = tmp_path_factory.mktemp("pages")
    for others in (1, 3):
        (folder / f"{others}.html").write_text(page(compared(others=others)), "utf-8")
    return {others: folder / f"{others}.html" for others in (1, 3)}


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with browsing(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.mark.parametrize(
    ("others", "width", "scheme"), [(1, 1280, "light"), (1, 400, "dark"), (3, 400, "light"), (3, 1280, "dark")]
)
def test_charts_are_drawn_and_fit(tab: Tab, pages: dict[int, Path], others: int, width: int, scheme: str) -> None:
    tab.open(pages[others], width=width, scheme=scheme)
    assert tab.evaluate(f"{CHARTS}.length") > 12
    undrawn = f"{CHARTS}.filter(c => c.dataset.drawn != 'yes' || !c.querySelector('svg .mark-symbol')).map(c => c.id)"
    assert tab.evaluate(undrawn) == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(f"{CHARTS}.every(c => c.querySelector('svg').getBoundingClientRect().width <= {width})")
    dark = tab.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


def test_it_can_be_printed_and_nothing_was_said_or_fetched(tab: Tab, pages: dict[int, Path]) -> None:
    tab.open(pages[1], scheme="dark")
    tab.send("Emulation.setEmulatedMedia", media="print")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(tab.send("Page.printToPDF", printBackground=True)["data"]) > 50_000
    tab.send("Emulation.setEmulatedMedia", media="")
    assert tab.said("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded") == []
    fetched = {event["request"]["url"].partition(":")[0] for event in tab.said("Network.requestWillBeSent")}
    assert fetched <= {"file", "about", "data"}
    assert tab.evaluate("document.title") != "taken"
