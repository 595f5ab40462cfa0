from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from drawn_runs import summary_of
from engine_runs import summary
from hypothesis import given
from hypothesis import strategies as st

from inferometer.analysis.diagnosis import Diagnosis, Facts, diagnose, facts_of
from inferometer.analysis.reading import reading
from inferometer.simulator.model import Profile

#: The table of https://ai.wmx.dev benchmark results, commit 8e78aaa: an NVIDIA L4 with Qwen2.5-0.5B-Instruct.
L4_COLUMNS = (
    "load",
    "requests_per_s",
    "output_tokens_per_s",
    "ttft_p50_ms",
    "ttft_p95_ms",
    "itl_p50_ms",
    "itl_p95_ms",
    "e2el_p50_ms",
    "e2el_p95_ms",
)
L4_ROWS = (
    (1, 1.3, 168, 27.0, 115.5, 5.1, 6.1, 679, 765),
    (2, 2.9, 367, 37.8, 48.2, 5.2, 6.3, 698, 705),
    (4, 5.4, 698, 50.1, 85.4, 5.3, 6.4, 722, 760),
    (8, 10.2, 1312, 60.9, 88.4, 5.5, 7.4, 772, 816),
    (16, 17.8, 2277, 103.8, 135.7, 6.0, 8.9, 880, 947),
    (32, 29.5, 3773, 135.3, 191.8, 7.1, 12.0, 1082, 1128),
)
L4_PEAKS = {"gpu_utilisation_peak": 1.0, "kv_cache_usage_peak": 0.011, "running_peak": 31, "waiting_peak": 0}
changed = msgspec.structs.replace
ROOMY = Profile(num_gpu_blocks=20_000, step_ns=5_000_000, per_sequence_ns=20_000, jitter=0.1)


def l4() -> list[dict[str, Any]]:
    stages: list[dict[str, Any]] = [
        dict(zip(L4_COLUMNS, row, strict=True), output_tokens_mean=128.0) for row in L4_ROWS
    ]
    stages[-1]["server"] = L4_PEAKS
    return stages


def read(stages: list[dict[str, Any]]) -> Diagnosis:
    found = diagnose(stages)
    assert found is not None
    return found


def test_the_published_table_of_an_l4_gives_its_five_findings() -> None:
    found = read(l4())
    assert found.bound == "compute-bound"
    told = {finding.name: finding for finding in found.findings}
    assert list(told) == ["compute-bound", "degrades-first", "decode-flat", "scaling-near-linear", "e2el-decode"]
    assert told["compute-bound"].title == "Compute-bound, not memory-bound"
    figures = {
        "compute-bound": ("100 %", "1.1 %", "0 waiting", "31 running"),
        "degrades-first": ("TTFT p50 grows 5.0x", "27 ms -> 135 ms", "1 -> 32"),
        "decode-flat": ("5.1 ms to 7.1 ms", "12.0 ms at 32"),
        "scaling-near-linear": ("168 -> 3773 tok/s", "22.5x"),
        "e2el-decode": ("TTFT + 127 x ITL", "1082 ms", "87 %"),
    }
    for name, texts in figures.items():
        assert [text for text in texts if text not in told[name].text] == []


def test_every_sentence_has_a_figure() -> None:
    for finding in read(l4()).findings:
        assert finding.evidence
        assert any(letter.isdigit() for letter in finding.text)


#: What limits -> the engine that it limits, the levels at which it does, and the time that the client needs per send.
#: All but the first differ from one that has room in one thing alone.
LIMITED: dict[str, tuple[Profile, tuple[int, ...], int]] = {
    "under-used": (ROOMY, (1, 4, 16), 0),
    "compute-bound": (changed(ROOMY, step_ns=1_000_000, per_sequence_ns=2_000_000), (1, 4, 16, 32), 0),
    "memory-bound": (changed(ROOMY, num_gpu_blocks=30), (1, 4, 16), 0),
    "queue-bound": (changed(ROOMY, max_num_seqs=4), (1, 4, 16), 0),
    "client-limited": (ROOMY, (1, 4, 16), 15_000_000),
}


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("limit", LIMITED)
def test_what_limits_is_named_from_the_rows_and_the_telemetry_of_a_run(limit: str, seed: int) -> None:
    """Nothing is written by hand: the engine model plays, its gauges are sampled, the summary is read."""
    profile, levels, client_ns = LIMITED[limit]
    told = summary(profile, levels, seed, client_ns)
    assert reading(told)[0].name == limit
    client = {"client-limited": "CLIENT-LIMITED"}.get(limit, "VALID")
    assert told["stages"][-1]["verdict"]["verdict"] == client
    assert told["stages"][0]["server"]["running_peak"] == 1


