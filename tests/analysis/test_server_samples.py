from __future__ import annotations

import math
from collections.abc import Collection
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_readings import STAGE, S, counters, histogram, told, up, view

from inferometer.analysis.server_metrics import EDGE, UP
from inferometer.analysis.server_samples import Asked, Gain, Span, edges, from_table, gained, quantile
from inferometer.analysis.server_view import Seen, server_view
from inferometer.records.telemetry import SCHEMA, Reading, batch

# --- counters --------------------------------------------------------------------------------------------------------


def test_a_counter_gains_what_lies_between_the_edges_of_the_stage() -> None:
    found = view(up(0, 9, 15, 20.1, 30), told("generation_tokens", {0: 5, 9: 100, 15: 300, 20.1: 654, 30: 999}))
    one = found["engines"]["vllm"]["counters"]["generation_tokens"]
    assert one["gain"] == 999 - 100 - 345  # the sample at 30 s is too late to be of this stage alone
    assert one["per_s"] == pytest.approx(554 / 11.1)
    assert found["engines"]["vllm"]["resets"] == 0


def test_warm_ups_and_the_next_stage_do_not_count() -> None:
    samples = {8.0: 0, 9.5: 40, 20.2: 140, 20.6: 140, 21.5: 170}
    span = Span(10 * S, 20 * S, until_ns=21 * S)
    assert counters(view(up(*samples), told("prompt_tokens", samples), span=span)) == {"prompt_tokens": 100}


def test_a_counter_that_was_reset_keeps_what_it_had_gained() -> None:
    samples = {9.0: 100, 12.0: 150, 15.0: 20, 20.1: 60}
    found = view(up(*samples), told("generation_tokens", samples))
    assert counters(found) == {"generation_tokens": 50 + 20 + 40}
    assert found["engines"]["vllm"]["resets"] == 1
    assert "started anew" in found["notes"][0]


def test_two_servers_behind_one_address_are_noticed() -> None:
    samples = {9.0: 100, 12.0: 5, 15.0: 120, 17.0: 9, 20.1: 150}
    assert "several servers answer at one address" in view(up(*samples), told("generation_tokens", samples))["notes"][0]


def test_a_counter_that_appears_had_counted_nothing_if_its_server_was_asked_before() -> None:
    assert counters(view(up(9, 15, 20.1), told("preemptions", {15: 3, 20.1: 4}))) == {"preemptions": 4}
    inside = view(up(15, 20.1), told("preemptions", {15: 3, 20.1: 4}))
    assert counters(inside) == {"preemptions": 1}  # nobody knows what it was before


def test_replicas_add_and_one_that_was_silent_is_said() -> None:
    found = view(
        up(9, 15, 20.1),
        up(9, 20.1, replica="b"),
        up(12, 13, replica="b", value=0.0),
        told("generation_tokens", {9: 0, 20.1: 10}),
        told("generation_tokens", {9: 7, 20.1: 27}, replica="b"),
    )
    assert counters(found) == {"generation_tokens": 30}
    assert found["replicas"] == [
        {"replica": "a", "asked": 1, "answered": 1},
        {"replica": "b", "asked": 2, "answered": 0},
    ]
    assert found["notes"] == ["b did not answer 2 of 2 times: what it did then is unknown"]


def test_a_server_that_was_asked_itself_is_not_counted_again_through_a_prometheus() -> None:
    through = told("generation_tokens", {9: 0, 20.1: 10}, replica="prometheus:a")
    direct = told("generation_tokens", {9: 0, 20.1: 12})
    assert counters(view(up(9, 20.1), direct, through)) == {"generation_tokens": 12}
    assert counters(view(through)) == {"generation_tokens": 10}


@given(
    steps=st.lists(st.integers(0, 50), min_size=2, max_size=20),
    restarts=st.sets(st.integers(1, 19)),
)
def test_what_a_counter_gains_is_what_was_counted_but_for_what_nobody_saw(steps: list[int], restarts: set[int]) -> None:
    """Each step is counted before its sample; a restart right after a sample loses nothing."""
    total, values = 0, []
    for number, step in enumerate(steps):
        total = (0 if number in restarts else total) + step
        values.append(total)
    readings = told("generation_tokens", dict(enumerate(map(float, values))))
    import pyarrow as pa

    (track,) = from_table(pa.Table.from_batches([batch(readings)], SCHEMA)).tracks.values()
    gain = gained(track, 0, (len(steps) - 1) * S)
    assert gain is not None
    # a restarted counter that is already past its old value cannot be told from one that went on
    assert gain.value <= sum(steps[1:])
    if not restarts & set(range(len(steps))):
        assert gain.value == sum(steps[1:])
        assert gain.resets == 0
    falls = sum(later < earlier for earlier, later in pairwise(values))
    assert gain.resets == falls


