"""Prompts have the length that was asked, as a server counts them that really tokenizes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from conftest import NOT_FOUND, Asked, Said, Serve, sse_body
from e2e.support import rows
from inferometer.config.models import Engine, Plan
from inferometer.engine.launch import started
from inferometer.runner.preparation import prepare
from inferometer.workload.tokens import WORDS, PromptSpec, composer, load_tokenizer

LENGTHS = (16, 64, 256, 1000, 4000, 16_000, 32_000)
TEMPLATE_TOKENS = 20
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"


def random(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def corpus() -> str:
    """Our words among ten times as many others, which are made of syllables and may begin or end like them."""
    chance = random(1)
    syllables = ["ba", "con", "der", "es", "fi", "gra", "in", "ko", "lum", "ment", "na", "ong", "per", "qui", "re"]
    others = ["".join(chance.choice(syllables, chance.integers(1, 5))) for _ in range(10 * len(WORDS))]
    order = chance.permutation(3 * [*WORDS, *WORDS, *others])
    return " ".join(order.tolist())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tokenizer of the model, as of GPT-2: with and without a space before it, a word is a token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=3000, initial_alphabet=alphabet, show_progress=False)
    lines = [corpus(), *(f"{word}\n" for word in WORDS)]
    tokenizer.train_from_iterator(lines, trainer)
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def server(folder: Path, template_tokens: int = TEMPLATE_TOKENS) -> Callable[[Asked], Said]:
    """A server of chat and completions that counts like the model: a template around the messages, then the text."""
    tokenizer = load_tokenizer(str(folder))

    def count(asked: Asked) -> int:
        if asked.path == COMPLETIONS:
            prompt = asked.body["prompt"]
            return len(prompt) if isinstance(prompt, list) else len(tokenizer.encode(prompt).ids)
        return template_tokens + len(tokenizer.encode(asked.body["messages"][0]["content"]).ids)

    def respond(asked: Asked) -> Said:
        if asked.path == "/v1/models":
            return Said({"object": "list", "data": [{"id": "tiny", "object": "model", "max_model_len": 65536}]})
        if asked.path not in (CHAT, COMPLETIONS):
            return NOT_FOUND
        usage = {"prompt_tokens": count(asked), "completion_tokens": 1}
        part = "delta" if asked.body.get("stream") else "message"
        choice = {"text": "one"} if asked.path == COMPLETIONS else {part: {"content": "one"}}
        answer: dict[str, Any] = {"model": "tiny", "choices": [{"index": 0, "finish_reason": "length", **choice}]}
        if asked.body.get("stream"):
            events = [answer, {"model": "tiny", "choices": [], "usage": usage}, "[DONE]"]
            return Said(content_type="text/event-stream", pieces=(sse_body(events),))
        return Said({**answer, "usage": usage})

    return respond


class Counted(NamedTuple):
    """Asked length -> lengths that the server counted; those that the report complains of; how prompts were made."""

    tokens: dict[int, Any]
    complaints: set[int]
    kind: str


def counted(inferometer: Any, url: str, folder: Path, *words: object, lengths: tuple[int, ...] = LENGTHS) -> Counted:
    done = inferometer(
        "run", "--base-url", url, "--run-dir", folder, "--max-concurrency", 2, "--num-prompts", 6,
        "--random-input-len", *lengths, "--random-output-len", 1, *words,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    table = rows(folder)
    kind = json.loads((folder / "context.json").read_text())["prompts"]["kind"]
    asked, told = table["asked_prompt_tokens"], table["prompt_tokens"]
    stages = json.loads((folder / "summary.json").read_text())["stages"]
    findings = [{finding["name"] for finding in stage["verdict"]["findings"]} for stage in stages]
    complaints = {length for length, names in zip(lengths, findings, strict=True) if "prompt length error" in names}
    return Counted({length: told[asked == length] for length in lengths}, complaints, kind)


class Way(NamedTuple):
    """Flags ({} is the tokenizer), what prompts are then, and how far they may be off."""

    flags: tuple[str, ...]
    kind: str
    within: float


WAYS = {
    "tokenizer": Way(("--tokenizer", "{}"), "tokenizer_text", 0.01),
    "none": Way((), "calibrated_text", 0.03),
}


@pytest.mark.parametrize("name", WAYS)
def test_lengths_are_those_of_the_server(
    inferometer: Any, serve: Serve, trained: Path, tmp_path: Path, name: str
) -> None:
    """Each of them. Only less than the template alone cannot be had, and then the report says so."""
    way = WAYS[name]
    flags = [flag.format(trained) for flag in way.flags]
    found = counted(inferometer, serve(server(trained)), tmp_path / "r", *flags)
    assert found.kind == way.kind
    for length in LENGTHS[1:]:
        assert len(found.tokens[length]) == 6
        assert np.abs(found.tokens[length] / length - 1).max() <= way.within, length
    assert set(found.tokens[16]) <= set(range(TEMPLATE_TOKENS + 1, TEMPLATE_TOKENS + 4))
    assert found.complaints == {16}


def prepared_spec(url: str, mean: int = 256, **target: object) -> PromptSpec:
    """How prompts are made for a server."""
    stage = {"load": {"type": "closed", "concurrency": 1}, "num_requests": 1}
    scenario = {"workload": {"input_tokens": {"mean": mean}}, "stages": [stage]}
    plan = Plan.model_validate({"target": {"base_url": url, "model": "tiny", **target}, "scenario": scenario})
    return prepare(plan, Path("unused")).materials.prompts


@pytest.mark.parametrize("api", ["openai-chat", "openai-completions"])
def test_a_tokenizer_makes_every_prompt_exact(serve: Serve, trained: Path, api: str) -> None:
    template_tokens = 4 if api == "openai-chat" else 0
    spec = prepared_spec(serve(server(trained, template_tokens)), api=api, tokenizer=str(trained))
    assert spec.overhead_tokens == template_tokens
    compose, tokenizer = composer(spec), load_tokenizer(str(trained))
    for length in LENGTHS:
        prompts = [str(compose(length, random(number), number)) for number in range(5)]
        assert [template_tokens + len(tokenizer.encode(prompt).ids) for prompt in prompts] == [length] * 5


def sentences(crossing: tuple[tuple[str, str], ...], unreachable: tuple[str, ...]) -> Any:
    """As of SentencePiece: no text is split at its spaces first, so that tokens may cross from word to word."""
    starts = dict.fromkeys("▁" + word[:end] for word in WORDS for end in range(len(word) + 1))
    merges = [*crossing, *((start[:-1], start[-1]) for start in starts if len(start) > 1)]
    letters = "▁abcdefghijklmnopqrstuvwxyz"
    pieces = dict.fromkeys([*letters, *starts, *(left + right for left, right in merges), *unreachable])
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(pieces)}, merges))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    return tokenizer


@pytest.mark.parametrize(
    ("crossing", "unreachable"), [((), ()), ((("x", "▁"),), ()), ((), ("▁zebra",)), ((("e", "▁"),), ("▁zebra",))]
)
def test_words_that_meet_or_are_never_read(
    tmp_path: Path, crossing: tuple[tuple[str, str], ...], unreachable: tuple[str, ...]
) -> None:
    """A token of the end of one word and the space before the next; a word that no text is read as."""
    tokenizer = sentences(crossing, unreachable)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    compose = composer(PromptSpec(kind="tokenizer_text", tokenizer=str(tmp_path)))
    for length in (2, 16, 64, 1000):
        prompts = [str(compose(length, random(number), number)) for number in range(20)]
        told = [len(tokenizer.encode(prompt).ids) for prompt in prompts]
        assert np.abs(np.array(told) / length - 1).max() <= 0.01
        assert not [prompt for prompt in prompts if "zebra" in prompt]


@pytest.mark.parametrize("mean", [16, 64, 32_000])
@pytest.mark.parametrize("template_tokens", [0, 4, 11])
def test_short_prompts_without_a_tokenizer(serve: Serve, trained: Path, mean: int, template_tokens: int) -> None:
    """Whatever length the words were weighed at: 16 tokens and more, where the template leaves room."""
    spec = prepared_spec(serve(server(trained, template_tokens)), mean)
    compose, tokenizer = composer(spec), load_tokenizer(str(trained))
    for length in (16, 20, 37, 64, 256):
        prompts = [str(compose(length, random(number), number)) for number in range(50)]
        told = [template_tokens + len(tokenizer.encode(prompt).ids) for prompt in prompts]
        assert np.mean(told) == pytest.approx(length, rel=0.03)


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    pytest.importorskip("xllamacpp")
    with started(Engine(kind="llamacpp"), tmp_path_factory.mktemp("engine") / "engine.log") as address:
        yield address.base_url


@pytest.mark.engine
def test_lengths_are_those_of_a_real_model(inferometer: Any, smollm2: str, tmp_path: Path) -> None:
    """Without its tokenizer. Its template has some 30 tokens; its context ends at 2,048."""
    found = counted(inferometer, smollm2, tmp_path / "r", "--ignore-eos", lengths=(64, 500))
    for length, told in found.tokens.items():
        assert np.abs(told / length - 1).max() <= 0.03, length
