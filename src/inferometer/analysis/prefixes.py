"""Shared prefixes: cold requests beside warm ones, and what a prefix cache found of what it could have found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from inferometer.analysis.frame import Bools, Floats, Frame, Ints
from inferometer.analysis.parts import Percents, cache_hits, named, part, tells_cached

METRICS = ("ttft", "e2el")
#: Blocks of vLLM's cache, of which only whole ones are shared.
BLOCK_TOKENS = 16
#: Groups that are told one by one: those asked most.
MOST_GROUPS = 50


def prefixes(
    rows: Frame, run: Frame, percents: Percents, seed: int = 0, prefix_tokens: Callable[[int], int] | None = None
) -> list[dict[str, Any]] | None:
    """All requests of a stage that share a prefix with others, then the cold ones, then the warm ones.

    A request is warm if an earlier one of its group and model, in any stage or warm-up, had its first token before
    this one was sent.

    Args:
        rows: measured requests of the stage.
        run: all requests of the run.
        percents: 0 to 100.
        seed: of the intervals.
        prefix_tokens: length of a group's prefix, where it is known and nothing else repeats: for
            ``perfect_hit_rate``, the hit rate of a cache that is never full.

    Returns:
        None if no request has a group. ``same_replica_share`` is the share of requests that met a replica which had
        answered their group before, if replicas name themselves. A part without requests is absent.
    """
    grouped = np.isfinite(rows.prefix_group)
    if not grouped.any():
        return None
    told = tells_cached(run)
    warm = warm_rows(rows, run)
    again = warm_rows(rows, run, by_replica=True)
    perfect = None if prefix_tokens is None else perfect_tokens(rows, run, prefix_tokens)
    found = []
    for name, mask in (("all", grouped), ("cold", grouped & ~warm), ("warm", warm)):
        if not mask.any():
            continue
        own = rows.where(mask)
        found.append(
            {"part": name}
            | part(own, METRICS, percents, seed, tells_cached=told)
            | {"perfect_hit_rate": None if perfect is None else _perfect(perfect[mask], own)}
            | {"same_replica_share": _same_replica(again[mask], own)}
        )
    return found


def groups(rows: Frame, run: Frame) -> list[dict[str, Any]] | None:
    """The groups that were asked most, by number of requests; None if there are none. Arguments as of ``prefixes``."""
    asked, counts = np.unique(rows.prefix_group[np.isfinite(rows.prefix_group)], return_counts=True)
    if not len(asked):
        return None
    told, warm = tells_cached(run), warm_rows(rows, run)
    most = np.argsort(-counts, kind="stable")[:MOST_GROUPS]
    return [_group(rows, warm, group, told) for group in asked[most].tolist()]


def _group(rows: Frame, warm: Bools, group: float, told: bool) -> dict[str, Any]:
    mask = rows.prefix_group == group
    own = rows.where(mask)
    return {
        "group": int(group),
        "requests": len(own),
        "share": len(own) / len(rows),
        "cold": int(np.count_nonzero(mask & ~warm)),
        "warm": int(np.count_nonzero(mask & warm)),
        "replicas": len(named(own.replica)) or None,
        **cache_hits(own, tells_cached=told),
    }


def warm_rows(rows: Frame, run: Frame, *, by_replica: bool = False) -> Bools:
    """Requests that an earlier one of their group made warm; at the same replica, if that matters: (requests,)."""
    first_ns = _earliest(rows, run, run.first_token_ns, by_replica=by_replica)
    return np.asarray(np.isfinite(rows.prefix_group) & (first_ns < rows.sent_ns), np.bool_)


def perfect_tokens(
    rows: Frame, run: Frame, prefix_tokens: Callable[[int], int], block_tokens: int = BLOCK_TOKENS
) -> Floats:
    """Tokens of each prompt that a cache which is never full would find, if every send was computed before the next.

    Shape (requests,); 0 without a group.
    """
    later = _earliest(rows, run, run.sent_ns) < rows.sent_ns
    asked, place = np.unique(np.nan_to_num(rows.prefix_group, nan=-1), return_inverse=True)
    lengths = np.array([0 if group < 0 else prefix_tokens(int(group)) for group in asked], np.float64)
    prompts = np.where(np.isfinite(rows.prompt_tokens), rows.prompt_tokens, rows.asked_prompt_tokens)
    return np.where(later, cached_tokens(lengths[place], prompts, block_tokens), 0.0)


def perfect_hit_rate(
    order: Sequence[int], prefix_tokens: int, question_tokens: int, block_tokens: int = BLOCK_TOKENS
) -> float:
    """The hit rate of a cache that is never full, for requests one after the other.

    Args:
        order: group of each request.
        prefix_tokens: of every group.
        question_tokens: of every request, all different.
        block_tokens: only whole blocks are shared.
    """
    prompt_tokens = prefix_tokens + question_tokens
    found = float(cached_tokens(np.array([prefix_tokens]), np.array([prompt_tokens]), block_tokens)[0])
    warm = len(order) - len(set(order))
    return warm * found / (len(order) * prompt_tokens) if len(order) else 0.0


def cached_tokens(prefix_tokens: Floats | Ints, prompt_tokens: Floats | Ints, block_tokens: int) -> Floats:
    """Tokens in whole blocks of the prefix, of prompts whose last token is always computed. Shape (requests,) each."""
    blocks = np.minimum(prefix_tokens, prompt_tokens - 1) // block_tokens
    return np.asarray(np.maximum(blocks, 0) * block_tokens, np.float64)


def _earliest(rows: Frame, run: Frame, times_ns: Floats, *, by_replica: bool = False) -> Floats:
    """The first of the run's times among requests of the same group and model; inf if there is none: (requests,)."""
    key = np.nan_to_num(run.prefix_group, nan=-1).astype(np.int64)
    for texts in (run.model, run.replica) if by_replica else (run.model,):
        numbers = {name: number for number, name in enumerate(dict.fromkeys(texts))}
        key = key * len(numbers) + np.array([numbers[name] for name in texts], np.int64)
    _, owner = np.unique(key, return_inverse=True)
    first_ns = np.full(len(run), np.inf)
    np.minimum.at(first_ns, owner, np.nan_to_num(times_ns, nan=np.inf))
    return np.asarray(first_ns[owner][np.searchsorted(run.row, rows.row)])


def _perfect(perfect: Floats, rows: Frame) -> float | None:
    """Share of the prompt tokens of successful requests."""
    counted = rows.ok & np.isfinite(rows.prompt_tokens)
    prompt = float(rows.prompt_tokens[counted].sum())
    return float(perfect[counted].sum()) / prompt if prompt else None


def _same_replica(again: Bools, rows: Frame) -> float | None:
    known = np.array([name is not None for name in rows.replica], np.bool_)
    return float(np.mean(again[known])) if known.any() else None