# --- histograms ------------------------------------------------------------------------------------------------------


def test_means_and_quantiles_are_of_the_stage_alone() -> None:
    samples = {9.0: (100.0, 90.0, 95.0, 100.0), 20.1: (101.5, 96.0, 104.0, 110.0)}
    ttft = view(up(*samples), histogram("ttft_s", samples))["engines"]["vllm"]["histograms"]["ttft_s"]
    assert ttft["count"] == 10
    assert ttft["mean_ms"] == pytest.approx(150.0)
    median = ttft["percentiles_ms"]["50"]  # 6 of 10 up to 0.1 s: the 5th lies at 5/6 of it
    assert median["value"] == pytest.approx(1000 * 0.1 * 5 / 6)
    assert (median["low"], median["high"]) == (0.0, 100.0)
    assert "99" not in ttft["percentiles_ms"]  # above the last finite bound nothing is known


def test_a_restart_within_a_stage_loses_no_observation_of_a_histogram() -> None:
    samples = {9.0: (10.0, 10.0, 10.0, 10.0), 12.0: (10.5, 15.0, 15.0, 15.0), 20.1: (0.6, 0.0, 4.0, 4.0)}
    ttft = view(up(*samples), histogram("ttft_s", samples))["engines"]["vllm"]["histograms"]["ttft_s"]
    assert ttft["count"] == 9
    assert ttft["mean_ms"] == pytest.approx(1000 * 1.1 / 9)


def test_histograms_of_replicas_add_bucket_by_bucket() -> None:
    found = view(
        up(9, 20.1),
        up(9, 20.1, replica="b"),
        histogram("ttft_s", {9.0: (0.0, 0.0, 0.0, 0.0), 20.1: (0.5, 10.0, 10.0, 10.0)}),
        histogram("ttft_s", {9.0: (0.0, 0.0, 0.0, 0.0), 20.1: (1.5, 0.0, 10.0, 10.0)}, replica="b"),
    )
    ttft = found["engines"]["vllm"]["histograms"]["ttft_s"]
    assert ttft["mean_ms"] == pytest.approx(100.0)
    assert ttft["percentiles_ms"]["50"]["value"] == pytest.approx(100.0)
    assert ttft["percentiles_ms"]["90"]["value"] == pytest.approx(180.0)


def test_buckets_that_cannot_be_are_left_out_and_the_mean_stays() -> None:
    samples = {9.0: (100.0, 90.0, 95.0, 100.0), 20.1: (101.5, 96.0, 99.0, 110.0)}
    ttft = view(up(*samples), histogram("ttft_s", samples))["engines"]["vllm"]["histograms"]["ttft_s"]
    assert ttft == {"count": 10.0, "mean_ms": pytest.approx(150.0), "percentiles_ms": {}}


def test_a_stage_without_observations_has_no_mean() -> None:
    samples = {9.0: (1.0, 1.0, 1.0, 1.0), 20.1: (1.0, 1.0, 1.0, 1.0)}
    ttft = view(up(*samples), histogram("ttft_s", samples))["engines"]["vllm"]["histograms"]["ttft_s"]
    assert ttft == {"count": 0.0, "mean_ms": None, "percentiles_ms": {}}


@given(
    counts=st.lists(st.integers(0, 20), min_size=2, max_size=6).filter(lambda one: sum(one[:-1]) > 0),
    share=st.floats(0.01, 0.99),
)
def test_a_quantile_lies_in_the_bucket_that_holds_its_rank(counts: list[int], share: float) -> None:
    bounds = (*(float(i + 1) for i in range(len(counts) - 1)), math.inf)
    values = [i + 0.5 for i, count in enumerate(counts) for _ in range(count)]
    found = quantile(Gain(sum(values), len(values), 0, bounds, np.array(counts, np.float64)), share)
    exact = values[max(0, math.ceil(share * len(values) - 1e-9) - 1)]
    if exact > bounds[-2]:
        assert found is None
    else:
        assert found is not None
        assert found.low <= exact <= found.high
        assert found.low <= found.value <= found.high


def test_a_quantile_is_no_higher_than_the_mean_allows() -> None:
    """Waits of vLLM with a mean of 0.02 ms all lie in the first bucket, which ends at 300 ms: half are below 0.04."""
    gain = Gain(20 * 0.02, 20.0, 0, (300.0, 500.0, math.inf), np.array([20.0, 0.0, 0.0]))
    for share, most in ((0.5, 0.04), (0.9, 0.2)):
        assert quantile(gain, share) == pytest.approx((most, 0.0, most))
    for unknown in (math.nan, 0.0):  # of a page without the sum nothing more is known
        assert quantile(gain._replace(value=unknown), 0.5) == (150.0, 0.0, 300.0)


