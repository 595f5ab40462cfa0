"""Streams of every API as their servers write them, whole and broken: what must be read from each."""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class ApiCase(NamedTuple):
    """``pieces``: one chunk and one read each, the first at 10 ms, each 10 ms after the one before.

    ``reads``: which pieces carry a token event; the first ``reasoning`` of these nothing but reasoning.
    """

    api: str
    pieces: tuple[bytes, ...]
    reads: tuple[int, ...]
    reasoning: int = 0
    prompt: int | None = 7
    output: int | None = 3
    cached: int | None = None
    reasoned: int | None = None
    finish: str | None = None
    model: str | None = "m"
    text: str = "one two three"
    event_tokens: tuple[int, ...] | None = None


def data(content: Any, prefix: bytes = b"data: ") -> bytes:
    """A server-sent event."""
    return prefix + json.dumps(content).encode() + b"\n\n"


def typed(kind: str, **content: Any) -> bytes:
    """A server-sent event with a type."""
    return b"event: " + kind.encode() + b"\n" + data({"type": kind, **content})


def line(**content: Any) -> bytes:
    """A line of JSON."""
    return json.dumps(content).encode() + b"\n"


DONE = b"data: [DONE]\n\n"

# --- OpenAI's responses ----------------------------------------------------------------------------------------------

CREATED = typed("response.created", response={"id": "r", "status": "in_progress"})
ADDED = typed("response.output_item.added", item={"type": "message", "content": []})
SAID = tuple(typed("response.output_text.delta", delta=word) for word in ("one", " two", " three"))
TEXT_DONE = typed("response.output_text.done", text="one two three")
_USED = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}


def completed(**usage: Any) -> bytes:
    """The last event of a response."""
    return typed("response.completed", response={"status": "completed", "model": "m", "usage": _USED | usage})


INCOMPLETE = typed(
    "response.incomplete",
    response={"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "usage": _USED},
)
#: vLLM calls every end completed, and several tokens may share an event.
VLLM_END = typed(
    "response.completed",
    response={
        "status": "incomplete",
        "model": "m",
        "incomplete_details": {"reason": "max_output_tokens"},
        "usage": _USED
        | {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}},
    },
)
THOUGHT = typed("response.reasoning_text.delta", delta="hm")
SUMMARY = typed("response.reasoning_summary_text.delta", delta="well")

RESPONSES = {
    "responses": ApiCase(
        "openai-responses",
        (CREATED, ADDED, *SAID, TEXT_DONE, completed(input_tokens_details={"cached_tokens": 4})),
        (2, 3, 4),
        cached=4,
        finish="completed",
    ),
    "responses_reasoning": ApiCase(
        "openai-responses",
        (CREATED, THOUGHT, SUMMARY, *SAID, completed(output_tokens_details={"reasoning_tokens": 2}, output_tokens=5)),
        (1, 2, 3, 4, 5),
        reasoning=2,
        output=5,
        reasoned=2,
        finish="completed",
    ),
    "responses_reasoning_alone": ApiCase(
        "openai-responses",
        (CREATED, THOUGHT, SUMMARY, INCOMPLETE),
        (1, 2),
        2,
        finish="max_output_tokens",
        model=None,
        text="",
    ),
    "responses_of_vllm": ApiCase(
        "openai-responses",
        (CREATED, ADDED, SAID[0], typed("response.output_text.delta", delta=" two three"), TEXT_DONE, VLLM_END),
        (2, 3),
        cached=0,
        reasoned=0,
        finish="max_output_tokens",
    ),
    "responses_done_as_elsewhere": ApiCase(
        "openai-responses", (*SAID, completed(), DONE), (0, 1, 2), finish="completed"
    ),
    "responses_tool": ApiCase(
        "openai-responses",
        (
            typed("response.output_item.added", item={"type": "function_call", "name": "f", "arguments": ""}),
            typed("response.function_call_arguments.delta", delta='{"a":1}'),
            typed("response.function_call_arguments.done", arguments='{"a":1}'),
            completed(),
        ),
        (0, 1),
        finish="completed",
        text="",
    ),
    "responses_no_usage": ApiCase(
        "openai-responses",
        (*SAID, typed("response.completed", response={"status": "completed"})),
        (0, 1, 2),
        prompt=None,
        finish="completed",
        model=None,
    ),
}

