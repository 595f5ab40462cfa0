"""What the numbers of a run say: every finding about its sweep, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
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
    """A stage with what servers said of it; of repeats the highest peaks, the sum of counts, and means of means.

    What is no figure is that of the first repeat.
    """
    numbers = stage.get("stages")
    told = [one["server"] for one in summary["stages"] if one["stage"] in (numbers or ()) and one.get("server")]
    if not told:
        return stage
    values = {name: [one[name] for one in told if one.get(name) is not None] for name in Server.__struct_fields__}
    together = {name: _COMBINE[name.rpartition("_")[2]](known) for name, known in values.items() if known}
    return {**stage, "server": {**told[0], **together}}


#: End of the name of a figure of the server -> the figure of all repeats.
_COMBINE: dict[str, Callable[[Sequence[float]], float]] = {"peak": max, "mean": fmean, "preemptions": sum}
