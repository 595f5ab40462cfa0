"""What the suite's page says of its troubles, where a run shows one of them: a sentence with its figures each. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from inferometer.export.run import Part, Run, parts

#: A first request is cold if its TTFT is this many times the median of the others, and this many ms more.
COLD_TIMES, COLD_MS = 3.0, 100.0
#: A TTFT grows with the prompt if it is this many times as long for the longest as for the shortest.
LONG_TIMES = 2.0
#: Fewer requests than this say nothing of what is usual.
LEAST = 5
#: The share of failures above which they are looked at: a test wants 95 % of success.
FAILED_SHARE = 0.05
#: What a router answers that lost a backend.
_ROUTER = ("http_4xx", "http_5xx", "wrong_model")
_TIMEOUTS = ("connect_timeout", "timeout_first_token", "timeout_between_tokens", "timeout_total")


def hints(run: Run) -> list[str]:
    """Causes that the run shows, each with what to try; empty if it shows none."""
    found = parts(run)
    told = (rule(run, found) for rule in _RULES)
    return [sentence for sentence in told if sentence]


def _routing(run: Run, found: list[Part]) -> str | None:
    kinds, total = _failures(found)
    failed = sum(kinds[kind] for kind in _ROUTER)
    if run.plan.target.retries.attempts > 1 or failed <= FAILED_SHARE * total:
        return None
    words = " ".join(kind for kind in _ROUTER if kinds[kind])
    return (
        f"{100 * failed / total:.0f} % of the requests failed with an answer ({words}): if that is a router that loses "
        f"its backends, --retry-attempts 10 --retry-on {words} tries again, as --scenario pattern2_routing does"
    )


def _timeouts(_: Run, found: list[Part]) -> str | None:
    kinds, total = _failures(found)
    late = sum(kinds[kind] for kind in _TIMEOUTS)
    if not late:
        return None
    return (
        f"{late} of {total} requests ran into a timeout: the server is overloaded or out of memory (see its log), or "
        "far away; lower --concurrency or --max-tokens, or give timeout: in targets.yaml (--timeout-total) more seconds"
    )


def _refused(run: Run, found: list[Part]) -> str | None:
    kinds, total = _failures(found)
    if not kinds["connect_refused"]:
        return None
    return (
        f"{kinds['connect_refused']} of {total} requests were refused a connection: see whether the service runs, and "
        f"whether `inferometer check {run.summary['target']['base_url']}` reaches it from here"
    )


def _cold(_: Run, found: list[Part]) -> str | None:
    if not found:
        return None
    rows = found[0].rows
    good = rows.where(rows.ok & np.isfinite(rows.first_token_ns))
    if len(good) < LEAST:
        return None
    ttft_ms = (good.first_token_ns - good.sent_ns)[np.argsort(good.sent_ns)] / 1e6
    first, usual = float(ttft_ms[0]), float(np.median(ttft_ms[1:]))
    if first < max(COLD_TIMES * usual, usual + COLD_MS):
        return None
    return (
        f"the first request waited {first:.0f} ms for its first token, the others {usual:.0f} ms (median): a cold "
        "start, such as a model that is loaded or XLA that compiles; --num-warmups 5 sends requests that do not count"
    )


def _long_prompts(_: Run, found: list[Part]) -> str | None:
    rows = [part.rows.where(part.rows.ok & np.isfinite(part.rows.first_token_ns)) for part in found]
    asked = np.concatenate([np.zeros(0), *(one.asked_prompt_tokens for one in rows)])
    ttft_ms = np.concatenate([np.zeros(0), *((one.first_token_ns - one.sent_ns) / 1e6 for one in rows)])
    if not np.isfinite(asked).any() or np.nanmin(asked) == np.nanmax(asked):
        return None
    low, high = np.nanmin(asked), np.nanmax(asked)
    shortest, longest = ttft_ms[asked == low], ttft_ms[asked == high]
    if min(len(shortest), len(longest)) < LEAST:
        return None
    before, after = float(np.median(shortest)), float(np.median(longest))
    if before * LONG_TIMES > after:
        return None
    return (
        f"TTFT grows with the prompt: {before:.0f} ms (median) for {low:.0f} tokens, {after:.0f} ms for {high:.0f}; "
        "compare runs of the same prompt lengths only"
    )


_RULES: tuple[Callable[[Run, list[Part]], str | None], ...] = (_routing, _timeouts, _refused, _cold, _long_prompts)


def _failures(found: list[Part]) -> tuple[Counter[str], int]:
    """Kinds of failures, and the number of all requests."""
    kinds = Counter(str(kind) for part in found for kind in part.rows.outcome[~part.rows.ok])
    return kinds, sum(len(part.rows) for part in found)
