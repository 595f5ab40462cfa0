"""From the bytes of one record to what a request asks. Pure: a table of decoders, and a table of shapes.

The decoder knows what a record is written in (JSON, CSV, plain text), the shape what its keys mean. Every quirk that a
format is known for is either read right or counted: nothing is repaired in silence.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Set
from typing import Any, Literal, NamedTuple

import msgspec

from inferometer.workload.datafile import csv_reader
from inferometer.workload.tally import BadRecordError, DroppedError, cut_off

Message = dict[str, Any]
Row = dict[str, Any]
Container = Literal["lines", "text", "list", "csv", "parquet"]
Shape = Literal["sharegpt", "messages", "prompt", "batch"]


class Item(NamedTuple):
    """What one record asks for.

    ``prompt``: text, token ids, or chat messages. ``number``: of the line or record, from 1. ``answer``: the recorded
    one, where there is one. ``overrides``: fields of the request body that this record sets for itself. Token counts
    are None where nobody has said or counted them.
    """

    prompt: str | list[int] | list[Message]
    number: int
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    answer: str | None = None
    overrides: Mapping[str, Any] = {}


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How to read each record of a file. ``columns`` and ``delimiter`` are those of CSV."""

    container: Container
    shape: Shape
    columns: tuple[str, ...] = ()
    delimiter: str = ","
    prompt_key: str = "prompt"
    output_tokens_key: str | None = None
    whole_conversation: bool = False


def parse(raw: bytes, number: int, reading: Reading) -> tuple[Item, Set[str]]:
    """The item of a record, and the keys that mean nothing here.

    Raises:
        BadRecordError: it is not what the format says.
        DroppedError: it is, and of no use.
    """
    row = DECODERS[reading.container](raw, reading)
    item = SHAPES[reading.shape](row, number, reading)
    return item, row.keys() - _KEYS[reading.shape] - {reading.prompt_key, reading.output_tokens_key}


# --- decoders --------------------------------------------------------------------------------------------------------

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decode_json(raw: bytes, end: bytes) -> Row:
    """An object. A record that is broken and does not end with ``end`` may have been cut off, and is told to be."""
    try:
        row = msgspec.json.decode(raw)
    except _UNREADABLE:
        raise BadRecordError(f"{_why_no_json(raw)}{cut_off(raw, end)}") from None
    if not isinstance(row, dict):
        raise BadRecordError(f"not a JSON object but {_named(row)}")
    return row


def _why_no_json(raw: bytes) -> str:
    """The standard library explains best, and takes two things that are no JSON."""
    try:
        json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        return f"not UTF-8: {error.reason} (byte {error.start + 1})"
    except ValueError as error:
        return f"not JSON: {error}"
    except RecursionError:
        return "not JSON that can be read: nested too deep"
    return "not JSON: NaN, Infinity, or half of a character (\\ud800 to \\udfff alone)"


def _decode_text(raw: bytes, reading: Reading) -> Row:
    return {reading.prompt_key: _utf8(raw).rstrip("\r\n")}


def _decode_csv(raw: bytes, reading: Reading) -> Row:
    try:
        cells = next(csv_reader([_utf8(raw)], reading.delimiter))
    except csv.Error as error:
        raise BadRecordError(f"not a row of CSV: {error}{cut_off(raw)}") from None
    if len(cells) != len(reading.columns):
        raise BadRecordError(f"{len(cells)} cells where the header has {len(reading.columns)} columns")
    row = dict(zip(reading.columns, cells, strict=True))
    return {key: cell if key == reading.prompt_key else _cell(cell) for key, cell in row.items()}


def _cell(text: str) -> Any:
    """Cells have no types: what reads as JSON (numbers, messages) is JSON, an empty one is none, the rest is text."""
    if not text.strip():
        return None
    try:
        return msgspec.json.decode(text)
    except _UNREADABLE:
        return text


