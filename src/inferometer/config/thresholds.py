"""Thresholds as plans hold them: texts such as ``ttft_p95_ms<=200``, checked for form when the plan is read.

What the figures are is known to ``analysis/thresholds.py``; here are their names alone, and which way is better.
"""

from __future__ import annotations

import difflib
import math
import re
from decimal import Decimal
from typing import Any

_LATENCIES = (
    "ttft",
    "tpot",
    "itl",
    "event_gap",
    "e2el",
    "ntpot",
    "ttft_from_send",
    "e2el_from_send",
    "ntpot_from_send",
    "connect",
    "ttfb",
)
_HIGHER = (
    "requests_per_s",
    "output_tokens_per_s",
    "total_tokens_per_s",
    "goodput_per_s",
    "attainment",
    "success_rate",
    "requests_rps",
    "output_tok_s",
    "total_tok_s",
    "goodput_rps",
    "throughput_min",
)
_SHARES = ("attainment", "success_rate", "error_rate")
_LATENCY = re.compile(rf"({'|'.join(_LATENCIES)})_(mean|p(?!0$|0_)\d{{1,2}}(\.\d+)?)(_ms)?")
_TEXT = re.compile(r"\s*([\w.]+)\s*(<=|>=)\s*([^\s@%a-z]+)\s*(%|ms|s)?\s*(?:@\s*(.+?)\s*)?")
#: Names that stand for all others in a hint.
_USUAL = (*(f"{metric}_{which}_ms" for metric in _LATENCIES for which in ("mean", "p50", "p95", "p99")), *_HIGHER)


def sign(name: str) -> str:
    """``<=`` where lower is better, else ``>=``. Raises ``ValueError`` with the nearest name that there is."""
    if name in _HIGHER:
        return ">="
    if name == "error_rate" or _LATENCY.fullmatch(name):
        return "<="
    near = difflib.get_close_matches(name, (*_USUAL, "error_rate"), 1)
    hint = f"did you mean {near[0]}?" if near else "all are listed in docs/compare.md"
    raise ValueError(f"{name!r} is no figure of a stage: {hint}")


def checked(text: str) -> str:
    """A threshold as it was written. Raises ``ValueError``: what is wrong with it, in a sentence."""
    match = _TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no threshold: write NAME<=VALUE or NAME>=VALUE, such as ttft_p95_ms<=200")
    name, written, number, unit, _ = match.groups()
    if written != (right := sign(name)):
        better = "lower" if right == "<=" else "higher"
        raise ValueError(f"{text!r}: {better} is better for {name}, so its limit is {name}{right}...")
    _check_limit(name, number, unit, text)
    return text


def from_limit(name: str, limit: Any) -> str:
    """``ttft_p95_ms`` and 200 as a threshold; the direction is the figure's. Raises ``ValueError``."""
    if isinstance(limit, bool) or not isinstance(limit, int | float):
        raise ValueError(f"a limit is a number, not {limit!r}")  # noqa: TRY004 (as everything else that is wrong)
    plain = format(Decimal(str(limit)), "f") if math.isfinite(limit) else str(limit)
    return checked(f"{name}{sign(name)}{plain}")


def _check_limit(name: str, number: str, unit: str | None, text: str) -> None:
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"{text!r}: {number!r} is not a number") from None
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{text!r}: a limit is a number from 0 on")
    fitting = {"%"} if name in _SHARES else set() if name in _HIGHER else {"ms", "s"}
    if unit is not None and unit not in fitting:
        raise ValueError(f"{text!r}: {name} is not in {unit}")
    if name in _SHARES and value * (0.01 if unit == "%" else 1.0) > 1:
        raise ValueError(f"{text!r}: {name} is a share from 0 to 1; write {value:g}% for per cent")
