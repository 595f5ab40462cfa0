"""Equal block ids give equal text, everywhere; nothing else about two prompts is equal."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_tokens import byte_level, word_level

from inferometer.workload import block_prompts
from inferometer.workload.block_prompts import blocks_composer
from inferometer.workload.tokens import Compose, Prompt, PromptSpec, composer, text_tokens

IDS = PromptSpec(kind="token_ids")
WORDS = PromptSpec(kind="calibrated_text", overhead_tokens=9, tokens_per_word=1.3)
BLOCKS = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 40)), max_size=6)


@given(BLOCKS, st.integers(1, 300), st.integers(0, 2**40))
def test_prompts_of_ids_are_exact(blocks: list[tuple[int, int]], tokens: int, index: int) -> None:
    prompt = blocks_composer(IDS, 3)(blocks, tokens, index)
    assert len(prompt) == tokens
    assert all(1000 <= one < 30_000 for one in prompt)  # type: ignore[operator]


@given(BLOCKS, BLOCKS, BLOCKS)
def test_prompts_share_what_their_leading_blocks_share(
    common: list[tuple[int, int]], one: list[tuple[int, int]], other: list[tuple[int, int]]
) -> None:
    write = blocks_composer(IDS, 3)
    shared = sum(tokens for _, tokens in common)
    first, second = write([*common, *one], 600, 1), write([*common, *other], 600, 2)
    assert first[:shared] == second[:shared]
    assert first != second
    assert write([*common, *one], 600, 1) == first


@pytest.mark.parametrize("spec", [IDS, WORDS])
def test_fewer_tokens_of_a_block_are_its_beginning(spec: PromptSpec) -> None:
    write = blocks_composer(spec, 3)
    long = write([(7, 512)], 512, 1)
    for tokens in (20, 100, 276, 511):
        part = write([(7, 512)], tokens, 2)
        assert long[: len(part)] == part


@pytest.mark.parametrize("spec", [IDS, WORDS])
def test_the_same_id_under_another_seed_or_another_id_is_other_text(spec: PromptSpec) -> None:
    prompts = [
        blocks_composer(spec, 1)([(7, 64)], 64, 0),
        blocks_composer(spec, 2)([(7, 64)], 64, 0),
        blocks_composer(spec, 1)([(8, 64)], 64, 0),
        blocks_composer(spec, 1)([], 64, 7),
    ]
    assert len({str(prompt) for prompt in prompts}) == 4
    if spec is IDS:
        # the first token says which id it is; of the others, chance makes a few equal
        pairs = zip(prompts[0][1:], prompts[1][1:], strict=True)  # type: ignore[arg-type]
        assert sum(one == other for one, other in pairs) < 5


def test_blocks_are_kept_up_to_a_number_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of 400 tokens fit into 1,000; whichever was used last stays. What was dropped comes again as it was."""
    made: list[int] = []

    def compose(spec: PromptSpec) -> Compose:
        def count(tokens: int, random: np.random.Generator, serial: int) -> Prompt:
            made.append(serial)
            return composer(spec)(tokens, random, serial)

        return count

    monkeypatch.setattr(block_prompts, "KEPT_TOKENS", 1000)
    monkeypatch.setattr(block_prompts, "composer", compose)
    write = blocks_composer(IDS, 3)
    prompts = [write([(name, 400)], 400, 0) for name in (1, 2, 1, 3, 1, 2)]
    assert made == [1, 2, 3, 2]
    assert prompts[0] == prompts[2] == prompts[4]
    assert prompts[1] == prompts[5]


@pytest.mark.parametrize(("blocks", "size"), [(1, 512), (40, 16), (300, 16)])
def test_rounding_to_words_does_not_add_up(blocks: int, size: int) -> None:
    """Rounded one by one, 300 blocks of 16 tokens would be off by 1.5 %: 72 tokens."""
    tokens = blocks * size
    prompt = blocks_composer(WORDS, 3)([(i, size) for i in range(blocks)], tokens, 0)
    assert abs(len(str(prompt).split()) * 1.3 + 9 - tokens) <= 1.3


@pytest.mark.parametrize("make", [byte_level, word_level])
def test_prompts_by_a_tokenizer_are_exact(make: Callable[[], Any], tmp_path: Path) -> None:
    tokenizer = make()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    write = blocks_composer(PromptSpec(kind="tokenizer_text", tokenizer=str(tmp_path / "tokenizer.json")), 3)
    first = str(write([(1, 16), (2, 16), (3, 5)], 50, 0))
    second = str(write([(1, 16), (2, 16), (4, 16)], 60, 1))
    assert [text_tokens(tokenizer, text) for text in (first, second)] == [50, 60]
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in (first, second)]
    assert ids[0][:32] == ids[1][:32]
    assert ids[0][32:37] != ids[1][32:37]


def digest() -> str:
    prompts = [
        blocks_composer(spec, 11)([(name, 16), (2**62, 40)], 100, name) for spec in (IDS, WORDS) for name in range(20)
    ]
    return hashlib.sha256(json.dumps(prompts).encode()).hexdigest()


def test_two_processes_write_the_same() -> None:
    here = str(Path(__file__).parent)
    code = "from test_block_prompts import digest; print(digest())"
    other = subprocess.run([sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == digest()
