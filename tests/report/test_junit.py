from __future__ import annotations

from xml.etree.ElementTree import fromstring

from hypothesis import given
from hypothesis import strategies as st

from inferometer.report.junit import Case, junit, step_summary

CASES = [
    Case("new: concurrency 2", "ttft_p95<=200", passed=True, sentence="TTFT p95 120 ms, is at most 200 ms"),
    Case("new: concurrency 8", "ttft_p95<=200", passed=False, sentence="TTFT p95 320 ms, should be at most 200 ms"),
    Case("new: concurrency 8", "ttft_p95>10%", passed=True, sentence="no change"),
]


def test_junit_counts_and_names() -> None:
    root = fromstring(junit(CASES))
    assert (root.tag, root.attrib["tests"], root.attrib["failures"]) == ("testsuites", "3", "1")
    assert [(suite.attrib["name"], suite.attrib["tests"]) for suite in root] == [
        ("new: concurrency 2", "1"),
        ("new: concurrency 8", "2"),
    ]
    (failure,) = root.findall(".//failure")
    assert failure.attrib["message"] == CASES[1].sentence


@given(st.lists(st.builds(Case, st.text(), st.text(), st.booleans(), st.text()), max_size=5))
def test_any_text_is_well_formed_xml(cases: list[Case]) -> None:
    root = fromstring(junit(cases))
    assert len(root.findall(".//testcase")) == len(cases)
    assert len(root.findall(".//failure")) == sum(not case.passed for case in cases)


def test_a_step_summary_is_a_table_with_ticks_and_crosses() -> None:
    text = step_summary("new against old", CASES, "| table |")
    assert text.startswith("## new against old: 1 of 3 missed\n")
    assert [text.count(sign) for sign in "✅❌"] == [2, 1]
    assert "ttft_p95&lt;=200" in text
    assert "<details>" in text
    assert "met" in step_summary("one", CASES[:1])
    assert step_summary("nothing", []) == "## nothing\n"
