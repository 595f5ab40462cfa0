"""Stop-early rules: which limit a stage has passed so far, if any. Pure."""

from __future__ import annotations

from inferometer.client.counters import Totals
from inferometer.config.models import StopEarly


def broken(rules: StopEarly, totals: Totals) -> str | None:
    """The first rule that the stage breaks, as a clause with its figures; None while all hold.

    Shares and percentiles count from ``after_requests`` ended requests on, failures in a row from the first.
    """
    failed = totals.ended - totals.ok
    if rules.consecutive_failures is not None and totals.failed_in_a_row >= rules.consecutive_failures:
        return f"{totals.failed_in_a_row} requests in a row failed (limit {rules.consecutive_failures})"
    if totals.ended < rules.after_requests:
        return None
    if rules.failed_share is not None and failed > rules.failed_share * totals.ended:
        return f"{failed} of {totals.ended} requests failed (limit {100 * rules.failed_share:g} %)"
    latencies = (
        ("TTFT", totals.ttft_p95_ms, rules.ttft_p95_ms),
        ("E2EL", totals.e2el_p95_ms, rules.e2el_p95_ms),
    )
    for name, value_ms, limit_ms in latencies:
        if value_ms is not None and limit_ms is not None and value_ms > limit_ms:
            return f"p95 {name} reached about {value_ms:.3g} ms (limit {limit_ms:g} ms)"
    return None
