"""What GuideLLM sends -> a workload as plain data."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from inferometer.config.foreign.checked import Reader
from inferometer.config.foreign.guidellm_schema import Synthetic
from inferometer.config.foreign.translated import Keys
from inferometer.config.models import Lengths

_FILES = {"json_file": "auto", "csv_file": "csv", "text_file": "text", "parquet_file": "parquet", "huggingface": "auto"}


def sent(data: Synthetic | str | list[Any] | None, reader: Reader, at: Keys) -> dict[str, Any]:
    """The workload. Raises ``UserError`` for sources that nobody here can read."""
    source = _source(data, reader, at)
    if isinstance(source, str):
        return {"type": "dataset", "path": source, "ignore_eos": True}
    return _KINDS[source.kind or "synthetic_text"](source, reader, at)


def _source(data: Synthetic | str | list[Any] | None, reader: Reader, at: Keys) -> Synthetic | str:
    """The one source of data, or the path of a file."""
    given: Any = data
    if isinstance(given, list):
        if len(given) != 1:
            raise reader.wrong(at, f"{len(given)} sources of data: give one")
        given = given[0]
    if isinstance(given, str):
        given = _worded(given, reader, at)
    if isinstance(given, str):
        return given
    if given is None:
        raise reader.wrong(at[:-1] or at, "'data' is missing")
    source = given if isinstance(given, Synthetic) else reader.part(Synthetic, given, at)
    if source.kind is not None and source.kind not in _KINDS:
        known = ", ".join(_KINDS)
        raise reader.wrong((*at, "kind"), f"{source.kind!r} cannot be sent; what can be: {known}")
    return source


def _trace(data: Synthetic, reader: Reader, at: Keys) -> dict[str, Any]:
    path = data.path or data.source
    if not path:
        raise reader.wrong(at, "'path' is missing")
    return {"type": "trace", "path": path, "format": "mooncake"}


def _worded(text: str, reader: Reader, at: Keys) -> dict[str, Any] | str:
    """JSON, or ``prompt_tokens=50,output_tokens=50``; anything else is the name of a file."""
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError as error:
            raise reader.wrong(at, f"not JSON: {error}") from None
    if "prompt_tokens=" not in text:
        return text if "." in text.rpartition("/")[2] else f"hf://{text}"
    pairs = (part.partition("=") for part in text.split(","))
    return {name.strip(): value.strip() for name, _, value in pairs}


def _file(data: Synthetic, reader: Reader, at: Keys) -> dict[str, Any]:
    path = data.path or data.source
    if not path:
        raise reader.wrong(at, "'path' is missing")
    hub = data.kind == "huggingface" and not path.startswith("hf://")
    return {"type": "dataset", "path": f"hf://{path}" if hub else path, "format": _FILES[str(data.kind)]}


def _synthetic(data: Synthetic, reader: Reader, at: Keys) -> dict[str, Any]:
    sides = {
        "input_tokens": _lengths(data, "prompt", reader, at),
        "output_tokens": _lengths(data, "output", reader, at),
    }
    if data.source is not None:
        reader.ignore((*at, "source"), "prompts are random words, not of a text")
    buckets = data.prefix_buckets or []
    if len(buckets) > 1:
        raise reader.wrong((*at, "prefix_buckets"), "prefixes have lengths of one kind: give one bucket")
    prefix, groups = data.prefix_tokens or 0, data.prefix_count or 1
    if buckets:
        prefix, groups = buckets[0].prefix_tokens, buckets[0].prefix_count
    if (data.turns or 1) > 1:
        reader.note("turns: a rate or a number of streams is one of conversations, each of which has several requests")
        talk = {"type": "conversation", "turns": {"mean": data.turns}, "system_tokens": prefix, "system_groups": groups}
        return talk | sides | {"ignore_eos": True}
    if prefix and groups > 1:
        shared = {"type": "shared_prefix", "groups": groups, "prompts_per_group": 1, "prefix_tokens": {"mean": prefix}}
        return shared | sides | {"ignore_eos": True}
    return {"type": "random"} | sides | ({"prefix_tokens": prefix} if prefix else {}) | {"ignore_eos": True}


def _lengths(data: Synthetic, side: str, reader: Reader, at: Keys) -> dict[str, Any]:
    """With a deviation normal, else with limits uniform between them, else fixed."""
    mean, deviation, low, high = (getattr(data, f"{side}_tokens{end}") for end in ("", "_stdev", "_min", "_max"))
    if mean is None:
        raise reader.wrong(at, f"'{side}_tokens' is missing")
    limits = {name: limit for name, limit in (("min", low), ("max", high)) if limit is not None}
    if deviation:
        plain = {"mean": mean, "std_dev": deviation} | limits
    elif limits:
        plain = {"min": low or 1, "max": high or mean}
    else:
        plain = {"mean": mean}
    reader.made(Lengths, plain, (*at, f"{side}_tokens"))
    return plain


_KINDS: dict[str, Callable[[Synthetic, Reader, Keys], dict[str, Any]]] = {
    "synthetic_text": _synthetic,
    **dict.fromkeys(_FILES, _file),
    "trace_synthetic": _trace,
    "mooncake": _trace,
}
