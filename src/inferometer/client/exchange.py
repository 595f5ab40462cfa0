"""The life of one request: bytes and nanoseconds in, a record out. No socket, no clock.

``feed`` runs between two reads and only stores. Everything that costs (joining, splitting, JSON, arithmetic) waits in
``record`` until the exchange has ended and nothing urgent is due.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import httptools
import numpy as np

from inferometer.client import sse
from inferometer.client.apis import Answer, Api
from inferometer.client.failure import (
    Failure,
    judge_document,
    judge_head,
    judge_no_document,
    judge_stream,
    judge_whole,
    not_http,
)
from inferometer.config.models import Phase
from inferometer.records.record import Clock, Counts, Outcome, Record, Source, Stamps
from inferometer.workload.asks import Ask

__all__ = ["Exchange", "Failure", "Job", "Observer"]

#: A longer header is cut: some go into the sentence of a failure.
LONGEST_VALUE = 500


class Job(NamedTuple):
    """One request as it will be sent: its place in the plan and its bytes, encoded before the clock starts.

    ``ask`` is there if more turns of its conversation follow.
    """

    stage: int
    number: int
    phase: Phase
    payload: bytes
    asked_prompt_tokens: int | None
    asked_output_tokens: int
    model: str | None = None
    request_class: str | None = None
    group: int | None = None
    conversation: int | None = None
    turn: int = 0
    ask: Ask | None = None


class Observer(NamedTuple):
    """What the records of one worker have in common. ``stamps_ns`` turns the stamps of reads into monotonic ns.

    ``count_tokens`` tokenizes a text, for answers without usage. ``prompts_counted``: the asked length of a prompt is
    what the same tokenizer says of it.
    """

    api: Api
    worker: int
    epoch_ns: int
    clock: Clock
    stamps_ns: Callable[[list[Any]], Stamps]
    secrets: tuple[str, ...] = ()
    replica_header: bytes | None = None
    check_model: bool = False
    require_length: bool = False
    count_tokens: Callable[[str], int] | None = None
    prompts_counted: bool = False

    def masked(self, text: str) -> str:
        """The text without our secrets: a server may repeat the key that it refuses."""
        for secret in self.secrets:
            text = text.replace(secret, "***")
            starts = (secret[:length] for length in range(len(secret) - 1, 3, -1))
            if start := next(filter(text.endswith, starts), ""):  # long texts are cut, maybe inside a secret
                text = text.removesuffix(start) + "***"
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
        "ended_ns",
        "failure",
        "first_try_ns",
        "head",
        "job",
        "keep_alive",
        "on_body",
        "received_bytes",
        "resting",
        "retried",
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
        self.keep_alive = False
        self.head: dict[bytes, bytes] = {}
        self.status: int | None = None
        self.received_bytes = 0

    # llhttp calls these (names are the protocol's)
    def on_message_begin(self) -> None:
        """An answer begins: ours, or bytes behind it that belong to no request."""
        if self.complete:
            self.keep_alive = False
            self._chunks = self._chunks[:]  # llhttp goes on appending to the old list

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the head; a trailer is no part of it (RFC 9110, 6.5.1)."""
        if self.status is None:
            self.head[name.lower()] = value.strip()[:LONGEST_VALUE]

    def on_headers_complete(self) -> None:
        """The status line and all headers have been read. A 1xx announces the real answer (RFC 9110, 15.2)."""
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self.head.clear()
        elif self.status is None:
            self.status = status

    def on_message_complete(self) -> None:
        """The body is complete, as its framing tells."""
        if self.status is not None and not self.complete:
            self.complete = True
            self.keep_alive = self._parser.should_keep_alive()

    def connecting(self, at_ns: int) -> None:
        """The request begins with a connection of its own: its first try starts here."""
        if self.first_try_ns is None:
            self.first_try_ns = at_ns

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

        Raises ``httptools.HttpParserError`` if it is not HTTP. Behind a complete answer anything may follow: it only
        costs the connection.
        """
        self._stamps.append(stamp)
        self._nows.append(now_ns)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise httptools.HttpParserError("the server switched to a protocol that nobody asked for") from None
        except httptools.HttpParserError:
            if not self.complete:
                raise
        self._read_pieces.append(len(self._chunks))
        self.received_bytes += len(data)

    def closed(self) -> None:
        """The server closed the connection. Without a length that is the regular end of a body (RFC 9112, 6.3)."""
        chunked = self.head.get(b"transfer-encoding", b"").lower().endswith(b"chunked")
        if self.status is not None and not chunked and b"content-length" not in self.head:
            self.complete = True

    def foreign(self, error: httptools.HttpParserError, data: bytes) -> None:
        """The read ``data`` is not HTTP/1.1, says ``error``: the exchange has failed."""
        self.failure = not_http(str(error), data if self.status is None else b"")

    @property
    def answering(self) -> bool:
        """Has a part of the body arrived? A head alone is no answer yet."""
        return bool(self._chunks)

    @property
    def retry_after(self) -> bytes:
        """When to ask again, as the server says; empty if it does not."""
        return self.head.get(b"retry-after", b"")

    @property
    def last_read_ns(self) -> int | None:
        """When the newest bytes arrived, if any did."""
        return self._nows[-1] if self._nows else None

    def judge(self, observer: Observer) -> Failure | None:
        """What is wrong with the answer, if anything. Decodes it; ``record`` does not do so again."""
        self._judged = self._judged or self._judge(observer)
        return self._judged.failure

    def said(self, observer: Observer) -> str | None:
        """The text of a good answer; None if the exchange failed."""
        if self.judge(observer) is not None or self._judged is None:
            return None
        return observer.api.text(self._judged.events.data)

    def record(self, observer: Observer) -> Record:
        """Decode everything and say what happened. All times become relative to the observer's epoch."""
        epoch_ns = observer.epoch_ns
        stamps = observer.stamps_ns(self._stamps)
        lags = np.array(self._nows, np.int64) - stamps
        stamps = np.maximum.accumulate(stamps)  # a wall clock may be set back
        self._parser = None  # it refers back to this object, and nobody collects cycles during a stage
        events, answer, failure = self._judged or self._judge(observer)
        event_ns, tokens, merged = self._token_times(events, answer, stamps)
        event_ns -= epoch_ns
        job = self.job
        output_tokens, source = _count_output(events.data, answer, observer)
        prompt_tokens, prompt_source = _count_prompt(answer, job, observer)
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
            # nobody sees the first token of an answer that comes as a whole
            first_token_ns=int(event_ns[0]) if len(event_ns) and observer.api.streams else None,
            first_answer_ns=_first_answer(event_ns, answer) if observer.api.streams else None,
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
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
            reasoning_tokens=answer.reasoning_tokens,
            cached_tokens=answer.cached_tokens,
            prompt_tokens_source=prompt_source,
            output_tokens_source=source,
            model=job.model,
            model_answered=answer.model,
            bytes_sent=len(job.payload),
            bytes_received=self.received_bytes,
            clock=observer.clock,
            reads=len(self._stamps),
            merged_reads=merged,
            read_lag_max_ns=max(0, int(lags.max())) if len(lags) else 0,
            conversation=job.conversation,
            turn=job.turn,
            request_class=job.request_class,
            prefix_group=job.group,
            replica=self._replica(observer),
        )

    def _replica(self, observer: Observer) -> str | None:
        if observer.replica_header is None or (name := self.head.get(observer.replica_header)) is None:
            return None
        return observer.masked(name.decode("latin-1"))

    def _judge(self, observer: Observer) -> _Judged:
        body = b"".join(self._chunks)
        judge_body, judge_answer = (
            (judge_document, judge_stream) if observer.api.streams else (judge_no_document, judge_whole)
        )
        failure = judge_head(self.status, self.head, body)
        events = observer.api.split(body if failure is None else b"")
        if failure is None and not events.data:
            failure = judge_body(self.head, body, complete=self.complete)
        if failure is not None:
            return _Judged(events, Answer(), self.failure or failure)
        answer = observer.api.read(events.data, events.names)
        cut = events.unterminated and answer.unreadable == len(events.data) - 1
        failure = self.failure or judge_answer(answer, body, complete=self.complete and not cut)
        return _Judged(events, answer, failure or _judge_promises(answer, self.job, observer))

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
        return arrivals, tokens, merged


