"""The life of one request: bytes and nanoseconds in, a record out. No socket, no clock.

``feed`` runs between two reads and only stores. Everything that costs (joining, splitting, JSON, arithmetic) waits in
``record`` until the exchange has ended and nothing urgent is due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import httptools
import msgspec
import numpy as np

from inferometer.client import sse
from inferometer.client.apis import Answer, Api, message_of
from inferometer.config.models import Phase
from inferometer.records.record import Clock, Counts, Outcome, Record, Source, Stamps

#: How much of an error's body is kept.
ERROR_BODY_BYTES = 1024


class Job(NamedTuple):
    """One request as it will be sent: its place in the plan and its bytes, encoded before the clock starts."""

    stage: int
    number: int
    phase: Phase
    payload: bytes
    asked_prompt_tokens: int
    asked_output_tokens: int
    model: str | None = None


class Failure(NamedTuple):
    """Why an exchange ended without an answer."""

    outcome: Outcome
    detail: str


class Observer(NamedTuple):
    """What the records of one worker have in common. ``stamps_ns`` turns the stamps of reads into monotonic ns."""

    api: Api
    worker: int
    epoch_ns: int
    clock: Clock
    stamps_ns: Callable[[list[Any]], Stamps]
    secrets: tuple[str, ...] = ()
    check_model: bool = False
    require_length: bool = False

    def masked(self, text: str) -> str:
        """The text without our secrets: a server may repeat the key that it refuses."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
        return text


class _Judged(NamedTuple):
    """An answer as it was understood, and what is wrong with it."""

    events: sse.Events
    answer: Answer
    failure: Failure | None


