from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_run import MS, failure, frame, record

from calibrations import ERROR, calibration, limit, step
from inferometer.analysis import calibration as pure
from inferometer.analysis.calibration import Exceeded, Served, Step
from inferometer.analysis.validity import Finding, Verdict

VALID = Verdict("VALID", (), {})
EPOCH_NS = 7 * 10**12


# --- stamps ----------------------------------------------------------------------------------------------------------


def served_of(*rows: Any, early_us: float) -> dict[str, Served]:
    """A simulator that wrote every event so long before its stamp, and on time."""
    moments = {f"inferometer-0-{row.index}": (row.event_ns + EPOCH_NS - early_us * 1e3).astype(int) for row in rows}
    return {name: Served(name, written.tolist(), written.tolist()) for name, written in moments.items()}


def test_stamps_are_compared_with_the_writes_of_their_own_request() -> None:
    rows = [record(3), record(1, sent_ms=500), failure(2), record(5, sent_ms=900, attempts=2)]
    index = np.array([3, 1, 2, 5])
    errors_us = pure.stamp_errors_us(frame(*rows), index, served_of(rows[0], rows[1], early_us=7), EPOCH_NS)
    assert errors_us.tolist() == [7.0] * 8


@pytest.mark.parametrize(
    ("served", "said"),
    [({}, "1 requests are not in the simulator's log, the first: inferometer-0-0"), ({"short": 1}, "not as many")],
)
def test_what_cannot_be_compared_is_refused(served: dict[str, int], said: str) -> None:
    name = "inferometer-0-0"
    log = {name: Served(name, [0], [0])} if served else {}
    with pytest.raises(ValueError, match=said):
        pure.stamp_errors_us(frame(record()), np.array([0]), log, EPOCH_NS)


def test_sends_are_late_from_their_schedule_or_from_their_connection() -> None:
    late = record(0, scheduled_ms=10, sent_ms=12)
    new = record(1, scheduled_ms=10, sent_ms=15, connected_ns=14 * MS)
    assert pure.send_errors_us(frame(late, new, open_loop=True)).tolist() == [2000.0, 1000.0]


def test_a_spread_is_of_absolute_errors() -> None:
    found = pure.spread(np.array([-3.0, 1.0, 2.0]))
    assert (found.p50_us, found.max_us, found.count) == (2.0, 3.0, 3)
    assert pure.spread(np.empty(0)).count == 0


def test_lateness_is_that_of_the_slowest_hundredth() -> None:
    due = [MS * number for number in range(1000)]
    written = [moment + (5 * MS if number >= 980 else 0) for number, moment in enumerate(due)]
    assert pure.late_p99_ms({"a": Served("a", due, written)}) == 5.0
    assert pure.late_p99_ms({}) == 0.0


def test_rates_of_an_open_loop_are_those_of_its_arrivals() -> None:
    rows = [record(number, scheduled_ms=100 * number, sent_ms=100 * number) for number in range(11)]
    assert pure.arrival_rates(frame(*rows, open_loop=True)) == (11.0, 44.0)
    assert pure.arrival_rates(frame(rows[0], open_loop=True)) == (0.0, 0.0)


# --- one step --------------------------------------------------------------------------------------------------------

LAG = Finding("schedule lag p99", "client-limited", 1.5, 1.0, "ms", "ttft", "advice")
NOTE = Finding("samples", "note", 1.5, 1.0, "", "p99", "advice")


