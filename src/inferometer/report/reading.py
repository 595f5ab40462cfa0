"""What the numbers say, as text: findings of ``analysis.diagnosis`` and ``analysis.saturation``."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from inferometer.analysis.diagnosis import Finding

WIDTH = 100
TITLE = "What the numbers say"


def plain(findings: Sequence[Finding]) -> str:
    """Paragraphs for a terminal, without a line end at the end; "" without findings."""
    paragraphs = (f"- {one.title}. {one.text} {one.advice}".rstrip() for one in findings)
    wrapped = [textwrap.fill(text, WIDTH, subsequent_indent="  ", break_on_hyphens=False) for text in paragraphs]
    return "\n".join([f"{TITLE}:", *wrapped]) if wrapped else ""


def markdown(findings: Sequence[Finding]) -> str:
    """A heading and a list with bold titles, without a line end at the end; "" without findings."""
    items = [f"- **{one.title}.** {one.text} {one.advice}".rstrip() for one in findings]
    return "\n".join([f"## {TITLE}", "", *items]) if items else ""
