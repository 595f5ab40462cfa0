"""A document as text -> what it means, as every door does it: read, detected, translated, resolved into plans."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

from inferometer.config import files
from inferometer.config.flags import plan_from_flags
from inferometer.config.foreign import detect
from inferometer.config.foreign.translated import Translated, Where
from inferometer.config.models import Plan

ENVIRONMENT = {"HOME": "/home/me", "NAMESPACE": "lab", "GATEWAY_SVC": "gateway", "BENCHMARK_PVC": "claim"}


def translated(
    text: str, folder: Path, environment: Mapping[str, str] = ENVIRONMENT, *, world: str | None = None
) -> Translated:
    """What the text means. ``world``: its format, which must be the one that is detected."""
    path = folder / "given.yaml"
    path.write_text(dedent(text))
    document, lines, told = files.document(path)
    found = detect.detect(document)
    assert world in (None, found)
    return detect.FORMATS[found].translate(document, Where(path, lines, told), environment)


def plans(found: Translated) -> list[Plan]:
    """Its plans, as a run gets them."""
    return [plan_from_flags({}, plan) for plan in found.plans]


def strange(found: Translated) -> dict[str, int]:
    """The keys that were not understood, and their lines."""
    return {one.key: one.line for one in found.not_understood}
