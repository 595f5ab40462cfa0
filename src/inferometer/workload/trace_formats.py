"""One record of a trace, in the formats that are in circulation. Pure: bytes or cells in, an arrival out.

Times are kept exactly: as whole nanoseconds from decimal digits, never through floating point.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from inferometer.workload.tally import BadRecordError, DroppedError, cut_off

TraceKind = Literal["mooncake", "bailian", "azure", "burstgpt", "inferometer"]

#: Nanoseconds of the units that timestamps come in.
UNITS_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


class Arrival(NamedTuple):
    """One request of a trace. ``at_ns`` counts from wherever the trace does.

    ``blocks``: ids of the prompt's leading blocks; equal ids are equal text. ``prefix_tokens``: the length of the one
    block, where the record says it itself; None: blocks have the size that the whole trace has.
    """

    at_ns: int
    input_tokens: int
    output_tokens: int
    blocks: Sequence[int] = ()
    prefix_tokens: int | None = None
    model: str | None = None
    in_session: bool = False


class TraceFormat(NamedTuple):
    """``keys`` tell the format; ``read`` takes one record (the cells under ``keys``, or bytes of JSON) and the unit."""

    keys: tuple[str, ...]
    container: Literal["csv", "lines"]
    unit: str
    block_tokens: int
    read: Callable[[Any, int], Arrival]


def trace_kind(names: Collection[str]) -> TraceKind | None:
    """The kind of a trace with these columns or keys, if it is one."""
    found = set(names)
    return next((kind for kind, keys in _SIGNS if found.issuperset(keys)), None)


# --- JSON lines ------------------------------------------------------------------------------------------------------

_Tokens = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
_Block = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _Mooncake(msgspec.Struct):
    timestamp: int | Decimal | None = None
    created_time: int | Decimal | None = None
    input_length: _Tokens | None = None
    input_tokens: _Tokens | None = None
    output_length: _Tokens | None = None
    output_tokens: _Tokens | None = None
    hash_ids: list[_Block] | None = None
    session_id: Any = None
    chat_id: Any = None
    parent_chat_id: Any = None
    text_input: Any = None
    messages: Any = None
    payload: Any = None


class _Own(msgspec.Struct):
    input_tokens: _Tokens
    output_tokens: _Tokens
    at_s: int | Decimal | None = None
    timestamp_ms: int | Decimal | None = None
    prefix_id: int | str | None = None
    prefix_tokens: _Tokens | None = None
    hash_ids: list[_Block] | None = None
    model: str | None = None


_decode_mooncake = msgspec.json.Decoder(_Mooncake).decode
_decode_own = msgspec.json.Decoder(_Own).decode


def _read_mooncake(raw: bytes, unit_ns: int) -> Arrival:
    row = _decode(_decode_mooncake, raw)
    at = row.timestamp if row.timestamp is not None else row.created_time
    if at is None:
        raise BadRecordError("no 'timestamp' in it: only arrivals with times can be replayed")
    length = row.input_length if row.input_length is not None else row.input_tokens
    if length is None:
        literal = next((key for key in ("text_input", "messages", "payload") if getattr(row, key) is not None), None)
        hint = f", but {literal!r}: a trace of literal prompts cannot be replayed yet" if literal else ""
        raise BadRecordError(f"no 'input_length' in it{hint}")
    output = row.output_length if row.output_length is not None else row.output_tokens
    in_session = row.session_id is not None or row.parent_chat_id not in (None, -1)
    return _usable(Arrival(_ns(at, unit_ns), length, output or 0, row.hash_ids or (), in_session=in_session))


def _read_own(raw: bytes, unit_ns: int) -> Arrival:
    """Ours: ``at_s`` or ``timestamp_ms``, ``input_tokens``, ``output_tokens``; ``prefix_id`` with ``prefix_tokens``."""
    row = _decode(_decode_own, raw)
    if (row.at_s is None) == (row.timestamp_ms is None):
        raise BadRecordError("give 'at_s' or 'timestamp_ms', one of them")
    at = row.at_s if row.at_s is not None else row.timestamp_ms
    at_ns = _ns(at, unit_ns if row.at_s is not None else UNITS_NS["ms"])
    if (row.prefix_id is None) != (row.prefix_tokens is None):
        raise BadRecordError("'prefix_id' and 'prefix_tokens' go together")
    if row.prefix_id is None:
        return _usable(Arrival(at_ns, row.input_tokens, row.output_tokens, row.hash_ids or (), model=row.model))
    if row.hash_ids is not None:
        raise BadRecordError("give 'hash_ids' or 'prefix_id', not both")
    if row.prefix_tokens > row.input_tokens:
        raise BadRecordError(f"a prefix of {row.prefix_tokens} tokens in a prompt of {row.input_tokens}")
    prefix = (block_id(row.prefix_id),)
    return _usable(Arrival(at_ns, row.input_tokens, row.output_tokens, prefix, row.prefix_tokens, row.model))


def block_id(name: int | str) -> int:
    """A block's id as a number below 2**63: the same everywhere. Different names have different ids, but for chance."""
    return int.from_bytes(blake2b(repr(name).encode(), digest_size=8).digest()) >> 1


