"""Prompts of an exact number of tokens, three ways: token ids, text through a tokenizer, text calibrated on the server.

Each way is a function (number of tokens, random generator, serial number) -> prompt. The serial number makes short
prompts differ from each other, so that no prefix cache flatters the server.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from inferometer.errors import UserError

#: What a prompt is: text, or token ids.
Prompt = str | list[int]
#: A conversation so far, as chat APIs take it: role and content each.
Messages = list[dict[str, Any]]
Compose = Callable[[int, np.random.Generator, int], Prompt]

#: Ids below this are often control tokens; ids above the default size do not exist in the smallest common vocabularies.
FIRST_ID = 1000
DEFAULT_VOCABULARY = 30_000

#: Short, frequent words: one token each, with the space before it, in practically every subword vocabulary.
WORDS = """
time year people way day man thing woman life child world school state family student group country problem hand
part place case week company system program question work government number night point home water room mother area
money story fact month lot right study book eye job word business issue side kind head house service friend father
power hour game line end member law car city community name president team minute idea body information back parent
face others level office door health person art war history party result change morning reason research girl guy
moment air teacher force education foot boy age policy music market sense nation plan college interest death
experience effect use class control care field development role effort rate heart drug show leader light voice wife
police mind price report decision son view relationship town road arm difference value building action season
society tax director position player record paper space ground form event official matter center couple site project
activity star table need court oil situation cost industry figure street image phone data picture practice piece
land product doctor wall patient worker news test movie north love step support technology film
""".split()  # noqa: SIM905 (a list of 194 quoted words reads worse)


class PromptSpec(msgspec.Struct, frozen=True, kw_only=True):
    """How prompts are made: decided once before the run, stored in the run's context, followed by every worker.

    ``overhead_tokens`` is what the server adds to a prompt of ours (chat template, begin-of-text), as measured on it.
    ``tokens_per_word`` is measured too and used by calibrated text only.
    """

    kind: Literal["token_ids", "tokenizer_text", "calibrated_text"]
    overhead_tokens: int = 0
    tokens_per_word: float = 1.0
    first_id: int = FIRST_ID
    end_id: int = DEFAULT_VOCABULARY
    tokenizer: str | None = None
    note: str = ""


def composer(spec: PromptSpec) -> Compose:
    """The function that writes prompts as ``spec`` says. A tokenizer is loaded here, before any clock starts."""
    return _COMPOSERS[spec.kind](spec)


def _token_ids(spec: PromptSpec) -> Compose:
    first, end = spec.first_id, spec.end_id

    def compose(tokens: int, random: np.random.Generator, serial: int) -> Prompt:
        ids: list[int] = random.integers(first, end, max(1, tokens - spec.overhead_tokens)).tolist()
        ids[0] = first + serial % (end - first)
        return ids

    return compose


def _calibrated_text(spec: PromptSpec) -> Compose:
    def compose(tokens: int, random: np.random.Generator, serial: int) -> Prompt:
        words = max(1, round((tokens - spec.overhead_tokens) / spec.tokens_per_word))
        chosen = random.integers(0, len(WORDS), words)
        chosen[: min(2, words)] = (serial % len(WORDS), serial // len(WORDS) % len(WORDS))[:words]
        return " ".join([WORDS[i] for i in chosen])

    return compose


def _tokenizer_text(spec: PromptSpec) -> Compose:
    assert spec.tokenizer is not None  # noqa: S101
    tokenizer = load_tokenizer(spec.tokenizer)
    allowed = _word_ids(tokenizer)
    separate = _separate_words(tokenizer, allowed)

    def compose(tokens: int, random: np.random.Generator, serial: int) -> Prompt:
        wanted = max(1, tokens - spec.overhead_tokens)
        chosen = random.integers(0, len(allowed), wanted)
        chosen[0] = serial % len(allowed)
        if separate is None:
            return _exact_text(tokenizer, allowed[chosen].tolist(), allowed, random)
        begin, words = separate
        return begin + " ".join([words[i] for i in chosen.tolist()])

    return compose


_COMPOSERS: dict[str, Callable[[PromptSpec], Compose]] = {
    "token_ids": _token_ids,
    "calibrated_text": _calibrated_text,
    "tokenizer_text": _tokenizer_text,
}


def load_tokenizer(name: str) -> Any:
    """A ``tokenizers.Tokenizer`` from a tokenizer.json, a folder with one, or a hub name. Raises ``UserError``."""
    path = Path(os.path.expanduser(name))  # noqa: PTH111 (that of Path raises where nobody has the name)
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        return _tokenizer(str(file), file.stat().st_mtime_ns) if file.exists() else _tokenizer(name, None)
    except Exception as error:  # noqa: BLE001 (the library raises bare Exception for everything)
        reason = next(iter(str(error).splitlines()), type(error).__name__)[:200]
        raise UserError(
            f"no tokenizer at {name!r}: {reason}; give a tokenizer.json or its folder, or leave --tokenizer out "
            "(then prompts are token ids, or text calibrated on the server)"
        ) from None


@lru_cache(maxsize=1)
def _tokenizer(name: str, modified_ns: int | None) -> Any:
    """Prompts and answers share one, which takes long to load. ``modified_ns``: it is a file, and not a name."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_pretrained(name) if modified_ns is None else Tokenizer.from_file(name)
    tokenizer.no_truncation()  # some are stored with the settings of their training, and would not count beyond them
    tokenizer.no_padding()
    return tokenizer


