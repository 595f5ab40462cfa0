"""The Prometheus text format and OpenMetrics, read for the few names that are wanted.

A page has hundreds of series and a sample is taken every second, so lines of other names cost no more than a look at
their name, and a line that cannot be read costs that line and not the page.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

#: Names of samples and of labels; escapes in values (Prometheus exposition formats, OpenMetrics 1.0).
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_.]*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(,|(?=\}))')
_ESCAPED = re.compile(r"\\(.)")
_ESCAPES = {"n": "\n"}


class Sample(NamedTuple):
    """One line. ``value`` may be infinite, as counts of buckets never are; it is never NaN."""

    name: str
    labels: dict[str, str]
    value: float


class Page(NamedTuple):
    """The wanted samples of a page, and how many of its lines are samples or could not be read as such."""

    samples: list[Sample]
    lines: int
    broken: int


def parse(text: str, wanted: Callable[[str], bool] = lambda _: True) -> Page:
    """The samples of a page whose names are wanted; values that are NaN are absent. Never raises."""
    samples: list[Sample] = []
    lines = broken = 0
    for line in text.split("\n"):
        found = _NAME.match(line)
        if found is None:
            broken += bool(line.strip()) and not line.startswith("#")
            continue
        lines += 1
        name = found[0]
        if not wanted(name):
            continue
        read = _rest(line, found.end())
        if read is None:
            broken += 1
        elif not math.isnan(read[1]):
            samples.append(Sample(name, *read))
    return Page(samples, lines, broken)


def _rest(line: str, at: int) -> tuple[dict[str, str], float] | None:
    """Labels and value behind the name; a timestamp and an exemplar behind these are left alone."""
    labels: dict[str, str] = {}
    if line.startswith("{", at):
        at += 1
        while not line.startswith("}", at):
            label = _LABEL.match(line, at)
            if label is None:
                return None
            labels[label[1]] = _unescaped(label[2])
            at = label.end()
        at += 1
    words = line[at:].split(None, 1)
    if not words or "_" in words[0]:  # float() takes 1_000
        return None
    try:
        return labels, float(words[0])
    except ValueError:
        return None


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), text) if "\\" in text else text


def is_page(page: Page) -> bool:
    """Is this a page of metrics at all, and not of a web site? An empty one is."""
    return page.lines > page.broken or not page.lines + page.broken


def info(samples: Iterable[Sample], name: str) -> dict[str, str]:
    """The labels of the first sample of a name, which say things in words; empty if there is none."""
    return next((sample.labels for sample in samples if sample.name == name), {})
