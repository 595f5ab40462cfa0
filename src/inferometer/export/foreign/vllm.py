"""Results of ``vllm bench serve``, old and new, plain and detailed. Pure.

Its TTFT starts at the first event with a choice, be it empty, and its latencies at the send; its ITL is the gap between
two events, whatever they carry. In an open loop its figures are those "from send", and those from the schedule are made
of its lists. Old files have no ``failed`` and spell ``request_goodput:`` with a colon.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from inferometer.analysis.frame import Bools, Floats
from inferometer.analysis.run_data import RunData, StageData
from inferometer.export.foreign.stages import described, load_key, number, per_request, stage, texts, whole

_MS = 1000.0
_METRIC = re.compile(r"(mean|median|p\d+(?:\.\d+)?)_(ttft|tpot|itl|e2el)_ms", re.IGNORECASE)
#: Metrics that begin with the request.
_FROM_START = ("ttft", "e2el")
_RATES = {
    "requests_per_s": "request_throughput",
    "output_tokens_per_s": "output_throughput",
    "total_tokens_per_s": "total_token_throughput",
}


def is_result(document: Any) -> bool:
    """Does this look like one?"""
    return isinstance(document, dict) and "completed" in document and "mean_ttft_ms" in document


def read(label: str, documents: Sequence[Mapping[str, Any]]) -> tuple[RunData, ...]:
    """One run whose stages are these results, in their order."""
    first = documents[0]
    context = {
        "tool": f"inferometer {first['inferometer_version']}" if "inferometer_version" in first else "vllm bench serve",
        "api": first.get("backend") or first.get("endpoint_type"),
        "model": first.get("model_id"),
        "tokenizer": first.get("tokenizer_id"),
        "started": first.get("date"),
    }
    return (RunData(label, tuple(map(_stage, documents)), texts(context)),)


def _stage(told: Mapping[str, Any]) -> StageData:
    good = whole(told.get("completed"))
    ended = good + whole(told["failed"]) if "failed" in told else whole(told.get("num_prompts"))
    lists = _Lists(told)
    plain = {ours: told.get(theirs) for ours, theirs in _RATES.items()}
    printed = _printed(told, itl=lists.one_token_each)
    open_loop = number(told.get("request_rate")) is not None or "ramp_up_strategy" in told
    series = lists.series(queued=open_loop)
    latencies = _from_schedule(told, printed, series) if open_loop else printed
    plain["goodput_per_s"] = _goodput(told, queued=open_loop and told.get("max_concurrency") is not None)
    facts: dict[str, str | float | None] = {"output tokens got": per_request(told.get("total_output_tokens"), good)}
    facts |= {"stamps": None} if "inferometer_version" in told else {}
    made = stage(_key(told), plain | latencies, (good, ended), series, facts)
    return replace(made, verdict=str(told.get("inferometer_verdict") or ""))


def _goodput(told: Mapping[str, Any], *, queued: bool) -> Any:
    """From the schedule where this instrument wrote it; vLLM's leaves the wait out, so it counts if there was none."""
    printed = told.get("request_goodput", told.get("request_goodput:"))
    return told.get("request_goodput_including_client_queue", None if queued else printed)


def _key(told: Mapping[str, Any]) -> str:
    if "ramp_up_strategy" in told:
        kind = " exponential" if told["ramp_up_strategy"] == "exponential" else ""
        return f"{told['ramp_up_start_rps']:g} to {told['ramp_up_end_rps']:g}{kind} req/s"
    return load_key(told.get("max_concurrency"), told.get("request_rate")) or "unknown load"


def _printed(told: Mapping[str, Any], *, itl: bool) -> dict[str, float | None]:
    """Every mean and percentile. Metrics of an empty population are 0 there, and absent here."""
    found: dict[str, float | None] = {}
    for key, value in told.items() if whole(told.get("completed")) else ():
        match = _METRIC.fullmatch(key)
        if not match:
            continue
        statistic = {"median": "p50"}.get(match[1].lower(), match[1].lower())
        metric = match[2].lower()
        found[f"{'event_gap' if metric == 'itl' else metric}_{statistic}_ms"] = number(value)
        if metric == "itl" and itl:
            found[f"itl_{statistic}_ms"] = number(value)
    return found


def _from_schedule(
    told: Mapping[str, Any], printed: dict[str, float | None], series: Mapping[str, Floats]
) -> dict[str, float | None]:
    """Latencies of an open loop, which start at the schedule: those printed start at the send, after the wait.

    They count as both where no cap made a request wait.
    """
    starting = tuple(f"{metric}_" for metric in _FROM_START)
    sent = {key.replace("_", "_from_send_", 1): value for key, value in printed.items() if key.startswith(starting)}
    others = {key: value for key, value in printed.items() if not key.startswith(starting)}
    waited = told.get("max_concurrency") is not None
    scheduled = {} if waited else {key: value for key, value in printed.items() if key.startswith(starting)}
    for metric in _FROM_START:
        scheduled |= described(metric, series[metric]) if metric in series else {}
    return others | sent | scheduled


class _Lists:
    """The lists of a detailed result, of successful requests, by start; empty where they are not told."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        self._told = told
        latencies = np.asarray(told.get("latencies") or [], np.float64)
        errors = told.get("errors") or []
        self._good: Bools = np.array([not error for error in errors], np.bool_) if errors else latencies > 0
        starts = np.asarray(told.get("start_times") or np.arange(len(self._good)), np.float64)
        self._order = np.argsort(starts[self._good], kind="stable") if len(starts) == len(self._good) else None

    @property
    def one_token_each(self) -> bool:
        """Whether events may be taken for tokens; also where nothing says otherwise."""
        gaps, tokens = self._told.get("itls"), self._told.get("output_lens")
        if not gaps or not tokens or len(gaps) != len(self._good):
            return True
        pairs = zip(gaps, tokens, self._good, strict=True)
        return all(len(own) + 1 == count for own, count, good in pairs if good)

    def series(self, *, queued: bool) -> dict[str, Floats]:
        """Values of each metric in ms; from the schedule on, if ``queued`` and the waits are told."""
        latency, ttft, tokens, waits = (
            self._column(name) for name in ("latencies", "ttfts", "output_lens", "queue_times")
        )
        if queued and waits is None:
            latency = ttft = None
        wait = waits if queued and waits is not None else 0.0
        found: dict[str, Floats] = {}
        if ttft is not None:
            found["ttft"] = ttft + wait
        if latency is not None:
            found["e2el"] = latency + wait
        if latency is not None and tokens is not None:
            found["ntpot"] = (latency + wait) / np.where(tokens >= 1, tokens, np.nan)
        if latency is not None and ttft is not None and tokens is not None:
            found["tpot"] = (latency - ttft) / np.where(tokens >= 2, tokens - 1, np.nan)
        values = {name: column * _MS for name, column in found.items()}
        return {name: column[np.isfinite(column)] for name, column in values.items()}

    def _column(self, name: str) -> Floats | None:
        column = np.asarray(self._told.get(name) or [], np.float64)
        if self._order is None or not len(column) or len(column) != len(self._good):
            return None
        ordered: Floats = column[self._good][self._order]
        return ordered
