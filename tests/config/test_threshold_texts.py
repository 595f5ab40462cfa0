"""The form of thresholds in a plan agrees with the table of figures that judges them."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from inferometer.analysis.metrics import BY_NAME
from inferometer.analysis.thresholds import ALIASES, PLAIN, STATISTICS, figure, parse
from inferometer.config.models import Scenario
from inferometer.config.thresholds import checked, from_limit, sign
from inferometer.errors import UserError

NAMES = [*PLAIN, *ALIASES, *(f"{metric}_{which}_ms" for metric in BY_NAME for which in (*STATISTICS, "p99.9"))]
STAGES = [{"load": {"type": "closed", "concurrency": 1}, "num_requests": 1}]


@pytest.mark.parametrize("name", NAMES)
def test_every_figure_can_be_in_a_plan(name: str) -> None:
    assert sign(name) == {"lower": "<=", "higher": ">="}[figure(name).better]
    text = f"{name}{sign(name)}0.5"
    assert parse(checked(text)).figure == figure(name).name


@pytest.mark.parametrize(
    "text",
    [
        "ttft_p95_ms<=2s",
        "ttft_p95<=200ms @ concurrency 8",
        "success_rate>=99%",
        " tpot_mean_ms <= 100 ",
        "error_rate<=1",
    ],
)
def test_what_is_judged_is_taken(text: str) -> None:
    assert checked(text) == text
    parse(text)


@pytest.mark.parametrize(
    "text",
    ["ttft_p95_ms", "ttft_p95_ms>=2", "success_rate<=0.9", "success_rate>=95", "ttft_p0_ms<=1", "ttfd_p95_ms<=1",
     "ttft_p95_ms<=-1", "ttft_p95_ms<=1.2.3", "requests_per_s>=5%", "success_rate>=1s", "ttft_p95_ms<=5%"],
)  # fmt: skip
def test_what_is_not_judged_is_refused(text: str) -> None:
    with pytest.raises(UserError):
        parse(text)
    with pytest.raises(ValueError, match=r"."):
        checked(text)
    with pytest.raises(ValidationError):
        Scenario.model_validate({"stages": STAGES, "thresholds": [text]})


def test_limits_get_the_direction_of_their_figure() -> None:
    assert (from_limit("ttft_p95_ms", 200), from_limit("success_rate", 0.95)) == (
        "ttft_p95_ms<=200",
        "success_rate>=0.95",
    )
    assert from_limit("error_rate", 1e-7) == "error_rate<=0.0000001"
