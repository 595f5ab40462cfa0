"""Judgements for machines that test: JUnit XML, and the step summary of GitHub Actions in Markdown. Text only."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from inferometer.report.tables import markdown

#: What XML 1.0 cannot hold, not even escaped (section 2.2).
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Case(NamedTuple):
    """One thing that was judged: ``group`` is the run or stage, ``sentence`` has the figure and the limit."""

    group: str
    name: str
    passed: bool
    sentence: str


def junit(cases: Sequence[Case], suite: str = "inferometer") -> str:
    """A ``testsuites`` document: a suite for each group, a case for each judgement, a failure where it did not pass."""
    root = Element("testsuites", {"name": _clean(suite), **_counts(cases)})
    for group in dict.fromkeys(case.group for case in cases):
        own = [case for case in cases if case.group == group]
        branch = SubElement(root, "testsuite", {"name": _clean(group), **_counts(own), "errors": "0", "skipped": "0"})
        for case in own:
            _add(branch, case)
    indent(root)
    return f"<?xml version='1.0' encoding='utf-8'?>\n{tostring(root, encoding='unicode')}\n"


def _counts(cases: Sequence[Case]) -> dict[str, str]:
    return {"tests": str(len(cases)), "failures": str(Counter(case.passed for case in cases)[False])}


def _add(branch: Element, case: Case) -> None:
    leaf = SubElement(branch, "testcase", classname=_clean(case.group), name=_clean(case.name), time="0")
    if case.passed:
        SubElement(leaf, "system-out").text = _clean(case.sentence)
        return
    SubElement(leaf, "failure", message=_clean(case.sentence), type="limit").text = _clean(case.sentence)


def _clean(text: str) -> str:
    return _NO_XML.sub("?", text)


def step_summary(title: str, cases: Sequence[Case], more: str = "") -> str:
    """Markdown for ``$GITHUB_STEP_SUMMARY``: a tick or a cross for each case, then ``more`` (a table) folded away."""
    failed = sum(not case.passed for case in cases)
    verdict = f"{failed} of {len(cases)} missed" if failed else f"{len(cases)} of {len(cases)} met"
    rows = [["✅" if case.passed else "❌", *map(_cell, (case.group, case.name, case.sentence))] for case in cases]
    blocks = [f"## {_cell(title)}: {verdict}" if cases else f"## {_cell(title)}"]
    blocks += [markdown(("", "stage", "limit", "figure"), rows)] if rows else []
    blocks += [f"<details><summary>All figures</summary>\n\n{more}\n\n</details>"] if more else []
    return "\n\n".join(blocks) + "\n"


def _cell(text: str) -> str:
    """Text that does not end a cell of a table, or become a tag."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
