"""Names of the files that the suite's commands leave: below ``results``, or where ``--output`` says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from inferometer.config.models import Plan
from inferometer.config.names import as_file_name

#: The time in names of folders, in local time as in the suite.
_TIME = "%Y%m%d_%H%M%S"
#: Scenario -> how the name of its folder begins.
_FOLDERS = {"pattern3_prefix_cache": "pattern3"}
#: What an accelerator is called in names of files.
_KIND = re.compile(r"\b(gpu|tpu)\b")


class Names(NamedTuple):
    """Paths without their endings: a result for each run, then their comparison, whose page may have two names."""

    results: tuple[Path, ...]
    comparison: Path
    reports: tuple[Path, ...]


def folder(plans: Sequence[Plan], begun: datetime) -> Path | None:
    """The folder in which the suite keeps such runs; None for those that have none."""
    kind = _FOLDERS.get(plans[0].scenario.name)
    if len(plans) > 1:
        kind = "comparison" if _targets(plans) > 1 else "model_comparison"
    return Path("results") / f"{kind}_{begun.astimezone():{_TIME}}" if kind else None


def names(plans: Sequence[Plan], labels: Sequence[str], output: Path | None, parent: Path) -> Names:
    """Where several runs leave their files: beside ``output`` if it is given, else in ``parent``.

    ``labels`` tell the runs apart. Of a GPU and a TPU the files in ``parent`` are called that.
    """
    if output is not None:
        base = stem(output)
        comparison = beside(base, "comparison")
        return Names(tuple(beside(base, label) for label in labels), comparison, (base, comparison))
    if _targets(plans) > 1:
        results = tuple(parent / f"{as_file_name(label)}_results" for label in _kinds(plans) or labels)
        return Names(results, parent / "comparison_report", (parent / "comparison_report",))
    base = parent / "results"
    comparison = beside(base, "comparison")
    return Names(tuple(beside(base, label) for label in labels), comparison, (comparison,))


def stem(output: Path) -> Path:
    """A path without the ending of a result or of a page."""
    return output.with_suffix("") if output.suffix in (".json", ".html") else output


def beside(base: Path, name: str) -> Path:
    """A path that begins alike."""
    return base.with_name(f"{base.name}_{as_file_name(name)}")


def ended(base: Path, ending: str) -> Path:
    """A path with an ending, whatever dots it has."""
    return base.with_name(f"{base.name}{ending}")


def _targets(plans: Sequence[Plan]) -> int:
    return len({plan.target.name for plan in plans})


def _kinds(plans: Sequence[Plan]) -> list[str]:
    """The words gpu and tpu, if each of two targets says that it is one of them, and not both the same."""
    found = [_KIND.findall(plan.target.facts.get("gpu", "").lower()) for plan in plans]
    kinds = [each[0] for each in found if len(set(each)) == 1]
    return kinds if len(plans) == 2 and sorted(kinds) == ["gpu", "tpu"] else []
