"""How requests spread over the replicas behind one address, and what each of them did."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from inferometer.analysis.frame import Frame
from inferometer.analysis.parts import Percents, named, part, tells_cached, with_text

METRICS = ("ttft", "e2el")


def replicas(rows: Frame, percents: Percents, seed: int = 0) -> list[dict[str, Any]] | None:
    """One entry for each replica that named itself in its answers, by name; None if none did.

    ``share`` is that of all requests whose replica is known; ``groups`` how many groups of prompts it met.
    """
    names = named(rows.replica)
    if not names:
        return None
    cached = tells_cached(rows)
    owns = {name: rows.where(with_text(rows.replica, name)) for name in names}
    known = sum(map(len, owns.values()))
    return [
        {"replica": name, "share": len(own) / known, "groups": _groups(own)}
        | part(own, METRICS, percents, seed, tells_cached=cached)
        for name, own in owns.items()
    ]


def evenness(rows: Frame) -> dict[str, Any] | None:
    """How evenly requests are spread over the replicas that were seen; None for fewer than two.

    ``largest_of_fair`` and ``smallest_of_fair`` are shares / (1 / replicas). ``p`` is the chance of a spread at least
    as uneven if each request chose a replica at random: tiny for sessions that stick and for prefixes that stay, and
    near 1 where requests go round in turn. A replica that answered nothing is not seen.
    """
    counts = [int(with_text(rows.replica, name).sum()) for name in named(rows.replica)]
    if len(counts) < 2:
        return None
    fair = sum(counts) / len(counts)
    statistic = sum((count - fair) ** 2 for count in counts) / fair
    return {
        "replicas": len(counts),
        "requests": sum(counts),
        "largest_of_fair": max(counts) / fair,
        "smallest_of_fair": min(counts) / fair,
        "chi_square": statistic,
        "p": chi_square_tail(statistic, len(counts) - 1),
    }


def chi_square_tail(statistic: float, freedom: int) -> float:
    """P(X >= statistic) of a chi-square distribution with ``freedom`` >= 1 degrees (Abramowitz and Stegun 26.4.4-5)."""
    half = statistic / 2
    if half <= 0:
        return 1.0
    odd = freedom % 2
    powers = [j + odd / 2 for j in range(freedom // 2)]
    terms = (math.exp(power * math.log(half) - half - math.lgamma(power + 1)) for power in powers)
    return min(1.0, (math.erfc(math.sqrt(half)) if odd else 0.0) + math.fsum(terms))


def _groups(rows: Frame) -> int | None:
    known = rows.prefix_group[np.isfinite(rows.prefix_group)]
    return len(np.unique(known)) if len(known) else None
