"""What the page and the record say of servers and of parts of a stage."""

from __future__ import annotations

from typing import Any

from inferometer.analysis.server_view import PEAKS
from inferometer.report.content import Content
from inferometer.report.html import page
from inferometer.report.markdown import record
from inferometer.report.stage_tables import parts, server, server_tables
from reported_run import HOSTILE, content

MEANS = {"client_mean_ms": 36.31, "server_mean_ms": 36.33, "difference_ms": -0.02}
VIEW = {
    **dict.fromkeys(PEAKS),
    "running_peak": 16.0,
    "kv_cache_usage_peak": 0.0114,
    "preemptions": 0.0,
    "engines": {"vllm": {"prefix_cache_hit_rate": 0.76}},
    "gpus": {"dcgm": {"energy_j_per_output_token": 0.4321}},
    "compared_with": "vllm",
    "compared": {"ttft": MEANS, "output_tokens": {"client": 2400, "server": 2418.0, "difference": -18.0}},
    "replicas": [],
    "notes": [f"{HOSTILE} did not answer"],
}
REPLICA = {
    "replica": HOSTILE,
    "share": 0.25,
    "ok": 30,
    "failed": 0,
    "groups": 2,
    "hit_rate": None,
    "metrics": {},
}


def run() -> Content:
    """The second of three stages has a server's view, the last one replicas."""
    plain = content()
    first, second, third = plain.summary["stages"]
    changed: list[dict[str, Any]] = [first, second | {"server": VIEW}, third | {"replicas": [REPLICA]}]
    return content(summary={**plain.summary, "stages": changed})


def test_columns_are_those_that_were_told() -> None:
    carried, beside = server_tables(run())
    assert carried.header[1:] == [
        "running, peak",
        "KV cache, peak",
        "prefix hits",
        "pre-emptions",
        "J per output token",
    ]
    assert carried.rows == [["4", "16", "1.1 %", "76.0 %", "0", "0.432"]]
    assert beside.header == [carried.header[0], "TTFT, client / server", "tokens out, client / server"]
    assert beside.rows == [["4", "36.3 / 36.3 (+0.0)", "2400 / 2418"]]


def test_nothing_is_shown_of_a_server_that_told_nothing() -> None:
    assert server(content()) == ""
    assert parts(content()) == ""
    assert 'id="server"' not in page(content())


def test_page_and_record_have_both() -> None:
    text, lines = page(run()), record(run())
    for shown in ("What the server saw", "36.3 / 36.3 (+0.0)", "25.0 %"):
        assert shown in text
        assert shown in lines
    assert "<h4>Concurrency 16</h4>" in text
    assert "### Replicas: 16" in lines


def test_what_a_server_calls_itself_stays_text() -> None:
    assert HOSTILE not in page(run())
    assert "<script>document.title" not in page(run())
    assert "<script" not in record(run())
