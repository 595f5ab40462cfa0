"""docs/conformance.md says what the tables of these tests say."""

import re
from pathlib import Path

from cases import CASES, Case
from framings import FRAMINGS
from test_framings import NOT_HTTP

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text()


def right(case: Case) -> str:
    tokens = "tokens unknown" if case.tokens is None else f"{case.tokens} tokens"
    ttft = f", TTFT {case.first_ms} ms" if case.at_ms else ""
    return f"`{case.outcome}`, {case.events} events, {tokens}{ttft}"


def test_every_case_is_listed_with_what_is_right() -> None:
    listed = re.findall(r"^\| `(\w+)` \| .+ \| (`\w+`, .+) \|$", PAGE, re.MULTILINE)
    assert listed == [(name, right(case)) for name, case in CASES.items()]


def test_every_framing_is_listed() -> None:
    listed = re.findall(r"^\| (.+) \| (yes|no) \|$", PAGE, re.MULTILINE)
    assert listed == [(name, "yes" if framing.reusable else "no") for name, framing in FRAMINGS.items()]


def test_what_is_not_http_is_listed() -> None:
    text = " ".join(PAGE.split())
    assert [what for what in NOT_HTTP if what not in text] == []
