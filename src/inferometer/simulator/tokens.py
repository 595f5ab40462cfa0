"""A toy tokenizer and a toy author, equal in every process. Pure.

One token per word between white space; a word of more than 12 characters counts one token per 4 characters. A chat
template adds 5 tokens after each message, so that the next turn of a conversation begins with the tokens of this one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from zlib import crc32

import msgspec

VOCAB_SIZE = 151_936
LONGEST_WORD = 12
PIECE = 4
TEMPLATE_TOKENS = 5

#: Natural answer lengths: log-normal, median about 120 tokens, 5 % above 380.
_LENGTH_MU = 4.79
_LENGTH_SIGMA = 0.7

_TEXT = """
a about above after all always and answer are as at be because before begin between both bright by can clear clock
close cloud come count day deep each early earth end even every far few find first flow for from full gap give go grow
hand has have here high how if in is it keep kind know large last late light line little long look made make many may
measure moment more most much name near never new next no not now of often on one only open or other out over own part
place plain point quiet rain read right river same sea see sense server she short side small so some soon sound stand
start step still stone stream sun take than that the their then there they thing think this time to token tree true
turn two under until up very wait walk water way well what when where which while white who why will wind with word
work world year you
"""
#: What answers are made of: ASCII letters only, which go into JSON without escapes.
WORDS = tuple(_TEXT.split())


@lru_cache(maxsize=65_536)
def _word_ids(word: str) -> tuple[int, ...]:
    pieces = [word] if len(word) <= LONGEST_WORD else [word[at : at + PIECE] for at in range(0, len(word), PIECE)]
    return tuple(crc32(piece.encode("utf-8", "surrogatepass")) % VOCAB_SIZE for piece in pieces)


def tokenize(text: str) -> list[int]:
    """Token ids of a text, from 0 to ``VOCAB_SIZE - 1``."""
    return list(chain.from_iterable(map(_word_ids, text.split())))


def tokenize_chat(messages: Sequence[tuple[str, str]]) -> list[int]:
    """Token ids of (role, text) messages, each followed by the 5 tokens of the template."""
    ids: list[int] = []
    for role, text in messages:
        ids += tokenize(text)
        ids += [crc32(f"<|{role}-{index}|>".encode()) % VOCAB_SIZE for index in range(TEMPLATE_TOKENS)]
    return ids


class Answer(msgspec.Struct, frozen=True):
    """``words`` has one word per token."""

    words: list[str]
    finish_reason: str


def write_answer(prompt_ids: Sequence[int], seed: int, max_tokens: int, min_tokens: int, ignore_eos: bool) -> Answer:
    """The answer to a prompt: the same words and length for the same prompt and seed.

    Args:
        prompt_ids: the prompt's token ids.
        seed: the simulator's seed.
        max_tokens: the answer stops here with ``length``.
        min_tokens: the answer does not stop before.
        ignore_eos: go on to ``max_tokens`` in any case.
    """
    dice = random.Random(crc32(repr(prompt_ids).encode(), seed & 0xFFFFFFFF))
    natural = max(min_tokens, 1, round(dice.lognormvariate(_LENGTH_MU, _LENGTH_SIGMA)))
    stops = natural <= max_tokens and not ignore_eos
    words = dice.choices(WORDS, k=natural if stops else max_tokens)
    return Answer(words, "stop" if stops else "length")
