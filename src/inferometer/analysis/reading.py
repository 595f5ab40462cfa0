"""What the numbers of a run say: every finding about its sweep, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inferometer.analysis.diagnosis import Finding, diagnose, facts_of
from inferometer.analysis.saturation import saturation


def reading(summary: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Findings about a summary with two loads or more of one kind; none otherwise: a single load has no shape."""
    facts = facts_of(summary)
    found = diagnose(facts) if len({one["load"] for one in facts}) > 1 else None
    if found is None:
        return ()
    bend = saturation(facts)
    return found.findings if bend is None else (*found.findings, bend)
