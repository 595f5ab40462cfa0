"""The page ``docs/metrics.md``, made from the tables that compute the numbers."""

from __future__ import annotations

from inferometer.analysis.metrics import METRICS
from inferometer.analysis.window import RATES
from inferometer.report.tables import markdown

_BEFORE = """# Metrics

This page is made from the tables in `analysis/metrics.py` and `analysis/window.py`; a test compares it with them.

A *token event* carries text, reasoning text or tool-call text; an event with only a role or only usage is not one.
*Start* is the scheduled time in an open loop and the send in a closed loop, of the first try if a request was tried
again; latencies "from send" count from the send of its last try. Where each request opens its own connection
(`--no-keepalive`), a closed loop starts with that. *Output tokens* are what the server's usage says, else the
tokenizer's count, else the number of token events; the result shows the source where it is not usage. A tokenizer
counts what was written, reasoning and calls of tools included; special tokens, such as the end of the text, it never
sees. It has counted prompts, too, when they were made.

An answer that was not streamed (`--disable-stream`) is one document: its last byte ends E2EL, and nobody saw its first
token. TTFB and the time of a connection are of the wire, and are there whatever comes over it; the end of a
connection's opening is stamped by this process, not by the kernel.

## Latencies

Only successful requests have latencies. A value that is undefined is absent, never zero.
"""
_AFTER = """
Some servers do not say how many tokens an event carries. If there are as many events as output tokens, each carries
one. If not, the first carries one and the others share the rest evenly, so that the mean ITL of a request stays its
TPOT; the result says for how many requests. An event that adds no token ends no gap: its time belongs to the next
token.

For every request with two tokens or more, E2EL = TTFT + TPOT x (output tokens - 1).

## Throughput

The window runs from the first send to the last completion. The steady-state window, shown beside it, is the time at
full load: in a closed loop from the first moment with 95 % of the concurrency in flight to the last time that this
level is left, in an open loop from the first to the last scheduled time. Requests count in a window by the share of
their time in flight that lies in it (prompt tokens with them), output tokens by the arrival of their events; in the
whole window that is all of each successful request. Requests that failed count nowhere.
"""
_END = """
Peak output throughput is the most output tokens in one second, in buckets of 1 s. Peak concurrency is exact: the
largest number of requests between send and end at one moment.

## Service levels

A request is good if it succeeded and each of its values of every SLO's metric is at most the limit: for `itl` that
means every gap. A limit on a metric that a request does not have does not apply to it; the number of such requests
is shown. *Goodput* = good requests / window length. *Attainment* = good requests / all requests. Failures count
against both.

## Statistics

Percentiles are linear on the raw values (type 7, as numpy). Standard deviations are those of the population. Every
mean and percentile comes with its number of samples and a 95 % interval, which speaks for this run only; repeats
show what changes between runs. Percentiles have order-statistic intervals (exact, whatever the distribution), which
need 6 samples for p50, 36 for p90, 72 for p95, 368 for p99 and 3,688 for p99.9; with fewer the value is marked `~`.
Means of one value per request have Student's t intervals. The gaps of one request resemble each other, so for ITL
and event gap whole requests are resampled (200 times, seeded), and percentiles count as many independent samples as
the variance between requests allows (Woodruff 1952).
"""


def page() -> str:
    """The whole page as Markdown, with a line end at its end."""
    latencies = [
        (f"`{metric.name}`", metric.label, metric.unit, metric.direction, metric.definition, metric.absent)
        for metric in METRICS
    ]
    rates = [(f"`{rate.name}`", rate.title, rate.unit, rate.direction, rate.definition) for rate in RATES]
    return "\n".join(
        (
            _BEFORE,
            markdown(("name", "label", "unit", "better", "definition", "absent when"), latencies),
            _AFTER,
            markdown(("name", "title", "unit", "better", "definition"), rates),
            _END,
        )
    )
