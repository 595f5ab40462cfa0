"""Terminal output on stdin -> an SVG picture of it on stdout, for ``docs/images``."""

from __future__ import annotations

import io
import re
import sys

from rich.console import Console
from rich.text import Text

FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"


def picture(text: str, title: str) -> str:
    """The text, ANSI colours included, in a terminal window. Pictures load no fonts, so that is left out."""
    lines = text.rstrip("\n").split("\n")
    width = max(Text.from_ansi(line).cell_len for line in lines)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(Text.from_ansi("\n".join(lines)), no_wrap=True, crop=False)
    svg = console.export_svg(title=title)
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return re.sub(r"font-family: (Fira Code|arial)[^;]*;", f"font-family: {FONT};", svg)


if __name__ == "__main__":
    print(picture(sys.stdin.read(), sys.argv[1]))
