"""Whose configuration is it? Told by content, or by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from inferometer.config.foreign import suite
from inferometer.config.foreign.translated import Translated, Where, nearest
from inferometer.errors import UserError


class Format(NamedTuple):
    """``looks_like`` tells a document of this format; ``translate`` makes plans of it (document, where, environment)."""

    looks_like: Callable[[Mapping[str, Any]], bool]
    translate: Callable[[Mapping[str, Any], Where, Mapping[str, str]], Translated]


#: The first that looks like a document is meant.
FORMATS: dict[str, Format] = {
    "suite": Format(suite.looks_like, suite.translate),
}
#: A plan of our own, which needs no translation.
OURS = "inferometer"


def detect(document: Mapping[str, Any], name: str | None = None) -> str:
    """The format of a document, or the one that is asked for by name. Raises ``UserError`` for a name nobody has."""
    if name is not None:
        if name not in (OURS, *FORMATS):
            names = ", ".join((OURS, *FORMATS))
            raise UserError(f"--format {name} is none of {names}{nearest(name, (OURS, *FORMATS))}")
        return name
    if "target" in document or "scenario" in document:
        return OURS
    return next((known for known, one in FORMATS.items() if one.looks_like(document)), OURS)
