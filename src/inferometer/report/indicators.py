"""Limits held against the figures of each stage: the SLOs of the plan, and those of MLPerf."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from inferometer.config.levels import Levels
from inferometer.report.content import Judged
from inferometer.report.points import labels

#: MLPerf Inference v6, mlperf.conf of mlcommons/inference: model: (what, TTFT in ms, TPOT in ms, percentile).
INFERENCE_LIMITS = {
    "llama270b": (
        ("MLPerf Inference llama2-70b, server: TTFT p99 ≤ 2 s, TPOT p99 ≤ 200 ms", 2000.0, 200.0, "99"),
        ("MLPerf Inference llama2-70b, interactive: TTFT p99 ≤ 0.45 s, TPOT p99 ≤ 40 ms", 450.0, 40.0, "99"),
    ),
    "llama318b": (
        ("MLPerf Inference llama3.1-8b, server: TTFT p99 ≤ 2 s, TPOT p99 ≤ 100 ms", 2000.0, 100.0, "99"),
        ("MLPerf Inference llama3.1-8b, interactive: TTFT p99 ≤ 0.5 s, TPOT p99 ≤ 30 ms", 500.0, 30.0, "99"),
    ),
    "mixtral8x7b": (("MLPerf Inference mixtral-8x7b, server: TTFT p99 ≤ 2 s, TPOT p99 ≤ 200 ms", 2000.0, 200.0, "99"),),
    "llama31405b": (
        ("MLPerf Inference llama3.1-405b, server: TTFT p99 ≤ 6 s, TPOT p99 ≤ 175 ms", 6000.0, 175.0, "99"),
        ("MLPerf Inference llama3.1-405b, interactive: TTFT p99 ≤ 4.5 s, TPOT p99 ≤ 80 ms", 4500.0, 80.0, "99"),
    ),
    "deepseekr1": (
        ("MLPerf Inference deepseek-r1, server: TTFT p99 ≤ 2 s, TPOT p99 ≤ 80 ms", 2000.0, 80.0, "99"),
        ("MLPerf Inference deepseek-r1, interactive: TTFT p99 ≤ 1.5 s, TPOT p99 ≤ 15 ms", 1500.0, 15.0, "99"),
    ),
}


def slo_rows(summary: dict[str, Any]) -> list[Judged]:
    """Every SLO of the plan against the 99th percentile of each stage."""
    stages = summary["stages"]
    return [
        _judged(f"{limit['metric'].upper()} p99 ≤ {limit['limit_ms']:g} ms", label, stage, ((limit, "99"),))
        for stage, label in zip(stages, labels(stages), strict=True)
        for limit in (stage["slos"] or {}).get("limits", ())
    ]


def mlperf_rows(summary: dict[str, Any], levels: dict[str, Any] | None = None) -> list[Judged]:
    """The two MLPerf levels by p95, and the limits of MLPerf Inference by p99 if the model has some.

    ``levels`` is ``scenario.levels`` of the plan as plain data; None means the usual ones.
    """
    stages = summary["stages"]
    model = "".join(letter for letter in (summary["target"]["model"] or "").lower() if letter.isalnum())
    named = [row for name, rows in INFERENCE_LIMITS.items() if name in model for row in rows]
    return [
        _judged(what, label, stage, _pair(ttft_ms, tpot_ms, percent))
        for what, ttft_ms, tpot_ms, percent in (*_levels(Levels.model_validate(levels or {})), *named)
        for stage, label in zip(stages, labels(stages), strict=True)
    ]


def _levels(levels: Levels) -> Iterator[tuple[str, float, float, str]]:
    for name, level in (("Standard", levels.standard), ("Interactive", levels.interactive)):
        what = f"{name}: TTFT p95 ≤ {level.ttft_p95_ms / 1000:g} s, TPOT p95 ≤ {level.tpot_p95_ms:g} ms"
        yield what, level.ttft_p95_ms, level.tpot_p95_ms, "95"


def _pair(ttft_ms: float, tpot_ms: float, percent: str) -> tuple[tuple[dict[str, Any], str], ...]:
    return (
        ({"metric": "ttft", "limit_ms": ttft_ms}, percent),
        ({"metric": "tpot", "limit_ms": tpot_ms}, percent),
    )


def _judged(what: str, label: str, stage: dict[str, Any], limits: tuple[tuple[dict[str, Any], str], ...]) -> Judged:
    """All limits against the percentiles of a stage; None if one of these is absent."""
    values = [
        (limit, stage["metrics"].get(limit["metric"], {}).get("percentiles_ms", {}).get(percent))
        for limit, percent in limits
    ]
    figure = ", ".join(
        f"{limit['metric'].upper()} {found['value']:.1f} ms" if found else f"{limit['metric'].upper()} not measured"
        for limit, found in values
    )
    measured = all(found is not None for _, found in values)
    met = all(found["value"] <= limit["limit_ms"] for limit, found in values if found) if measured else None
    return Judged(what, label, figure, met)
