"""What an HTTP header can carry, and which headers carry a credential or frame a request."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 section 5.6.2


def is_sendable(name: str, value: str) -> bool:
    """Can a header of this name and value be sent? No line breaks above all: what follows one is another header."""
    return _TOKEN.fullmatch(name) is not None and value.isascii() and value.isprintable()


def frames(name: str) -> bool:
    """Does a header of this name say where the request ends? Whoever writes the body says so."""
    return name.lower() in ("content-length", "transfer-encoding")


def is_secret(name: str) -> bool:
    """Does a header of this name carry a credential?"""
    lower = name.lower()
    return any(word in lower for word in ("auth", "cookie", "key", "token", "secret", "password"))


def variable(value: str) -> str | None:
    """The environment variable that a value written as ``$NAME`` stands for; None of any other value."""
    name = value.removeprefix("$")
    return name if name != value and name.isidentifier() else None
