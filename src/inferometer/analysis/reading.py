"""What the numbers of a run say: every finding about its sweep, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inferometer.analysis.diagnosis import Finding, Server, diagnose, facts_of
from inferometer.analysis.rounds import view
from inferometer.analysis.saturation import saturation


def reading(summary: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Findings about a summary with two loads or more of one kind; none otherwise: a single load has no shape."""
    facts = facts_of(view(summary) | {"stages": [_with_server(stage, summary) for stage in view(summary)["stages"]]})
    found = diagnose(facts) if len({one["load"] for one in facts}) > 1 else None
    if found is None:
        return ()
    bend = saturation(facts)
    return found.findings if bend is None else (*found.findings, bend)


def _with_server(stage: Mapping[str, Any], summary: Mapping[str, Any]) -> Mapping[str, Any]:
    """A stage with what servers said of it; of repeats the highest peaks, means of other figures, else the first."""
    numbers = stage.get("stages")
    told = [one["server"] for one in summary["stages"] if one["stage"] in (numbers or ()) and one.get("server")]
    if not told:
        return stage
    values = {name: [one[name] for one in told if one.get(name) is not None] for name in Server.__struct_fields__}
    together = {
        name: max(known) if name.endswith("_peak") else sum(known) / len(known)
        for name, known in values.items()
        if known
    }
    return {**stage, "server": {**told[0], **together}}
