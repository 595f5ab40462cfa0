"""From bytes and stamps to a record: real answers, streams that others stumble over, and any split of them."""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import httptools
import pytest
from cases import CASES, DONE, PLAIN, ROLE, WORDS, Case, T, delta, event, tail
from exchanges import CHUNKED, JOB, LAST_CHUNK, READ_LAG_NS, UNTIL_CLOSE, chunk, numbered, observer, plain, play, split
from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.client.exchange import Exchange
from inferometer.records.record import Clock, Outcome, Source

CAPTURES = Path(__file__).parent.parent / "fixtures" / "http"
READS: dict[str, list[tuple[float, int]]] = json.loads((CAPTURES / "reads.json").read_text())
MS = 1_000_000

# --- real servers ----------------------------------------------------------------------------------------------------


class Facts(NamedTuple):
    """What a capture holds, as counted by hand. ``output``: tokens by usage, None where the server told none."""

    events: int
    output: int | None
    prompt: int | None = None
    cached: int | None = None


STREAMS = {
    "llamacpp_chat_stream": Facts(24, 24, 34, 0),
    "llamacpp_chat_stream_continuous_usage": Facts(8, 8, 34, 33),
    "llamacpp_chat_stream_logprobs": Facts(4, 4, 33, 32),
    "llamacpp_chat_stream_n2": Facts(12, 12, 33, 32),
    "llamacpp_chat_stream_no_usage": Facts(8, None),
    "llamacpp_chat_stream_one_token": Facts(1, 1, 33, 32),
    "llamacpp_chat_stream_utf8": Facts(13, 40, 51, 24),
    "llamacpp_completions_stream": Facts(12, 12, 5, 0),
    "llamacpp_completions_token_ids": Facts(4, 4, 5, 4),
    "llamacpp_error_model": Facts(2, None),
    "vllm_chat_stream": Facts(24, 24, 34),
    "vllm_chat_stream_continuous_usage": Facts(8, 8, 34),
    "vllm_chat_stream_logprobs": Facts(4, 4, 33),
    "vllm_chat_stream_n2": Facts(12, 12, 33),
    "vllm_chat_stream_no_usage": Facts(8, None),
    "vllm_chat_stream_one_token": Facts(1, 1, 33),
    "vllm_chat_stream_utf8": Facts(39, 40, 51),
    "vllm_completions_stream": Facts(11, 12, 5),
    "vllm_completions_token_ids": Facts(4, 4, 5),
}
REFUSALS = {
    "llamacpp_embeddings": (501, Outcome.HTTP_5XX, "does not support embeddings"),
    "llamacpp_error_context": (400, Outcome.HTTP_4XX, "exceeds the available context size (2048 tokens)"),
    "llamacpp_error_field": (400, Outcome.HTTP_4XX, "Field 'max_tokens'"),
    "llamacpp_error_json": (400, Outcome.HTTP_4XX, "parse error at line 1"),
    "llamacpp_error_path": (404, Outcome.HTTP_4XX, "File Not Found"),
    "llamacpp_chat_plain": (200, Outcome.NOT_STREAMING, "one document of"),
    "vllm_embeddings": (404, Outcome.HTTP_4XX, "Not Found"),
    "vllm_error_context": (400, Outcome.HTTP_4XX, "maximum context length is 2048 tokens"),
    "vllm_error_field": (400, Outcome.HTTP_4XX, "max_tokens must be at least 1, got -5"),
    "vllm_error_json": (400, Outcome.HTTP_4XX, "JSON decode error"),
    "vllm_error_model": (404, Outcome.HTTP_4XX, "`no-such-model` does not exist"),
    "vllm_error_path": (404, Outcome.HTTP_4XX, "Not Found"),
    "vllm_chat_plain": (200, Outcome.NOT_STREAMING, "one document of"),
}


def api_of(name: str) -> str:
    return "openai-completions" if "completions" in name else "openai-chat"


def reads_of(name: str) -> Iterator[tuple[int, bytes]]:
    """A capture as it was read: (ns since the send, bytes)."""
    whole, at = (CAPTURES / f"{name}.http").read_bytes(), 0
    for ms, size in READS[name]:
        yield round(ms * MS), whole[at : at + size]
        at += size
    assert at == len(whole)


