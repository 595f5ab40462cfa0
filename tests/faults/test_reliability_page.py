"""The tables of docs/reliability.md are the rows that the tests here play."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from faults import (
    test_before_the_load,
    test_failing_answers,
    test_local_trouble,
    test_lost_servers,
    test_odd_answers,
    test_several_models,
    test_signals,
    test_stop_early,
    test_trust,
)
from faults.rows import Row, written

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
TABLES: dict[str, tuple[Row, ...]] = {
    "Before the load": (*test_before_the_load.ALONE, *test_before_the_load.ROWS),
    "Answers that fail": (*test_failing_answers.ROWS, *test_odd_answers.ROWS, *test_several_models.ROWS),
    "Servers that go away": test_lost_servers.ROWS,
    "TLS": test_trust.ROWS,
    "Stop-early rules": test_stop_early.ROWS,
    "Interrupts": test_signals.ROWS,
    "Trouble on this machine": test_local_trouble.ROWS,
}


def tables() -> dict[str, str]:
    """Heading -> the table below it."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)[1:]
    found = {heading: re.search(r"^\| fault .+\n(\|.*\n)+", text, re.MULTILINE)
             for heading, text in zip(parts[::2], parts[1::2], strict=True)}  # fmt: skip
    return {heading: table[0] for heading, table in found.items() if table}


def test_the_page_has_these_tables() -> None:
    assert set(tables()) == set(TABLES)


@pytest.mark.parametrize("heading", TABLES)
def test_a_table_is_what_the_tests_play(heading: str) -> None:
    assert tables()[heading] == written(TABLES[heading])


@pytest.mark.parametrize("heading", TABLES)
def test_rows_have_names_of_their_own(heading: str) -> None:
    """They are names of models on one simulator."""
    names = [row.name for row in TABLES[heading]]
    assert len(set(names)) == len(names)
