"""Several targets under one scenario of the suite: what each is of the first, and what to make of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

#: Throughput ratios between these count as similar.
LOWER, HIGHER = 0.9, 1.1
#: Ratio -> the key of a result and the statistic in it.
_RATIOS = {
    "ttft_p50": ("ttft_ms", "p50"),
    "tpot_p50": ("tpot_ms", "p50"),
    "latency_p50": ("latency_s", "p50"),
    "throughput": ("throughput", "tokens_per_sec"),
}
Json = dict[str, Any]


def ratios(documents: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> dict[str, Json]:
    """Label -> figures of its result / those of the first; None where one of them was not measured."""
    first = documents[0]["results"]
    return {
        label: {
            name: _ratio(document["results"][key][which], first[key][which]) for name, (key, which) in _RATIOS.items()
        }
        for document, label in zip(documents[1:], labels[1:], strict=True)
    }


def sentences(found: Mapping[str, Mapping[str, float | None]], first: str) -> list[str]:
    """A line for each target against the first, with its ratios."""
    return [
        f"{label} / {first}: {_figures(one)}; {_reading(one['throughput'], label, first)}"
        for label, one in found.items()
    ]


def _figures(one: Mapping[str, float | None]) -> str:
    return ", ".join(
        f"{name.replace('ttft', 'TTFT').replace('tpot', 'TPOT').replace('_', ' ')} "
        + ("not measured" if value is None else f"{value:.2f}")
        for name, value in one.items()
    )


def _reading(ratio: float | None, label: str, first: str) -> str:
    if ratio is None:
        return "throughput cannot be compared"
    if LOWER <= ratio <= HIGHER:
        return "their throughput is similar"
    return f"{label if ratio > HIGHER else first} has the higher throughput"


def _ratio(value: float | None, base: float | None) -> float | None:
    return value / base if value is not None and base else None
