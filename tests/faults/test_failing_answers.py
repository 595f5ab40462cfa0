"""Answers that fail, or seem to: what each costs, what is kept of it, and how the run ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from e2e.support import simulating
from faults.playing import FOUR_AT_ONCE, QUICK, TRIALS, Played, play
from faults.rows import Row, check, models

#: Every fourth of 12 requests: 3, far more than the 5 % that a run forgives.
QUARTER = f"after_requests={TRIALS},every=4"


def quarter(fault: str, spec: str, sees: str, **more: object) -> Row:
    """A fault of which a run in 12 requests meets 3, and ends with code 3."""
    kind = sees.partition(":")[0].removeprefix("`")
    return Row(fault, sees, {"ok": 9, kind: 3}, 3, spec=(f"{spec},{QUARTER}",), **more)  # type: ignore[arg-type]


def cut(fault: str, spec: str, sees: str, flags: str = "") -> Row:
    """A fault that ends 3 of 12 answers after their third token."""
    also = "with the 3 tokens that came"
    return quarter(fault, f"{spec},after_tokens=3", sees, flags=flags, tokens=3, also=also)


def harmless(fault: str, spec: str, sees: str, **more: object) -> Row:
    """A fault that all 12 requests meet, and survive."""
    return Row(fault, sees, {"ok": 12}, 0, spec=(f"{spec},after_requests={TRIALS}",), **more)  # type: ignore[arg-type]


ROWS = (
    quarter(
        "the server is silent, with `--timeout-first-token 2`",
        "silence",
        "`timeout_first_token: 3`, `no answer within 2 s`",
        flags="--timeout-first-token 2",
    ),
    harmless(
        "the answer begins late",
        "slow_headers=300",
        "a longer TTFT",
        flags="--timeout-first-token 30",
    ),
    quarter("401 for some", "status=401", "`http_4xx: 3`, `HTTP 401: Unauthorized`"),
    quarter("404 for some", "status=404,body=detail", "`http_4xx: 3`, `HTTP 404: Not Found`"),
    quarter("429 for some", "status=429,retry_after=7", "`http_429: 3`, `HTTP 429: Too Many Requests`"),
    quarter("500 for some", "status=500,body=text", "`http_5xx: 3`, `HTTP 500: Internal Server Error`"),
    quarter("503 for some", "status=503,body=html", "`http_5xx: 3`, `HTTP 503: <!DOCTYPE html>`"),
    cut(
        "the stream stalls, with `--timeout-between-tokens 2`",
        "stall",
        "`timeout_between_tokens: 3`, `nothing more within 2 s`",
        flags="--timeout-between-tokens 2",
    ),
    harmless("the stream stalls for 300 ms", "stall,after_tokens=3,for_ms=300", "a gap in ITL"),
    cut(
        "the answer never ends, with `--timeout-total 3`",
        "stall",
        "`timeout_total: 3`, `no end within 3 s`",
        flags="--timeout-total 3",
    ),
    cut("the connection is reset", "reset", "`connection_reset: 3`, `Connection reset by peer`"),
    cut("the connection is closed", "close", "`truncated: 3`, `the connection ended inside the body`"),
    cut(
        "a chunk is shorter than its size", "truncated_chunk", "`truncated: 3`, `the connection ended inside the body`"
    ),
    cut("the stream ends early", "end_early", "`truncated: 3`, `the stream ended without finish_reason or [DONE]`"),
    quarter(
        "an event is not JSON",
        "malformed,after_tokens=3",
        "`malformed: 3`, `cannot be read`",
        tokens=8,
        also="with all tokens before and after it",
    ),
    cut("an error in the stream", "error_event", "`stream_error: 3`, `EngineCore died`"),
    quarter("a stream without a token", "empty", "`empty: 3`, `the stream ended without a token`"),
    quarter("an empty body", "empty_body", "`empty: 3`, `the body is empty`"),
    quarter("one document, not a stream", "one_document", "`not_streaming: 3`, `instead of a stream`"),
    quarter("a web page", "web_page", "`not_streaming: 3`, `the answer is a web page`"),
    harmless(
        "another model answers",
        "wrong_model=other",
        "a note: `answers of another model 100.0 %`, `another model answered than was asked for`",
    ),
    Row(
        "a quarter of the answers come from another model",
        "`INVALID`, `answers of another model 25.0 %`",
        {"ok": 12},
        0,
        spec=(f"wrong_model=other,{QUARTER}",),
    ),
    quarter(
        "another model answers, with `--check-model`",
        "wrong_model=other",
        "`wrong_model: 3`, `'other' answered where`",
        flags="--check-model",
        tokens=8,
        also="with all their tokens",
    ),
    harmless("answers are short", "short=3", "a note: `output length error 62.5 %`, `try --ignore-eos`"),
    quarter(
        "answers are short, with `--require-length`",
        "short=3",
        "`short_output: 3`, `3 output tokens where 8 were asked for`",
        flags="--require-length",
        tokens=3,
        also="with all their tokens",
    ),
    Row(
        "the first 3 requests fail",
        "`http_5xx: 3`",
        {"http_5xx": 3, "ok": 9},
        3,
        spec=(f"status=500,after_requests={TRIALS},first=3",),
    ),
    Row(
        "one request in 40 fails",
        "`http_5xx: 1`, a note: `failed requests 2.5 %`",
        {"ok": 39, "http_5xx": 1},
        0,
        spec=(f"status=500,after_requests={TRIALS},every=40",),
        flags="--max-concurrency 4 --num-prompts 40",
    ),
    Row(
        "nothing works once the load begins",
        "`INVALID`, `no request succeeded: see the failures`",
        {"http_5xx": 12},
        3,
        spec=(f"status=500,after_requests={TRIALS}",),
    ),
    Row(
        "429 with Retry-After, with `--retry-attempts 2`",
        "`requests tried again`, `Success rate of first tries (%): 75.00`, `Success rate with retries (%): 100.00`",
        {"ok": 12},
        0,
        spec=(f"status=429,retry_after=1,{QUARTER}",),
        flags="--retry-attempts 2",
        also="3 of them with 2 attempts",
    ),
    Row(
        "the first 3 tries fail, with `--retry-attempts 4`",
        "`Attempts per request, mean: 1.25`, `Attempts per request, max: 4`",
        {"ok": 12},
        0,
        spec=(f"status=503,after_requests={TRIALS},first=3",),
        flags="--retry-attempts 4 --retry-backoff 0.05 --max-concurrency 1 --num-prompts 12",
        also="with the time of the first and of the last try",
    ),
)


def begins_late(played: Played) -> None:
    assert played.stage()["metrics"]["ttft"]["median_ms"]["value"] >= 290


def has_a_gap(played: Played) -> None:
    gaps_ms = [np.diff(times).max() / 1e6 for times in played.measured("event_ns")]
    assert min(gaps_ms) >= 290


def keeps_the_times(played: Played) -> None:
    """A cut answer has its first token, the last one that came, and the times between."""
    for outcome, event_ns, last_ns in played.rows("outcome", "event_ns", "last_token_ns"):
        assert len(event_ns) == (8 if outcome == "ok" else 3)
        assert event_ns[-1] == last_ns


def waits_as_told(played: Played) -> None:
    tries = played.rows("attempts", "retried", "first_try_ns", "sent_ns")
    again = [(retried, sent_ns - first_ns) for attempts, retried, first_ns, sent_ns in tries if attempts == 2]
    assert [retried for retried, _ in again] == ["http_429"] * 3
    assert min(waited_ns for _, waited_ns in again) >= 1e9
    assert set(played.measured("attempts")) == {1, 2}


def counts_from_the_first_try(played: Played) -> None:
    assert sorted(played.measured("attempts")) == [1] * 11 + [4]
    metrics = played.stage()["metrics"]
    assert metrics["ttft"]["mean_ms"]["value"] > metrics["ttft_from_send"]["mean_ms"]["value"]


#: What else a row promises.
MORE: dict[str, Callable[[Played], None]] = {
    "the answer begins late": begins_late,
    "the stream stalls for 300 ms": has_a_gap,
    "the stream stalls, with `--timeout-between-tokens 2`": keeps_the_times,
    "the connection is reset": keeps_the_times,
    "a chunk is shorter than its size": keeps_the_times,
    "429 with Retry-After, with `--retry-attempts 2`": waits_as_told,
    "the first 3 tries fail, with `--retry-attempts 4`": counts_from_the_first_try,
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with simulating(*QUICK, *models(ROWS)) as url:
        yield url


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(row: Row, server: str, tmp_path: Path) -> None:
    played = play(server, tmp_path / "r", *row.load(FOUR_AT_ONCE), "--model", row.name, flags=row.flags)
    check(row, played)
    if row.fault in MORE:
        MORE[row.fault](played)


def test_every_further_check_belongs_to_a_row() -> None:
    assert set(MORE) <= {row.fault for row in ROWS}
