from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from inferometer.analysis import server_view
from inferometer.report.console import ENGINES, render, stage_result


def estimate(value: float, *, few: bool = False) -> dict[str, Any]:
    return {"value": value, "low": None if few else value, "high": None if few else value, "count": 32}


def metric(mean: float, median: float, p99: float) -> dict[str, Any]:
    return {
        "mean_ms": estimate(mean),
        "median_ms": estimate(median),
        "percentiles_ms": {"50": estimate(median), "95": estimate(p99), "99": estimate(p99, few=True)},
    }


def length(mean: float, total: int, **sources: int) -> dict[str, Any]:
    return {"asked_mean_tokens": mean, "got_mean_tokens": mean, "got_total_tokens": total, "sources": sources}


STAGE: dict[str, Any] = {
    "stage": 0,
    "load": {"type": "closed", "concurrency": 4},
    "counts": {"ok": 32, "failed": 1, "failures": [{"kind": "http_5xx", "count": 1, "first_example": "out\nof luck"}]},
    "window": {"length_s": 5.404},
    "throughput": {
        "requests_per_s": 5.921,
        "output_tokens_per_s": 378.96,
        "total_tokens_per_s": 1136.87,
        "peak_in_flight": 4,
        "peak_output_tokens_per_s": 431.0,
    },
    "steady_window": {"length_s": 5.0},
    "steady_throughput": {"requests_per_s": 6.0, "output_tokens_per_s": 384.0, "mean_in_flight": 3.99},
    "slos": None,
    "metrics": {
        "ttft": metric(33.11, 32.0, 53.5),
        "tpot": metric(10.17, 10.27, 11.45),
        "itl": metric(10.17, 10.13, 15.94),
        "e2el": metric(673.89, 683.27, 757.35),
    },
    "lengths": {"prompt_tokens": length(128, 4096, usage=32), "output_tokens": length(64, 2048, usage=31, events=1)},
    "verdict": {
        "verdict": "VALID",
        "findings": [
            {
                "name": "steal",
                "severity": "note",
                "figure": 0.125,
                "limit": 0.05,
                "unit": "share",
                "spoils": "tails",
                "advice": "use dedicated cores",
            }
        ],
        "figures": {
            "kernel_stamps_share": 1.0,
            "merged_reads_share": 0.003,
            "loop_lag_p99_ms": 0.21,
            "client_cpu_share_max": 0.18,
            "steal_share": 0.125,
            "schedule_lag_p99_ms": None,
        },
    },
}
REPORT = {"percentile_metrics": ["ttft", "tpot", "itl", "e2el"], "percentiles": ["50", "99"]}

#: What ``vllm bench serve`` 0.32 prints from its title to its last latency, but for the verdict and the marks; then our
#: own sections. A bar stands where a line ends in spaces.
GOLDEN = """\
============ Serving Benchmark Result ============
Verdict:                                 VALID     |
Successful requests:                     32        |
Failed requests:                         1         |
Maximum request concurrency:             4         |
Benchmark duration (s):                  5.40      |
Total input tokens:                      4096      |
Total generated tokens:                  2048      |
Request throughput (req/s):              5.92      |
Output token throughput (tok/s):         378.96    |
Peak output token throughput (tok/s):    431.00    |
Peak concurrent requests:                4.00      |
Total token throughput (tok/s):          1136.87   |
---------------Time to First Token----------------
Mean TTFT (ms):                          33.11     |
Median TTFT (ms):                        32.00     |
P50 TTFT (ms):                           32.00     |
P99 TTFT (ms):                           53.50 ~   |
-----Time per Output Token (excl. 1st token)------
Mean TPOT (ms):                          10.17     |
Median TPOT (ms):                        10.27     |
P50 TPOT (ms):                           10.27     |
P99 TPOT (ms):                           11.45 ~   |
---------------Inter-token Latency----------------
Mean ITL (ms):                           10.17     |
Median ITL (ms):                         10.13     |
P50 ITL (ms):                            10.13     |
P99 ITL (ms):                            15.94 ~   |
----------------End-to-end Latency----------------
Mean E2EL (ms):                          673.89    |
Median E2EL (ms):                        683.27    |
P50 E2EL (ms):                           683.27    |
P99 E2EL (ms):                           757.35 ~  |
-------------------Steady State-------------------
Steady-state duration (s):               5.00      |
Steady-state requests (req/s):           6.00      |
Steady-state output (tok/s):             384.00    |
Steady-state requests in flight, mean:   3.99      |
---------------------Lengths----------------------
Mean prompt tokens asked:                128.00    |
Mean prompt tokens got:                  128.00    |
Mean output tokens asked:                64.00     |
Mean output tokens got:                  64.00     |
Requests with output tokens by events:   1         |
--------------------Instrument--------------------
Kernel-stamped requests (%):             100.00    |
Reads that carry several events (%):     0.30      |
Event loop lag p99 (ms):                 0.21      |
CPU of the busiest worker (%):           18.00     |
Time stolen by the host (%):             12.50     |
---------------------Failures---------------------
http_5xx:                                1         |
  first: out of luck
----------------------Notes-----------------------
  steal 12.5 % (limit 5.0 %), spoils tails: use dedicated cores
==================================================
~ too few samples for a 95 % interval
""".replace("|\n", "\n")


