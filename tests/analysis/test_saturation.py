from __future__ import annotations

import re

import numpy as np
import pytest
from drawn_runs import summary_of

from inferometer.analysis.reading import reading
from inferometer.analysis.saturation import saturation

LEVELS = [1, 2, 4, 8, 16, 32, 64, 128, 256]


def stages(sigma: float, kappa: float, unit: str = "concurrency") -> list[dict[str, object]]:
    rates = [100 * n / (1 + sigma * (n - 1) + kappa * n * (n - 1)) for n in LEVELS]
    return [{"load": n, "unit": unit, "output_tokens_per_s": rate} for n, rate in zip(LEVELS, rates, strict=True)]


def test_the_knee_the_law_and_its_peak_are_told() -> None:
    found = saturation(stages(0.02, 0.0005))
    assert found is not None
    assert found.title == "Saturation around concurrency 32"
    assert "between 16 and 64" in found.text
    assert "the peak at 44.3" in found.text
    assert "beyond what was measured" not in found.text
    assert {one.name for one in found.evidence} >= {"knee", "sigma", "kappa", "peak load"}


def test_a_peak_that_the_data_do_not_place_says_what_would() -> None:
    """Too far out for these levels, and the points scatter: further levels help, and repeats, if they can be had."""
    near, far = stages(0.05, 0.95 / 45**2), stages(0.1, 0.9 / 220**2)
    rng = np.random.default_rng(1)
    for rows in (near, far):
        for row in rows:
            row["output_tokens_per_s"] *= 1 + 0.02 * rng.standard_normal()
    placed, unplaced = saturation(near), saturation(far)
    assert placed is not None
    assert unplaced is not None
    assert "To know the peak" not in placed.text
    assert re.search(
        r"To know the peak within 10 %, measure up to \d{3,}( or play each level \d+ times)?\.$", unplaced.text
    )


#: Requests per s of a server that had twice the throughput of 32 streams at 512.
OPEN_END = [400.7, 801.7, 1462.0, 2627.0, 5031.0, 6595.0]


def test_a_peak_without_an_upper_bound_has_no_number() -> None:
    rows = [{"load": n, "output_tokens_per_s": rate} for n, rate in zip(LEVELS, OPEN_END, strict=False)]
    found = saturation(rows)
    assert found is not None
    assert "the peak at a load that these points do not tell (95 % interval 32.1 to no bound)" in found.text
    assert "measure up to 128" in found.text
    assert "peak load" not in {one.name for one in found.evidence}


def test_loads_that_brought_less_are_not_recommended() -> None:
    falls, rises = saturation(stages(0.02, 0.0005)), saturation(stages(0.02, 0.0005)[:6])
    assert falls is not None
    assert rises is not None
    assert falls.advice == "Loads beyond concurrency 32 brought no more throughput, only latency."
    assert rises.advice == "Loads beyond buy throughput with latency."


def test_what_does_not_bend_has_no_knee_and_no_peak() -> None:
    found = saturation(stages(0.0, 0.0))
    assert found is not None
    assert found.title == "No knee in sight"
    assert "no peak" in found.text
    flat = saturation(stages(0.1, 0.0))
    assert flat is not None
    assert "levels off and does not fall" in flat.text


def test_the_law_is_not_asked_about_rates() -> None:
    found = saturation(stages(0.02, 0.0005, "req/s"))
    assert found is not None
    assert "around 32 req/s" in found.title
    assert "Law" not in found.text


@pytest.mark.parametrize("count", [0, 1, 2])
def test_two_points_are_no_curve(count: int) -> None:
    assert saturation(stages(0.02, 0.0005)[:count]) is None


def test_a_run_with_several_loads_is_read_and_one_load_is_not() -> None:
    rng = np.random.default_rng(0)
    names = [finding.name for finding in reading(summary_of(rng, 1, 2, 4))]
    assert names[-1] == "saturation"
    assert len(names) == len(set(names)) > 2
    assert reading(summary_of(rng, 4)) == ()
