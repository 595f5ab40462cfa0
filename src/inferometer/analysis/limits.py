"""Findings that need no thought: a figure above its limit, and what to say of it.

``validity`` holds a stage against them; adding one is adding a row.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["note", "client-limited", "invalid"]


class UpperLimit(NamedTuple):
    """The finding ``name`` if a figure is above ``limit`` in ``unit``: the metrics it spoils, and what to do."""

    name: str
    severity: Severity
    limit: float
    unit: str
    spoils: str
    advice: str


#: By figure.
LIMITS: dict[str, UpperLimit] = {
    "impossible_times": UpperLimit(
        "impossible times",
        "invalid",
        0.0,
        "requests",
        "ttft, e2el",
        "first tokens are stamped before their request was sent: the clocks disagree; try --stamps userland",
    ),
    "rows_missing": UpperLimit(
        "rows missing",
        "invalid",
        0.0,
        "requests",
        "everything",
        "requests were sent whose outcome was not recorded: a worker died, or this is our bug: see the log",
    ),
    "workers_missing": UpperLimit(
        "workers missing",
        "invalid",
        0.0,
        "processes",
        "everything",
        "a worker process died, so the load was never the one that was asked for: run it again",
    ),
    "aborted": UpperLimit(
        "unfinished requests",
        "note",
        0.0,
        "requests",
        "tails",
        "unfinished requests are the slow ones, so tails are longer than shown: let the stage drain",
    ),
    "retried": UpperLimit(
        "requests tried again",
        "note",
        0.0,
        "requests",
        "the success rate",
        "they failed and were retried: latencies count from the first try, and the attempts are shown apart",
    ),
    "calibrated_load_share": UpperLimit(
        "load / calibrated load",
        "note",
        1.0,
        "share",
        "the client's own error",
        "more than this machine was seen to hold: use more workers, or see whether `inferometer calibrate` finds more",
    ),
    "core_wait_share": UpperLimit(
        "wait for a core",
        "note",
        0.5,  # a client that wakes for every token beside its server, on two cores: 0.2 to 0.42, and nothing is wrong
        "share",
        "tails",
        "others ran on the client's cores while it was ready to: give it cores of its own",
    ),
    "retransmits": UpperLimit(
        "segments sent again",
        "note",
        0.0,
        "",
        "tails",
        "on this machine, all programs together: if this client's were, packets were lost on the way to the server",
    ),
    "zero_windows": UpperLimit(
        "full receive buffers",
        "note",
        0.0,
        "",
        "itl",
        "on this machine, all programs together, receivers told senders to wait: a client that does reads too slowly",
    ),
    "files_share": UpperLimit(
        "open files",
        "note",
        0.8,
        "share",
        "new connections",
        "nearly as many connections as this system allows files: raise `ulimit -n` before a higher load",
    ),
    "ports_used_share": UpperLimit(
        "ports in use",
        "note",
        0.8,
        "share",
        "new connections",
        "the system runs out of local ports: widen net.ipv4.ip_local_port_range, or keep connections alive",
    ),
    "resent": UpperLimit(
        "requests sent again",
        "note",
        0.0,
        "requests",
        "ttft",
        "a kept connection was dead and the request was sent once more: see the server's keep-alive timeout",
    ),
    "new_connections_share": UpperLimit(
        "new connections",
        "note",
        0.05,
        "share",
        "latencies from the schedule",
        "the server or a proxy closes connections: opening new ones is part of what users feel",
    ),
    "steal_share": UpperLimit(
        "steal",
        "note",
        0.05,
        "share",
        "tails",
        "the host took cores away from this machine, so tails are partly its own: use dedicated cores",
    ),
    "late_builds": UpperLimit(
        "late bodies",
        "note",
        0.0,
        "requests",
        "ttft",
        "bodies were still being written when their requests were due: use more workers or shorter prompts",
    ),
    "counted_events_share": UpperLimit(
        "events counted as tokens",
        "note",
        0.0,
        "share",
        "tpot, ntpot, token throughput",
        "the server tells no usage; where an event carries several tokens, TPOT is too high: give --tokenizer",
    ),
    "spread_tokens_share": UpperLimit(
        "unknown tokens per event",
        "note",
        0.0,
        "share",
        "itl",
        "the server does not say how many tokens an event carries: each is taken to carry its request's mean",
    ),
}
