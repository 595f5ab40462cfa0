"""The part of another tool's file that a run is from, kept in its directory."""

from __future__ import annotations

from pathlib import Path

from inferometer.config.foreign import origin
from inferometer.config.foreign.origin import Origin
from inferometer.errors import UserError


def keep(told: Origin | None, directory: Path) -> None:
    """Write it, if there is one. Raises ``UserError``."""
    from inferometer.records import store

    if told is None:
        return
    path = directory / store.SOURCE
    try:
        path.write_text(origin.dump(told), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another folder with --run-dir") from None
