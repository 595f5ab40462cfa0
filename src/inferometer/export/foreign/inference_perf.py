"""Lifecycle reports of inference-perf, of its old and new form. Pure.

Times are seconds from the send. A request lasts to the end of its answer there, and to its last token here where the
rows tell it; with a tokenizer its ITL has a gap of zero for each further token of an event.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np

from inferometer.analysis.frame import Floats
from inferometer.analysis.run_data import RunData, StageData
from inferometer.export.foreign.stages import described, load_key, number, stage, whole

_MS = 1000.0
_LATENCIES = {
    "ttft": "time_to_first_token",
    "tpot": "time_per_output_token",
    "itl": "inter_token_latency",
    "e2el": "request_latency",
    "ntpot": "normalized_time_per_output_token",
}
_RATES = {
    "requests_per_s": "requests_per_sec",
    "output_tokens_per_s": "output_tokens_per_sec",
    "total_tokens_per_s": "total_tokens_per_sec",
}
_STARTING = ("ttft_", "e2el_", "ntpot_")
_STAGE = re.compile(r"stage_(\d+)_lifecycle_metrics\.json")


class _ResponseMetrics(msgspec.Struct):
    output_tokens: int | None = None
    output_token_times: list[float] = []


class _ExtraInfo(msgspec.Struct):
    stage: int | None = None
    scheduled_time: float | None = None


class _Info(msgspec.Struct):
    response_metrics: _ResponseMetrics | None = None
    extra_info: _ExtraInfo | None = None
    output_tokens: int | None = None
    output_token_times: list[float] = []


class Row(msgspec.Struct):
    """What is needed of one request of the per-request report; bodies are skipped."""

    start_time: float | None = None
    info: _Info | None = None
    error: dict[str, Any] | None = None

    @property
    def scheduled(self) -> float | None:
        """When it was due, which only this instrument writes down."""
        return self.info.extra_info.scheduled_time if self.info and self.info.extra_info else None

    @property
    def stage(self) -> int | None:
        """Its stage, which only this instrument writes down."""
        return self.info.extra_info.stage if self.info and self.info.extra_info else None


def is_result(document: Any) -> bool:
    """Does this look like a summary or a stage?"""
    return isinstance(document, dict) and "load_summary" in document and "successes" in document


def rows_of(text: bytes) -> list[Row]:
    """The per-request report. Raises ``msgspec.MsgspecError``."""
    return msgspec.json.decode(text, type=list[Row])


def read(label: str, documents: Mapping[str, Mapping[str, Any]], rows: Sequence[Row] = ()) -> tuple[RunData, ...]:
    """One run from its reports by file name; stages if there are some, else the summary as one.

    Args:
        label: what to call it.
        documents: reports by the names that inference-perf gives them, or one under any name.
        rows: of the per-request report; used where it is known which stage they belong to.
    """
    numbered = {int(match[1]): told for name, told in documents.items() if (match := _STAGE.fullmatch(name))}
    by_stage: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        number_ = row.stage if row.stage is not None else next(iter(numbered), None) if len(numbered) == 1 else None
        if number_ is not None:
            by_stage[number_].append(row)
    if numbered:
        stages = [_stage(f"stage {index}", told, by_stage[index]) for index, told in sorted(numbered.items())]
    else:
        stages = [_stage("all stages", next(iter(documents.values())), rows)]
    ours = next((told["inferometer"]["version"] for told in documents.values() if "inferometer" in told), None)
    tool = f"inferometer {ours}" if ours else "inference-perf"
    return (RunData(label, tuple(stages), {"tool": tool}),)


def _stage(name: str, told: Mapping[str, Any], rows: Sequence[Row]) -> StageData:
    load, good = told["load_summary"], told["successes"]
    succeeded = whole(good.get("count"))
    ended = succeeded + whole((told.get("failures") or {}).get("count"))
    rates = good.get("throughput") or {}
    plain = {ours: rates.get(theirs) for ours, theirs in _RATES.items()}
    goodput = (good.get("goodput_metrics") or {}).get("request_goodput")
    length = good.get("output_len") or good.get("output_tokens") or {}
    open_loop = number(load.get("requested_rate")) is not None
    series = _series(rows, open_loop=open_loop)
    latencies = _figures(good.get("latency") or {})
    if open_loop:
        latencies |= {
            key.replace("_", "_from_send_", 1): latencies[key] for key in latencies if key.startswith(_STARTING)
        }
    for metric in ("ttft", "e2el", "ntpot"):
        latencies |= described(metric, series[metric]) if metric in series else {}
    made = stage(
        load_key(load.get("concurrency"), load.get("requested_rate")) or name,
        plain | {"goodput_per_s": goodput} | latencies,
        (succeeded, ended),
        series,
        {"output tokens got": number(length.get("mean")), **({"stamps": None} if "inferometer" in told else {})},
    )
    return replace(made, verdict=str((told.get("inferometer") or {}).get("verdict") or ""))


def _figures(latency: Mapping[str, Any]) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    for metric, theirs in _LATENCIES.items():
        for key, value in (latency.get(theirs) or {}).items():
            statistic = {"median": "p50"}.get(key, key)
            known = number(value)
            if known is not None and (statistic == "mean" or statistic.startswith("p")):
                found[f"{metric}_{statistic}_ms"] = known * _MS
    return found


def _series(rows: Sequence[Row], *, open_loop: bool) -> dict[str, Floats]:
    """Values in ms; in an open loop from the schedule on, where the rows tell it, else from the send."""
    good = [row for row in rows if row.error is None and row.start_time is not None and _times(row)]
    if not good:
        return {}
    good.sort(key=lambda row: row.start_time or 0.0)
    start = np.array([(open_loop and row.scheduled) or row.start_time for row in good], np.float64)
    first = np.array([_times(row)[0] for row in good], np.float64)
    last = np.array([_times(row)[-1] for row in good], np.float64)
    tokens = np.array([_tokens(row) for row in good], np.float64)
    found = {
        "ttft": first - start,
        "e2el": last - start,
        "tpot": (last - first) / np.where(tokens >= 2, tokens - 1, np.nan),
        "ntpot": (last - start) / np.where(tokens >= 1, tokens, np.nan),
    }
    return {name: values[np.isfinite(values)] * _MS for name, values in found.items()}


def _times(row: Row) -> list[float]:
    """Times of tokens, from the place where the new form has them or from that of the old one."""
    if row.info is None:
        return []
    return (row.info.response_metrics.output_token_times if row.info.response_metrics else []) or (
        row.info.output_token_times
    )


def _tokens(row: Row) -> int:
    told = row.info.response_metrics.output_tokens if row.info and row.info.response_metrics else None
    return told or (row.info.output_tokens if row.info else None) or len(_times(row))