def test_what_servers_counted_in_repeats_is_added_up() -> None:
    once = summary_of(np.random.default_rng(5), 1, 4)["stages"]
    played = [
        stage | {"stage": 2 * turn + place, "server": {"preemptions": float(turn == place == 1), "waiting_peak": turn}}
        for turn in range(3)
        for place, stage in enumerate(once)
    ]
    repeats = [stage | {"server": None, "stages": [place, place + 2, place + 4]} for place, stage in enumerate(once)]
    valid = [stage | {"verdict": stage["verdict"] | {"verdict": "VALID"}} for stage in repeats]
    found = reading({"stages": played, "repeats": valid})[0]
    assert found.name == "memory-bound"
    assert "1 pre-emptions, 2 waiting at most" in found.text


def test_the_reading_of_each_stage_is_there_too() -> None:
    found = read(facts_of(summary(changed(ROOMY, max_num_seqs=4), (1, 2, 4, 16), 0)))
    assert found.stages[-1] == "queue-bound"
    assert set(found.stages[1:3]) == {"under-used"}


def shape(rates: list[float], **server: float | None) -> list[dict[str, Any]]:
    """A sweep over 1, 2, 4 ... of which only the throughput, and what the server said last, are known."""
    stages: list[dict[str, Any]] = [{"load": 2**n, "output_tokens_per_s": rate} for n, rate in enumerate(rates)]
    stages[-1]["server"] = server
    return stages


@given(st.integers(1, 500), st.floats(0.0, 1.0), st.floats(0.0, 100.0))
def test_preemptions_are_memory_whatever_else(preemptions: int, gpu: float, waiting: float) -> None:
    told = {"preemptions": preemptions, "gpu_utilisation_peak": gpu, "waiting_mean": waiting}
    assert read(shape([10, 12], **told)).bound == "memory-bound"


@given(st.floats(0.0, 0.5), st.floats(20.0, 500.0), st.floats(1.0, 100.0))
def test_a_queue_with_room_in_the_cache_is_a_limit_of_the_batch(kv: float, waiting: float, running: float) -> None:
    told = {"kv_cache_usage_peak": kv, "waiting_mean": waiting, "waiting_peak": waiting, "running_mean": running}
    assert read(shape([10, 12], **told)).bound == "queue-bound"


@given(st.floats(0.96, 1.0), st.floats(0.0, 0.5))
def test_a_busy_gpu_where_nothing_waits_is_compute(gpu: float, kv: float) -> None:
    told = {"gpu_utilisation_peak": gpu, "kv_cache_usage_peak": kv, "waiting_mean": 0.0, "waiting_peak": 0.0}
    assert read(shape([10, 12], **told)).bound == "compute-bound"


@pytest.mark.parametrize(("gpu", "bound"), [(0.58, "under-used"), (0.8, "compute-bound"), (None, "compute-bound")])
def test_a_gpu_that_is_known_to_be_free_is_no_limit_however_slow_tokens_get(gpu: float | None, bound: str) -> None:
    sweep = shape([100, 180, 200], gpu_utilisation_peak=gpu)
    sweep[0]["itl_p50_ms"], sweep[-1]["itl_p50_ms"] = 2.0, 4.0
    assert read(sweep).bound == bound


def held(*levels: tuple[float, float], waiting: float = 0.0, **told: float) -> list[dict[str, Any]]:
    """A sweep of which the requests in flight and those running in the engine are known."""
    return [
        {
            "load": in_flight,
            "output_tokens_per_s": 100 + number,
            "in_flight_mean": in_flight,
            "server": {"running_mean": running, "waiting_mean": waiting, **told},
        }
        for number, (in_flight, running) in enumerate(levels)
    ]


@given(st.floats(10.0, 500.0), st.floats(0.0, 0.1), st.floats(0.26, 0.99), st.floats(0.0, 1.0))
def test_requests_that_the_engine_does_not_know_of_are_in_front_of_it(
    load: float, before: float, outside: float, gpu: float
) -> None:
    sweep = held((load, load * (1 - before)), (4 * load, 4 * load * (1 - outside)), gpu_utilisation_peak=gpu)
    found = read(sweep)
    assert found.bound == "front-bound"
    assert f"{4 * load:.0f} requests in flight" in found.findings[0].text
    assert "--api-server-count" in found.findings[0].advice