# --- Anthropic's messages --------------------------------------------------------------------------------------------


def started(**usage: Any) -> bytes:
    """The first event of a message."""
    return typed("message_start", message={"id": "x", "role": "assistant", "model": "m", "usage": usage})


def block(index: int, **start: Any) -> bytes:
    """A block begins."""
    return typed("content_block_start", index=index, content_block=start)


def piece(kind: str, index: int = 0, **said: Any) -> bytes:
    """A piece of a block."""
    return typed("content_block_delta", index=index, delta={"type": kind, **said})


def stopped(reason: str = "end_turn", **usage: Any) -> tuple[bytes, bytes]:
    """How a message ends."""
    return typed("message_delta", delta={"stop_reason": reason}, usage=usage), typed("message_stop")


STARTED = started(input_tokens=3, cache_read_input_tokens=4, output_tokens=1)
CACHE_WRITTEN = started(input_tokens=2, cache_creation_input_tokens=5, cache_read_input_tokens=0)
PING = typed("ping")
TEXTS = tuple(piece("text_delta", text=word) for word in ("one", " two", " three"))
STOP_BLOCK = typed("content_block_stop", index=0)

ANTHROPIC = {
    "anthropic": ApiCase(
        "anthropic",
        (STARTED, block(0, type="text", text=""), PING, *TEXTS, STOP_BLOCK, *stopped(output_tokens=3)),
        (3, 4, 5),
        cached=4,
        finish="end_turn",
    ),
    "anthropic_thinking": ApiCase(
        "anthropic",
        (
            STARTED,
            block(0, type="thinking", thinking=""),
            piece("thinking_delta", thinking="hm"),
            piece("signature_delta", signature="c2ln"),
            STOP_BLOCK,
            block(1, type="text", text=""),
            *TEXTS,
            *stopped("max_tokens", output_tokens=9),
        ),
        (2, 6, 7, 8),
        reasoning=1,
        output=9,
        cached=4,
        finish="max_tokens",
    ),
    "anthropic_tool": ApiCase(
        "anthropic",
        (
            STARTED,
            block(0, type="tool_use", name="f", input={}),
            piece("input_json_delta", partial_json=""),
            piece("input_json_delta", partial_json='{"a":1}'),
            *stopped("tool_use", output_tokens=3),
        ),
        (1, 3),
        cached=4,
        finish="tool_use",
        text="",
    ),
    "anthropic_counts_at_the_end": ApiCase(
        "anthropic",
        (started(input_tokens=0, output_tokens=0), *TEXTS, *stopped(input_tokens=7, output_tokens=3)),
        (1, 2, 3),
        finish="end_turn",
    ),
    "anthropic_cache_written": ApiCase(
        "anthropic",
        (CACHE_WRITTEN, *TEXTS, *stopped(output_tokens=3)),
        (1, 2, 3),
        cached=0,
        finish="end_turn",
    ),
    "anthropic_no_counts": ApiCase(
        "anthropic",
        (started(input_tokens=0, output_tokens=0), *TEXTS, *stopped()),
        (1, 2, 3),
        prompt=None,
        finish="end_turn",
    ),
}

# --- TGI -------------------------------------------------------------------------------------------------------------


def token(text: str, special: bool = False, **more: Any) -> bytes:
    """One token; TGI writes no space behind the colon."""
    content = {"index": 1, "token": {"id": 5, "text": text, "logprob": -0.5, "special": special}}
    return data(content | {"generated_text": None, "details": None} | more, b"data:")


def details(reason: str, tokens: int = 3, **more: Any) -> dict[str, Any]:
    """What the last token brings along."""
    return {
        "generated_text": "one two three",
        "details": {"finish_reason": reason, "generated_tokens": tokens, "seed": None} | more,
    }


TOKENS = (token("one"), token(" two"))

