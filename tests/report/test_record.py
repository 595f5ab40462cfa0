"""The record in Markdown, and the charts of a terminal."""

from __future__ import annotations

import re

import pytest

from inferometer.analysis import server_peaks
from inferometer.report.html import page
from inferometer.report.markdown import added, record
from inferometer.report.run_context import peaks, peaks_caption
from inferometer.report.terminal_charts import UNICODE, WIDTH, render
from reported_run import content, served


def test_record_has_context_table_limits_peaks_and_reading() -> None:
    text = record(served())
    places = [text.index(part) for part in ("### Run context", "| NVIDIA L4", "### Results", "| concurrency | req/s")]
    places += [
        text.index(part) for part in ("### Limits", "✗ missed", "### Failures", "KV cache used", "degrades first")
    ]
    assert places == sorted(places)


def test_peaks_are_those_of_all_replicas_at_one_moment() -> None:
    """Sums, means and the highest, as each figure demands: never the largest line, nor lines of different moments."""
    wanted = {
        "Requests running": "13",  # 10 + 3 at 42 s; 11 at 44 s; not 10, not 10 + 9
        "KV cache used": "50.0 % (of one replica 90.0 %)",
        "GPU memory used": "29.0 GiB",
        "GPU temperature": "71 °C",
    }
    assert dict(peaks(served())) == wanted
    text = record(served())
    assert text.index("Resource peaks") < text.index("| KV cache used")
    assert all(value in text for value in wanted.values())
    assert "50.0 % (of one replica 90.0 %)" in page(served())
    found = server_peaks.peaks(served().summary)
    assert {name: peak.stage for name, peak in found.items()}["requests_running"] == 2


def test_zeros_of_samples_that_missed_every_request_are_no_peaks() -> None:
    made = served()
    for stage in made.summary["stages"]:
        for engine in ((stage["server"] or {}).get("engines") or {}).values():
            for name in engine["gauges"].keys() & {"requests_running", "requests_waiting"}:
                engine["gauges"][name] |= {"peak": 0.0, "mean": 0.0, "peak_of_one": 0.0}
    found = dict(peaks(made))
    assert not {"Requests running", "Requests waiting"} & set(found)
    assert {"KV cache used", "GPU temperature"} <= set(found)  # these were seen
    assert peaks_caption(made) == "highest of the samples, about one a second"


def test_without_telemetry_there_are_no_peaks() -> None:
    assert peaks(content()) == []
    assert "Resource peaks" not in record(content())


def test_what_a_server_says_cannot_break_a_table_or_a_comment() -> None:
    made = content()
    for stage in made.summary["stages"]:
        stage["name"] = "<script>|"
    text = record(made)
    assert "<script" not in text
    assert text.count("<!--") == text.count("-->") == 2
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        bars = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(bars) == 1, table


def test_records_are_added_and_the_same_run_is_replaced() -> None:
    first, other = record(content()), record(content(levels=(2, 8), context={"started": "2026-10-02T00:00:00+00:00"}))
    once = added("", first)
    assert once.startswith("# Benchmark results\n\n<!-- inferometer")
    twice = added(once, other)
    assert first in twice
    assert twice.endswith(other)
    assert added(twice, first) == twice
    changed = first.replace("### Results", "### Results again")
    assert added(twice, changed).count("### Results again") == 1
    assert added(twice, changed).index("again") < added(twice, changed).index(other)
    assert added("# Mine\n\ntext\n", first).startswith("# Mine\n\ntext\n\n<!--")


def test_terminal_charts_are_plain_and_narrow() -> None:
    text = render(content())
    assert text.isascii()
    assert all(len(line) <= WIDTH for line in text.splitlines())
    assert "TTFT (ms) by concurrency: # p50, = p95, - p99" in text
    assert "TTFT: distribution from" in text


def test_longest_bar_is_the_highest_value() -> None:
    lines = render(content(pictures=None)).split("Output token throughput")[1].splitlines()[1:4]
    values = [float(line.split()[-1]) for line in lines]
    lengths = [line.count("#") for line in lines]
    assert lengths.index(max(lengths)) == values.index(max(values))


def test_terminals_may_have_blocks() -> None:
    assert "█" in render(content(), UNICODE)


@pytest.mark.parametrize("make", [render, record])
def test_a_run_without_stages_has_a_sentence(make: object) -> None:
    empty = content(pictures=None, server=[], thresholds=())
    text = make(type(empty)(summary={**empty.summary, "stages": []}, context={}, plan={}))  # type: ignore[operator]
    assert "No stage was begun" in text