def changed(**parts: Any) -> dict[str, Any]:
    return {**copy.deepcopy(STAGE), **parts}


def summary(*stages: dict[str, Any]) -> dict[str, Any]:
    return {"report": REPORT, "stages": list(stages)}


def test_the_layout_is_that_of_vllm() -> None:
    assert render(summary(STAGE)) == GOLDEN


def test_several_stages_are_named_and_end_in_a_sweep() -> None:
    text = render(summary(STAGE, changed(stage=1, load={"type": "closed", "concurrency": 8})))
    assert re.findall(r"^Stage .*", text, re.MULTILINE) == ["Stage 1: concurrency 4", "Stage 2: concurrency 8"]
    assert text.rstrip().splitlines()[-6].startswith("| concurrency |")


def test_an_open_loop_shows_its_rate_and_both_series() -> None:
    load = {"type": "open", "rate_per_s": 2.0, "max_in_flight": 4}
    both = {**STAGE["metrics"], "ttft_from_send": metric(1, 2, 3)}
    text = stage_result(changed(load=load, metrics=both, slos={"goodput_per_s": 0.9}), REPORT)
    assert (
        "Maximum request concurrency:             4         \nRequest rate configured (RPS):           2.00      "
        in text
    )
    assert "Request goodput (req/s):                 0.90      " in text
    assert (
        "----------Time to First Token from Send-----------\nMean TTFT from send (ms):                1.00      "
        in text
    )


def test_an_infinite_rate_is_not_printed_as_vllm_does() -> None:
    load = {"type": "open", "rate_per_s": "inf", "max_in_flight": None}
    text = stage_result(changed(load=load), REPORT)
    assert "Request rate configured" not in text
    assert "Maximum request concurrency" not in text


def test_what_limits_stands_above_the_numbers() -> None:
    limiting = {
        **STAGE["verdict"]["findings"][0],
        "severity": "client-limited",
        "unit": "ms",
        "figure": 3.25,
        "limit": 2,
    }
    told = {**STAGE["verdict"], "verdict": "CLIENT-LIMITED", "findings": [limiting]}
    lines = stage_result(changed(verdict=told), REPORT).splitlines()
    assert lines[1] == "Verdict:                                 CLIENT-LIMITED"
    assert lines[2] == "  steal 3.25 ms (limit 2 ms), spoils tails: use dedicated cores"
    assert lines[3].startswith("Successful requests:")


def test_a_stage_without_a_success_shows_no_latency() -> None:
    nothing = length(128, 0)
    nothing["got_mean_tokens"] = nothing["got_total_tokens"] = None
    empty = changed(
        metrics={},
        throughput=None,
        window=None,
        steady_window=None,
        steady_throughput=None,
        lengths={"prompt_tokens": nothing, "output_tokens": nothing},
        verdict={"verdict": "INVALID", "findings": [], "figures": {}},
    )
    text = stage_result(empty, REPORT)
    assert "Failed requests:                         1         " in text
    for absent in ("TTFT", "throughput", "Total", "nan", "None"):
        assert absent not in text


