"""Answers without usage: what a tokenizer gets to count, and when it is asked at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import pytest
from api_cases import DONE, block, data, line, typed
from cases import call, closing, delta, event, used
from exchanges import CHUNKED, JOB, LAST_CHUNK, chunk, fed, observer

from inferometer.client.exchange import Exchange
from inferometer.client.recorder import COUNT_NS_PER_TOKEN, DECODE_NS, DECODE_NS_PER_BYTE, Desk, Recorder
from inferometer.records.record import Outcome, Record, Source


class Written(NamedTuple):
    """An answer without usage, as a stream of pieces or as one document, and the texts that it is made of."""

    api: str
    answer: tuple[bytes, ...] | dict[str, Any]
    texts: tuple[str, ...]


def responded(kind: str, text: str) -> bytes:
    return typed(f"response.{kind}.delta", delta=text)


def piece(**said: Any) -> bytes:
    return typed("content_block_delta", index=0, delta=said)


def choice(**message: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


RESPONDED = typed("response.completed", response={"status": "completed"})
STOPPED = typed("message_stop")
OUTPUT = [
    {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "let me see"}], "summary": []},
    {"type": "message", "content": [{"type": "output_text", "text": "one two"}]},
    {"type": "function_call", "name": "f", "arguments": '{"a":1}'},
]
CONTENT = [
    {"type": "thinking", "thinking": "let me see"},
    {"type": "text", "text": "one two"},
    {"type": "tool_use", "name": "f", "input": {"a": 1}},
]
FUNCTION = {"function": {"name": "f", "arguments": {"a": 1}}}
CALLED = 'f{"a":1}'

WRITTEN = {
    "chat": Written(
        "openai-chat",
        (
            delta(role="assistant", content=""),
            *(delta(reasoning_content=text) for text in ("let ", "me see")),
            *(delta(content=text) for text in ("one", " two")),
            *(call(name="f", arguments=""), call(arguments='{"a"'), call(arguments=":1}")),
            *(delta("stop"), DONE),
        ),
        ("let me see", "one two", CALLED),
    ),
    "chat, as others name it": Written(
        "openai-chat",
        (
            delta(reasoning="hm"),
            delta(refusal="no"),
            delta("stop", function_call={"name": "f", "arguments": "{}"}),
            DONE,
        ),
        ("hm", "no", "f{}"),
    ),
    "chat, whole": Written(
        "openai-chat",
        choice(content="one two", reasoning="let me see", tool_calls=[FUNCTION]),
        ("let me see", "one two", CALLED),
    ),
    "completions": Written(
        "openai-completions",
        (event({"choices": [{"text": "one"}]}), event({"choices": [{"text": " two", "finish_reason": "stop"}]}), DONE),
        ("one two",),
    ),
    "completions, whole": Written("openai-completions", {"choices": [{"text": "one two"}]}, ("one two",)),
    "responses": Written(
        "openai-responses",
        (
            *(responded("reasoning_text", "let "), responded("reasoning_text", "me see")),
            *(responded("output_text", "one"), responded("output_text", " two")),
            typed("response.output_text.done", text="one two"),
            RESPONDED,
        ),
        ("let me see", "one two"),
    ),
    "responses, a call": Written(
        "openai-responses",
        (
            typed("response.output_item.added", item={"type": "function_call", "name": "f", "arguments": ""}),
            *(responded("function_call_arguments", '{"a"'), responded("function_call_arguments", ":1}")),
            RESPONDED,
        ),
        ('{"a":1}', "f"),
    ),
    "responses, whole": Written(
        "openai-responses",
        {"object": "response", "status": "completed", "output": OUTPUT},
        ("let me see", "one two", CALLED),
    ),
    "messages": Written(
        "anthropic",
        (
            block(0, type="thinking", thinking=""),
            *(piece(type="thinking_delta", thinking=text) for text in ("let ", "me see")),
            *(piece(type="text_delta", text=text) for text in ("one", " two")),
            block(2, type="tool_use", name="f", input={}),
            *(piece(type="input_json_delta", partial_json=text) for text in ('{"a"', ":1}")),
            STOPPED,
        ),
        ("let me see", "one two", CALLED),
    ),
    "messages, whole": Written(
        "anthropic",
        {"type": "message", "content": CONTENT, "stop_reason": "end_turn"},
        ("let me see", "one two", CALLED),
    ),
    "tgi": Written(
        "tgi",
        (
            data({"token": {"text": "one"}}),
            data({"token": {"text": " two"}}),
            data({"token": {"text": "</s>", "special": True}, "generated_text": "one two"}),
        ),
        ("one two",),
    ),
    "tgi, whole": Written("tgi", {"generated_text": "one two"}, ("one two",)),
    "ollama": Written(
        "ollama-chat",
        (
            line(message={"thinking": "let me see"}),
            line(message={"content": "one"}),
            line(message={"content": " two", "tool_calls": [FUNCTION]}),
            line(done=True),
        ),
        ("let me see", "one two", json.dumps(FUNCTION, separators=(",", ":"))),
    ),
    "ollama, whole": Written(
        "ollama-generate", {"response": "one two", "thinking": "hm", "done": True}, ("hm", "one two")
    ),
}


def exchange_of(answer: tuple[bytes, ...] | dict[str, Any], end: bytes = LAST_CHUNK) -> Exchange:
    if isinstance(answer, dict):
        body = json.dumps(answer).encode()
        return fed([(1, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)])
    return fed(enumerate([CHUNKED, *map(chunk, answer), end]), closed=not end)


def counted(
    exchange: Exchange,
    count: Callable[[str], int] | None = len,
    api: str = "openai-chat",
    *,
    stream: bool = True,
    prompts: bool = False,
) -> Record:
    """By default a tokenizer of letters."""
    return exchange.record(observer(api, stream=stream)._replace(count_tokens=count, prompts_counted=prompts))


@pytest.mark.parametrize("case", WRITTEN.values(), ids=WRITTEN)
def test_everything_that_the_model_wrote_is_counted(case: Written) -> None:
    """Reasoning and calls of tools too, each text by itself: in the model's mouth other tokens stand between them."""
    asked: list[str] = []

    def count(text: str) -> int:
        asked.append(text)
        return len(text)

    record = counted(exchange_of(case.answer), count, case.api, stream=not isinstance(case.answer, dict))
    assert record.outcome == Outcome.OK, record.detail
    assert asked == list(case.texts)
    assert (record.output_tokens, record.output_tokens_source) == (len("".join(case.texts)), Source.TOKENIZER)
    assert record.event_tokens is None  # they are spread over the events where the metrics are made


