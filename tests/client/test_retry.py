"""When a failed request is tried again: backoff, Retry-After, kinds; and what the engine makes of it."""

import time
from email.utils import formatdate
from itertools import pairwise
from typing import get_args

import pytest
from cases import CASES, PLAIN
from exchanges import CHUNKED, JOB, LAST_CHUNK, chunk, observer
from hypothesis import given
from hypothesis import strategies as st
from loopback import STREAM, answering, listening
from stages import Stage, play

from inferometer.client.exchange import Exchange, Failure
from inferometer.client.retry import retry_after_s, wait_s
from inferometer.config.models import FailureKind, Retries, Timeouts
from inferometer.records.record import Outcome

BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
QUICK = Retries(attempts=5, backoff_s=0.001, jitter=0)
MS = 1_000_000


def exchange(answer: bytes = BUSY, tried: int = 1) -> Exchange:
    made = Exchange(JOB, 0)
    made.written(0)
    made.retried = [Outcome.HTTP_5XX] * (tried - 1)
    made.feed(answer, 0, 0)
    return made


def wait(policy: Retries, ended: Exchange, seed: int = 0) -> float | None:
    return wait_s(policy, ended, observer(), seed, 0.0)


def test_the_kinds_of_a_policy_are_those_of_a_record() -> None:
    assert set(get_args(FailureKind)) == set(Outcome) - {"ok"}


def test_off_by_default() -> None:
    assert wait(Retries(), exchange()) is None


@pytest.mark.parametrize(("tried", "waited"), [(1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 5.0), (6, None)])
def test_the_wait_doubles_up_to_its_limit(tried: int, waited: float | None) -> None:
    policy = Retries(attempts=6, backoff_s=0.5, backoff_max_s=5, jitter=0)
    assert wait(policy, exchange(tried=tried)) == waited


@given(jitter=st.floats(0, 1), seed=st.integers(0, 10**6))
def test_jitter_takes_away_and_follows_the_seed(jitter: float, seed: int) -> None:
    policy = Retries(attempts=3, backoff_s=1, jitter=jitter)
    first = wait(policy, exchange(), seed)
    assert first is not None
    assert 1 - jitter <= first <= 1
    assert wait(policy, exchange(), seed) == first


@pytest.mark.parametrize(
    ("value", "waited"), [(b"7", 7), (b" 12 ", 12), (b"", 0), (b"soon", 0), (b"-5", 0), (b"1.5", 0)]
)
def test_retry_after(value: bytes, waited: float) -> None:
    assert retry_after_s(value, 0) == waited


def test_retry_after_as_a_date() -> None:
    now_s = time.time()
    assert retry_after_s(formatdate(now_s + 90, usegmt=True).encode(), now_s) == pytest.approx(90, abs=1)
    assert retry_after_s(formatdate(now_s - 90, usegmt=True).encode(), now_s) == 0


def test_a_longer_retry_after_wins_unless_told_otherwise() -> None:
    busy = b"HTTP/1.1 429 Busy\r\nRetry-After: 3\r\ncontent-length: 0\r\n\r\n"
    assert wait(Retries(attempts=2, jitter=0), exchange(busy)) == 3
    assert wait(Retries(attempts=2, jitter=0, retry_after=False), exchange(busy)) == 0.5


def test_only_the_kinds_of_the_policy_are_tried_again() -> None:
    refused = exchange(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
    assert wait(QUICK, refused) is None
    assert wait(QUICK.model_copy(update={"on": ("http_4xx",)}), refused) is not None
    late = exchange(b"")
    late.failure = Failure(Outcome.TIMEOUT_TOTAL, "no end")
    assert wait(QUICK, late) is None


def test_faults_of_the_body_are_found_if_asked_for() -> None:
    framed = CHUNKED + b"".join(map(chunk, CASES["error_mid"].pieces)) + LAST_CHUNK
    assert wait(QUICK, exchange(framed)) is None
    assert wait(QUICK.model_copy(update={"on": ("stream_error",)}), exchange(framed)) is not None
    good = CHUNKED + b"".join(map(chunk, PLAIN)) + LAST_CHUNK
    assert wait(QUICK.model_copy(update={"on": ("stream_error",)}), exchange(good)) is None


# --- through the engine ----------------------------------------------------------------------------------------------


def test_a_request_is_tried_until_it_succeeds_and_keeps_its_first_time() -> None:
    with listening(answering(BUSY, BUSY, STREAM)) as port:
        (record,) = play(port, Stage(retries=QUICK.model_copy(update={"backoff_s": 0.02}))).records
    assert (record.outcome, record.attempts, record.retried) == (Outcome.OK, 3, "http_5xx,http_5xx")
    assert record.first_try_ns is not None
    assert record.sent_ns is not None
    assert record.sent_ns - record.first_try_ns >= 60 * MS  # 20 ms and 40 ms
    assert record.detail is None


def test_the_last_failure_is_the_outcome_when_all_tries_fail() -> None:
    with listening(answering(BUSY)) as port:
        (record,) = play(port, Stage(retries=QUICK)).records
    assert (record.outcome, record.attempts) == (Outcome.HTTP_5XX, 5)
    assert record.retried == ",".join(["http_5xx"] * 4)


def test_a_request_that_rests_keeps_its_slot() -> None:
    with listening(answering(BUSY, STREAM)) as port:
        records = play(port, Stage([0] * 4, slots=1, retries=QUICK)).records
    assert [record.attempts for record in records] == [2] * 4
    for before, after in pairwise(records):
        assert after.first_try_ns is not None
        assert after.first_try_ns >= before.end_ns - MS


def test_nobody_listening_is_tried_again(refusing_url: str) -> None:
    port = int(refusing_url.rpartition(":")[2])
    (record,) = play(port, Stage(retries=QUICK)).records
    assert (record.outcome, record.attempts, record.sent_ns) == (Outcome.CONNECT_REFUSED, 5, None)


def test_the_total_limit_counts_from_the_first_try() -> None:
    patient = Retries(attempts=100, backoff_s=10, jitter=0)
    with listening(answering(BUSY)) as port:
        (record,) = play(port, Stage(retries=patient, timeouts=Timeouts(total_s=0.3))).records
    assert (record.outcome, record.attempts, record.retried) == (Outcome.TIMEOUT_TOTAL, 1, "http_5xx")
