"""What ends a run with another exit code than 0, as cases for machines that test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inferometer.analysis.thresholds import stage_key
from inferometer.report import repeated
from inferometer.report.junit import Case
from inferometer.report.tables import sweep

#: The share of failed requests above which a run ends with exit code 3.
FAILED_SHARE = 0.05


def cases(summary: dict[str, Any], name: str = "", *, strict: bool = False) -> Iterator[Case]:
    """The thresholds of the plan at each stage, failed requests, an early end, and with ``strict`` the verdicts.

    ``name`` is that of the run, if there are several.
    """
    lead = f"{name}: " if name else ""
    for one in summary.get("thresholds") or ():
        yield Case(f"{lead}{one['stage']}", one["threshold"]["text"], one["met"], one["sentence"])
    yield _answered(summary, name or "all stages")
    if (why := summary.get("ended_early")) is not None:
        yield Case(name or "all stages", "played to its end", False, why)
    for stage in summary["stages"] if strict else ():
        verdict = stage["verdict"]
        bad = ", ".join(finding["name"] for finding in verdict["findings"] if finding["severity"] != "note")
        told = f"{verdict['verdict']}: {bad}" if bad else verdict["verdict"]
        yield Case(f"{lead}{stage_key(stage)}", "valid", verdict["verdict"] == "VALID", told)


def _answered(summary: dict[str, Any], group: str) -> Case:
    ok, failed = (sum(stage["counts"][kind] for stage in summary["stages"]) for kind in ("ok", "failed"))
    passed = ok > 0 and failed <= FAILED_SHARE * (ok + failed)
    told = f"{failed} of {ok + failed} requests failed, {'is' if passed else 'should be'} at most {FAILED_SHARE:.0%}"
    return Case(group, f"failed requests<={FAILED_SHARE:.0%}", passed, told if ok else "no request was answered")


def figures(summary: dict[str, Any]) -> str:
    """All stages as a table in Markdown; repeats of a stage together."""
    return repeated.table(summary) or (sweep(summary) if summary["stages"] else "No stage was begun.")
