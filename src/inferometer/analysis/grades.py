"""The grade that the vLLM evaluation pipeline gives: A, and lower for every figure beyond a limit. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec


class Limit(NamedTuple):
    """Beyond ``to_c`` the grade is C, else beyond ``to_b`` it is B. ``sign``: which side of them is good."""

    title: str
    unit: str
    sign: str
    to_c: float
    to_b: float


#: By key of the analysis summary. Shares are of 1.
LIMITS = {
    "success_rate": Limit("success rate", "", ">=", 0.95, 0.98),
    "output_throughput": Limit("output throughput", " tok/s", ">=", 10, 50),
    "ttft_p95_ms": Limit("TTFT p95", " ms", "<=", 500, 200),
    "tpot_mean_ms": Limit("mean TPOT", " ms", "<=", 100, 50),
    "e2el_p95_ms": Limit("E2EL p95", " ms", "<=", 5000, 2000),
}


class Grade(msgspec.Struct, frozen=True):
    """``letter`` is "A", "B" or "C"; None if nothing could be graded. ``missing`` are titles of figures nobody told."""

    letter: str | None
    issues: tuple[str, ...]
    missing: tuple[str, ...]


def grade(scenarios: Sequence[Mapping[str, Any]]) -> Grade:
    """The grade of the means over scenarios, which have the keys of ``LIMITS``; None is not known, and never zero."""
    letters, issues, missing = [], [], []
    for key, limit in LIMITS.items():
        known = [float(one[key]) for one in scenarios if one.get(key) is not None]
        if not known:
            missing.append(limit.title)
            continue
        mean = sum(known) / len(known)
        letters.append(_letter(mean, limit))
        if letters[-1] != "A":
            wanted = limit.to_c if letters[-1] == "C" else limit.to_b
            side = "below" if limit.sign == ">=" else "above"
            issues.append(f"{letters[-1]}: {limit.title} {mean:.4g}{limit.unit} is {side} {wanted:g}{limit.unit}")
    return Grade(max(letters, default=None), tuple(issues), tuple(missing))


def _letter(value: float, limit: Limit) -> str:
    lower = limit.sign == "<="
    for letter, bound in (("C", limit.to_c), ("B", limit.to_b)):
        if value > bound if lower else value < bound:
            return letter
    return "A"
