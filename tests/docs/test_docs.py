"""The documentation is true: its commands run, its links lead somewhere, its tables are those of the code."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from generated import PAGES, PARTS, ROOT, parts

from inferometer import cli
from inferometer.analysis import validity
from inferometer.analysis.limits import LIMITS
from inferometer.config.models import Plan
from inferometer.records.record import COLUMNS

SERVER = "http://127.0.0.1:8000"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Step(NamedTuple):
    """A command, and the lines that must appear in its output in this order."""

    command: str
    shown: list[str]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in _BLOCK.findall(page.read_text()) if kind == language]


def steps(page: Path) -> Iterator[Step]:
    for block in blocks(page, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, *shown = part.rstrip("\n").split("\n")
            yield Step(command, [line for line in shown if line.strip() not in ("", "...")])


def plain(line: str) -> str:
    """A line of output without what differs between two runs: numbers, verdicts, widths of columns."""
    if line.strip().isdigit():
        return line.strip()  # an exit code
    line = re.sub(r"\d[\d.,]*( ?~)?", "#", line)
    line = re.sub(r"\b(VALID|CLIENT-LIMITED|INVALID)\b", "#", line)
    return " ".join(re.sub(r"-{2,}", "--", line).split())


def missing(shown: list[str], output: str) -> list[str]:
    """The lines from the first one on that the output does not have, or has in another order."""
    lines = map(plain, output.splitlines())
    for number, wanted in enumerate(shown):
        if not any(line.startswith(plain(wanted)) for line in lines):
            return shown[number:]
    return []


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    command = [sys.executable, "-m", "inferometer.simulator", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split()[-1]
        process.terminate()


@pytest.mark.skipif(shutil.which("timeout") is None, reason="the pages use timeout(1) of GNU coreutils")
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "console")], ids=name)
def test_commands_run_and_print_what_is_shown(page: Path, server: str, tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {"PATH": path, "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    for step in steps(page):
        done = subprocess.run(
            ["bash", "-c", step.command.replace(SERVER, server)],
            check=False,
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"$ {step.command}\n{done.stdout}"
        assert not missing(step.shown, done.stdout), f"$ {step.command}\n{done.stdout}"


def commands_not_run() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for block in blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                if line.startswith("inferometer "):
                    yield name(page), line


@pytest.mark.parametrize(("page", "line"), list(commands_not_run()))
def test_other_commands_have_right_flags(page: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, command, *words = shlex.split(line, comments=True)
    if command == "run":
        assert cli.main([command, *words, "--dry-run"]) == 0, capsys.readouterr().err
        return
    parser = argparse.ArgumentParser()
    import_module(f"inferometer.cli.{command}").arguments(parser)
    parser.parse_args(words)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_made_parts_are_up_to_date(page: Path) -> None:
    for title, text in parts(page):
        assert text == PARTS[title](), "run: python tests/docs/generated.py"


def headings(page: Path) -> set[str]:
    """Anchors as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", _BLOCK.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", page.read_text()))
    for link in links:
        if link.startswith("https://"):
            continue
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), link
        assert not anchor or anchor in headings(file), link


def test_every_page_can_be_reached_from_the_readme() -> None:
    found, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        found.add(page)
        links = re.findall(r"\]\(([^)\s#]+\.md)", page.read_text())
        ahead += {(page.parent / link).resolve() for link in links} - found
    assert found >= set(PAGES)


def test_columns_are_those_of_a_record() -> None:
    page = (ROOT / "docs" / "run-directory.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ((?:list<)?(?:int32|int64|string)>?) \|", page, re.MULTILINE)
    assert rows == [*COLUMNS, ("event_ns", "list<int64>"), ("event_tokens", "list<int32>")]


def test_every_finding_is_described() -> None:
    source = Path(validity.__file__).read_text()
    named = [limit.name for limit in LIMITS.values()]
    named += re.findall(r"Finding\(\s*\"([^\"]+)\"", source)
    named += re.findall(r"_reading_lag\(e, \"\w+\", \"([^\"]+)\"", source)
    assert len(named) > 20
    page = (ROOT / "docs" / "validity.md").read_text()
    assert [finding for finding in named if f"`{finding}`" not in page] == []


def test_the_plan_that_is_shown_is_one() -> None:
    shown = [yaml.safe_load(block) for block in blocks(ROOT / "docs" / "run.md", "yaml")]
    assert shown
    for document in shown:
        Plan.model_validate(document)


def test_missing_lines_are_found() -> None:
    output = "note\n| 12 | 3.4~ | VALID |\nend"
    assert missing(["| 9 | 1.0 | VALID |", "end"], output) == []
    assert missing(["end", "note"], output) == ["note"]
    assert missing(["another"], output) == ["another"]
    assert missing(["137"], "2") == ["137"]
