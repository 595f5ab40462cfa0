"""What a flag is: one row that names a field of the plan; and how words of flags are read."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Any, NamedTuple

PAUSES = "seconds: 2, 1-5 (uniform) or exp:3"


class Flag(NamedTuple):
    """``path`` leads through the plan to the field; ``parse`` reads one word; ``nargs`` as in argparse.

    An ``alias`` is another flag for a field that has one.
    """

    name: str
    path: str
    parse: Callable[[str], Any] = str
    nargs: str | None = None
    help: str | None = None
    alias: bool = False

    @property
    def dest(self) -> str:
        """Where its value stands among the parsed options."""
        return self.name if self.alias else self.path


def pair(word: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, separator, value = word.partition("=")
    if not separator or not name:
        raise argparse.ArgumentTypeError(f"{word!r} is not NAME=VALUE")
    return name, value


def model_share(word: str) -> dict[str, Any]:
    """NAME or NAME=SHARE; a name may hold = itself, if no number follows it."""
    name, _, share = word.rpartition("=")
    try:
        return {"name": name, "share": float(share)} if name else {"name": word}
    except ValueError:
        return {"name": word}


def slo(word: str) -> dict[str, Any]:
    """METRIC:MILLISECONDS."""
    metric, separator, limit = word.partition(":")
    try:
        return {"metric": metric, "limit_ms": float(limit)}
    except ValueError:
        hint = "" if separator else ", with a colon"
        raise argparse.ArgumentTypeError(f"{word!r} is not METRIC:MILLISECONDS{hint}, for example ttft:200") from None


def json_object(word: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(word)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError('not a JSON object, such as {"temperature": 0}')
    return value


def commas(word: str) -> list[str]:
    """Words with commas in between."""
    return [part.strip() for part in word.split(",") if part.strip()]


def pause(word: str) -> dict[str, Any]:
    """A pause in a word: 2 is constant, 1-5 uniform, exp:3 exponential; in seconds."""
    try:
        return _pause(word)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{word!r} is no pause; give {PAUSES}") from None


def _pause(word: str) -> dict[str, Any]:
    kind, _, mean = word.rpartition(":")
    if kind:
        if kind not in ("exp", "exponential"):
            raise ValueError(kind)
        return {"distribution": "exponential", "mean_s": float(mean)}
    low, dash, high = word.partition("-")
    return {"min_s": float(low), "max_s": float(high)} if dash else {"mean_s": float(word)}
