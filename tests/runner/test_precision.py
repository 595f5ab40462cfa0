"""Where a run of repeats asks whether its rounds are enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inferometer.config.models import Plan
from inferometer.errors import UserError
from inferometer.runner.local import ends_round
from inferometer.runner.precision import check_precision, settled


def plan(**scenario: Any) -> Plan:
    stages = [{"load": {"type": "closed", "concurrency": level}, "num_requests": 1} for level in (1, 2)]
    return Plan.model_validate({"target": {}, "scenario": {"stages": stages} | scenario})


def test_after_the_last_stage_of_each_round_but_the_last() -> None:
    made = plan(repeats=3)
    assert [number for number in range(6) if ends_round(made, number)] == [1, 3]
    assert not any(ends_round(plan(), number) for number in range(2))


def test_a_plan_without_a_precision_is_never_asked_about(tmp_path: Path) -> None:
    assert settled(plan(repeats=3), tmp_path / "nowhere") is None
    check_precision(plan(repeats=3))
    with pytest.raises(UserError, match="no such stage"):
        check_precision(plan(repeats=3, until_precision=["ttft_p50:5% @ 9"]))
