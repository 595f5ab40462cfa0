"""The page that has other tools' commands and ours side by side: its right side, and how a test runs a line of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from e2e.support import environment

PAGE = Path(__file__).parents[2] / "docs" / "coming-from.md"
_COMMAND = re.compile(r"(\w+=\S+ )*inferometer |ls |cat ")
_URL = re.compile(r"https?://[\w.-]+(:\d+)?")


class Done(NamedTuple):
    """A command of the page, where it was run, and what came of it."""

    command: str
    folder: Path
    code: int
    out: str
    err: str


def commands(title: str) -> list[str]:
    """Our commands below a heading of the page, in its order."""
    section = PAGE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| .* \| (.*) \|$", section, re.MULTILINE)
    found = [cell.strip("`") for cell in cells if cell.startswith("`")]
    return [command for command in found if _COMMAND.match(command)]


def only(listed: list[str] | Mapping[str, Done], *words: str) -> str:
    """The one command that has all these words."""
    (found,) = [command for command in listed if all(word in command.split() for word in words)]
    return found


def played(command: str, folder: Path, url: str, more: str = "", env: Mapping[str, str] | None = None) -> Done:
    """Run a command in a folder with the address of a simulator for all that it names, and more flags behind it."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    process = subprocess.run(
        ["bash", "-c", f"{_URL.sub(url, command)} {more}"],
        cwd=folder,
        env=environment(**paths, **(env or {})),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return Done(command, folder, process.returncode, process.stdout, process.stderr)


def all_played(
    listed: Mapping[str, str], place: Path, url: str, files: Mapping[str, str], env: Mapping[str, str]
) -> dict[str, Done]:
    """Each command with its further flags, in a folder of its own with these files; three at a time."""

    def one(number: int, command: str) -> Done:
        folder = place / str(number)
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return played(command, folder, url, listed[command], env)

    with ThreadPoolExecutor(3) as pool:
        return dict(zip(listed, pool.map(one, range(len(listed)), listed), strict=True))


def differences(sample: Mapping[str, Any], found: Mapping[str, Any], at: str = "") -> list[str]:
    """Keys of the sample that are not there, or have another type or nesting. A sample's leaves are types."""
    wrong = []
    for key, kind in sample.items():
        if key not in found:
            wrong.append(f"{at}{key} is missing")
        elif isinstance(kind, dict):
            wrong += differences(kind, found[key], f"{at}{key}.")
        elif not isinstance(found[key], kind):
            wrong.append(f"{at}{key} is a {type(found[key]).__name__}")
    return wrong