TGI = {
    "tgi": ApiCase(
        "tgi",
        (*TOKENS, token(" three", **details("length", input_length=7))),
        (0, 1, 2),
        finish="length",
        model=None,
    ),
    "tgi_end_of_text": ApiCase(
        "tgi",
        (*TOKENS, token(" three"), token("</s>", True, **details("eos_token", 4))),
        (0, 1, 2),
        prompt=None,
        output=4,
        finish="eos_token",
        model=None,
    ),
    "tgi_with_spaces": ApiCase(
        "tgi",
        (
            *(one.replace(b"data:", b"data: ") for one in TOKENS),
            token(" three", **details("stop_sequence", input_length=7)),
        ),
        (0, 1, 2),
        finish="stop_sequence",
        model=None,
    ),
    "tgi_without_details": ApiCase(
        "tgi", (*TOKENS, token(" three", generated_text="one two three")), (0, 1, 2), prompt=None, model=None
    ),
}

# --- Ollama ----------------------------------------------------------------------------------------------------------


def chat_line(**message: Any) -> bytes:
    """A piece of a chat."""
    return line(model="m", created_at="now", message={"role": "assistant", "content": "", **message}, done=False)


CHAT_LINES = tuple(chat_line(content=word) for word in ("one", " two", " three"))
CHAT_END = line(
    model="m",
    message={"content": ""},
    done=True,
    done_reason="stop",
    prompt_eval_count=7,
    eval_count=3,
    total_duration=9,
)
LINES = tuple(line(model="m", response=word, done=False) for word in ("one", " two", " three"))
END = line(model="m", response="", done=True, done_reason="length", prompt_eval_count=7, eval_count=3, context=[1, 2])

OLLAMA = {
    "ollama_chat": ApiCase("ollama-chat", (*CHAT_LINES, CHAT_END), (0, 1, 2), finish="stop"),
    "ollama_thinking": ApiCase(
        "ollama-chat", (chat_line(thinking="hm"), *CHAT_LINES, CHAT_END), (0, 1, 2, 3), reasoning=1, finish="stop"
    ),
    "ollama_tool": ApiCase(
        "ollama-chat", (chat_line(tool_calls=[{"function": {"name": "f"}}]), CHAT_END), (0,), finish="stop", text=""
    ),
    "ollama_generate": ApiCase("ollama-generate", (*LINES, END), (0, 1, 2), finish="length"),
    "ollama_generate_thinking": ApiCase(
        "ollama-generate", (line(model="m", response="", thinking="hm"), *LINES, END), (0, 1, 2, 3), 1, finish="length"
    ),
    "ollama_all_cached": ApiCase(
        "ollama-generate",
        (*LINES, line(model="m", response="", done=True, done_reason="stop", eval_count=3)),
        (0, 1, 2),
        prompt=None,
        finish="stop",
    ),
    "ollama_last_line_open": ApiCase("ollama-generate", (*LINES, END[:-1]), (0, 1, 2), finish="length"),
    "ollama_crlf": ApiCase(
        "ollama-generate",
        tuple(one.replace(b"\n", b"\r\n") for one in (*LINES, b"\n", END)),
        (0, 1, 2),
        finish="length",
    ),
}

# --- Embeddings and token ids ----------------------------------------------------------------------------------------

EMBEDDED = json.dumps(
    {"object": "list", "model": "m", "data": [{"embedding": [0.1, 0.2]}], "usage": {"prompt_tokens": 7}}
).encode()


def ids(*some: int, finish: str | None = None) -> bytes:
    """A piece of an answer of token ids."""
    return data({"request_id": "r", "choices": [{"index": 0, "token_ids": [*some], "finish_reason": finish}]})


ID_USAGE = data({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}})

OTHERS = {
    "embeddings": ApiCase("openai-embeddings", (EMBEDDED,), (0,), output=0, text=""),
    "embeddings_in_two_reads": ApiCase("openai-embeddings", (EMBEDDED[:50], EMBEDDED[50:]), (1,), output=0, text=""),
    "generate": ApiCase(
        "vllm-generate",
        (ids(5), ids(), ids(6, 7, finish="length"), ID_USAGE, DONE),
        (0, 2),
        finish="length",
        model=None,
        text="",
        event_tokens=(1, 2),
    ),
    "generate_without_usage": ApiCase(
        "vllm-generate",
        (ids(5), ids(6, 7, finish="stop"), DONE),
        (0, 1),
        prompt=None,
        finish="stop",
        model=None,
        text="",
        event_tokens=(1, 2),
    ),
}

GOOD = RESPONSES | ANTHROPIC | TGI | OLLAMA | OTHERS
