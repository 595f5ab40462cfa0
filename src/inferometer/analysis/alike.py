"""Are these runs alike enough to be compared? What must agree is a table; what differs is named before any number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from inferometer.analysis.run_data import RunData

Severity = Literal["refuse", "warn", "note"]

#: Numbers of a workload that are closer than this are the same workload.
LENGTH_TOLERANCE = 0.02

#: Facts of a stage -> how bad a difference is, and why.
STAGE_FACTS: dict[str, tuple[Severity, str]] = {
    "prompt tokens asked": ("refuse", "prompts of another length are another workload"),
    "output tokens asked": ("refuse", "answers of another length are another workload"),
    "output tokens got": ("warn", "the answers had another length, so E2EL and throughput do not compare"),
    "source of token counts": ("warn", "tokens were counted in another way, so TPOT, ITL and token rates may differ"),
    "stamps": ("warn", "kernel and userland stamps differ in error"),
}
#: Facts of a run -> the same. All others are notes: they are what is being compared.
RUN_FACTS: dict[str, tuple[Severity, str]] = {
    "tool": ("warn", "versions and tools may define metrics in another way"),
    "api": ("warn", "another route of the server"),
    "client": ("warn", "another client machine or system"),
    "client CPUs": ("warn", "another client machine"),
    "workers": ("warn", "another number of client processes"),
    "state": ("warn", "a run that was cut lacks its slowest requests"),
}
#: Facts that differ between any two runs.
IGNORED = {"started", "base URL"}
BAD_VERDICTS: dict[str, str] = {
    "INVALID": "its numbers mean nothing, or not what they seem to",
    "CLIENT-LIMITED": "its numbers are partly the client's own",
}


class Difference(msgspec.Struct, frozen=True):
    """A fact that differs: whose values they are, in the order of the labels, and why it matters."""

    severity: Severity
    fact: str
    values: tuple[str, ...]
    why: str


Group = Sequence[RunData]


def differences(groups: Sequence[Group], keys: Sequence[str]) -> tuple[Difference, ...]:
    """What differs between groups of repeats, the worst first; each fact once, whatever number of stages have it."""
    found = [*_of_stages(groups, keys), *_verdicts(groups, keys), *_of_runs(groups)]
    unique = {(one.fact, one.values): one for one in found}
    rank = ("refuse", "warn", "note")
    return tuple(sorted(unique.values(), key=lambda one: rank.index(one.severity)))


def _of_stages(groups: Sequence[Group], keys: Sequence[str]) -> Iterator[Difference]:
    for key in keys:
        stages = [[stage for run in group for stage in run.stages if stage.key == key] for group in groups]
        for fact, (severity, why) in STAGE_FACTS.items():
            values = [[stage.facts.get(fact) for stage in repeats] for repeats in stages]
            if not _agree([value for repeats in values for value in repeats]):
                told = tuple(", ".join(dict.fromkeys(map(_told, repeats))) for repeats in values)
                yield Difference(severity, fact, told, why)


def _agree(values: Sequence[str | float | None]) -> bool:
    known = [value for value in values if value is not None]
    numbers = [float(value) for value in known if isinstance(value, float | int)]
    if numbers and len(numbers) == len(known):
        return max(numbers) - min(numbers) <= LENGTH_TOLERANCE * max(map(abs, numbers))
    return len(set(known)) <= 1


def _told(value: str | float | None) -> str:
    if value is None:
        return "unknown"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _verdicts(groups: Sequence[Group], keys: Sequence[str]) -> Iterator[Difference]:
    """Stages that the instrument itself does not stand behind."""
    for verdict, why in BAD_VERDICTS.items():
        bad = [
            sorted(
                {stage.key for run in group for stage in run.stages if stage.key in keys and stage.verdict == verdict}
            )
            for group in groups
        ]
        if any(bad):
            yield Difference("warn", verdict, tuple(", ".join(stages) or "-" for stages in bad), why)


def _of_runs(groups: Sequence[Group]) -> Iterator[Difference]:
    facts = dict.fromkeys(fact for group in groups for run in group for fact in run.context)
    for fact in facts:
        # repeats may differ among themselves, in their seeds for one: then each value is told
        values = tuple(", ".join(dict.fromkeys(run.context.get(fact, "unknown") for run in group)) for group in groups)
        if fact not in IGNORED and len(set(values)) > 1:
            severity, why = RUN_FACTS.get(fact, ("note", ""))
            yield Difference(severity, fact, values, why)


def refusal(found: Sequence[Difference], *, strict: bool = False) -> Difference | None:
    """The first difference because of which nothing should be compared; with ``strict`` warnings count."""
    grave: set[str] = {"refuse", "warn"} if strict else {"refuse"}
    return next((one for one in found if one.severity in grave), None)
