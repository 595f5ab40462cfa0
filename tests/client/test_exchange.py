"""From bytes and stamps to a record: real answers, the stamps of events, and what events say."""

import json
import re
from bisect import bisect_left
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pytest
from cases import CASES, DONE, PLAIN, ROLE, WORDS, Case, T, delta, ended, tail
from exchanges import CHUNKED, LAST_CHUNK, READ_LAG_NS, UNTIL_CLOSE, chunk, numbered, plain, play, split
from framings import FRAMINGS, reads
from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.records.record import Clock, Outcome, Source

CAPTURES = Path(__file__).parent.parent / "fixtures" / "http"
READS: dict[str, list[tuple[float, int]]] = json.loads((CAPTURES / "reads.json").read_text())
MS = 1_000_000
CHUNKS = FRAMINGS["one chunk an event"]

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


# --- stamps ----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(cuts=st.lists(st.integers(0, 10_000), max_size=40), framed=st.booleans())
def test_an_event_has_the_stamp_of_the_read_that_completes_it(cuts: list[int], framed: bool) -> None:
    parts = reads(Case((ROLE, *PLAIN)), CHUNKS if framed else FRAMINGS["until close"])
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
        [(epoch_ns + at_ns, data) for at_ns, data in numbered(reads(CASES["plain"], CHUNKS))], epoch_ns=epoch_ns
    )
    assert (record.scheduled_ns, record.sent_ns, record.first_byte_ns) == (0, 0, 0)
    assert record.event_ns.tolist() == [1, 2, 3, 4, 5]
    assert record.end_ns == 9
    assert record.read_lag_max_ns == READ_LAG_NS


def test_stamps_of_a_clock_that_was_set_back_do_not_fall() -> None:
    stamps = [100, 90, 90, 120, 110, 130, 140, 150, 160, 170]
    record = play(list(zip(stamps, reads(CASES["plain"], CHUNKS), strict=True)))
    assert record.first_byte_ns == 100
    assert record.event_ns.tolist() == [100, 100, 120, 120, 130]


def test_an_event_that_began_in_an_earlier_read_has_the_stamp_of_its_end() -> None:
    head, first, rest = CHUNKED, chunk(T[0]), b"".join(map(chunk, PLAIN[1:])) + LAST_CHUNK
    record = play([(10, head + first[:8]), (20, first[8:20]), (30, first[20:] + rest[:9]), (40, rest[9:])])
    assert record.event_ns.tolist() == [30, 40, 40, 40, 40]


def test_a_cr_completes_an_event_before_its_lf_comes() -> None:
    body = ended(b"\r\n", *PLAIN)
    record = play([(10, UNTIL_CLOSE + body[0][:-1]), (20, b"\n" + b"".join(body[1:]))], closed=True)
    assert record.event_ns.tolist() == [10, 20, 20, 20, 20]


def test_an_unterminated_event_ends_with_the_body() -> None:
    record = play([(10, UNTIL_CLOSE + b"".join(T[:2])), (20, delta("stop", content="x").rstrip())], closed=True)
    assert (record.event_ns.tolist(), record.outcome) == ([10, 10, 20], Outcome.OK)


def test_the_place_in_the_plan_is_kept() -> None:
    record = play(numbered(reads(CASES["plain"], CHUNKS)))
    assert (record.stage, record.index, record.worker, record.clock) == (1, 3, 2, Clock.USERLAND)
    assert (record.asked_prompt_tokens, record.asked_output_tokens, record.bytes_sent) == (7, 5, 4)
    assert (record.model, record.model_answered) == ("m", "m")


# --- what events say ----------------------------------------------------------------------------------------------


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
    parts = numbered([CHUNKED, chunk(T[0]), chunk(event), chunk(T[1]), chunk(b"data: [DONE]\n\n"), LAST_CHUNK])
    record = play(parts)
    assert record.outcome is Outcome.MALFORMED
    assert len(record.event_ns) == 2
    assert "cannot be read" in (record.detail or "")
