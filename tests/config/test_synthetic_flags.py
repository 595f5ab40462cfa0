"""Flags of synthetic workloads lead to fields that exist, and read their words."""

import argparse
from typing import Any

import pytest
from pydantic import TypeAdapter

from inferometer.config.flag import pause
from inferometer.config.load_flags import LOAD_FLAGS
from inferometer.config.models import ConversationWorkload, Pause, RandomWorkload, SharedPrefixWorkload
from inferometer.config.synthetic_flags import SYNTHETIC_FLAGS

MODELS: tuple[Any, ...] = (RandomWorkload, SharedPrefixWorkload, ConversationWorkload)


def test_every_flag_sets_a_field_of_a_workload() -> None:
    for flag in SYNTHETIC_FLAGS:
        field = flag.path.split(".")[2]
        assert any(field in model.model_fields for model in MODELS), flag.name


def test_names_are_unique() -> None:
    names = [flag.name for flag in SYNTHETIC_FLAGS] + [name for name, *_ in LOAD_FLAGS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("2", "2 s"),
        ("0.5", "0.5 s"),
        ("1-5", "1 to 5 s"),
        ("exp:3", "3 s exponential"),
        ("exponential:1", "1 s exponential"),
    ],
)
def test_a_pause_is_a_word(word: str, text: str) -> None:
    assert TypeAdapter(Pause).validate_python(pause(word)).text == text


@pytest.mark.parametrize("word", ["", "soon", "1-", "poisson:2", "exp:"])
def test_no_pause(word: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="exp:3"):
        pause(word)
