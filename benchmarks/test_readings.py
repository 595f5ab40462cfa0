"""The harness' own arithmetic. Run with ``pytest benchmarks``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import readings


def reported(key: readings.Key, event_ns: list[int]) -> readings.Reported:
    return readings.Reported(key, 0, 0, event_ns[0], np.array(event_ns, np.int64), len(event_ns), 0)


def served(written_ns: list[int]) -> readings.Served:
    return readings.Served(0, np.array(written_ns, np.int64))


@pytest.mark.parametrize(
    ("request_id", "key"),
    [
        ("inferometer-0-17", (0, 17)),
        ("a-b-2-3", (2, 3)),
        ("inferometer-w0-17", None),
        ("", None),
        ("x-1-y", None),
    ],
)
def test_key_of_a_request_id(request_id: str, key: readings.Key | None) -> None:
    assert readings.key_of(request_id) == key


def test_dump_is_read_in_order(tmp_path: Path) -> None:
    dump = tmp_path / "served.jsonl"
    rows = [{"id": "a-0-1", "arrival_ns": 5, "written_ns": [7, 9]}, {"id": "", "arrival_ns": 6, "written_ns": []}]
    dump.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (first, truth), (second, none) = readings.read_served(dump)
    assert (first, second) == ((0, 1), None)
    assert truth.arrival_ns == 5
    assert truth.written_ns.tolist() == [7, 9]
    assert none.written_ns.tolist() == []


def test_pairs_take_the_last_attempt() -> None:
    pairs = readings.pair(
        [reported((0, 1), [3000])], [((0, 1), served([1])), (None, served([2])), ((0, 1), served([1000]))]
    )
    assert readings.stamp_errors_us(pairs).tolist() == [2.0]


def test_a_request_without_truth_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 reported requests were not seen"):
        readings.pair([reported((0, 1), [3])], [])


def test_lost_events_are_an_error() -> None:
    with pytest.raises(ValueError, match="not as many events"):
        readings.stamp_errors_us([(reported((0, 1), [3]), served([1, 2]))])


def test_gaps_are_pooled_over_requests() -> None:
    times = [np.array([0, 10**6, 4 * 10**6]), np.array([5]), np.array([0, 5 * 10**6])]
    assert readings.mean_gap_ms(times) == pytest.approx(3.0)
    assert np.isnan(readings.mean_gap_ms([np.array([5])]))


def test_thirds_skip_the_start() -> None:
    samples = tuple((float(at_s), value) for at_s, value in enumerate([99, 1, 2, 3, 9, 9, 9, 5, 6, 7]))
    assert readings.third_medians(samples, 1.0) == (2.0, 6.0)
