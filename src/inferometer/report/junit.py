"""Judgements for machines that test: JUnit XML, and the step summary of GitHub Actions in Markdown. Text only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from inferometer.report.tables import in_markdown, markdown

#: What XML 1.0 cannot hold, not even escaped (section 2.2).
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


MET, MISSED, SKIPPED = "✅", "❌", "⚪"


class Case(NamedTuple):
    """One thing that was judged: ``group`` is the run or stage, ``sentence`` has the figure and the limit.

    What could not be ``judged``, because its noise is unknown, did not fail; it is skipped.
    """

    group: str
    name: str
    passed: bool
    sentence: str
    judged: bool = True


def junit(cases: Sequence[Case], suite: str = "inferometer") -> str:
    """A ``testsuites`` document: a suite for each group, a case for each judgement, a failure where it did not pass."""
    root = Element("testsuites", {"name": _clean(suite), **_counts(cases)})
    for group in dict.fromkeys(case.group for case in cases):
        own = [case for case in cases if case.group == group]
        branch = SubElement(root, "testsuite", {"name": _clean(group), **_counts(own), "errors": "0"})
        for case in own:
            _add(branch, case)
    indent(root)
    return f"<?xml version='1.0' encoding='utf-8'?>\n{tostring(root, encoding='unicode')}\n"


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    found = Counter(sign(case) for case in cases)
    return {"tests": str(len(cases)), "failures": str(found[MISSED]), "skipped": str(found[SKIPPED])}


def sign(case: Case) -> str:
    """A tick, a cross, or a circle for what could not be judged."""
    return MISSED if not case.passed else MET if case.judged else SKIPPED


def _add(branch: Element, case: Case) -> None:
    leaf = SubElement(branch, "testcase", classname=_clean(case.group), name=_clean(case.name), time="0")
    if sign(case) == SKIPPED:
        SubElement(leaf, "skipped", message=_clean(case.sentence))
        return
    if case.passed:
        SubElement(leaf, "system-out").text = _clean(case.sentence)
        return
    SubElement(leaf, "failure", message=_clean(case.sentence), type="limit").text = _clean(case.sentence)


def _clean(text: str) -> str:
    return _NO_XML.sub("?", text)


def step_summary(title: str, cases: Sequence[Case], more: str = "", lead: str = "") -> str:
    """Markdown for ``$GITHUB_STEP_SUMMARY``: a tick or a cross for each case, then ``more`` (a table) folded away.

    ``lead`` is Markdown that stands first.
    """
    found = Counter(sign(case) for case in cases)
    verdict = f"{found[MISSED]} of {len(cases)} missed" if found[MISSED] else f"{found[MET]} of {len(cases)} met"
    rows = [[sign(case), *map(in_markdown, (case.group, case.name, case.sentence))] for case in cases]
    blocks = [f"## {in_markdown(title)}: {verdict}" if cases else f"## {in_markdown(title)}"]
    blocks += [lead.replace("<", "&lt;")] if lead else []
    blocks += [markdown(("", "stage", "limit", "figure"), rows)] if rows else []
    blocks += [f"<details><summary>All figures</summary>\n\n{more}\n\n</details>"] if more else []
    return "\n\n".join(blocks) + "\n"