def _utf8(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRecordError(f"not UTF-8: {error.reason} (byte {error.start + 1})") from None


DECODERS: dict[str, Callable[[bytes, Reading], Row]] = {
    "lines": lambda raw, _: decode_json(raw, b"\n"),
    "list": lambda raw, _: decode_json(raw, b"}"),
    "parquet": lambda raw, _: decode_json(raw, b"\n"),
    "text": _decode_text,
    "csv": _decode_csv,
}


# --- shapes ----------------------------------------------------------------------------------------------------------

#: Keys that say how many tokens the answer shall have; the first that is there counts.
OUTPUT_KEYS = (
    *("output_tokens", "output_len", "output_length", "expected_output_len"),
    *("max_completion_tokens", "max_tokens"),
)
#: Fields of a request body, of OpenAI and of vLLM, that a record may set for itself.
OVERRIDES = frozenset(
    """
    model temperature top_p top_k min_p stop stop_token_ids seed n logit_bias user frequency_penalty presence_penalty
    repetition_penalty min_tokens ignore_eos logprobs top_logprobs tools tool_choice parallel_tool_calls
    response_format reasoning_effort chat_template chat_template_kwargs guided_json guided_regex guided_choice
    guided_grammar structured_outputs metadata priority service_tier suffix echo best_of
    """.split()  # noqa: SIM905 (a list of quoted words reads worse)
)
#: Fields that belong to whoever measures: how the answer comes.
_OURS = frozenset({"stream", "stream_options"})


class _Typed(msgspec.Struct):
    """Types of those overrides that are wrong in files now and then."""

    model: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    min_tokens: int | None = None


class _Message(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[dict[str, Any]] | None = None


class _Turn(msgspec.Struct):
    sender: str = msgspec.field(name="from")
    value: str


class _TurnByRole(msgspec.Struct):
    sender: str = msgspec.field(name="role")
    value: str = msgspec.field(name="content")


class _Batch(msgspec.Struct):
    custom_id: str
    url: str
    body: dict[str, Any]
    method: str = "POST"


def _from_prompt(row: Row, number: int, reading: Reading) -> Item:
    """``{"prompt": ..., "output_tokens": ...}`` as of vLLM, OpenAI's completions, CSV, and plain text."""
    prompt = _prompt(row, reading.prompt_key)
    count = len(prompt) if isinstance(prompt, list) else None
    return Item(prompt, number, count, _output_tokens(row, reading.output_tokens_key), overrides=_overrides(row))


def _from_messages(row: Row, number: int, reading: Reading) -> Item:
    """OpenAI's chat. A last message of the assistant is the recorded answer, and is not sent."""
    messages, answer = _messages(row), None
    if messages[-1]["role"] == "assistant" and len(messages) > 1:
        *messages, last = messages
        answer = last["content"] if isinstance(last.get("content"), str) else None
    if all(message["role"] == "assistant" for message in messages):
        raise BadRecordError("'messages' has no message that could be answered")
    output_tokens = _output_tokens(row, reading.output_tokens_key)
    return Item(messages, number, None, output_tokens, answer, _overrides(row))


def _from_batch(row: Row, number: int, _: Reading) -> Item:
    """OpenAI's batch files, the body as it stands except for what says how the answer comes."""
    batch = _convert(row, _Batch, "")
    if batch.method != "POST":
        raise BadRecordError(f"method {batch.method!r} where POST is expected")
    body = batch.body
    if batch.url.endswith("/chat/completions"):
        prompt: Any = _messages(body)
    elif batch.url.endswith("/completions"):
        prompt = _prompt(body, "prompt")
    else:
        raise BadRecordError(f"url {batch.url!r}: only chat/completions and completions can be measured")
    own = {key: value for key, value in body.items() if key not in _OURS and key not in _BODY_KEYS}
    _convert(own, _Typed, "body")
    count = len(prompt) if isinstance(prompt, list) and isinstance(prompt[0], int) else None
    return Item(prompt, number, count, _output_tokens(body, None), overrides=own)


#: Who speaks, by the names that are in use; anybody else is neither human nor model.
_SENDERS = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "chatgpt", "bing", "bard", "assistant"), "assistant"),
    "system": "system",
}


def _from_sharegpt(row: Row, number: int, reading: Reading) -> Item:
    """A conversation: its first question and answer, or all up to its last answer.

    vLLM takes the first two turns, whoever wrote them. These are the same in a well-formed record; in one that begins
    with an answer, the first question is taken here.
    """
    turns = _turns(row)
    read = _whole if reading.whole_conversation else _first_exchange
    prompt, answer = read(turns)
    output_tokens = _output_tokens(row, reading.output_tokens_key)
    return Item(prompt, number, None, output_tokens, answer, _overrides(row))


def _turns(row: Row) -> list[Message]:
    found = row.get("conversations")
    if not isinstance(found, list):
        raise BadRecordError(f"'conversations' must be a list of turns, not {_named(found)}")
    by_role = bool(found) and isinstance(found[0], dict) and "from" not in found[0] and "role" in found[0]
    kind: Any = list[_TurnByRole] if by_role else list[_Turn]
    turns = _convert(found, kind, "conversations")
    return [{"role": _SENDERS.get(turn.sender, turn.sender), "content": turn.value} for turn in turns]