def _decode(decode: Callable[[bytes], Any], raw: bytes) -> Any:
    try:
        return decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadRecordError(f"{error}{cut_off(raw)}".replace(" - at `$.", " at `")) from None


# --- CSV -------------------------------------------------------------------------------------------------------------

_INSTANT = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):?(\d\d))?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant_ns(text: str) -> int:
    """Nanoseconds from 1970 to an instant such as ``2023-11-16 18:17:03.9799600``; UTC where it names no offset.

    Up to nine digits of a second are kept; Python's own parser keeps six, and Azure writes seven.
    """
    found = _INSTANT.fullmatch(text.strip())
    if found is None:
        raise BadRecordError(f"{text[:40]!r} is not a time such as 2023-11-16 18:17:03.9799600")
    whole, fraction, sign, hours, minutes = found.groups()
    try:
        since = datetime.fromisoformat(whole).replace(tzinfo=UTC) - _EPOCH
    except ValueError as error:
        raise BadRecordError(f"{text[:40]!r} is not a time: {error}") from None
    if sign:
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        since = since - offset if sign == "+" else since + offset
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))


def _read_azure(cells: tuple[str, ...], _: int) -> Arrival:
    at, context, generated = cells
    at_ns = _ns(instant_ns(at), UNITS_NS["ns"])
    return _usable(Arrival(at_ns, _tokens(context, "ContextTokens"), _tokens(generated, "GeneratedTokens")))


def _read_burstgpt(cells: tuple[str, ...], unit_ns: int) -> Arrival:
    """A failed request has no response tokens. Nobody knows its length: dropped, as in the files without failures."""
    at, model, request, response = cells
    output = _tokens(response, "Response tokens")
    if output == 0:
        raise DroppedError("a failed request (0 response tokens)")
    try:
        at_ns = _ns(Decimal(at.strip()), unit_ns)
    except ArithmeticError:
        raise BadRecordError(f"'Timestamp' must be a number, not {at[:40]!r}") from None
    return _usable(Arrival(at_ns, _tokens(request, "Request tokens"), output, model=model.strip()))


def _tokens(text: str, name: str) -> int:
    if text.isdecimal() and len(text) < 10:
        return int(text)
    try:
        count = Decimal(text.strip())
    except ArithmeticError:
        raise BadRecordError(f"{name!r} must be a number, not {text[:40]!r}") from None
    if not count.is_finite() or not 0 <= count < 2**31 or count != int(count):
        raise BadRecordError(f"{name!r} must be a whole number of tokens, not {text[:40]!r}")
    return int(count)


# --- both ------------------------------------------------------------------------------------------------------------


def _ns(value: int | Decimal, unit_ns: int) -> int:
    if isinstance(value, Decimal) and not value.is_finite():
        raise BadRecordError(f"{value} is not a time")
    limit = 2**62 // unit_ns
    if not -limit < value < limit:
        raise BadRecordError(f"a time of {value} is outside of what nanoseconds can count: is the unit another one?")
    return round(value * unit_ns)


def _usable(arrival: Arrival) -> Arrival:
    if not arrival.input_tokens:
        raise DroppedError("no input tokens")
    if not arrival.output_tokens:
        raise DroppedError("no output tokens")
    return arrival


FORMATS: dict[TraceKind, TraceFormat] = {
    "azure": TraceFormat(("TIMESTAMP", "ContextTokens", "GeneratedTokens"), "csv", "ns", 0, _read_azure),
    "burstgpt": TraceFormat(("Timestamp", "Model", "Request tokens", "Response tokens"), "csv", "s", 0, _read_burstgpt),
    "bailian": TraceFormat(("chat_id", "parent_chat_id", "input_length"), "lines", "s", 16, _read_mooncake),
    "mooncake": TraceFormat(("timestamp", "input_length"), "lines", "ms", 512, _read_mooncake),
    "inferometer": TraceFormat(("at_s", "input_tokens"), "lines", "s", 16, _read_own),
}
#: Keys that tell a kind, the more telling first; some kinds have more than one set.
_SIGNS: tuple[tuple[TraceKind, tuple[str, ...]], ...] = (
    *((kind, one.keys) for kind, one in FORMATS.items()),
    ("inferometer", ("timestamp_ms", "input_tokens")),
    ("mooncake", ("timestamp", "input_tokens")),
    ("mooncake", ("created_time", "input_length")),
    ("mooncake", ("created_time", "input_tokens")),
)
