"""What must be known before the clock starts: the model, that the endpoint streams, how prompts get their exact length.

Everything is asked of the server itself and ends up in the plan or in the run's context.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import numpy as np

from inferometer.client.apis import APIS
from inferometer.client.fit import check_fit
from inferometer.config.models import ConversationWorkload, ModelShare, Plan, Target
from inferometer.errors import UserError
from inferometer.runner.materials import lay_ready
from inferometer.telemetry import probe
from inferometer.telemetry.ask import RefusedError
from inferometer.workload.asks import Materials
from inferometer.workload.lengths import expected_tokens, prompt_lengths
from inferometer.workload.tokens import DEFAULT_VOCABULARY, FIRST_ID, PromptSpec, composer, load_tokenizer, text_tokens

#: Tokens of a common word. Counts that grow more slowly do not follow the prompt.
LEAST_PER_WORD = 0.25
#: Between two tries of a question that was refused for the moment, in s; and of one that a router may have lost.
BUSY_PAUSES_S = (0.1, 0.1, 0.2, 0.2, 0.5, 0.5, 1.0, 1.0)
LOST_PAUSES_S = (0.05,) * 8

#: Words of the short prompts that tell what a server adds, and seeds of them.
FEW_WORDS, FEW_SEEDS = 8, (1, 3, 4, 5)
#: Prompts of files are of any length; words are weighed at this one.
FILE_TOKENS = 1024

T = TypeVar("T")


class Prepared(NamedTuple):
    """The resolved plan, what its requests are made of, and remarks for the user."""

    plan: Plan
    materials: Materials
    notes: list[str]


def prepare(plan: Plan, directory: Path) -> Prepared:
    """Resolve the models, try one answer of each, measure what the server makes of our prompts, lay files ready.

    What is made of files goes into the run ``directory``. Raises ``UserError``.
    """
    notes = check_fit(plan)
    plan = plan.model_copy(update={"target": _with_all_models(plan.target)})
    models: list[str | None] = [*(one.name for one in plan.target.models)] or [plan.target.model]
    infos = [_patiently(_model, plan.target.model_copy(update={"model": model}), notes) for model in models]
    info = infos[0]
    streamed = plan.scenario.workload.stream
    for known in infos:
        target = plan.target.model_copy(update={"model": known.id})
        notes += _patiently(_try_answer, target, streamed)
    target = plan.target.model_copy(update={"model": info.id})
    plan = plan.model_copy(update={"target": target})
    plan, materials = lay_ready(plan, _prompts(plan, target, info), directory, notes)
    return Prepared(plan, materials, notes)


def _with_all_models(target: Target) -> Target:
    if not target.all_models or target.models:
        return target
    served = _patiently(probe.models, target)
    if not served:
        raise UserError(f"{target.base_url} lists no model; name them with --models")
    return target.model_copy(update={"models": tuple(ModelShare(name=info.id) for info in served)})


def _patiently(ask: Callable[..., T], *about: Any) -> T:
    """Ask again when a router or an overloaded server says no: it shall be measured, not convicted by one answer."""
    for busy_s, lost_s in zip(BUSY_PAUSES_S, LOST_PAUSES_S, strict=True):
        try:
            return ask(*about)
        except RefusedError as error:
            if error.status not in {404, 429} and error.status < 500:
                raise
            time.sleep(lost_s if error.status == 404 else busy_s)
    return ask(*about)


def _model(target: Target, notes: list[str]) -> probe.ModelInfo:
    try:
        served = probe.models(target)
    except RefusedError as error:
        if not target.model:
            hint = "; with --model NAME the list of models is not needed" if error.status == 404 else ""
            raise UserError(f"{error}{hint}") from None
        return probe.ModelInfo(target.model, None, None)
    if not target.model:
        if not served:
            raise UserError(f"{target.base_url} lists no model; name one with --model")
        return served[0]
    known = next((info for info in served if info.id == target.model), None)
    if known is None and served:
        notes.append(f"the server does not list {target.model!r}; it lists {', '.join(info.id for info in served[:5])}")
    return known or probe.ModelInfo(target.model, None, None)


def _try_answer(target: Target, streamed: bool) -> list[str]:
    """One small answer over the very path of the run: a wrong path, key or model shows before the load, not after.

    A remark if it does not tell its tokens.
    """
    told = probe.stream(target, "Say yes.", max_tokens=4, streamed=streamed)
    if told.answer.error:
        kind = "stream" if streamed else "answer"
        raise UserError(f"a trial {kind} of {target.base_url} ended with an error: {told.answer.error}", 3)
    if told.answer.output_tokens is not None:
        return []
    instead = "each event counts as one" if streamed else "nobody knows their number"
    how = "the tokenizer counts them" if target.tokenizer else f"{instead}; with --tokenizer they are counted"
    return [f"{target.model or target.base_url} tells no number of output tokens: {how}"]


def _prompts(plan: Plan, target: Target, info: probe.ModelInfo) -> PromptSpec:
    # the longest of several: what a word costs is told best by many
    mean = round(max(map(expected_tokens, prompt_lengths(plan.scenario)), default=FILE_TOKENS))
    if target.tokenizer is not None:
        return _with_tokenizer(target, mean)
    if APIS[target.api].takes_ids and not isinstance(plan.scenario.workload, ConversationWorkload):
        return _with_ids(target, info)
    return _calibrated(target, mean)


def _with_ids(target: Target, info: probe.ModelInfo) -> PromptSpec:
    told = target.vocab_size or info.n_vocab
    end = told or DEFAULT_VOCABULARY
    first = min(FIRST_ID, end // 2)
    source = "given" if target.vocab_size else "told by the server" if info.n_vocab else "assumed, as nobody tells it"
    return PromptSpec(
        kind="token_ids", first_id=first, end_id=end, note=f"token ids {first} to {end - 1}; vocabulary size {source}"
    )


def _with_tokenizer(target: Target, mean: int) -> PromptSpec:
    assert target.tokenizer is not None  # noqa: S101
    spec = PromptSpec(kind="tokenizer_text", tokenizer=target.tokenizer)
    prompt = composer(spec)(mean, np.random.Generator(np.random.PCG64(1)), 0)
    ours = text_tokens(load_tokenizer(target.tokenizer), str(prompt))
    theirs = _prompt_tokens(target, str(prompt))
    if theirs is None:
        return _with_note(spec, 0, "text by the tokenizer; the server tells no prompt length to compare with")
    return _with_note(spec, theirs - ours, f"text by the tokenizer; the server adds {theirs - ours} tokens to a prompt")


def _with_note(spec: PromptSpec, overhead_tokens: int, note: str) -> PromptSpec:
    return PromptSpec(kind=spec.kind, tokenizer=spec.tokenizer, overhead_tokens=overhead_tokens, note=note)


def _calibrated(target: Target, mean: int) -> PromptSpec:
    """Fit tokens = overhead + tokens_per_word * words to the server's counts, at few words and at the wanted length.

    Few words are asked for several times: what the words of one short prompt cost by chance would count as overhead.
    """
    wanted = max(2 * FEW_WORDS, mean)
    costs = [_words_cost(target, FEW_WORDS, seed) for seed in FEW_SEEDS]
    few, many = fmean(cost or 0 for cost in costs), _words_cost(target, wanted, 2)
    per_word = 0.0 if None in costs or many is None else (many - few) / (wanted - FEW_WORDS)
    if per_word < LEAST_PER_WORD:
        note = "text of common words, one token each assumed: the server tells no prompt length to calibrate with"
        return PromptSpec(kind="calibrated_text", note=note)
    overhead = round(few - FEW_WORDS * per_word)
    note = f"text of common words, calibrated on the server: {overhead} tokens + {per_word:.3f} a word"
    return PromptSpec(kind="calibrated_text", overhead_tokens=overhead, tokens_per_word=per_word, note=note)


def _words_cost(target: Target, words: int, seed: int) -> int | None:
    compose = composer(PromptSpec(kind="calibrated_text"))
    prompt = compose(words, np.random.Generator(np.random.PCG64(seed)), seed)
    return _prompt_tokens(target, str(prompt))


def _prompt_tokens(target: Target, prompt: str) -> int | None:
    """How many tokens the server counts for a prompt sent the way the run will send it."""
    return _patiently(probe.complete, target, prompt, 1).prompt_tokens