def text_tokens(tokenizer: Any, text: str) -> int:
    """Tokens of ``text`` without the special tokens that a tokenizer puts around it."""
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


def _word_ids(tokenizer: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Tokens that are a space and a word: a text of these encodes back to itself; its pieces meet at spaces only."""
    word = re.compile(r"[Ġ▁][a-z]{2,12}")  # how byte-level BPE and SentencePiece write a leading space
    ids = sorted(i for token, i in tokenizer.get_vocab().items() if word.fullmatch(token))
    if _encoded_again(tokenizer, ids) != ids:  # some vocabularies hold words that no text leads to
        ids = [i for i in ids if _encoded_again(tokenizer, [i]) == [i]]
    if len(ids) < 100:
        raise UserError("this tokenizer has too few whole words to write random prompts with; leave --tokenizer out")
    return np.array(ids, np.int64)


def _separate_words(tokenizer: Any, allowed: Any) -> tuple[str, list[str]] | None:
    """What a text begins with, and the words themselves, if any text of them is known to have a token for each.

    A token that crosses from one word to the next would have a letter before the mark of a space. Where there is none,
    words do not meet, and it is enough that each is one token: encoding every prompt takes 30 times as long as this.
    """
    crossing = re.compile(r"[a-z][Ġ▁]")
    if any(crossing.search(token) for token in tokenizer.get_vocab()):
        return None
    text: str = tokenizer.decode(allowed.tolist())
    begin, words = " " if text.startswith(" ") else "", [tokenizer.id_to_token(i)[1:] for i in allowed.tolist()]
    if begin + " ".join(words) != text or _encoded_again(tokenizer, allowed.tolist()) != allowed.tolist():
        return None
    return begin, words


def _encoded_again(tokenizer: Any, ids: list[int]) -> list[int]:
    found: list[int] = tokenizer.encode(tokenizer.decode(ids), add_special_tokens=False).ids
    return found


def _exact_text(tokenizer: Any, ids: list[int], allowed: Any, random: np.random.Generator) -> str:
    """Decode, encode, and mend the length until it is exact (two rounds nearly always; the last try is returned)."""
    wanted = len(ids)
    text: str = tokenizer.decode(ids)
    for _ in range(10):
        got = tokenizer.encode(text, add_special_tokens=False).ids
        if len(got) == wanted:
            break
        more = allowed[random.integers(0, len(allowed), max(0, wanted - len(got)))].tolist()
        text = tokenizer.decode(got[:wanted] + more)
    return text