# --- gauges ----------------------------------------------------------------------------------------------------------


def test_gauges_combine_as_their_kind_demands() -> None:
    times = (10, 11, 12)
    found = view(
        up(9, *times, 20.1),
        up(9, *times, 20.1, replica="b"),
        told("requests_running", dict.fromkeys(times, 3)),
        told("requests_running", {10: 1, 11: 5, 12: 0}, replica="b"),
        told("kv_cache_usage", dict.fromkeys(times, 0.2)),
        told("kv_cache_usage", dict.fromkeys(times, 0.9), replica="b"),
        told("gpu_temperature_c", {10: 50}, source="dcgm", series="gpu=0"),
        told("gpu_temperature_c", {10: 70}, source="dcgm", series="gpu=1"),
    )
    gauges = found["engines"]["vllm"]["gauges"]
    assert (gauges["requests_running"]["mean"], gauges["requests_running"]["peak"]) == (5.0, 8.0)
    assert gauges["kv_cache_usage"]["peak"] == pytest.approx(0.55)
    assert found["kv_cache_usage_peak"] == gauges["kv_cache_usage"]["peak_of_one"] == 0.9
    assert found["running_peak"] == 8.0
    assert found["gpus"]["dcgm"]["gauges"]["gpu_temperature_c"]["peak"] == 70.0


def test_a_replica_that_falls_silent_is_not_held_for_ever() -> None:
    found = view(
        up(*range(10, 20)),
        told("requests_running", dict.fromkeys(map(float, range(10, 20)), 1.0)),
        told("requests_running", {10.0: 7.0, 11.0: 7.0}, replica="b"),
        up(10, 11, replica="b"),
    )
    running = found["engines"]["vllm"]["gauges"]["requests_running"]
    assert running["peak"] == 8.0
    assert running["mean"] == pytest.approx((8 * 4 + 1 * 6) / 10)  # held for 2.5 s behind its last sample


def test_what_was_not_told_is_absent_and_never_zero() -> None:
    found = view(up(9, 20.1), told("requests_running", {12: 1}))
    assert set(found["engines"]["vllm"]["gauges"]) == {"requests_running"}
    assert found["engines"]["vllm"]["counters"] == {}
    assert found["waiting_peak"] is found["kv_cache_usage_peak"] is found["preemptions"] is None
    assert found["engines"]["vllm"]["prefix_cache_hit_rate"] is None
    assert found["compared"] == {}


def test_a_stage_in_whose_time_nobody_said_anything_has_no_view() -> None:
    import pyarrow as pa

    rows = [*up(1, 2), *told("requests_running", {1: 1, 2: 1})]
    table = pa.Table.from_batches([batch(rows)], SCHEMA)
    assert server_view(from_table(table), STAGE, Seen()) is None
    assert server_view(from_table(SCHEMA.empty_table()), STAGE, Seen()) is None


def test_the_edges_of_a_stage() -> None:
    def between(*times_s: float, until_s: float = math.inf, marked: Collection[float] = ()) -> object:
        t_ns = np.array([round(t * S) for t in times_s], np.int64)
        at_edge = np.array([t in marked for t in times_s], np.bool_)
        asked = Asked(t_ns, np.ones(len(t_ns), np.bool_), at_edge)
        found = edges(asked, Span(10 * S, 20 * S, until_s * S))
        return None if found is None else (found[0] / S, found[1] / S)

    assert between(8, 9, 15, 20.1, 20.2, 40) == (9.0, 20.2)
    assert between(8, 9, 15, 20.1, 20.2, 20.3, 40, marked={9, 20.2, 20.3}) == (9.0, 20.2)
    assert between(9, 20.1, 20.4, until_s=20.3) == (9.0, 20.1)
    assert between(9, 20, until_s=20.3) == (9.0, 20.0)
    assert between(0, 15, 30) == (0.0, 30.0)  # of a source that is asked rarely
    assert between(12, 15) == (12.0, 15.0)
    assert between(12) is None
    assert between() is None


def test_a_stage_that_was_cut_and_dropped_does_not_count_for_the_one_before_it() -> None:
    """Its requests are gone, so nobody knows when they were sent; the sample at the edge does."""
    edge = [Reading(round(20.1 * S), "page", "a", EDGE, UP, 1.0)]
    found = view(up(9, 20.5, 21), edge, told("generation_tokens", {9: 0, 20.1: 10, 20.5: 30, 21: 60}))
    assert counters(found) == {"generation_tokens": 10}