@pytest.mark.parametrize("asked", [["e2el"], []])
def test_sections_are_those_that_were_asked_for(asked: list[str]) -> None:
    text = stage_result(STAGE, {**REPORT, "percentile_metrics": asked})
    assert ("E2EL" in text) is ("e2el" in asked)
    assert "TTFT" not in text


def test_of_answers_that_were_not_streamed_the_first_byte_is_shown() -> None:
    wire = {"connect": metric(1, 1, 2), "ttfb": metric(40, 40, 50)}
    streamed = stage_result(changed(metrics={**STAGE["metrics"], "ttfb": metric(40, 40, 50)}), REPORT)
    assert "TTFB" not in streamed
    text = stage_result(changed(metrics={"e2el": STAGE["metrics"]["e2el"], **wire}), REPORT)
    labels = [line.split()[1] for line in text.splitlines() if line.startswith("Mean ") and "(ms)" in line]
    assert labels == ["connect", "TTFB", "E2EL"]


def test_times_of_requests_stand_in_a_table() -> None:
    step = {"step": "total", "min_ms": 1.0, "mean_ms": 2.5, "std_ms": 0.5, "median_ms": 2.0, "max_ms": 9.25}
    told = {"connection_times": [step], "served_within_ms": {"50": 2.0, "100": 9.25}, "ms_per_request": 0.625}
    lines = stage_result(changed(**told), REPORT).splitlines()
    first = next(number for number, line in enumerate(lines) if "Times of Requests" in line)
    assert [line.split() for line in lines[first + 1 : first + 8]] == [
        ["|", "ms", "|", "min", "|", "mean", "|", "std", "|", "median", "|", "max", "|"],
        ["|", "-----", "|", "----", "|", "----", "|", "----", "|", "------", "|", "----", "|"],
        ["|", "total", "|", "1.00", "|", "2.50", "|", "0.50", "|", "2.00", "|", "9.25", "|"],
        [],
        ["|", "served", "|", "50", "%", "|", "100", "%", "|"],
        ["|", "------", "|", "----", "|", "-----", "|"],
        ["|", "within", "|", "2.0", "|", "9.2", "|"],
    ]
    assert lines[first + 8] == "Time per request, all in flight together: 0.62 ms"


@pytest.mark.parametrize(
    ("engine", "speaks", "title"),
    [
        ("Inferometer simulator 1.2", "vllm", "--------Server: Inferometer simulator 1.2---------"),
        ("vLLM 0.11.0", "vllm", "---------------Server: vLLM 0.11.0----------------"),
        (None, "llamacpp", "------------Server (llama.cpp metrics)------------"),
        (None, None, "----------------------Server----------------------"),
    ],
)
def test_a_server_has_the_name_that_it_gives_itself(engine: str | None, speaks: str | None, title: str) -> None:
    """Not that of the engine whose names its metrics have."""
    assert set(ENGINES) == set(server_view.ENGINES)
    view = dict.fromkeys(server_view.PEAKS) | {"preemptions": None}
    view |= {"compared_with": speaks, "engines": {}, "compared": {}, "notes": []}
    told = {**STAGE, "server": view}
    assert title in stage_result(told, REPORT, engine=engine).splitlines()
    assert title in render(summary(told) | {"engine": engine}).splitlines()


def test_colour_changes_nothing_but_the_verdict() -> None:
    coloured = render(summary(STAGE), colour=True)
    assert "\x1b[1;32mVALID\x1b[0m" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == GOLDEN
    assert "\x1b" not in render(summary(STAGE))


def test_what_a_server_says_cannot_steer_the_terminal() -> None:
    stage = copy.deepcopy(STAGE)
    stage["counts"]["failures"][0]["first_example"] = "HTTP 500: \x1b[2J\x1b]0;gone\x07 \x9b31m boom"
    stage["models"] = [{"model": "tiny\x1b[31m", "counts": {"ok": 1, "failed": 0}, "throughput": None, "metrics": {}}]
    shown = stage_result(stage, REPORT)
    assert "  first: HTTP 500: [2J ]0;gone 31m boom\n" in shown
    assert all(line.isprintable() for line in shown.splitlines())


def test_nothing_to_show() -> None:
    assert render(summary()) == "No stage was begun: there is nothing to show.\n"
