"""What a foreign document means: plans as plain data, and by name everything in it that means nothing here."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inferometer.errors import UserError

if TYPE_CHECKING:
    from inferometer.config.foreign.origin import Origin

#: The way to a value in a document.
Keys = tuple[str | int, ...]


class Where(NamedTuple):
    """Where a document is from: its file, the line of each key (from 1), and its text before it was read as YAML."""

    path: Path
    lines: Mapping[Keys, int]
    text: str = ""

    def line(self, keys: Keys) -> int:
        """The line of a key; of what it is in, if it stands nowhere itself."""
        return next((self.lines[keys[:end]] for end in range(len(keys), 0, -1) if keys[:end] in self.lines), 1)

    def wrong(self, keys: Keys, sentence: str) -> UserError:
        """An error about a value, to be raised: file, line, key, and what is wrong with it."""
        return UserError(f"{self.path}:{self.line(keys)}: {dotted(keys)}: {sentence}")


class NotUnderstood(NamedTuple):
    """A key that changes nothing, its line, and why or what was meant."""

    key: str
    line: int
    sentence: str


class Translated(NamedTuple):
    """The plans of a document, to be played one after the other.

    ``plans`` are partial plans as plain data, as in a plan file: flags may still fill in the server. ``names`` are
    those of their run directories below the common one, in the same order; without them plans are named by what they
    are. ``notes`` say in one sentence each how something was read that could be read in another way. ``origins`` are
    the parts of the document that plans are from, in the same order, where they are kept with the run.
    """

    plans: tuple[dict[str, Any], ...]
    not_understood: tuple[NotUnderstood, ...] = ()
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = ()


def dotted(keys: Keys) -> str:
    """The keys as one word."""
    return ".".join(str(key) for key in keys)


def unknown(document: Mapping[str, Any], known: Collection[str], where: Where, at: Keys = ()) -> list[NotUnderstood]:
    """The keys of a mapping at ``at`` which are not known, each with the nearest that is."""
    return [
        NotUnderstood(dotted((*at, key)), where.line((*at, key)), f"means nothing here{nearest(key, known)}")
        for key in document
        if key not in known
    ]


def nearest(word: object, known: Collection[str]) -> str:
    """The beginning of a sentence that says what was meant, or nothing."""
    near = difflib.get_close_matches(str(word), sorted(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