def _judge_promises(answer: Answer, job: Job, observer: Observer) -> Failure | None:
    """What is wrong with a good answer to somebody who asked for it to be checked."""
    told, asked = answer.model, job.model
    if observer.check_model and told is not None and asked is not None and told != asked:
        return Failure(Outcome.WRONG_MODEL, f"{told!r} answered where {asked!r} was asked for")
    got = answer.output_tokens
    if observer.require_length and got is not None and got < job.asked_output_tokens:
        return Failure(Outcome.SHORT_OUTPUT, f"{got} output tokens where {job.asked_output_tokens} were asked for")
    return None


def _count_output(data: list[bytes], answer: Answer, observer: Observer) -> tuple[int | None, Source | None]:
    """Output tokens and where the number comes from: the server's usage first, then a tokenizer, then token events."""
    if answer.output_tokens is not None:
        return answer.output_tokens, Source.USAGE
    if not answer.token_events:
        return None, None
    api = observer.api
    if observer.count_tokens is not None:
        texts = api.written(data) if api.written is not None else [api.text(data)]
        if tokens := sum(observer.count_tokens(text) for text in texts if text):
            return tokens, Source.TOKENIZER
    return (len(answer.token_events), Source.EVENTS) if api.streams else (None, None)


def _count_prompt(answer: Answer, job: Job, observer: Observer) -> tuple[int | None, Source | None]:
    """Tokens of an answered prompt: the server's usage first, else what a tokenizer counted when it was made."""
    if answer.prompt_tokens is not None:
        return answer.prompt_tokens, Source.USAGE
    if not (answer.token_events and observer.prompts_counted) or job.asked_prompt_tokens is None:
        return None, None
    return job.asked_prompt_tokens, Source.TOKENIZER


def _first_answer(event_ns: Stamps, answer: Answer) -> int | None:
    return int(event_ns[answer.reasoning_events]) if answer.reasoning_events < len(event_ns) else None


def _since(at_ns: int | None, epoch_ns: int) -> int | None:
    return None if at_ns is None else at_ns - epoch_ns
