"""A row of the tables in docs/reliability.md, and how a run is held against it."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

from faults.playing import Played


class Row(NamedTuple):
    """One thing that goes wrong.

    ``sees``: what the user is told; phrases in backticks stand in the output word for word, blanks aside.
    ``kept``: rows in the run directory by outcome, None where their number depends on timing; nothing means that no
    run directory is left. ``also`` says more about them. ``spec``: faults of the simulator; ``flags``: more flags of
    the run. ``tokens``: output tokens of each row that failed, where the fault tells. ``may``: outcomes that some
    rows may have, as timing has it.
    """

    fault: str
    sees: str
    kept: dict[str, int | None]
    code: int
    also: str = ""
    spec: tuple[str, ...] = ()
    flags: str = ""
    tokens: int | None = None
    may: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As the name of a model."""
        return re.sub(r"\W+", "-", self.fault.lower()).strip("-")

    def load(self, usual: tuple[object, ...]) -> tuple[object, ...]:
        """The flags of the load: the usual ones, unless the row has its own."""
        return () if "--num-prompts" in self.flags else usual


def check(row: Row, played: Played) -> None:
    """Assert that the run was as the row says."""
    assert played.code == row.code, played.text
    assert [phrase for phrase in phrases(row) if phrase not in played.text] == [], played.text
    assert "Traceback" not in played.text
    if not row.kept:
        assert not played.directory.exists()
        return
    found = Counter(played.measured("outcome"))
    assert set(found) - set(row.may) == set(row.kept), played.text
    assert {kind: found[kind] for kind, count in row.kept.items() if count is not None} == {
        kind: count for kind, count in row.kept.items() if count is not None
    }
    if row.tokens is not None:
        told = played.rows("outcome", "output_tokens")
        assert {tokens for outcome, tokens in told if outcome != "ok"} == {row.tokens}


def models(rows: tuple[Row, ...], *plain: str) -> list[str]:
    """Words of a simulator with a model for each row, which alone meets the row's faults, and models without any."""
    faults = [word for row in rows for spec in row.spec for word in ("--fault", f"{spec},model={row.name}")]
    return [*faults, "--model", *(row.name for row in rows), *plain]


def phrases(row: Row) -> list[str]:
    """What the output must contain."""
    return re.findall(r"`([^`]+)`", row.sees)


def written(rows: tuple[Row, ...]) -> str:
    """The rows as the table of the page."""
    lines = ["| fault | what the user sees | what is kept | exit code |", "|---|---|---|---:|"]
    cells = [(row.fault, row.sees, _kept(row), str(row.code)) for row in rows]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in cells]
    return "\n".join(lines) + "\n"


def _kept(row: Row) -> str:
    if not row.kept:
        return "nothing; no run directory" + (f"; {row.also}" if row.also else "")
    counts = [f"{'' if count is None else f'{count} '}`{kind}`" for kind, count in row.kept.items()]
    counts += [f"sometimes `{kind}`" for kind in row.may]
    return ", ".join(counts) + (f"; {row.also}" if row.also else "")
