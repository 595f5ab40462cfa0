"""Names of files from names that people give."""

from __future__ import annotations

from pathlib import PurePath

from hypothesis import given
from hypothesis import strategies as st

from inferometer.config.names import as_file_name


@given(st.text(), st.sampled_from("_-"))
def test_any_text_is_the_name_of_one_file_that_is_seen(text: str, instead: str) -> None:
    name = as_file_name(text, instead)
    assert PurePath(name).name == name
    assert not name.startswith(".")
    assert as_file_name(name, instead) == name


def test_what_stays() -> None:
    assert as_file_name("org/Qwen2.5-0.5B+x=1 (é)") == "org_Qwen2.5-0.5B+x=1__é_"
    assert as_file_name("..", "-") == "-"