class Exchange:
    """Collects what one connection reads for one job. The connection brings stamps; the engine reads ``complete``."""

    __slots__ = (
        "_chunks",
        "_judged",
        "_nows",
        "_parser",
        "_read_pieces",
        "_stamps",
        "attempts",
        "complete",
        "connected_ns",
        "content_type",
        "ended_ns",
        "failure",
        "first_try_ns",
        "framed",
        "job",
        "keep_alive",
        "on_body",
        "received_bytes",
        "resting",
        "retried",
        "retry_after",
        "scheduled_ns",
        "sent_ns",
        "status",
    )

    def __init__(self, job: Job, scheduled_ns: int) -> None:
        self.job = job
        self.scheduled_ns = scheduled_ns
        self.first_try_ns: int | None = None
        self.sent_ns: int | None = None
        self.connected_ns: int | None = None
        self.ended_ns = 0
        self.attempts = 0
        self.retried: list[Outcome] = []
        self.resting = False
        self.reset()

    def reset(self) -> None:
        """Forget what was read: the request is about to be sent (again)."""
        self.failure: Failure | None = None
        self._judged: _Judged | None = None
        self._chunks: list[bytes] = []
        self._stamps: list[Any] = []
        self._nows: list[int] = []
        self._read_pieces: list[int] = []
        self.on_body = self._chunks.append  # llhttp calls list.append itself: no Python frame per chunk
        self._parser: Any = httptools.HttpResponseParser(self)
        self.complete = False
        self.framed = False
        self.keep_alive = False
        self.content_type = b""
        self.retry_after = b""
        self.status: int | None = None
        self.received_bytes = 0

    # llhttp calls these (names are the protocol's)
    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the two headers that decide how to read the body."""
        lower = name.lower()
        if lower == b"content-type":
            self.content_type = value.lower()
        elif lower in {b"content-length", b"transfer-encoding"}:
            self.framed = True
        elif lower == b"retry-after":
            self.retry_after = value

    def on_headers_complete(self) -> None:
        """The status line and all headers have been read."""
        self.status = self._parser.get_status_code()

    def on_message_complete(self) -> None:
        """The body is complete, as its framing tells."""
        if self.status is not None and self.status >= 200:  # 1xx answers announce the real one (RFC 9110, 15.2)
            self.complete = True
            self.keep_alive = self._parser.should_keep_alive()

    def tried(self, at_ns: int) -> None:
        """An attempt began: its request is about to be written, or its connection could not be opened."""
        self.attempts += 1
        if self.first_try_ns is None:
            self.first_try_ns = at_ns

    def written(self, at_ns: int) -> None:
        """The request is about to be written."""
        self.tried(at_ns)
        self.sent_ns = at_ns

    def feed(self, data: bytes, stamp: Any, now_ns: int) -> None:
        """Take one read: its bytes, its stamp (in whatever form ``record`` can convert), and when we got to it.

        Raises ``httptools.HttpParserError`` if it is not HTTP.
        """
        self._stamps.append(stamp)
        self._nows.append(now_ns)
        self._parser.feed_data(data)
        self._read_pieces.append(len(self._chunks))
        self.received_bytes += len(data)

    def closed(self) -> None:
        """The server closed the connection. Without a length that is the regular end of a body (RFC 9112, 6.3)."""
        if self.status is not None and not self.framed:
            self.complete = True

    @property
    def answering(self) -> bool:
        """Has a part of the body arrived? A head alone is no answer yet."""
        return bool(self._chunks)

    @property
    def last_read_ns(self) -> int | None:
        """When the newest bytes arrived, if any did."""
        return self._nows[-1] if self._nows else None

    def judge(self, observer: Observer) -> Failure | None:
        """What is wrong with the answer, if anything. Decodes it; ``record`` does not do so again."""
        self._judged = self._judged or self._judge(observer)
        return self._judged.failure

    def record(self, observer: Observer) -> Record:
        """Decode everything and say what happened. All times become relative to the observer's epoch."""
        epoch_ns = observer.epoch_ns
        stamps = observer.stamps_ns(self._stamps)
        lags = np.array(self._nows, np.int64) - stamps
        self._parser = None  # it refers back to this object, and nobody collects cycles during a stage
        events, answer, failure = self._judged or self._judge(observer)
        event_ns, tokens, merged = self._token_times(events, answer, stamps)
        event_ns -= epoch_ns
        job = self.job
        output_tokens, source = _count(answer.output_tokens, len(event_ns))
        return Record(
            stage=job.stage,
            worker=observer.worker,
            index=job.number,
            phase=job.phase,
            scheduled_ns=self.scheduled_ns - epoch_ns,
            first_try_ns=_since(self.first_try_ns, epoch_ns),
            sent_ns=_since(self.sent_ns, epoch_ns),
            connected_ns=_since(self.connected_ns, epoch_ns),
            first_byte_ns=int(stamps[0]) - epoch_ns if len(stamps) else None,
            first_token_ns=int(event_ns[0]) if len(event_ns) else None,
            last_token_ns=int(event_ns[-1]) if len(event_ns) else None,
            end_ns=self.ended_ns - epoch_ns,
            event_ns=event_ns,
            event_tokens=tokens,
            status=self.status,
            outcome=failure.outcome if failure else Outcome.OK,
            detail=observer.masked(failure.detail) if failure else None,
            attempts=self.attempts,
            retried=",".join(self.retried) or None,
            finish_reason=answer.finish_reason,
            asked_prompt_tokens=job.asked_prompt_tokens,
            asked_output_tokens=job.asked_output_tokens,
            prompt_tokens=answer.prompt_tokens,
            output_tokens=output_tokens,
            reasoning_tokens=answer.reasoning_tokens,
            cached_tokens=answer.cached_tokens,
            prompt_tokens_source=Source.USAGE if answer.prompt_tokens is not None else None,
            output_tokens_source=source,
            model=job.model,
            model_answered=answer.model,
            bytes_sent=len(job.payload),
            bytes_received=self.received_bytes,
            clock=observer.clock,
            reads=len(self._stamps),
            merged_reads=merged,
            read_lag_max_ns=max(0, int(lags.max())) if len(lags) else 0,
        )

    def _judge(self, observer: Observer) -> _Judged:
        body = b"".join(self._chunks)
        status_ok = self.status is not None and 200 <= self.status < 300
        if not status_ok or self.content_type.startswith((b"application/json", b"text/html")):
            return _Judged(sse.parse(b""), Answer(), self.failure or self._refusal(body, status_ok=status_ok))
        events = sse.parse(body)
        answer = observer.api.read(events.data, events.names)
        failure = self.failure or _judge_stream(answer, body, complete=self.complete)
        return _Judged(events, answer, failure or _judge_promises(answer, self.job, observer))

    def _refusal(self, body: bytes, *, status_ok: bool) -> Failure:
        """A status that is not 2xx, or one document where a stream was asked for."""
        text = body[:ERROR_BODY_BYTES].decode(errors="replace")
        if not status_ok:
            kind = Outcome.HTTP_5XX if (self.status or 0) >= 500 else Outcome.HTTP_4XX
            return Failure(
                Outcome.HTTP_429 if self.status == 429 else kind, f"HTTP {self.status}: {_error_text(body, text)}"
            )
        if self.content_type.startswith(b"text/html"):
            return Failure(
                Outcome.NOT_STREAMING, f"the answer is a web page of {len(body)} bytes, not a stream of events"
            )
        error = _error_text(body, "")
        if error:
            return Failure(Outcome.STREAM_ERROR, error)
        detail = f"the server answered with one document of {len(body)} bytes instead of a stream"
        return Failure(Outcome.NOT_STREAMING, detail)

    def _token_times(self, events: sse.Events, answer: Answer, stamps: Stamps) -> tuple[Stamps, Counts | None, int]:
        """Arrival of every token event, its tokens where told, and how many reads carried more than one token event."""
        if not answer.token_events:
            return np.empty(0, np.int64), None, 0
        piece_ends = np.cumsum(np.fromiter(map(len, self._chunks), np.int64, len(self._chunks)))
        ends_of_pieces = np.concatenate((np.zeros(1, np.int64), piece_ends))
        read_ends = ends_of_pieces[np.array(self._read_pieces, np.int64)]
        reads = np.searchsorted(read_ends, events.ends[answer.token_events], side="left")
        arrivals = stamps[np.minimum(reads, len(stamps) - 1)]
        merged = int(np.count_nonzero(np.bincount(reads) > 1))
        tokens = np.array(answer.tokens, np.int32) if answer.tokens is not None else None
        return np.maximum.accumulate(arrivals), tokens, merged


