from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inferometer.export.documents import unique


@given(st.lists(st.sampled_from(["a.json", "a-0.json", "a-1.json", "b.json"])))
def test_names_are_all_different_and_lone_ones_stay(names: list[str]) -> None:
    found = unique(names)
    assert len(set(found)) == len(names)
    assert all(new == old for new, old in zip(found, names, strict=True) if names.count(old) == 1)