@pytest.mark.parametrize("name", STREAMS)
def test_streams_of_real_servers(name: str) -> None:
    record, facts = play(reads_of(name), closed=True, api=api_of(name)), STREAMS[name]
    assert (record.outcome, record.status, record.finish_reason) == (Outcome.OK, 200, "length")
    assert len(record.event_ns) == facts.events
    assert record.output_tokens == (facts.output if facts.output is not None else facts.events)
    assert record.output_tokens_source == (Source.USAGE if facts.output is not None else Source.EVENTS)
    assert (record.prompt_tokens, record.cached_tokens) == (facts.prompt, facts.cached)
    assert record.model_answered == "smollm2-135m"
    assert record.reads == len(READS[name])
    assert record.bytes_received == sum(size for _, size in READS[name])


@pytest.mark.parametrize("name", STREAMS)
def test_the_first_token_is_the_first_text_not_the_role(name: str) -> None:
    """The stamp is that of the read which brought the end of the first event with text in it."""
    raw = (CAPTURES / f"{name}.http").read_bytes()
    text = re.search(rb'"(?:content|text)":"[^"][^\n]*\n\n', raw)
    assert text is not None
    read = bisect_left(list(accumulate(size for _, size in READS[name])), text.end())
    record = play(reads_of(name), closed=True, api=api_of(name))
    assert record.first_token_ns == record.event_ns[0] == round(READS[name][read][0] * MS)
    assert record.first_byte_ns == round(READS[name][0][0] * MS)
    assert record.last_token_ns == record.event_ns[-1]


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals_of_real_servers(name: str) -> None:
    status, outcome, message = REFUSALS[name]
    record = play(reads_of(name), closed=True, api=api_of(name))
    assert (record.status, record.outcome) == (status, outcome)
    assert message in (record.detail or "")
    assert (record.first_token_ns, record.output_tokens, len(record.event_ns)) == (None, None, 0)


def test_usage_in_every_event_gives_the_tokens_of_every_event() -> None:
    vllm = play(reads_of("vllm_chat_stream_continuous_usage"), closed=True)
    assert vllm.event_tokens is not None
    assert vllm.event_tokens.tolist() == [1] * 8
    assert play(reads_of("llamacpp_chat_stream_continuous_usage"), closed=True).event_tokens is None


@pytest.mark.parametrize("name", ["llamacpp_chat_stream_n2", "vllm_completions_stream", "vllm_error_context"])
def test_real_answers_read_byte_by_byte(name: str) -> None:
    whole = (CAPTURES / f"{name}.http").read_bytes()
    bytewise = play([(0, bytes([byte])) for byte in whole], closed=True, api=api_of(name))
    at_once = play([(0, whole)], closed=True, api=api_of(name))
    assert plain(bytewise, "reads", "merged_reads") == plain(at_once, "reads", "merged_reads")


# --- streams that others stumble over --------------------------------------------------------------------------------


def reads(case: Case, *, framed: bool) -> list[bytes]:
    """One read a piece. The end of chunked coding comes alone, as it often does."""
    if not framed:
        return [UNTIL_CLOSE, *case.pieces]
    return [CHUNKED, *map(chunk, case.pieces), *([] if case.cut else [LAST_CHUNK])]


@pytest.mark.parametrize("name", CASES)
def test_cases(name: str) -> None:
    case = CASES[name]
    record = play(numbered(reads(case, framed=True)), closed=True)
    assert record.outcome == case.outcome, record.detail
    assert (record.detail is None) == (case.outcome is Outcome.OK)
    assert (len(record.event_ns), record.output_tokens) == (case.events, case.tokens)


def test_what_an_error_says_is_kept() -> None:
    for name in ("error_mid", "error_event", "error_string", "error_detail", "error_object"):
        assert play(numbered(reads(CASES[name], framed=True))).detail == "engine died"


def test_tokens_without_usage_are_events() -> None:
    assert play(numbered(reads(CASES["no_usage"], framed=True))).output_tokens_source is Source.EVENTS
    assert play(numbered(reads(CASES["plain"], framed=True))).output_tokens_source is Source.USAGE


