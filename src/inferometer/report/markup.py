"""HTML from text: everything is escaped on its way in, and the Markdown of our own pages becomes elements."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

_CODE = re.compile(r"`([^`]+)`")
_STRONG = re.compile(r"\*\*([^*]+)\*\*")
_EMPHASIS = re.compile(r"\*([^*\s][^*]*)\*")
_NAME = re.compile(r"^<code>(\w+)</code>$")


def element(tag: str, content: str, **attributes: str) -> str:
    """An element with content that is HTML already; attribute values are escaped. ``cls`` is its class."""
    named = {("class" if name == "cls" else name.replace("_", "-")): value for name, value in attributes.items()}
    told = "".join(f' {name}="{escape(value)}"' for name, value in named.items())
    return f"<{tag}{told}>{content}</{tag}>"


def text(value: object) -> str:
    """A value as text of a page."""
    return escape(str(value))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, cls: str = "") -> str:
    """A table that scrolls by itself where the page is narrow. Cells are HTML; the first one names its row."""
    head = "".join(element("th", cell, scope="col") for cell in header)
    body = "".join(
        element(
            "tr",
            element("th", row[0], scope="row") + "".join(element("td", cell) for cell in row[1:]),
        )
        for row in rows
    )
    whole = element("table", element("thead", element("tr", head)) + element("tbody", body), cls=cls)
    return element("div", whole, cls="wide", tabindex="0")


def markdown(page: str) -> str:
    """Headings, paragraphs, tables and inline marks, as ``definitions.page`` and a reading have them.

    A row of a table whose first cell is one name in backquotes gets the anchor ``def-NAME``.
    """
    return "\n".join(_block(block) for block in re.split(r"\n\s*\n", page.strip()))


def inline(line: str) -> str:
    """Code, bold and emphasis of one paragraph."""
    return _EMPHASIS.sub(r"<em>\1</em>", _STRONG.sub(r"<strong>\1</strong>", _CODE.sub(r"<code>\1</code>", text(line))))


def _block(block: str) -> str:
    if block.startswith("#"):
        marks, _, title = block.partition(" ")
        return element(f"h{min(6, len(marks) + 2)}", inline(title))
    if block.startswith("|"):
        return _table(block)
    if block.startswith(("- ", "* ")):
        return element("ul", "".join(element("li", inline(item)) for item in _items(block)))
    return element("p", inline(" ".join(block.split("\n"))))


def _items(block: str) -> Iterator[str]:
    return (" ".join(item.split()) for item in re.split(r"^[-*] ", block, flags=re.MULTILINE) if item.strip())


def _table(block: str) -> str:
    lines = [[inline(cell.strip()) for cell in line.strip().strip("|").split("|")] for line in block.split("\n")]
    head = "".join(element("th", cell, scope="col") for cell in lines[0])
    body = "".join(_row(line) for line in lines[2:])
    whole = element("table", element("thead", element("tr", head)) + element("tbody", body), cls="words")
    return element("div", whole, cls="wide", tabindex="0")


def _row(cells: list[str]) -> str:
    inside = "".join(element("td", cell) for cell in cells)
    name = _NAME.match(cells[0])
    return element("tr", inside, id=f"def-{name[1]}") if name else element("tr", inside)