@pytest.mark.parametrize(
    "sweep",
    [
        held((8, 7.9), (32, 25)),  # less than a quarter is outside
        held((8, 5.0), (32, 20)),  # no more than at the lowest load: a distance, not a limit
        held((8, 7.9), (32, 8), waiting=24),
        held((32, 18)),  # one load alone, and less than half
        [{**one, "in_flight_mean": None} for one in held((8, 7.9), (32, 8))],
        [{**one, "server": {"running_mean": 2}} for one in held((8, 7.9), (32, 8))],
    ],
)
def test_requests_in_flight_are_not_always_held_in_front(sweep: list[dict[str, Any]]) -> None:
    assert read(sweep).bound != "front-bound"


@pytest.mark.parametrize(
    ("samples", "counted", "known"), [(10, 100, True), (9, 100, False), (10, 400, False), (10, None, False)]
)
def test_what_is_in_flight_is_held_against_enough_samples_of_our_requests(
    samples: int, counted: float | None, known: bool
) -> None:
    run = summary_of(np.random.default_rng(0), 2, 8)
    run["stages"][-1]["server"] = {
        "compared_with": "vllm",
        "engines": {"vllm": {"gauges": {"requests_running": {"samples": samples}}}},
        "compared": {} if counted is None else {"output_tokens": {"client": 100, "server": counted}},
    }
    assert (facts_of(run)[-1]["in_flight_mean"] is not None) == known


@given(st.floats(1.8, 2.0), st.integers(2, 7))
def test_throughput_that_follows_the_load_leaves_room(ratio: float, levels: int) -> None:
    assert read(shape([10 * ratio**n for n in range(levels)])).bound == "under-used"


@given(st.floats(2.01, 10.0))
def test_no_step_gains_more_than_the_load_it_added(ratio: float) -> None:
    """Arrivals that are drawn are not quite the load of the plan."""
    texts = [finding.text for finding in read(shape([10, 10 * ratio])).findings]
    assert sum("throughput followed the load" in text for text in texts) == 2
    assert not any("gained" in text for text in texts)


@pytest.mark.parametrize(("running", "says"), [(0.0, False), (1.0, True)])
def test_samples_that_saw_no_request_run_are_no_evidence(running: float, says: bool) -> None:
    run = summary_of(np.random.default_rng(0), 2, 8)
    for number, stage in enumerate(run["stages"]):
        told = {"running_peak": running, "waiting_peak": 0.0, "kv_cache_usage_peak": 0.0, "gpu_utilisation_peak": 0.4}
        stage["server"] = told
        stage["verdict"]["verdict"] = "VALID"
        stage["throughput"]["output_tokens_per_s"] = 100.0 * (number + 1)
    text = read(facts_of(run)).findings[0].text
    assert "GPU utilisation peaks at 40 %" in text
    assert [word in text for word in ("running at most", "waiting at most", "KV-cache")] == [says] * 3


def test_what_is_not_told_is_not_zero() -> None:
    lonely = read([{"load": 8, "output_tokens_per_s": 100}])
    assert lonely.bound == "unclear"
    assert "unknown" in lonely.findings[0].text
    flat = read(shape([100, 110]))  # no latency is known, so nothing says whose limit this is
    assert flat.bound == "unclear"


def test_a_fall_of_throughput_is_said() -> None:
    names = [finding.name for finding in read(shape([100, 180, 120])).findings]
    assert "scaling-falls" in names


def test_no_stages_or_different_kinds_of_load_are_no_sweep() -> None:
    assert diagnose([]) is None
    assert diagnose([{"load": 1}, {"load": 2, "unit": "req/s"}]) is None


def test_facts_come_from_a_summary() -> None:
    run = summary_of(np.random.default_rng(0), 2, 8)
    run["stages"][1]["server"] = {"waiting_peak": 3, "other": 1}
    facts = msgspec.convert(facts_of(run), list[Facts])
    assert [one.load for one in facts] == [2, 8]
    assert facts[0].ttft_p50_ms == run["stages"][0]["metrics"]["ttft"]["median_ms"]["value"]
    assert facts[1].server.waiting_peak == 3
    assert facts[0].server.waiting_peak is None
