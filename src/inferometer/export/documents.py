"""Documents: a name, and text in pieces, so that a file larger than memory can be written. Nothing here opens one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from typing import Any, NamedTuple

import yaml


class Document(NamedTuple):
    """A file to be written. ``name`` may have folders; ``pieces`` can be read once; only pictures are bytes."""

    name: str
    pieces: Iterable[str | bytes]


class Options(NamedTuple):
    """What a user may choose: the flags of ``inferometer export``."""

    detailed: bool = False
    label: str | None = None
    metadata: tuple[tuple[str, str], ...] = ()
    result_filename: str | None = None
    as_json: bool = False


class Export(NamedTuple):
    """What an export makes, and what it could not say, one sentence each."""

    documents: list[Document]
    notes: tuple[str, ...] = ()


def json_document(name: str, value: Any, indent: int | None = 2) -> Document:
    """Strict JSON. Raises ``ValueError`` for values that are not finite: no format has them."""
    return Document(name, _dumped(value, indent))


def json_rows(name: str, rows: Iterable[Any]) -> Document:
    """A JSON array, one row in memory at a time."""
    return Document(name, _array(rows))


def text_document(name: str, text: str) -> Document:
    """A text as it is."""
    return Document(name, iter([text]))


def yaml_document(name: str, value: Any) -> Document:
    """YAML in the order of the keys."""
    return Document(name, iter([yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)]))


def encoded(pieces: Iterable[str | bytes]) -> Iterator[bytes]:
    """The pieces as they stand in a file."""
    return (piece.encode() if isinstance(piece, str) else piece for piece in pieces)


def unique(names: Sequence[str]) -> list[str]:
    """The same names, with a number before the ending of those that occur more than once."""
    often = Counter(names)
    taken = {name for name in names if often[name] == 1}
    found = []
    for name in names:
        stem, dot, ending = name.rpartition(".")
        numbered = (f"{stem}-{number}{dot}{ending}" for number in count())
        found.append(name if often[name] == 1 else next(one for one in numbered if one not in taken))
        taken.add(found[-1])
    return found


def _dumped(value: Any, indent: int | None) -> Iterator[str]:
    yield json.dumps(value, indent=indent, allow_nan=False, ensure_ascii=False) + "\n"


def _array(rows: Iterable[Any]) -> Iterator[str]:
    comma = "[\n"
    for row in rows:
        yield comma + json.dumps(row, allow_nan=False, ensure_ascii=False)
        comma = ",\n"
    yield "[]\n" if comma == "[\n" else "\n]\n"
