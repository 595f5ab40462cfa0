"""Files that are replaced whole, and what cannot be replaced: devices, pipes, this process's own output."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path


def save(path: Path, pieces: Iterable[bytes]) -> None:
    """Replace a file, or what a link leads to, so that a reader never sees half of it. Raises ``OSError``.

    What cannot be replaced gets the pieces as they come: a device, a pipe, this process's own stdout and stderr.
    """
    if (straight := _straight(path)) is not None:
        with open(straight, "wb") as file:  # noqa: PTH123 (a path or a descriptor)
            file.writelines(pieces)
        return
    target = Path(os.path.realpath(path))
    partial = target.with_name(target.name + ".partial")
    with partial.open("wb") as file:
        file.writelines(pieces)
    os.replace(partial, target)  # noqa: PTH105 (a name for what Path.replace hides: atomic on POSIX)


def is_replaced(path: Path) -> bool:
    """Whether ``save`` replaces or makes a regular file here. Raises ``OSError``."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return True
    return stat.S_ISREG(there.st_mode) and _descriptor(there) is None


def _straight(path: Path) -> Path | int | None:
    """What to open for writing into what is there: the path, or a descriptor of its own; None to replace a file."""
    if is_replaced(path):
        return None
    number = _descriptor(path.stat())
    # Opened by its name, a file that is our stdout would be emptied, and written over by what is printed later.
    return path if number is None else os.dup(number)


def _descriptor(there: os.stat_result) -> int | None:
    """Which of stdout and stderr this is, by whatever name."""
    for number in (1, 2):
        with contextlib.suppress(OSError):  # closed
            if os.path.samestat(os.fstat(number), there):
                return number
    return None