def _first_exchange(turns: list[Message]) -> tuple[str, str]:
    roles = [turn["role"] for turn in turns]
    at = next((at for at in range(len(turns) - 1) if roles[at : at + 2] == ["user", "assistant"]), None)
    if at is None:
        raise DroppedError("no human turn with an answer after it")
    prompt, answer = turns[at]["content"], turns[at + 1]["content"]
    if not prompt.strip() or not answer.strip():
        raise DroppedError("the first human turn, or its answer, is empty")
    return prompt, answer


def _whole(turns: list[Message]) -> tuple[list[Message], str]:
    """Leading answers answer nothing, and questions behind the last answer were never answered: both go."""
    head = [turn for turn in turns[:1] if turn["role"] == "system"]
    talk = turns[len(head) :]
    while talk and talk[0]["role"] == "assistant":
        talk = talk[1:]
    while talk and talk[-1]["role"] != "assistant":
        talk = talk[:-1]
    if len(talk) < 2:
        raise DroppedError("no human turn with an answer after it")
    if any(turn["role"] != ("user", "assistant")[at % 2] for at, turn in enumerate(talk)):
        raise DroppedError("human and model do not take turns")
    if not all(turn["content"].strip() for turn in talk):
        raise DroppedError("an empty turn")
    return [*head, *talk[:-1]], talk[-1]["content"]


SHAPES: dict[str, Callable[[Row, int, Reading], Item]] = {
    "prompt": _from_prompt,
    "messages": _from_messages,
    "batch": _from_batch,
    "sharegpt": _from_sharegpt,
}
_REQUEST_KEYS = frozenset({*OUTPUT_KEYS, *OVERRIDES, *_OURS, "extra_body", "extra"})
_KEYS: dict[str, frozenset[str]] = {
    "prompt": _REQUEST_KEYS,
    "messages": _REQUEST_KEYS | {"messages"},
    "batch": frozenset({"custom_id", "method", "url", "body"}),
    "sharegpt": _REQUEST_KEYS | {"conversations"},
}
#: What of a batch's body is in an item's own fields.
_BODY_KEYS = frozenset({"messages", "prompt", "max_tokens", "max_completion_tokens"})


# --- values ----------------------------------------------------------------------------------------------------------


def _prompt(row: Row, key: str) -> str | list[int]:
    if key not in row:
        raise BadRecordError(f"no {key!r} in it, but {_listed(row)}")
    prompt = row[key]
    if isinstance(prompt, list) and prompt and all(type(one) is int and one >= 0 for one in prompt):
        return prompt
    if not isinstance(prompt, str):
        raise BadRecordError(f"{key!r} must be text, not {_named(prompt)}")
    if not prompt.strip():
        raise BadRecordError(f"{key!r} is empty")
    return prompt


def _messages(row: Row) -> list[Message]:
    if "messages" not in row:
        raise BadRecordError(f"no 'messages' in it, but {_listed(row)}")
    messages: list[Message] = row["messages"]
    if not _convert(messages, list[_Message], "messages"):
        raise BadRecordError("'messages' is empty")
    return messages


def _output_tokens(row: Row, key: str | None) -> int | None:
    """None where the record does not say. Whole numbers written as 40.0 are what tables make of 40."""
    for name in OUTPUT_KEYS if key is None else (key,):
        value = row.get(name)
        if value is None:
            continue
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if type(value) is not int or not 1 <= value < 2**31:
            shown = repr(value) if isinstance(value, int | float) else _named(value)
            raise BadRecordError(f"{name!r} must be a whole number of tokens, 1 or more, not {shown}")
        return value
    return None


def _overrides(row: Row) -> dict[str, Any]:
    own = {key: value for key, value in row.items() if key in OVERRIDES and value is not None}
    for key in ("extra_body", "extra"):
        more = row.get(key) or {}
        if not isinstance(more, dict):
            raise BadRecordError(f"{key!r} must be an object, not {_named(more)}")
        taken = sorted(_BODY_KEYS & more.keys())
        if taken:
            raise BadRecordError(f"{key!r} has {taken[0]!r}, which belongs into the record itself")
        own |= {name: value for name, value in more.items() if name not in _OURS}
    if own:
        _convert(own, _Typed, "")
    return own


def _convert(value: Any, kind: Any, name: str) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$")
        place = f"{name}{where.rstrip('`')}".lstrip(".")
        raise BadRecordError(f"{place}: {reason}" if place else reason) from None


_NAMES: Mapping[type, str] = {
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "nothing",
}


def _named(value: Any) -> str:
    return _NAMES.get(type(value), type(value).__name__)


def _listed(row: Row) -> str:
    return ", ".join(repr(key) for key in list(row)[:8]) or "nothing"
