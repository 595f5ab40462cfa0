"""Words that the command does not know."""

from __future__ import annotations

import pytest

from inferometer import cli


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["run", "--max-concurency", "4"], "did you mean --max-concurrency?"),
        (["repport", "x"], "did you mean report?"),
        (["report", "x", "--format", "htlm"], "invalid choice: 'htlm'"),
    ],
)
def test_the_nearest_word_is_named(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    assert told in capsys.readouterr().err
