from __future__ import annotations

from typing import Any

import pytest

from inferometer.report import tables


def estimate(value: float, *, few: bool = False) -> dict[str, Any]:
    return {"value": value, "low": None if few else value, "high": None if few else value, "count": 9}


def stage(load: dict[str, Any], *values: float, few: bool = False, verdict: str = "VALID") -> dict[str, Any]:
    """The cells of one line of a sweep: req/s, tok/s, then p50 and p95 of TTFT, ITL, E2EL."""
    requests, tokens, *latencies = values
    pairs = zip(("ttft", "itl", "e2el"), latencies[::2], latencies[1::2], strict=True)
    return {
        "load": load,
        "throughput": {"requests_per_s": requests, "output_tokens_per_s": tokens},
        "metrics": {
            name: {"percentiles_ms": {"50": estimate(p50), "95": estimate(p95, few=few)}} for name, p50, p95 in pairs
        },
        "verdict": {"verdict": verdict},
    }


def closed(concurrency: int) -> dict[str, Any]:
    return {"type": "closed", "concurrency": concurrency}


def test_sweep_has_the_published_columns_and_formats() -> None:
    first = stage(closed(1), 1.3, 168.2, 27.0, 115.5, 5.1, 6.14, 679.3, 765.0)
    second = stage(closed(32), 29.53, 3773.4, 1135.3, 999.94, 7.06, 12.0, 1082.4, 1128.4)
    assert tables.sweep({"stages": [first, second]}) == (
        "| concurrency | req/s | out tok/s | TTFT p50 | TTFT p95 | ITL p50 | ITL p95 | E2E p50 | E2E p95 |\n"
        "| ----------- | ----- | --------- | -------- | -------- | ------- | ------- | ------- | ------- |\n"
        "| 1           | 1.3   | 168       | 27.0     | 115.5    | 5.1     | 6.1     | 679     | 765     |\n"
        "| 32          | 29.5  | 3773      | 1135     | 999.9    | 7.1     | 12.0    | 1082    | 1128    |\n"
        "\nLatencies in ms."
    )


def test_names_of_stages_stay_in_their_cells() -> None:
    named = stage(closed(1), 1, 2, 3, 4, 5, 6, 7, 8) | {"name": "a|b\n\x1b[2J"}
    lines = tables.sweep({"stages": [named]}).partition("\n\n")[0].splitlines()
    assert lines[2].startswith("| a/b [2J | 1  ")
    assert [line.count("|") for line in lines] == [11, 11, 11]


def test_a_verdict_column_appears_only_when_something_is_not_valid() -> None:
    good = stage(closed(1), 1, 2, 3, 4, 5, 6, 7, 8)
    bad = stage(closed(2), 1, 2, 3, 4, 5, 6, 7, 8, verdict="CLIENT-LIMITED")
    assert "verdict" not in tables.sweep({"stages": [good]})
    lines = tables.sweep({"stages": [good, bad]}).splitlines()
    assert lines[0].endswith("| verdict        |")
    assert lines[2].endswith("| VALID          |")
    assert lines[3].endswith("| CLIENT-LIMITED |")


def test_too_few_samples_are_marked_and_explained() -> None:
    table = tables.sweep({"stages": [stage(closed(1), 1, 2, 3, 4.25, 5, 6, 7, 8, few=True)]})
    assert "| 3.0      | 4.2~     |" in table
    assert table.endswith("\n\nLatencies in ms. ~ too few samples for a 95 % interval.")


@pytest.mark.parametrize(("rate", "shown"), [(2.5, "2.5"), (10.0, "10"), ("inf", "inf")])
def test_open_loops_are_shown_by_their_rate(rate: float | str, shown: str) -> None:
    lines = tables.sweep({"stages": [stage({"type": "open", "rate_per_s": rate}, 1, 2, 3, 4, 5, 6, 7, 8)]}).splitlines()
    assert lines[0].startswith("| rate (req/s) |")
    assert lines[2].split()[1] == shown


def test_stages_of_both_kinds_share_a_column() -> None:
    mixed = [stage(load, 1, 2, 3, 4, 5, 6, 7, 8) for load in (closed(4), {"type": "open", "rate_per_s": 2.0})]
    assert tables.sweep({"stages": mixed}).startswith("| load | req/s |")


def test_what_is_not_there_is_a_dash() -> None:
    empty = {"load": closed(4), "throughput": None, "metrics": {}, "verdict": {"verdict": "INVALID"}}
    assert tables.sweep({"stages": [empty]}).splitlines()[2].replace(" ", "") == "|4|-|-|-|-|-|-|-|-|INVALID|"


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (tables.short, 999.94, "999.9"),
        (tables.short, 999.96, "1000"),
        (tables.per_second, 0.994, "0.99"),
        (tables.per_second, 0.996, "1.0"),
        (tables.whole, 2.6, "3"),
    ],
)
def test_formats_do_not_jump_at_their_limits(show: Any, value: float, text: str) -> None:
    assert show(value) == text
