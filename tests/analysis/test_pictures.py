"""Charts show what the rows say, and their data stay small."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import MS, failure, record, table

from inferometer.analysis import pictures as drawn
from inferometer.analysis.frame import from_table
from inferometer.analysis.pictures import Pictures, bucket_width_s, pictures, samples, spread
from inferometer.analysis.summary import summarise
from inferometer.config.models import Plan


def plan(*loads: dict[str, Any]) -> Plan:
    stages = [{"load": load, "num_requests": 10} for load in loads or ({"type": "closed", "concurrency": 1},)]
    return Plan.model_validate({"target": {"base_url": "http://lab", "model": "tiny"}, "scenario": {"stages": stages}})


def drawing(*records: Any, loads: tuple[dict[str, Any], ...] = ()) -> Pictures:
    found = pictures(plan(*loads), from_table(table(records)))
    assert found is not None
    return found


def rows(found: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in found if all(row[key] == value for key, value in wanted.items())]


def test_a_run_without_requests_has_no_pictures() -> None:
    assert pictures(plan(), from_table(table([]))) is None
    assert pictures(plan(), from_table(table([failure(sent_ns=None)]))) is None


def test_warm_up_is_not_drawn() -> None:
    assert pictures(plan(), from_table(table([record(phase="warmup")]))) is None


def test_what_a_stage_leaves_out_is_in_no_picture_as_it_is_in_no_table() -> None:
    """Slow and failing requests in the first and the last second, which the stage does not count."""
    edges = {"warmup_s": 1.0, "cooldown_s": 1.0}
    stage = {"load": {"type": "open", "rate": 10.0}, "num_requests": 40} | edges
    target = {"base_url": "http://lab", "model": "tiny"}
    leaving_out = Plan.model_validate({"target": target, "scenario": {"stages": [stage]}})
    slow = {"ttft_ms": 700.0, "gaps_ms": (90.0, 90.0)}
    sent = [100.0 * i for i in range(40)]
    inner = [record(i, sent_ms=at) for i, at in enumerate(sent) if 1000 <= at <= 2900]
    outer = [record(i, sent_ms=at, **slow) for i, at in enumerate(sent) if not 1000 <= at <= 2900]
    failed = [failure(40, sent_ms=5), failure(41, sent_ms=3895, end_ms=3899)]
    requests = table([*inner, *outer, *failed])
    found, summary = pictures(leaving_out, from_table(requests)), summarise(leaving_out, requests, [])
    assert found is not None
    counts = summary["stages"][0]["counts"]
    assert (counts["ok"], counts["failed"], counts["left_out"]) == (len(inner), 0, len(outer) + 2)
    assert found.failures == []
    assert {row["outcome"] for row in found.spans} == {"ok"}
    for metric in drawn.HEATED:
        assert sum(row["requests"] for row in rows(found.heat, metric=metric)) == counts["ok"]
    for metric in ("ttft", "tpot", "e2el", "itl"):
        highest = max(row["value_ms"] for row in rows(found.cdfs, metric=metric))
        told = summary["stages"][0]["metrics"][metric]["percentiles_ms"]["99"]["value"]
        assert highest == pytest.approx(told, rel=2 * drawn.BIN_WIDTH)
    done = sum(row["requests_per_s"] for row in found.series) * found.bucket_s
    assert done == pytest.approx(counts["ok"], rel=1e-4)


def test_a_run_that_leaves_everything_out_has_no_pictures() -> None:
    stage = {"load": {"type": "open", "rate": 10.0}, "num_requests": 2, "warmup_s": 60.0}
    target = {"base_url": "http://lab", "model": "tiny"}
    nothing = Plan.model_validate({"target": target, "scenario": {"stages": [stage]}})
    assert pictures(nothing, from_table(table([record(0), record(1, sent_ms=100)]))) is None


def test_cdf_reaches_each_share_at_its_value() -> None:
    found = drawing(*(record(i, sent_ms=100 * i, ttft_ms=10.0 * (i + 1)) for i in range(10)))
    cdf = {row["share"]: row["value_ms"] for row in rows(found.cdfs, metric="ttft")}
    assert (cdf[0.01], cdf[0.99]) == (10.0, 100.0)
    assert {share: value for share, value in cdf.items() if 0.4 < share <= 0.5} == {
        s: 50.0 for s in cdf if 0.4 < s <= 0.5
    }
    values = list(cdf.values())
    assert values == sorted(values)


def test_cdf_of_itl_weighs_tokens_and_is_good_to_its_bins() -> None:
    # one event of 9 tokens after 90 ms, one of 1 token after 40 ms: nine gaps of 10 ms, one of 40
    found = drawing(record(gaps_ms=(90.0, 40.0), event_tokens=(1, 9, 1), output_tokens=11))
    cdf = [(row["share"], row["value_ms"]) for row in rows(found.cdfs, metric="itl")]
    assert all(value == pytest.approx(10, rel=drawn.BIN_WIDTH) for share, value in cdf if share <= 0.9)
    assert all(value == pytest.approx(40, rel=drawn.BIN_WIDTH) for share, value in cdf if share > 0.9)


def test_histograms_count_every_value_once() -> None:
    found = drawing(*(record(i, sent_ms=50 * i, ttft_ms=20.0 + i % 7) for i in range(40)))
    for metric in drawn.DRAWN:
        shares = [row["share"] for row in rows(found.histograms, metric=metric)]
        assert sum(shares) == pytest.approx(1, abs=1e-4), metric


def test_heat_map_counts_every_success_once() -> None:
    found = drawing(*(record(i, sent_ms=300 * i, ttft_ms=5.0 * (i + 1)) for i in range(20)), failure(20, sent_ms=1))
    for metric in drawn.HEATED:
        assert sum(row["requests"] for row in rows(found.heat, metric=metric)) == 20


def test_series_add_up_to_the_run() -> None:
    found = drawing(*(record(i, sent_ms=130 * i) for i in range(30)), failure(30, sent_ms=200, end_ms=205))
    width_s = found.bucket_s
    assert sum(row["requests_per_s"] for row in found.series) * width_s == pytest.approx(30, rel=1e-4)
    assert sum(row["failed_per_s"] for row in found.series) * width_s == pytest.approx(1, rel=1e-4)
    assert sum(row["output_tokens_per_s"] for row in found.series) * width_s == pytest.approx(120, rel=1e-4)
    in_flight_s = sum(row["in_flight"] for row in found.series) * width_s
    assert in_flight_s == pytest.approx(30 * 0.080 + 0.005, rel=1e-3)  # 50 ms and three gaps of 10 ms each
    assert [(row["kind"], row["requests"]) for row in found.failures] == [("http_5xx", 1)]


def test_timeline_has_what_happened_and_nothing_else() -> None:
    found = drawing(
        record(0, sent_ms=5, scheduled_ms=0, ttft_ms=50),
        failure(1, sent_ms=20, scheduled_ms=20, end_ms=30),
        loads=({"type": "open", "rate": 1.0},),
    )
    first, second = found.spans
    assert first == {
        "stage": 0,
        "order": 0,
        "scheduled_s": -0.005,
        "sent_s": 0.0,
        "first_token_s": 0.05,
        "end_s": 0.08,
        "outcome": "ok",
    }
    assert (second["outcome"], second["first_token_s"], second["end_s"]) == ("http_5xx", None, 0.025)


def test_stages_have_windows_of_their_own() -> None:
    loads = tuple({"type": "closed", "concurrency": level} for level in (1, 2))
    found = drawing(record(0, sent_ms=0), record(0, stage=1, sent_ms=1000), loads=loads)
    assert [(row["stage"], row["start_s"], row["end_s"]) for row in found.windows] == [(0, 0, 0.08), (1, 1, 1.08)]
    assert found.drawn_stages == (0, 1)


def test_data_are_bounded_whatever_the_run() -> None:
    count = 20_000
    rng = np.random.default_rng(3)
    ttft = rng.lognormal(4, 1, count)
    many = [record(i, sent_ms=7.0 * i, ttft_ms=float(ttft[i]), gaps_ms=(9.0,)) for i in range(count)]
    found = drawing(*many, *(failure(count + i, sent_ms=70.0 * i, end_ms=70.0 * i + 3) for i in range(500)))
    assert len(found.spans) == drawn.MOST_SPANS
    assert len(found.series) <= drawn.MOST_BUCKETS
    assert len(found.heat) <= len(drawn.HEATED) * (drawn.HEAT_COLUMNS + 1) * drawn.HEAT_ROWS
    assert len(json.dumps(msgspec.to_builtins(found), allow_nan=False)) < 1_000_000


@given(st.integers(1, 500), st.integers(1, 30))
def test_spread_keeps_the_ends(count: int, most: int) -> None:
    found = spread(count, most)
    assert found == sorted(set(found))
    assert len(found) <= most
    assert found[0] == 0
    assert most == 1 or found[-1] == count - 1


@given(st.floats(0, 1e7), st.integers(1, 500))
def test_buckets_cover_the_span(span_s: float, most: int) -> None:
    width_s = bucket_width_s(span_s, most)
    assert width_s * most >= span_s or width_s == 5e6
    assert width_s == 0.1 or width_s / 2.5 * most < span_s  # not coarser than it must be


def test_samples_of_a_server_are_reduced_and_gaps_stay_gaps() -> None:
    t_ns = np.arange(0, 4000 * 1_000 * MS, 1_000 * MS, dtype=np.int64)
    value = np.where(t_ns < 2_000_000 * MS, 3.0, np.nan)
    found = samples(t_ns, ["a"] * 4000, ["requests_running"] * 4000, value, 0.0)
    assert 100 < len(found) <= drawn.MOST_SAMPLES
    assert {row["value"] for row in found} == {3.0}
    assert max(row["t_s"] for row in found) < 2000
