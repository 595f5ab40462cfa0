"""Prompts have the length that was asked, by whatever way they are made."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from inferometer.errors import UserError
from inferometer.workload.tokens import WORDS, PromptSpec, composer, load_tokenizer, text_tokens


def byte_level() -> Any:
    """As of GPT-2 and its heirs, trained on the spot: words are tokens with the space before them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator([" " + " ".join(WORDS)] * 3, trainer)
    return tokenizer


def word_level() -> Any:
    """As of SentencePiece: a space is part of the word that it precedes; special tokens around the text."""
    vocabulary = {"<unk>": 0, "<s>": 1} | {f"▁{word}": 2 + i for i, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def random(seed: int = 1) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


@pytest.mark.parametrize("make", [byte_level, word_level])
@pytest.mark.parametrize("folder", [False, True])
def test_text_by_a_tokenizer_is_exact(make: Callable[[], Any], folder: bool, tmp_path: Path) -> None:
    tokenizer = make()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    name = str(tmp_path if folder else tmp_path / "tokenizer.json")
    compose = composer(PromptSpec(kind="tokenizer_text", tokenizer=name, overhead_tokens=3))
    for tokens in (4, 5, 6, 10, 37, 256, 1000):
        prompts = [str(compose(tokens, random(serial), serial)) for serial in range(5)]
        assert [text_tokens(tokenizer, prompt) for prompt in prompts] == [tokens - 3] * 5
        assert len(set(prompts)) == 5


def test_special_tokens_are_not_counted(tmp_path: Path) -> None:
    word_level().save(str(tmp_path / "t.json"))
    assert text_tokens(load_tokenizer(str(tmp_path / "t.json")), "time year") == 2


def test_a_tokenizer_neither_cuts_nor_fills_what_it_counts(tmp_path: Path) -> None:
    """Some are stored with the settings of their training."""
    tokenizer = word_level()
    tokenizer.enable_truncation(3)
    tokenizer.enable_padding(length=5)
    tokenizer.save(str(tmp_path / "t.json"))
    loaded = load_tokenizer(str(tmp_path / "t.json"))
    assert [text_tokens(loaded, text) for text in ("time", " ".join(["time"] * 100))] == [1, 100]


def test_a_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "t.json"
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(file))
    assert load_tokenizer(str(file)).get_vocab_size() == 1
    Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")).save(str(file))
    os.utime(file, ns=(0, 1))
    assert load_tokenizer(str(file)).get_vocab_size() == 2


def test_a_tokenizer_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"no tokenizer at .*leave --tokenizer out"):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_of_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> None:
        raise OSError

    monkeypatch.setattr("tokenizers.Tokenizer", SimpleNamespace(from_pretrained=fail))
    with pytest.raises(UserError, match=r"no tokenizer at '~nobody-of-this-name/t\.json': OSError; "):
        load_tokenizer("~nobody-of-this-name/t.json")


def test_a_tokenizer_without_words(tmp_path: Path) -> None:
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "t.json"))
    with pytest.raises(UserError, match="too few whole words"):
        composer(PromptSpec(kind="tokenizer_text", tokenizer=str(tmp_path / "t.json")))


@pytest.mark.parametrize("overhead", [0, 2])
def test_ids_are_exact_and_in_the_vocabulary(overhead: int) -> None:
    compose = composer(PromptSpec(kind="token_ids", first_id=10, end_id=20, overhead_tokens=overhead))
    for tokens in (1, 2, 3, 500):
        ids = compose(tokens, random(), 123)
        assert len(ids) == max(1, tokens - overhead)
        assert all(isinstance(one, int) and 10 <= one < 20 for one in ids)


def test_short_prompts_of_ids_differ_by_their_serial_number() -> None:
    compose = composer(PromptSpec(kind="token_ids", first_id=1000, end_id=3000))
    assert len({str(compose(1, random(), serial)) for serial in range(2000)}) == 2000


def test_calibrated_text_follows_what_was_measured() -> None:
    compose = composer(PromptSpec(kind="calibrated_text", overhead_tokens=20, tokens_per_word=1.25))
    assert len(str(compose(120, random(), 0)).split()) == 80
    assert len(str(compose(1, random(), 0)).split()) == 1


def test_short_prompts_of_words_differ_by_their_serial_number() -> None:
    compose = composer(PromptSpec(kind="calibrated_text"))
    assert len({str(compose(2, random(), serial)) for serial in range(len(WORDS) ** 2)}) == len(WORDS) ** 2


def test_words_are_all_different() -> None:
    assert len(set(WORDS)) == len(WORDS)
