"""What a report is made of, whatever its form: the summary, and what stands beside it."""

from __future__ import annotations

from typing import Any

import msgspec

from inferometer.analysis.pictures import Pictures

UNKNOWN = "unknown"
_ORDER = ("VALID", "CLIENT-LIMITED", "INVALID")


class Judged(msgspec.Struct, frozen=True):
    """A limit held against a figure. ``met`` is None where there was nothing to hold against it."""

    what: str
    stage: str
    figure: str
    met: bool | None


class Content(msgspec.Struct, frozen=True):
    """Everything that a page or a record shows.

    ``context`` is ``context.json``, ``plan`` is ``plan.yaml`` as plain data; ``server`` are rows of
    ``pictures.samples``; ``reading`` are sentences on what the numbers say; ``thresholds`` what the user asked for.
    """

    summary: dict[str, Any]
    context: dict[str, Any]
    plan: dict[str, Any]
    pictures: Pictures | None = None
    server: list[dict[str, Any]] = []
    reading: tuple[str, ...] = ()
    thresholds: tuple[Judged, ...] = ()


def verdict(summary: dict[str, Any]) -> str:
    """The worst verdict of all stages; INVALID if there are none."""
    words = [stage["verdict"]["verdict"] for stage in summary["stages"]]
    return max(words, key=_ORDER.index) if words else "INVALID"


def title(content: Content) -> str:
    """Scenario and model in a few words."""
    target = content.summary["target"]
    return f"{content.summary['plan']} on {target['model'] or target['name']}"


def started(content: Content) -> str:
    """When the run began, to the minute; ``unknown`` if nobody wrote it down."""
    told = content.context.get("started")
    return f"{told[:16].replace('T', ' ')} UTC" if isinstance(told, str) else UNKNOWN
