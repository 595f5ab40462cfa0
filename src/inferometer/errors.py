"""Mistakes that a user can repair. Each is one clear sentence: what was wrong, where, what to try."""

from __future__ import annotations


class UserError(Exception):
    """Ends a command with a sentence on stderr instead of a traceback. ``exit_code`` as in docs/exit-codes.md."""

    def __init__(self, sentence: str, exit_code: int = 2) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code