@settings(deadline=None)
@given(name=st.sampled_from(sorted(CASES)), framed=st.booleans(), cuts=st.lists(st.integers(0, 10_000), max_size=30))
def test_any_split_gives_the_same_record(name: str, framed: bool, cuts: list[int]) -> None:
    whole = b"".join(reads(CASES[name], framed=framed))
    at_once = play([(5, whole)], closed=True)
    in_pieces = play([(5, piece) for piece in split(whole, cuts)], closed=True)
    assert plain(in_pieces, "reads", "merged_reads") == plain(at_once, "reads", "merged_reads")


@pytest.mark.parametrize("framed", [True, False], ids=["chunked", "until close"])
@pytest.mark.parametrize("name", CASES)
def test_byte_by_byte_gives_the_same_record(name: str, framed: bool) -> None:
    whole = b"".join(reads(CASES[name], framed=framed))
    bytewise = play([(5, bytes([byte])) for byte in whole], closed=True)
    assert plain(bytewise, "reads", "merged_reads") == plain(play([(5, whole)], closed=True), "reads", "merged_reads")


# --- stamps ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=40), framed=st.booleans())
def test_an_event_has_the_stamp_of_the_read_that_completes_it(cuts: list[int], framed: bool) -> None:
    parts = reads(Case((ROLE, *PLAIN)), framed=framed)
    pieces = split(b"".join(parts), cuts)
    read_ends = list(accumulate(map(len, pieces)))
    framing = 2 if framed else 0  # the line end behind a chunk is not part of the event
    text_ends = [end - framing for end in accumulate(map(len, parts))][2 : 2 + len(WORDS)]
    expected = [bisect_left(read_ends, end) for end in text_ends]
    record = play(numbered(pieces), closed=True)
    assert record.event_ns.tolist() == expected
    assert (record.first_token_ns, record.last_token_ns) == (expected[0], expected[-1])
    assert record.merged_reads == sum(expected.count(read) > 1 for read in set(expected))


@pytest.mark.parametrize(
    ("pieces", "merged"),
    [
        (PLAIN, 0),
        ((T[0] + T[1], *PLAIN[2:]), 1),
        ((T[0] + T[1], T[2] + T[3] + T[4], *tail(5)), 2),
        ((ROLE + T[0], *T[1:4], T[4] + b"".join(tail(5))), 0),  # role, finish and usage are no tokens
    ],
)
def test_reads_that_carry_several_tokens_are_counted(pieces: tuple[bytes, ...], merged: int) -> None:
    assert play(numbered([CHUNKED, *map(chunk, pieces), LAST_CHUNK])).merged_reads == merged


def test_times_are_relative_to_the_epoch() -> None:
    epoch_ns = 10**15
    record = play(
        [(epoch_ns + at_ns, data) for at_ns, data in numbered(reads(CASES["plain"], framed=True))], epoch_ns=epoch_ns
    )
    assert (record.scheduled_ns, record.sent_ns, record.first_byte_ns) == (0, 0, 0)
    assert record.event_ns.tolist() == [1, 2, 3, 4, 5]
    assert record.end_ns == 9
    assert record.read_lag_max_ns == READ_LAG_NS


def test_stamps_of_a_clock_that_was_set_back_do_not_fall() -> None:
    stamps = [100, 100, 90, 120, 110, 130, 140, 150, 160, 170]
    record = play(list(zip(stamps, reads(CASES["plain"], framed=True), strict=True)))
    assert record.event_ns.tolist() == [100, 100, 120, 120, 130]


def test_the_place_in_the_plan_is_kept() -> None:
    record = play(numbered(reads(CASES["plain"], framed=True)))
    assert (record.stage, record.index, record.worker, record.clock) == (1, 3, 2, Clock.USERLAND)
    assert (record.asked_prompt_tokens, record.asked_output_tokens, record.bytes_sent) == (7, 5, 4)
    assert (record.model, record.model_answered) == ("m", "m")


# --- HTTP ------------------------------------------------------------------------------------------------------------


def answer(status: bytes, body: bytes, kind: bytes = b"application/json") -> list[tuple[int, bytes]]:
    head = b"HTTP/1.1 %b\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n" % (status, kind, len(body))
    return [(0, head + body)]


