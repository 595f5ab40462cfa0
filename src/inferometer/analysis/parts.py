"""Parts of a stage, such as the requests of one replica or one turn: what a table says of each. Keys have units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from inferometer.analysis.frame import Bools, Floats, Frame, Texts
from inferometer.analysis.metrics import BY_NAME, output_counts
from inferometer.analysis.stats import Description
from inferometer.analysis.streamed import describe

Percents = tuple[float, ...]


def part(rows: Frame, metrics: Sequence[str], percents: Percents, seed: int, *, tells_cached: bool) -> dict[str, Any]:
    """Counts, mean lengths, cache hits and latencies of some requests.

    Args:
        rows: the requests.
        metrics: names of latencies; one without a value is absent.
        percents: 0 to 100.
        seed: of the intervals.
        tells_cached: whether the server tells cached tokens: then a request without them has none. vLLM is silent
            where there are none.
    """
    good = rows.where(rows.ok)
    described = {name: describe(BY_NAME[name].samples(rows), percents, seed) for name in metrics}
    return {
        "requests": len(rows),
        "ok": len(good),
        "failed": len(rows) - len(good),
        "prompt_tokens_mean": _mean(good.prompt_tokens),
        "output_tokens_mean": _mean(output_counts(good)),
        **cache_hits(good, tells_cached=tells_cached),
        "metrics": {name: in_ms(found) for name, found in described.items() if found is not None},
    }


def cache_hits(rows: Frame, *, tells_cached: bool) -> dict[str, Any]:
    """Cached tokens, and their share of the prompt tokens of the same successful requests; None if nobody told."""
    counted = rows.ok & np.isfinite(rows.prompt_tokens)
    prompt = float(rows.prompt_tokens[counted].sum())
    if not tells_cached or not prompt:
        return {"cached_tokens": None, "hit_rate": None}
    cached = float(np.nansum(rows.cached_tokens[counted]))
    return {"cached_tokens": int(cached), "hit_rate": cached / prompt}


def tells_cached(rows: Frame) -> bool:
    """Whether any answer told how much of its prompt was cached."""
    return bool(np.isfinite(rows.cached_tokens).any())


def named(values: Texts) -> list[str]:
    """The different names among texts, sorted; without those that have none."""
    return sorted({value for value in values if value is not None})


def with_text(values: Texts, name: str) -> Bools:
    """Rows that have this name. Shape (requests,)."""
    return np.array(np.equal(values, name), np.bool_)


def in_ms(found: Description) -> dict[str, Any]:
    """A description of milliseconds as plain data with the unit in its keys."""
    plain = msgspec.to_builtins(found)
    others = {key: plain.pop(key) for key in ("count", "resolution") if key in plain}
    return {f"{key}_ms": value for key, value in plain.items()} | others


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