PLAIN = (delta(content="one"), delta(content=" two"), delta("stop"))


def test_usage_comes_first() -> None:
    record = counted(exchange_of((*PLAIN, closing(used(9)), DONE)))
    assert (record.output_tokens, record.output_tokens_source) == (9, Source.USAGE)


@pytest.mark.parametrize("count", [None, lambda _: 0])
def test_without_a_count_events_are_tokens(count: Callable[[str], int] | None) -> None:
    record = counted(exchange_of((*PLAIN, DONE)), count)
    assert (record.output_tokens, record.output_tokens_source) == (2, Source.EVENTS)


def test_choices_that_come_in_turn_are_not_counted() -> None:
    """Their texts are cut into each other."""
    pieces = [delta(content=text, index=index) for text in ("on", "e") for index in (0, 1)]
    record = counted(exchange_of((*pieces, delta("stop"), delta("stop", index=1), DONE)))
    assert (record.output_tokens, record.output_tokens_source) == (4, Source.EVENTS)


def test_what_came_of_a_cut_answer_is_counted() -> None:
    record = counted(exchange_of(PLAIN[:2], end=b""))
    assert record.outcome == Outcome.TRUNCATED
    assert (record.output_tokens, record.output_tokens_source) == (len("one two"), Source.TOKENIZER)


def test_nothing_is_counted_where_nothing_came() -> None:
    record = counted(exchange_of((delta("stop"), DONE)), prompts=True)
    assert (record.output_tokens, record.output_tokens_source) == (None, None)
    assert (record.prompt_tokens, record.prompt_tokens_source) == (None, None)


def test_prompts_were_counted_when_they_were_made() -> None:
    silent, telling = (exchange_of((*PLAIN, *end, DONE)) for end in ((), (closing(used(2) | {"prompt_tokens": 8}),)))
    record = counted(silent, prompts=True)
    assert (record.prompt_tokens, record.prompt_tokens_source) == (JOB.asked_prompt_tokens, Source.TOKENIZER)
    told = counted(telling, prompts=True)
    assert (told.prompt_tokens, told.prompt_tokens_source) == (8, Source.USAGE)
    assert counted(exchange_of((*PLAIN, DONE))).prompt_tokens is None


class Turns:
    """A loop that runs nothing by itself. ``soon`` and ``later`` hold what it was asked to run."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.later: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self.soon.append(callback)

    def call_later(self, _after_s: float, callback: Callable[[], None]) -> None:
        self.later.append(callback)


class Counting:
    """Counters that nobody reads."""

    def ended(self, _record: Record, *, closed: bool) -> None:
        """Nothing."""


@pytest.mark.parametrize("spare_tokens", [0, 2 * JOB.asked_output_tokens])
def test_counting_waits_for_a_send_that_is_due(spare_tokens: int) -> None:
    """The time until the next send is enough to decode; an answer that needs counting needs more."""
    exchanges = [exchange_of((*PLAIN, DONE)) for _ in range(2)]
    decode_ns = DECODE_NS + DECODE_NS_PER_BYTE * exchanges[0].received_bytes
    spare_ns = decode_ns + COUNT_NS_PER_TOKEN * spare_tokens
    kept: list[Record] = []
    desk = Desk(observer()._replace(count_tokens=len), cast("Any", Counting()), kept.extend)
    turns = Turns()
    recorder = Recorder(cast("Any", turns), desk, lambda _: spare_ns, lambda: None, closed=True)
    for exchange in exchanges:
        recorder.add(exchange)
    for _ in exchanges:
        turns.soon.pop(0)()
    recorder.flush()
    assert (len(kept), len(turns.later)) == ((1, 1) if not spare_tokens else (2, 0))
