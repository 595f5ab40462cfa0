"""What the streams of every API say, framed and split as servers and networks do."""

from __future__ import annotations

import json

import pytest
from api_cases import GOOD, ApiCase
from broken_cases import BROKEN, Broken
from cases import CALLS, DONE, T, closing, delta, tail
from exchanges import CHUNKED, LAST_CHUNK, chunk, fed, numbered, observer, plain, play, split
from hypothesis import given
from hypothesis import strategies as st

from inferometer.client.apis import APIS
from inferometer.records.record import Outcome, Source

MS = 1_000_000


def wire(pieces: tuple[bytes, ...], *, end: bytes = LAST_CHUNK) -> list[tuple[int, bytes]]:
    """A read for the head at 0, one for each piece 10 ms after the one before, and one for the end."""
    reads = [CHUNKED, *map(chunk, pieces), *([end] if end else [])]
    return [(number * 10 * MS, read) for number, read in enumerate(reads)]


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
def test_a_good_stream(case: ApiCase) -> None:
    record = play(wire(case.pieces), api=case.api)
    assert (record.outcome, record.detail) == (Outcome.OK, None)
    assert record.event_ns.tolist() == [(piece + 1) * 10 * MS for piece in case.reads]
    after = case.reads[case.reasoning :]
    assert record.first_answer_ns == ((after[0] + 1) * 10 * MS if after else None)
    assert (record.prompt_tokens, record.output_tokens) == (case.prompt, case.output)
    assert (record.cached_tokens, record.reasoning_tokens) == (case.cached, case.reasoned)
    assert (record.finish_reason, record.model_answered) == (case.finish, case.model)
    told = None if record.event_tokens is None else tuple(record.event_tokens.tolist())
    assert told == case.event_tokens


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
def test_what_it_says_goes_into_the_next_turn(case: ApiCase) -> None:
    told = fed(wire(case.pieces)).said(observer(case.api))
    assert told is not None
    assert told == case.text


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN)
def test_a_broken_stream(case: Broken) -> None:
    record = play(wire(case.pieces, end=b"" if case.closed else LAST_CHUNK), closed=case.closed, api=case.api)
    assert record.outcome == case.outcome, record.detail
    assert case.detail in (record.detail or "")


@given(st.sampled_from(sorted(GOOD)), st.lists(st.integers(0, 5000), max_size=12))
def test_reads_may_be_split_anywhere(name: str, cuts: list[int]) -> None:
    case = GOOD[name]
    body = b"".join(chunk(piece) for piece in case.pieces)
    whole = play(numbered([CHUNKED + body + LAST_CHUNK]), api=case.api)
    parts = play(numbered(split(CHUNKED + body + LAST_CHUNK, cuts)), api=case.api)
    timing = ("event_ns", "reads", "merged_reads", "end_ns")
    timing += ("first_token_ns", "last_token_ns", "first_answer_ns", "first_byte_ns")
    assert plain(parts, *timing) == plain(whole, *timing)
    assert (parts.event_ns[:-1] <= parts.event_ns[1:]).all()


def test_embeddings_have_no_output_tokens() -> None:
    record = play(wire(GOOD["embeddings"].pieces), api="openai-embeddings")
    assert (record.output_tokens, record.output_tokens_source) == (0, Source.USAGE)
    assert record.first_token_ns == record.last_token_ns


#: Chat streams -> how many of their first token events are reasoning alone.
THOUGHT = delta(reasoning_content="hm")
REASONING = {
    "none": (T, 0),
    "first": ((THOUGHT, THOUGHT, *T), 2),
    "vllm": ((delta(reasoning="hm"), *T), 1),
    "both_in_one": ((delta(reasoning_content="hm", content="alpha"), *T), 0),
    "again_later": ((THOUGHT, T[0], THOUGHT, T[1]), 1),
    "before_a_tool": ((THOUGHT, *CALLS), 1),
    "before_a_refusal": ((THOUGHT, delta(refusal="no")), 1),
    "alone": ((THOUGHT, THOUGHT), 2),
}


@pytest.mark.parametrize(("pieces", "reasoning"), REASONING.values(), ids=REASONING)
def test_reasoning_of_chats(pieces: tuple[bytes, ...], reasoning: int) -> None:
    record = play(wire((*pieces, *tail(9))))
    expected = record.event_ns[reasoning] if reasoning < len(pieces) else None
    assert (record.outcome, record.first_answer_ns) == (Outcome.OK, expected)
    assert record.first_token_ns == 10 * MS


def test_reasoning_tokens_are_told_by_usage() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 2}}
    assert play(wire((THOUGHT, *T, delta("stop"), closing(usage), DONE))).reasoning_tokens == 2


@given(st.sampled_from(sorted(APIS)), st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_are_an_answer_or_a_failure(api: str, lines: list[bytes]) -> None:
    record = play(wire(tuple(line + b"\n" for line in lines)), api=api)
    assert isinstance(record.outcome, Outcome)


@given(
    st.sampled_from(sorted(APIS)),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["type", "delta", "choices", "message", "token", "usage", "response", "error", "data", "done"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
)
def test_any_json_is_an_answer_or_a_failure(api: str, content: object) -> None:
    text = json.dumps(content).encode()
    body = text if APIS[api].split is not APIS["openai-chat"].split else b"data: " + text + b"\n"
    record = play(wire((body + b"\n",)), api=api)
    assert (record.outcome is Outcome.OK) == (record.detail is None)