def _judge_stream(answer: Answer, body: bytes, *, complete: bool) -> Failure | None:
    """Success is a token event and a clean end; the first thing that is wrong names the failure."""
    if answer.error is not None:
        return Failure(Outcome.STREAM_ERROR, answer.error)
    if not complete:  # before malformed: what a cut leaves of the last event is not JSON
        return Failure(Outcome.TRUNCATED, "the connection ended inside the body")
    if answer.malformed is not None:
        return Failure(Outcome.MALFORMED, answer.malformed)
    if not answer.token_events and (answer.done or answer.finish_reason or not body):
        return Failure(Outcome.EMPTY, "the stream ended without a token" if body else "the body is empty")
    if not (answer.done or answer.finish_reason):
        got = f"{len(answer.token_events)} token events in {len(body)} bytes"
        return Failure(Outcome.TRUNCATED, f"the stream ended without finish_reason or [DONE] after {got}")
    return None


def _judge_promises(answer: Answer, job: Job, observer: Observer) -> Failure | None:
    """What is wrong with a good answer to somebody who asked for it to be checked."""
    told, asked = answer.model, job.model
    if observer.check_model and told is not None and asked is not None and told != asked:
        return Failure(Outcome.WRONG_MODEL, f"{told!r} answered where {asked!r} was asked for")
    got = answer.output_tokens
    if observer.require_length and got is not None and got < job.asked_output_tokens:
        return Failure(Outcome.SHORT_OUTPUT, f"{got} output tokens where {job.asked_output_tokens} were asked for")
    return None


def _error_text(body: bytes, otherwise: str) -> str:
    """The message inside an error body, or ``otherwise`` if there is none."""
    try:
        document: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return otherwise
    if isinstance(document, dict):
        for key in ("error", "detail", "message"):
            if document.get(key):
                return message_of(document[key])
    return otherwise


def _count(told: int | None, events: int) -> tuple[int | None, Source | None]:
    """Output tokens and where the number comes from: the server's usage first, else the number of token events."""
    if told is not None:
        return told, Source.USAGE
    return (events, Source.EVENTS) if events else (None, None)


def _since(at_ns: int | None, epoch_ns: int) -> int | None:
    return None if at_ns is None else at_ns - epoch_ns