@pytest.mark.parametrize(
    ("reads", "outcome", "detail"),
    [
        (answer(b"429 Too Many", b'{"error": {"message": "slow down"}}'), Outcome.HTTP_429, "HTTP 429: slow down"),
        (answer(b"503 Busy", b"no healthy upstream", b"text/plain"), Outcome.HTTP_5XX, "HTTP 503: no healthy upstream"),
        (answer(b"502 Bad", b"", b"text/plain"), Outcome.HTTP_5XX, "HTTP 502: "),
        (answer(b"404 Not", b'{"message": "no route"}'), Outcome.HTTP_4XX, "HTTP 404: no route"),
        (answer(b"302 Found", b""), Outcome.HTTP_4XX, "HTTP 302: "),
        (answer(b"200 OK", b"<html>login</html>", b"text/html"), Outcome.NOT_STREAMING, "web page"),
        (answer(b"200 OK", b'{"error": "no GPU"}'), Outcome.STREAM_ERROR, "no GPU"),
        (answer(b"200 OK", b"", b"text/event-stream"), Outcome.EMPTY, "the body is empty"),
    ],
)
def test_answers_that_are_no_stream(reads: list[tuple[int, bytes]], outcome: Outcome, detail: str) -> None:
    record = play(reads)
    assert record.outcome is outcome
    assert detail in (record.detail or "")


def test_a_long_error_page_is_cut() -> None:
    assert len(play(answer(b"500 Oops", b"x" * 100_000, b"text/plain")).detail or "") < 2000


def test_a_provisional_answer_is_not_the_answer() -> None:
    rest = reads(CASES["plain"], framed=True)
    record = play(numbered([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", *rest]))
    assert (record.status, record.outcome, record.output_tokens) == (200, Outcome.OK, 5)


def test_what_is_not_http_is_said_at_once() -> None:
    with pytest.raises(httptools.HttpParserError):
        play([(0, b"SSH-2.0-OpenSSH_9.9\r\n")])


@pytest.mark.parametrize(("closed", "outcome"), [(True, Outcome.OK), (False, Outcome.TRUNCATED)])
def test_a_body_without_length_ends_with_the_connection(closed: bool, outcome: Outcome) -> None:
    assert play(numbered(reads(CASES["plain"], framed=False)), closed=closed).outcome is outcome


def test_a_shorter_body_than_announced_is_truncated() -> None:
    body = b"".join(PLAIN)
    [(_, whole)] = answer(b"200 OK", body, b"text/event-stream")
    assert play([(0, whole[:-20])], closed=True).outcome is Outcome.TRUNCATED
    assert play([(0, whole)]).outcome is Outcome.OK


def test_events_behind_done_do_not_count() -> None:
    assert play(numbered([UNTIL_CLOSE, *PLAIN, T[0], event({"error": "late"})]), closed=True).output_tokens == 5


def test_running_totals_of_several_tokens() -> None:
    used = [{"prompt_tokens": 7, "completion_tokens": total} for total in (2, 3, 7)]
    pieces = [delta(usage=usage, content="x") for usage in used]
    record = play(numbered([UNTIL_CLOSE, *pieces, delta("stop"), DONE]), closed=True)
    assert record.event_tokens is not None
    assert (record.event_tokens.tolist(), record.output_tokens) == ([2, 1, 4], 7)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices": [{"delta": {"content": "\xff\xfe"}}]}\n\n',
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"choices": [], "usage": {"completion_tokens": 3000000000}}\n\n',
        b'data: {"choices": [], "usage": {"completion_tokens": -1}}\n\n',
    ],
)
def test_what_cannot_be_read_is_a_failure_with_a_row(event: bytes) -> None:
    """No event may take its record or the worker with it, and no text of an answer goes into details."""
    reads = numbered([CHUNKED, chunk(T[0]), chunk(event), chunk(T[1]), chunk(b"data: [DONE]\n\n"), LAST_CHUNK])
    record = play(reads)
    assert record.outcome is Outcome.MALFORMED
    assert len(record.event_ns) == 2
    assert "cannot be read" in (record.detail or "")


def test_a_server_that_repeats_the_key_does_not_get_it_stored() -> None:
    body = b'{"error": {"message": "Incorrect API key provided: sk-planted"}}'
    head = b"HTTP/1.1 401 Unauthorized\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
    exchange = Exchange(JOB, 0)
    exchange.feed(head + body, 5, 5)
    record = exchange.record(observer()._replace(secrets=("sk-planted",)))
    assert record.detail == "HTTP 401: Incorrect API key provided: ***"
