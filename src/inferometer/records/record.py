"""The one record type: the whole life of one request, from its schedule to its last byte.

All ``*_ns`` fields are integer nanoseconds since the run's epoch (a reading of the monotonic clock shared by all
workers). ``None`` means that it did not happen or was not told; nothing is ever zero for "unknown". A key, a prompt
or an answer is never part of a record.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from inferometer.config.models import Phase


class Outcome(StrEnum):
    """How a request ended: ``ok`` or one failure kind. The list is closed; a detail goes into ``Record.detail``."""

    OK = "ok"
    CONNECT_REFUSED = "connect_refused"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECT_FAILED = "connect_failed"
    CONNECTION_RESET = "connection_reset"
    TLS = "tls"
    HTTP_4XX = "http_4xx"
    HTTP_429 = "http_429"
    HTTP_5XX = "http_5xx"
    TIMEOUT_FIRST_TOKEN = "timeout_first_token"  # noqa: S105 (a token of text, not a password)
    TIMEOUT_BETWEEN_TOKENS = "timeout_between_tokens"
    TIMEOUT_TOTAL = "timeout_total"
    STREAM_ERROR = "stream_error"
    TRUNCATED = "truncated"
    MALFORMED = "malformed"
    NOT_STREAMING = "not_streaming"
    EMPTY = "empty"
    WRONG_MODEL = "wrong_model"
    SHORT_OUTPUT = "short_output"
    CLIENT_ABORTED = "client_aborted"


class Clock(StrEnum):
    """Who stamped the received bytes."""

    KERNEL = "kernel"
    USERLAND = "userland"


class Source(StrEnum):
    """Where a token count comes from."""

    USAGE = "usage"
    TOKENIZER = "tokenizer"
    EVENTS = "events"


Stamps = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int32]


class Record(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One request. ``event_ns[i]`` is the arrival of token event i; ``event_tokens[i]`` its tokens, where known.

    ``attempts`` counts every try. ``first_try_ns`` is when the first began; ``sent_ns`` is the send of the last, to
    which all later times belong; ``retried`` names the failures in between, with commas.
    """

    stage: int
    worker: int
    index: int
    phase: Phase
    scheduled_ns: int
    first_try_ns: int | None = None
    sent_ns: int | None = None
    connected_ns: int | None = None
    first_byte_ns: int | None = None
    first_token_ns: int | None = None
    first_answer_ns: int | None = None
    last_token_ns: int | None = None
    end_ns: int
    event_ns: Stamps
    event_tokens: Counts | None = None
    status: int | None = None
    outcome: Outcome
    detail: str | None = None
    attempts: int = 1
    retried: str | None = None
    finish_reason: str | None = None
    asked_prompt_tokens: int | None = None
    asked_output_tokens: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None
    prompt_tokens_source: Source | None = None
    output_tokens_source: Source | None = None
    model: str | None = None
    model_answered: str | None = None
    bytes_sent: int = 0
    bytes_received: int = 0
    clock: Clock
    reads: int = 0
    merged_reads: int = 0
    read_lag_max_ns: int = 0
    conversation: int | None = None
    turn: int = 0
    request_class: str | None = None
    prefix_group: int | None = None
    replica: str | None = None


#: Scalar columns in file order; the two list columns follow them. (name, Arrow type name)
COLUMNS: tuple[tuple[str, str], ...] = (
    ("stage", "int32"),
    ("worker", "int32"),
    ("index", "int64"),
    ("conversation", "int64"),
    ("turn", "int32"),
    ("request_class", "string"),
    ("prefix_group", "int32"),
    ("phase", "string"),
    ("scheduled_ns", "int64"),
    ("first_try_ns", "int64"),
    ("sent_ns", "int64"),
    ("connected_ns", "int64"),
    ("first_byte_ns", "int64"),
    ("first_token_ns", "int64"),
    ("first_answer_ns", "int64"),
    ("last_token_ns", "int64"),
    ("end_ns", "int64"),
    ("status", "int32"),
    ("outcome", "string"),
    ("detail", "string"),
    ("attempts", "int32"),
    ("retried", "string"),
    ("finish_reason", "string"),
    ("asked_prompt_tokens", "int32"),
    ("asked_output_tokens", "int32"),
    ("prompt_tokens", "int32"),
    ("output_tokens", "int32"),
    ("reasoning_tokens", "int32"),
    ("cached_tokens", "int32"),
    ("prompt_tokens_source", "string"),
    ("output_tokens_source", "string"),
    ("model", "string"),
    ("model_answered", "string"),
    ("replica", "string"),
    ("bytes_sent", "int64"),
    ("bytes_received", "int64"),
    ("clock", "string"),
    ("reads", "int32"),
    ("merged_reads", "int32"),
    ("read_lag_max_ns", "int64"),
)


def column(records: list[Record], name: str) -> list[Any]:
    """The values of one scalar column, in the order of the records."""
    return [getattr(record, name) for record in records]


class WorkerStage(msgspec.Struct, frozen=True, kw_only=True):
    """What one worker process says of itself at the end of one stage: the evidence for the verdict."""

    stage: int
    worker: int
    started_ns: int
    ended_ns: int
    planned: int | None
    sent: int
    cap_hits: int
    late_builds: int
    cpu_ns: int
    loop_lag_p50_ns: int
    loop_lag_p99_ns: int
    loop_lag_max_ns: int
    clock_steps: int
    steal_ns: int | None
    run_wait_ns: int | None = None
    time_slices: int | None = None
    retransmits: int | None = None
    zero_windows: int | None = None
    connections_max: int = 0
    files_limit: int | None = None
    ports_used_share: float | None = None
