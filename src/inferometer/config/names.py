"""Names of what is measured, as names of files."""

from __future__ import annotations


def as_file_name(text: str, instead: str = "_") -> str:
    """A text as part of a file name: letters, digits and ``-_.+=``, all else ``instead``; it hides no file."""
    return (
        "".join(letter if letter.isalnum() or letter in "-_.+=" else instead for letter in text).strip(".") or instead
    )