@pytest.mark.parametrize(
    ("changed", "verdict", "blamed"),
    [
        ({}, VALID, None),
        ({}, Verdict("VALID", (NOTE,), {}), None),
        ({"simulator_late_p99_ms": 5.1}, VALID, ("simulator", "lateness p99")),
        ({"simulator_cpu_share": 0.99}, VALID, ("simulator", "CPU")),
        ({"simulator_cpu_share": None}, VALID, None),
        ({}, Verdict("CLIENT-LIMITED", (LAG,), {}), ("client", "schedule lag p99")),
        ({"simulator_late_p99_ms": 5.1}, Verdict("CLIENT-LIMITED", (LAG,), {}), ("simulator", "lateness p99")),
        ({"schedule_lag_p99_ms": 1.1}, VALID, ("client", "schedule lag p99")),
        ({"stamp_error": msgspec.structs.replace(ERROR, p95_us=1001.0)}, VALID, ("client", "stamp error p95")),
        ({"stamp_error": msgspec.structs.replace(ERROR, p99_us=1001.0)}, VALID, None),
        ({"read_lag_p50_ms": 5.1}, VALID, ("client", "read lag p50")),
        ({"cpu_share": 0.91}, VALID, ("client", "CPU")),
    ],
)
def test_who_is_to_blame(changed: dict[str, Any], verdict: Verdict, blamed: tuple[str, str] | None) -> None:
    found = pure.exceeded(verdict, step(**changed), ttft_ms=20.0, gap_ms=5.0)
    assert (None if found is None else (found.by, found.name)) == blamed


def test_the_limit_of_an_error_grows_with_the_ttft() -> None:
    late = step(schedule_lag_p99_ms=2.0)
    assert pure.exceeded(VALID, late, ttft_ms=50.0, gap_ms=5.0) is None


# --- the search ------------------------------------------------------------------------------------------------------

CLIENT = Exceeded("client", "schedule lag p99", 2.0, 1.0, "ms")
SIMULATOR = Exceeded("simulator", "lateness p99", 6.0, 5.0, "ms")


def search(play: Callable[[int, int], Step], first: int, ratio: float = 1.12) -> list[Step]:
    """Played to its end; ``play`` gets the load and how often it was played before."""
    steps: list[Step] = []
    while (load := pure.next_load(steps, first, ratio)) is not None:
        steps.append(play(load, sum(one.load == load for one in steps)))
        assert len(steps) < 80
    return steps


@given(st.integers(4, 100_000), st.integers(4, 5_000), st.sets(st.integers(0, 100)))
def test_the_limit_is_found_whatever_hiccups_there_are(truth: int, first: int, hiccups: set[int]) -> None:
    """A machine that holds every load up to the truth, but for a hiccup in the first try of some."""

    def play(load: int, before: int) -> Step:
        hiccup = before == 0 and load % 101 in hiccups
        return step(load=load, exceeded=CLIENT if load > truth or hiccup else None)

    found = pure.limit_of("requests", 1, search(play, first))
    assert found.next is not None
    if found.highest is None:
        assert truth < 8 or found.next.load // 2 < pure.LEAST_LOAD
        return
    assert found.highest.load <= truth < found.next.load
    assert found.next.load / found.highest.load <= 1.12 or found.next.load - found.highest.load <= 1
    assert found.ended_by == "client"


@given(st.integers(8, 5_000))
def test_it_takes_few_steps(truth: int) -> None:
    steps = search(lambda load, _: step(load=load, exceeded=CLIENT if load > truth else None), 64)
    assert len(steps) <= 10 + 2 * abs(math.log2(truth / 64))


def test_a_busy_machine_needs_twice_the_proof() -> None:
    steps = [step(load=8), *[step(load=16, exceeded=CLIENT, others_cores=0.5)] * 3]
    assert pure.next_load(steps, 8, 1.12) == 16
    assert pure.next_load([*steps, steps[-1]], 8, 1.12) == 11
    assert pure.next_load([*steps, step(load=16)], 8, 1.12) == 32


def test_an_end_before_its_time_claims_only_what_was_proved() -> None:
    found = pure.limit_of("tokens", 1, [step(load=8), step(load=16, exceeded=CLIENT)])
    assert (found.ended_by, found.next) == ("time", None)
    assert found.highest is not None
    assert found.highest.load == 8
    assert pure.limit_of("tokens", 1, []).per_s is None


