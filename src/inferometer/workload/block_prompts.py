"""Prompts of blocks: equal block ids give equal text, in every process and on every machine; the rest is unique.

A block is a function of (seed, id, tokens) alone, and what is written for fewer tokens is the beginning of what is
written for more. Blocks meet at the beginnings of words, where no tokenizer merges them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from inferometer.workload.tokens import Prompt, PromptSpec, composer

#: (id, tokens) of the leading blocks, tokens of the whole prompt, number of the request -> prompt.
ComposeBlocks = Callable[[Sequence[tuple[int, int]], int, int], Prompt]

#: Tokens of blocks that are kept because the next prompt may begin with them too; a token is 36 bytes at most.
KEPT_TOKENS = 1 << 20
_SHARED, _OWN = 0, 1


def blocks_composer(spec: PromptSpec, seed: int) -> ComposeBlocks:
    """The function that writes prompts from blocks as ``spec`` says. A tokenizer is loaded here.

    What the server adds to a prompt of ours is taken off its end, so that beginnings stay whole.
    """
    compose = composer(spec)
    overhead_tokens = spec.overhead_tokens
    per_word = spec.tokens_per_word if spec.kind == "calibrated_text" else 1.0

    def part(kind: int, name: int, tokens: int) -> Prompt:
        return compose(tokens + overhead_tokens, np.random.Generator(np.random.PCG64([seed, kind, name])), name)

    kept: OrderedDict[tuple[int, int], Prompt] = OrderedDict()
    kept_tokens = 0

    def shared(name: int, tokens: int) -> Prompt:
        nonlocal kept_tokens
        found = kept.pop((name, tokens), None)
        if found is None:
            found = part(_SHARED, name, tokens)
            kept_tokens += tokens
        kept[name, tokens] = found
        while kept_tokens > KEPT_TOKENS and len(kept) > 1:
            (_, dropped_tokens), _ = kept.popitem(last=False)
            kept_tokens -= dropped_tokens
        return found

    def write(blocks: Sequence[tuple[int, int]], input_tokens: int, index: int) -> Prompt:
        end = max(1, input_tokens - overhead_tokens)
        parts, at = [], 0
        for name, tokens in (*blocks, (None, end)):
            to = min(end, at + tokens)
            # whole words between the two places, so that rounding does not add up over many blocks
            size = round((round(to / per_word) - round(at / per_word)) * per_word)
            if size > 0:
                parts.append(part(_OWN, index, size) if name is None else shared(name, size))
            at = to
        return _join(parts or [part(_OWN, index, 1)])

    return write


def _join(parts: Sequence[Prompt]) -> Prompt:
    if isinstance(parts[0], list):
        return list(chain.from_iterable(part for part in parts if isinstance(part, list)))
    texts = [str(part) for part in parts]
    return " ".join([texts[0], *(text.lstrip() for text in texts[1:])])
