"""The parts of the documentation that are made from the code. ``python tests/docs/generated.py`` writes them anew.

A part stands between ``<!-- made: NAME -->`` and ``<!-- end -->``; NAME is a key of ``PARTS``.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

from inferometer.config.catalog.targets import catalog
from inferometer.config.flags import FLAGS
from inferometer.records.record import Outcome

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md")))
_FIELDS = {flag.path for flag in FLAGS}
_PART = re.compile(r"(<!-- made: ([\w -]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def flags(command: str) -> str:
    """A table of the flags of a command, as its parser has them, group by group."""
    parser = argparse.ArgumentParser(prog=f"inferometer {command}", add_help=False)
    import_module(f"inferometer.cli.{command}").arguments(parser)
    rows = [_flag_row(action) for action in parser._actions]
    has_fields = any(field for _, _, field in rows)
    header = ("flag", "meaning", "field of the plan") if has_fields else ("flag", "meaning")
    return _table(header, [row[: len(header)] for row in rows])


def _flag_row(action: argparse.Action) -> tuple[str, str, str]:
    values = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    names = ", ".join(action.option_strings)
    name = f"`{names}{values}{' ...' if action.nargs == '+' else ''}`" if names else f"`{action.metavar}`"
    text = (action.help or "").replace("%(default)s", f"default: {action.default}").replace("%%", "%")
    if action.choices:
        text += f": {', '.join(f'`{choice}`' for choice in action.choices)}"
    return name, text, f"`{action.dest}`" if action.dest in _FIELDS else ""


def targets() -> str:
    """The targets of the catalog."""
    return _table(("target", "what it is"), [(f"`{name}`", entry["description"]) for name, entry in catalog().items()])


def outcomes() -> str:
    """The closed list of outcomes, in one line."""
    return ", ".join(f"`{outcome}`" for outcome in Outcome) + ".\n"


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


PARTS: dict[str, Callable[[], str]] = {
    "flags of run": lambda: flags("run"),
    "flags of check": lambda: flags("check"),
    "flags of report": lambda: flags("report"),
    "flags of export": lambda: flags("export"),
    "flags of simulate": lambda: flags("simulate"),
    "flags of compare": lambda: flags("compare"),
    "targets": targets,
    "outcomes": outcomes,
}


def parts(page: Path) -> Iterator[tuple[str, str]]:
    """(name, text) of every made part of a page."""
    for match in _PART.finditer(page.read_text()):
        yield match[2], match[3]


def renew(page: Path) -> None:
    """Write the made parts of a page as the code has them now."""
    before = page.read_text()
    after = _PART.sub(lambda match: match[1] + PARTS[match[2]]() + match[4], before)
    if after != before:
        page.write_text(after)


if __name__ == "__main__":
    for each in PAGES:
        renew(each)