@pytest.mark.parametrize(
    ("ends", "by"),
    [
        ([CLIENT, CLIENT], "client"),
        ([SIMULATOR, SIMULATOR], "simulator"),
        ([CLIENT, SIMULATOR], "simulator"),
        ([SIMULATOR, CLIENT], "simulator"),
    ],
)
def test_where_tries_are_divided_the_simulator_is_the_limit(ends: list[Exceeded], by: str) -> None:
    found = pure.limit_of("tokens", 1, [step(load=8), *(step(load=16, exceeded=end) for end in ends)])
    assert found.ended_by == by


def test_most_tries_decide_and_disturbed_ones_count_half() -> None:
    disturbed = step(load=16, exceeded=SIMULATOR, others_cores=1.0)
    client = step(load=16, exceeded=CLIENT, others_cores=1.0)
    assert pure.limit_of("tokens", 1, [disturbed, client, client, client]).ended_by == "client"
    assert pure.limit_of("tokens", 1, [disturbed, disturbed, step(load=16, exceeded=CLIENT)]).next is not None


def test_cpu_time_is_an_estimate_of_its_own() -> None:
    found = pure.limit_of("tokens", 1, [step(load=8, tokens_per_s=1000.0, cpu_share=0.45)])
    assert (found.per_s, found.by_cpu_per_s) == (1000.0, 2000.0)


# --- later runs ------------------------------------------------------------------------------------------------------


def share(workers: int, requests_per_s: float, tokens_per_s: float, by: str = "") -> float:
    found = pure.share_of_calibrated(calibration(), workers, requests_per_s, tokens_per_s)[f"calibrated_load_share{by}"]
    assert found is not None
    return found


def test_the_calibrated_loads_are_the_whole() -> None:
    assert share(1, 1250, 80_000) == pytest.approx(1)
    assert share(1, 2500, 10_000) == pytest.approx(1)
    assert share(1, 0, 0) == 0


@given(st.floats(0, 1e5), st.floats(0, 1e6), st.integers(1, 8))
def test_a_share_is_linear_in_both(requests_per_s: float, tokens_per_s: float, workers: int) -> None:
    whole = share(workers, requests_per_s, tokens_per_s)
    assert whole == pytest.approx(share(workers, requests_per_s, 0) + share(workers, 0, tokens_per_s), abs=1e-9)
    assert share(workers, 2 * requests_per_s, 2 * tokens_per_s) == pytest.approx(2 * whole, abs=1e-9)
    assert share(workers + 1, requests_per_s, tokens_per_s) <= whole + 1e-9


def test_more_workers_may_have_more_up_to_what_all_could() -> None:
    """One worker held 80,000 tok/s, three held 160,000: two may have 160,000, four no more than three."""
    assert share(2, 2500, 160_000) == pytest.approx(1)
    assert share(3, 2500, 160_000) == pytest.approx(share(4, 2500, 160_000)) == pytest.approx(1)


def test_by_cpu_there_is_room_where_the_simulator_was_the_limit() -> None:
    assert share(1, 1250, 80_000, by="_by_cpu") == pytest.approx(0.6 / 0.9)


def test_without_a_load_that_held_there_is_no_share() -> None:
    nothing = msgspec.structs.replace(calibration(), limits=(limit("tokens", 1, None), limit("requests", 1, None)))
    assert set(pure.share_of_calibrated(nothing, 1, 1.0, 1.0).values()) == {None}


def test_corners_that_make_no_plane_leave_the_larger_part() -> None:
    same = step(load=8, requests_per_s=100.0, tokens_per_s=1000.0)
    flat = msgspec.structs.replace(calibration(), limits=(limit("tokens", 1, same), limit("requests", 1, same)))
    assert pure.share_of_calibrated(flat, 1, 50.0, 200.0)["calibrated_load_share"] == 0.5


def test_a_calibration_survives_json() -> None:
    assert msgspec.json.decode(msgspec.json.encode(calibration()), type=pure.Calibration) == calibration()
