from __future__ import annotations

from inferometer.analysis.diagnosis import Finding
from inferometer.report import reading

FINDINGS = [
    Finding("compute-bound", "Compute-bound", "GPU utilisation peaks at 100 %. " + 30 * "word ", (), "Add a GPU."),
    Finding("decode-flat", "Decode (ITL) stays flat", "ITL p50 goes from 5.1 ms to 7.1 ms.", ()),
]


def test_each_finding_is_a_paragraph() -> None:
    lines = reading.plain(FINDINGS).splitlines()
    assert lines[0] == "What the numbers say:"
    assert [line for line in lines if line.startswith("- ")] == [
        line for line in lines[1:] if not line.startswith("  ")
    ]
    assert max(map(len, lines)) <= reading.WIDTH
    assert reading.markdown(FINDINGS).splitlines()[2].startswith("- **Compute-bound.** GPU utilisation peaks at 100 %.")


def test_nothing_found_is_nothing_said() -> None:
    assert reading.plain([]) == reading.markdown([]) == ""
