"""What became of the records of a file: read, kept, dropped and why, bad and where. Nothing is left out in silence."""

from __future__ import annotations

from collections import Counter

import msgspec

from inferometer.errors import UserError


class BadRecordError(Exception):
    """A record is not what its format says. Its text is the reason, without the place."""


class DroppedError(Exception):
    """A record is well formed and of no use. Its text is the reason, the same for all records of its sort."""


def cut_off(raw: bytes, end: bytes = b"\n") -> str:
    """What follows the reason why ``raw`` is bad: a record without its end may be the last of a file that was cut."""
    return "" if raw.endswith(end) else "; the file may have been cut off there"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of records. ``read`` is all that were looked at: kept, dropped and bad ones; empty lines are no records.

    ``first_bad`` says where the first bad record is and what is wrong with it. ``ignored_keys`` are keys or columns
    that mean nothing here, with the number of records that have them. ``whole_file`` is False if reading ended early
    because enough records were found.
    """

    read: int = 0
    kept: int = 0
    empty_lines: int = 0
    bad: int = 0
    first_bad: str | None = None
    dropped: dict[str, int] = {}
    ignored_keys: dict[str, int] = {}
    whole_file: bool = True
    notes: tuple[str, ...] = ()


class Tally:
    """Counts while a file is read. The first bad record is a ``UserError`` unless bad ones are to be skipped."""

    def __init__(self, *, skip_bad: bool) -> None:
        self._skip_bad = skip_bad
        self._first_bad: str | None = None
        self.kept = 0
        self.empty_lines = 0
        self.bad = 0
        self.dropped: Counter[str] = Counter()
        self.ignored_keys: Counter[str] = Counter()
        self.notes: list[str] = []

    def note_bad(self, where: str, reason: object) -> None:
        """Count a bad record, or raise ``UserError`` with its place and what is wrong."""
        sentence = f"{where}: {reason}"
        if not self._skip_bad:
            raise UserError(f"{sentence}; mend it, or pass over such records with --skip-bad-lines")
        self._first_bad = self._first_bad or sentence
        self.bad += 1

    def report(self, *, whole_file: bool = True) -> Report:
        """The counts so far."""
        return Report(
            read=self.kept + self.bad + self.dropped.total(),
            kept=self.kept,
            empty_lines=self.empty_lines,
            bad=self.bad,
            first_bad=self._first_bad,
            dropped=dict(self.dropped.most_common()),
            ignored_keys=dict(self.ignored_keys.most_common()),
            whole_file=whole_file,
            notes=tuple(self.notes),
        )


def sentences(report: Report) -> list[str]:
    """The report for people, one fact a line; a single line if nothing was left out."""
    part = "" if report.whole_file else " (not the whole file: these were enough)"
    lines = [f"{report.kept} of {report.read} records used{part}"]
    lines += [f"{count} dropped: {reason}" for reason, count in report.dropped.items()]
    if report.bad:
        lines.append(f"{report.bad} bad ones passed over, the first at {report.first_bad}")
    if report.ignored_keys:
        keys = ", ".join(f"{key} ({count})" for key, count in list(report.ignored_keys.items())[:8])
        more = len(report.ignored_keys) - 8
        lines.append(f"keys that mean nothing here: {keys}{f' and {more} more' if more > 0 else ''}")
    return [*lines, *report.notes]
