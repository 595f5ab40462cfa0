"""What is wrong before the load is found by a question or a trial stream: one sentence, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.support import simulating
from faults.playing import FOUR_AT_ONCE, QUICK, play
from faults.rows import Row, check, models


def said(fault: str, sees: str, spec: str, code: int = 2, flags: str = "") -> Row:
    """A sentence, and no run directory."""
    return Row(fault, sees, {}, code, spec=(spec,), flags=flags)


ROWS = (
    said("the key is missing or wrong (401)", "`401 Unauthorized: it wants a key`", "status=401"),
    said("no such path (404)", "`404 Not Found: no such path: is the base URL right`", "status=404"),
    said(
        "503 (or 429) for longer than four seconds", "`503 Service Unavailable: not ready or overloaded`", "status=503"
    ),
    said(
        "a silent server",
        "`was silent for 2.`, `A longer timeout may help`",
        "silence",
        flags="--timeout-first-token 2",
    ),
    said("a web page", "`answers with a web page, not with JSON`", "web_page"),
    said("one document", "`does not stream: it answers with one JSON body`", "one_document"),
    said("an error in the stream", "`a trial stream of`, `ended with an error: EngineCore died`", "error_event", 3),
)
#: These need a server of their own.
ALONE = (
    said("nothing listens", "`connection refused: nothing listens at`", "refuse"),
    said("connections are reset", "a sentence that names the server: no answer, or none in HTTP", "reset_on_accept"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with simulating("--exact", *models(ROWS)) as url:
        yield url


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(row: Row, server: str, tmp_path: Path) -> None:
    check(row, play(server, tmp_path / "r", *FOUR_AT_ONCE, "--model", row.name, flags=row.flags))


@pytest.mark.parametrize("row", ALONE, ids=lambda row: row.name)
def test_row_of_a_server_of_its_own(row: Row, tmp_path: Path) -> None:
    with simulating("--exact", "--fault", row.spec[0]) as url:
        played = play(url, tmp_path / "r", *FOUR_AT_ONCE)
    check(row, played)
    assert url.partition("://")[2] in played.err
    assert len(played.err.splitlines()) == 1


def test_a_router_that_fails_now_and_then_is_measured_all_the_same(tmp_path: Path) -> None:
    """A 503 or 429 before the load is asked again: it says nothing about the next one."""
    with simulating(*QUICK, "--fault", "status=503,first=3") as url:
        played = play(url, tmp_path / "r", *FOUR_AT_ONCE)
    assert played.code == 0, played.text
    assert set(played.measured("outcome")) == {"ok"}
