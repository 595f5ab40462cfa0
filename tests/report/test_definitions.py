from __future__ import annotations

from pathlib import Path

from inferometer.report.definitions import page

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_the_page_is_the_one_that_the_tables_make() -> None:
    """If not: python -c "from inferometer.report.definitions import page; print(page(), end='')" > docs/metrics.md."""
    assert PAGE.read_text() == page()
