from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from drawn_runs import summary_of
from hypothesis import given
from hypothesis import strategies as st

from inferometer.analysis.metrics import METRICS
from inferometer.analysis.thresholds import ALIASES, PLAIN, amount, figure, judge, judged_of, parse, share
from inferometer.errors import UserError

PAGE = Path(__file__).parents[2] / "docs" / "compare.md"


@pytest.fixture(scope="module")
def summary() -> dict[str, Any]:
    return summary_of(np.random.default_rng(1), 2, 8)


@pytest.mark.parametrize(
    ("text", "name", "limit", "stage"),
    [
        ("ttft_p95_ms<=200", "ttft_p95_ms", 200.0, None),
        ("ttft_p95 <= 0.2s", "ttft_p95_ms", 200.0, None),
        ("itl_p99.9<=50ms", "itl_p99.9_ms", 50.0, None),
        ("success_rate>=0.95", "success_rate", 0.95, None),
        ("success_rate>=95%", "success_rate", 0.95, None),
        ("error_rate<=1% @ concurrency 8", "error_rate", 0.01, "concurrency 8"),
        ("output_tok_s>=100", "output_tokens_per_s", 100.0, None),
        ("goodput_rps>=2.5@8", "goodput_per_s", 2.5, "8"),
        ("attainment>=.9", "attainment", 0.9, None),
        ("tpot_mean_ms<=50", "tpot_mean_ms", 50.0, None),
    ],
)
def test_a_threshold_is_read(text: str, name: str, limit: float, stage: str | None) -> None:
    found = parse(text)
    assert (found.figure, found.stage) == (name, stage)
    assert found.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("ttft_p95_ms", "write NAME<=VALUE"),
        ("ttft_p95_ms=200", "write NAME<=VALUE"),
        ("ttff_p95_ms<=200", "did you mean ttft_p95_ms?"),
        ("foo<=1", "'foo' is no figure of a stage: all are listed in docs/compare.md"),
        ("sucess_rate>=1", "did you mean success_rate?"),
        ("ttft_p95_ms>=200", "lower is better"),
        ("success_rate<=0.9", "higher is better"),
        ("success_rate>=95", "write 95% for per cent"),
        ("ttft_p95_ms<=5%", "is in ms, not in %"),
        ("requests_per_s>=5ms", "is in req/s, not in ms"),
        ("ttft_p95_ms<=1.2.3", "is not a number"),
        ("ttft_p95_ms<=-1", "from 0 on"),
    ],
)
def test_a_mistake_is_one_sentence(text: str, told: str) -> None:
    with pytest.raises(UserError, match=re.escape(told)):
        parse(text)


@given(st.text(max_size=30))
def test_any_text_is_a_threshold_or_a_mistake(text: str) -> None:
    with contextlib.suppress(UserError):  # anything else is a mistake of ours
        assert parse(text).limit >= 0


def test_every_stage_is_judged_with_its_figure(summary: dict[str, Any]) -> None:
    met, missed = judge(summary, [parse("ttft_p50_ms<=1000")]), judge(summary, [parse("ttft_p50_ms<=1")])
    assert [(one.stage, one.met, one.certain) for one in met] == [
        ("concurrency 2", True, True),
        ("concurrency 8", True, True),
    ]
    assert [one.met for one in missed] == [False, False]
    value = summary["stages"][0]["metrics"]["ttft"]["median_ms"]["value"]
    assert missed[0].value == value
    assert f"{amount(value, 'ms')}, should be at most 1.00 ms" in missed[0].sentence


def test_stages_of_one_load_are_judged_each_for_itself(summary: dict[str, Any]) -> None:
    first, second = summary["stages"]
    alike = summary | {"stages": [first, second | {"load": first["load"]}]}
    found = judge(alike, [parse("ttft_p50_ms<=1000")])
    values = [one["metrics"]["ttft"]["median_ms"]["value"] for one in (first, second)]
    assert [(one.stage, one.value) for one in found] == [("concurrency 2", value) for value in values]
    assert values[0] != values[1]
    judged = alike | {"thresholds": msgspec.to_builtins(found)}
    assert [[told["value"] for told in judged_of(judged, number)] for number in (0, 1)] == [[one] for one in values]
    assert judged_of(judged, 7) == ()


def test_a_limit_inside_the_interval_is_not_certain(summary: dict[str, Any]) -> None:
    value = summary["stages"][0]["metrics"]["ttft"]["median_ms"]["value"]
    found = judge(summary, [parse(f"ttft_p50_ms<={value + 1e-6:.7f}@2")])
    assert [(one.met, one.certain) for one in found] == [(True, False)]
    assert "the limit lies in the interval" in found[0].sentence


@pytest.mark.parametrize("text", ["goodput_rps>=0", "attainment>=0", "ttft_p12<=9999", "ttft_p50<=9999@3"])
def test_what_was_not_measured_is_missed(text: str, summary: dict[str, Any]) -> None:
    found = judge(summary, [parse(text)])
    assert found
    assert not any(one.met for one in found)


def test_requests_that_were_never_sent_are_no_successes(summary: dict[str, Any]) -> None:
    stage = summary["stages"][0] | {"counts": {"planned": 200, "ok": 90, "failed": 10}}
    found = figure("success_rate").read(stage)
    assert found is not None
    assert found.value == 0.45


@given(st.integers(0, 500), st.integers(1, 500))
def test_the_interval_of_a_share_holds_it_and_stays_within_0_and_1(part: int, whole: int) -> None:
    found = share(min(part, whole), whole)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_every_figure_is_on_its_page() -> None:
    page = PAGE.read_text()
    assert [name for name in (*PLAIN, *ALIASES, *(metric.name for metric in METRICS)) if f"`{name}`" not in page] == []
