"""Mappings of a foreign document, read by key: a value of the wrong kind is an error with file, line and key."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from inferometer.config.foreign.translated import Keys, NotUnderstood, Where, unknown


class Table(NamedTuple):
    """A mapping at ``at`` in a document. A key that is missing or null reads as None, an empty list or mapping."""

    values: Mapping[str, Any]
    at: Keys
    where: Where

    def number(
        self, key: str, *, above: float | None = None, least: float = 0.0, most: float = math.inf
    ) -> float | None:
        """A finite number, more than ``above`` or from ``least`` on."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.wrong(key, f"a number is needed, not {value!r}")
        if value < least or value > most or (above is not None and value <= above):
            low = f"above {above:g}" if above is not None else f"{least:g} or more"
            raise self.wrong(key, f"{value:g} is not {low}" + (f" and at most {most:g}" if most < math.inf else ""))
        return value

    def whole(self, key: str, *, least: int = 1) -> int | None:
        """A whole number."""
        found = self.wholes(key, least=least)
        if len(found) > 1:
            raise self.wrong(key, "one number is needed, not several")
        return found[0] if found else None

    def wholes(self, key: str, *, least: int = 1) -> list[int]:
        """A whole number, or a list of them."""
        value = self.values.get(key)
        values = [] if value is None else value if isinstance(value, list) else [value]
        for one in values:
            if isinstance(one, bool) or not isinstance(one, int) or one < least:
                raise self.wrong(key, f"whole numbers from {least} on are needed, not {one!r}")
        return values

    def text(self, key: str) -> str | None:
        """A text."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.wrong(key, f"a text is needed, not {value!r}")
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts, or one."""
        value = self.values.get(key)
        values = [] if value is None else value if isinstance(value, list) else [value]
        if not all(isinstance(one, str) for one in values):
            raise self.wrong(key, "a list of names is needed")
        return values

    def shares(self, key: str) -> dict[str, float]:
        """Names and their weights, none negative and not all zero."""
        table = self.table(key)
        found = {name: table.number(name) or 0.0 for name in table.values}
        if found and not any(found.values()):
            raise self.wrong(key, "every weight is 0: give one of them more")
        return found

    def table(self, key: str) -> Table:
        """A mapping in this one."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, Mapping):
            raise self.wrong(key, f"a mapping is needed, not {value!r}")
        return Table(value or {}, (*self.at, key), self.where)

    def wrong(self, key: str, sentence: str) -> Exception:
        """An error about the value of a key."""
        return self.where.wrong((*self.at, key), sentence)

    def unknown(self, known: Collection[str]) -> list[NotUnderstood]:
        """The keys that are not known."""
        return unknown(self.values, known, self.where, self.at)
