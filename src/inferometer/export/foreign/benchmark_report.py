"""Benchmark reports of llm-d, v0.1 and v0.2: a document for each stage. Pure.

Times are in the units that stand beside them. Latencies start at the send, as in the tools whose figures they carry; of
an open loop they are given as those from the schedule, too, as a report does not tell whether a request had to wait.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from inferometer.analysis.run_data import RunData, StageData
from inferometer.export.foreign.stages import load_key, number, stage, texts, whole

#: A unit of time, also for each token, in ms.
_UNITS_MS = {"ms": 1.0, "ms/token": 1.0, "s": 1000.0, "s/token": 1000.0}
_LATENCIES = {
    "time_to_first_token": "ttft",
    "time_per_output_token": "tpot",
    "inter_token_latency": "itl",
    "request_latency": "e2el",
    "normalized_time_per_output_token": "ntpot",
}
_FROM_START = ("ttft_", "e2el_", "ntpot_")
#: Rates by the names of v0.2; v0.1 has ours with another ending.
_RATES = {
    "requests_per_s": "request_rate",
    "output_tokens_per_s": "output_token_rate",
    "total_tokens_per_s": "total_token_rate",
}
_STATISTIC = re.compile(r"mean|p\d+(?:p\d+)?")
Told = Mapping[str, Any]


def is_result(document: Any) -> bool:
    """Does this look like one? The version is a text."""
    if not isinstance(document, dict) or not str(document.get("version", "")).startswith("0."):
        return False
    return "metrics" in document or isinstance(document.get("results"), dict)


def read(label: str, documents: Sequence[Told]) -> tuple[RunData, ...]:
    """One run whose stages are these reports, by their number; of reports of several versions those of the newest."""
    newest = max(str(told["version"]) for told in documents)
    chosen = [told for told in documents if str(told["version"]) == newest]
    parts = sorted((_v01(told) if "metrics" in told else _v02(told) for told in chosen), key=lambda part: part.number)
    return (RunData(label, tuple(map(_stage, parts)), texts(parts[0].context)),)


class _Part(NamedTuple):
    """One stage, whatever the version: ``rates`` by our names, ``requests`` and ``latency`` as they stand there."""

    number: int
    key: str
    requests: Told
    latency: Told
    rates: dict[str, Any]
    verdict: str
    context: dict[str, Any]
    open_loop: bool


def _v01(told: Told) -> _Part:
    metrics, scenario = told["metrics"], told.get("scenario") or {}
    load = scenario.get("load") or {}
    about = load.get("metadata") or {}
    index, rates = whole(about.get("stage")), metrics.get("throughput") or {}
    asked = _asked(load.get("args") or {}, index)
    rate, concurrency = (_first(asked, *names) for names in (("rate",), ("concurrency", "concurrency_level")))
    return _Part(
        number=index,
        key=load_key(concurrency, rate) or f"stage {index}",
        requests=metrics["requests"],
        latency=metrics.get("latency") or {},
        rates={name: rates.get(f"{name.removesuffix('_s')}_sec") for name in _RATES},
        verdict=_verdict(metrics.get("metadata")),
        context={
            "tool": about.get("tool") or load.get("name"),
            "model": (scenario.get("model") or {}).get("name"),
        },
        open_loop=number(rate) is not None,
    )


def _v02(told: Told) -> _Part:
    found = (told["results"].get("request_performance") or {}).get("aggregate") or {}
    scenario = told.get("scenario") or {}
    load = (scenario.get("load") or {}).get("standardized") or {}
    index, rates = whole(load.get("stage")), found.get("throughput") or {}
    models = [(one.get("standardized") or {}).get("model") for one in scenario.get("stack") or ()]
    names = [one.get("name") if isinstance(one, Mapping) else one for one in models]
    return _Part(
        number=index,
        key=load_key(load.get("concurrency"), load.get("rate_qps")) or f"stage {index}",
        requests=found.get("requests") or {},
        latency=found.get("latency") or {},
        rates={ours: (rates.get(theirs) or {}).get("mean") for ours, theirs in _RATES.items()},
        verdict=_verdict(told["results"].get("observability")),
        context={
            "tool": " ".join(filter(None, (load.get("tool"), load.get("tool_version")))),
            "model": next(filter(None, names), None),
            "started": ((told.get("run") or {}).get("time") or {}).get("start"),
        },
        open_loop=number(load.get("rate_qps")) is not None,
    )


def _stage(part: _Part) -> StageData:
    total = whole(part.requests.get("total"))
    failed = whole(part.requests.get("failures")) + whole(part.requests.get("incomplete"))
    found: dict[str, float | None] = {}
    for theirs, ours in _LATENCIES.items():
        found |= _latency(ours, part.latency.get(theirs) or {})
    if part.open_loop:
        starting = {key: value for key, value in found.items() if key.startswith(_FROM_START)}
        found |= {key.replace("_", "_from_send_", 1): value for key, value in starting.items()}
    facts = {"output tokens got": number((part.requests.get("output_length") or {}).get("mean"))}
    return replace(stage(part.key, found | part.rates, (total - failed, total), facts=facts), verdict=part.verdict)


def _latency(metric: str, told: Told) -> dict[str, float | None]:
    factor = _UNITS_MS.get(str(told.get("units")))
    if factor is None:
        return {}
    known = {name: number(value) for name, value in told.items() if _STATISTIC.fullmatch(name)}
    return {f"{metric}_{_statistic(name)}_ms": value * factor for name, value in known.items() if value is not None}


def _statistic(name: str) -> str:
    """``p99p9`` is the percentile 99.9."""
    return name if name == "mean" else "p" + name[1:].replace("p", ".")


def _asked(args: Told, index: int) -> Told:
    """The load of the stage: in our words, in inference-perf's, or in flags of vLLM."""
    ours, theirs = args.get("stage"), args.get("load")
    stages = theirs.get("stages") if isinstance(theirs, Mapping) else None
    one = stages[index] if isinstance(stages, list) and index < len(stages) else None
    found: Any = ours.get("load") if isinstance(ours, Mapping) else one
    if isinstance(found, Mapping):
        return found
    return {"concurrency": args.get("max-concurrency"), "rate": args.get("request-rate")}


def _first(told: Told, *names: str) -> Any:
    return next((told[name] for name in names if told.get(name) is not None), None)


def _verdict(beside: Any) -> str:
    ours = beside.get("inferometer") if isinstance(beside, Mapping) else None
    return str((ours or {}).get("verdict") or "")
