"""Whether and when a failed request is tried again. Pure: the policy, the failure and the seed decide."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from hashlib import blake2b

from inferometer.client.exchange import Exchange, Observer
from inferometer.config.models import Retries
from inferometer.records.record import Outcome

#: Failures that are known before the body is understood.
OUTER = frozenset(Outcome) - {
    Outcome.STREAM_ERROR,
    Outcome.TRUNCATED,
    Outcome.MALFORMED,
    Outcome.NOT_STREAMING,
    Outcome.EMPTY,
    Outcome.WRONG_MODEL,
    Outcome.SHORT_OUTPUT,
}

#: A server may ask for any wait; timers do not take all, and no run lasts longer.
LONGEST_WAIT_S = 86_400.0


def wait_s(policy: Retries, exchange: Exchange, observer: Observer, seed: int, at_unix_s: float) -> float | None:
    """Seconds until the next try of an ended exchange; None if it is not tried again.

    Exponential backoff with jitter: the n-th wait is backoff_s 2^(n-1), at most backoff_max_s, less a random share of
    up to ``jitter`` of it. A longer Retry-After of the server is honoured (RFC 9110, 10.2.3).
    """
    if len(exchange.retried) + 1 >= policy.attempts:
        return None
    kind = failure_kind(policy, exchange, observer)
    if kind is None or kind not in policy.on:
        return None
    backoff_s = min(policy.backoff_max_s, policy.backoff_s * 2.0 ** len(exchange.retried))
    job = exchange.job
    chance = _draw(f"{seed}/{job.stage}/{job.phase}/{job.number}/{len(exchange.retried)}")
    asked_s = retry_after_s(exchange.retry_after, at_unix_s) if policy.retry_after else 0.0
    return max(asked_s, backoff_s * (1 - policy.jitter * chance))


def failure_kind(policy: Retries, exchange: Exchange, observer: Observer) -> Outcome | None:
    """How an ended exchange failed; None if it did not. The body is decoded only if the policy asks for its faults."""
    if exchange.failure is not None:
        return exchange.failure.outcome
    answered = exchange.status is not None and 200 <= exchange.status < 300
    if answered and exchange.complete and OUTER.issuperset(policy.on):
        return None
    failure = exchange.judge(observer)
    return failure.outcome if failure is not None else None


def retry_after_s(value: bytes, at_unix_s: float) -> float:
    """Seconds that a Retry-After header asks for: a number or an HTTP date; 0 if it cannot be read."""
    text = value.decode("latin-1").strip()
    try:
        if text.isdecimal():
            asked_s = float(text)
        else:
            asked_s = parsedate_to_datetime(text).astimezone(UTC).timestamp() - at_unix_s
    except (ValueError, OverflowError):
        return 0.0
    return min(max(0.0, asked_s), LONGEST_WAIT_S)


def _draw(purpose: str) -> float:
    """A number from 0 up to 1, the same on every machine."""
    return int.from_bytes(blake2b(purpose.encode(), digest_size=8).digest()) / 2**64
