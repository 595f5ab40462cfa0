"""Results of the inference benchmarking suite: the documented form, the one its code wrote, and comparisons. Pure.

Files of the second form were measured without a stream: their TTFT is the latency and their TPOT nothing. Such numbers
are left out, and so is the compliance that followed from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from inferometer.analysis.run_data import RunData, StageData
from inferometer.export.foreign.stages import load_key, number, stage, texts, whole

_MS = 1000.0
#: Below this many seconds per token, or with a TTFT of this share of the latency, nothing was streamed.
LEAST_TPOT_S = 1e-4
MOST_TTFT_SHARE = 0.99
_STATISTICS = ("mean", "p50", "p90", "p95", "p99")
Told = Mapping[str, Any]


def is_documented(document: Any) -> bool:
    """The form of the page: ``results.ttft_ms``."""
    return isinstance(document, dict) and isinstance(document.get("results"), dict) and "ttft_ms" in document["results"]


def is_wild(document: Any) -> bool:
    """The form that the code wrote: ``metrics`` beside ``metadata``."""
    return isinstance(document, dict) and "metadata" in document and "ttft_p50" in (document.get("metrics") or {})


def is_comparison(document: Any) -> bool:
    """Several models side by side."""
    return isinstance(document, dict) and "models_tested" in document and isinstance(document.get("results"), list)


def read_documented(label: str, told: Told) -> tuple[RunData, ...]:
    """A run; its stages, if the file has some, else one with the name of the scenario."""
    results = told["results"]
    if results.get("stages"):
        stages = [_documented(_key(one) or f"stage {one.get('stage')}", one) for one in results["stages"]]
    else:
        stages = [_documented(str(told.get("scenario") or "all"), results)]
    return (RunData(label, tuple(stages), _context(told)),)


def read_wild(label: str, told: Told) -> tuple[RunData, ...]:
    """A run of one stage. Rates of tokens are made those of generated tokens, as the page means them."""
    about, metrics = told["metadata"], told["metrics"]
    good = whole(metrics.get("num_successful"))
    ended = good + whole(metrics.get("num_failed"))
    streamed = is_streamed(metrics)
    latencies = {"e2el": "latency"} | ({"ttft": "ttft", "tpot": "tpot"} if streamed else {})
    plain: dict[str, float | None] = {}
    for metric, theirs in latencies.items():
        for statistic in _STATISTICS if good else ():
            plain[f"{metric}_{statistic}_ms"] = _scaled(metrics.get(f"{theirs}_{statistic}"), _MS)
    plain |= {
        "requests_per_s": number(metrics.get("throughput_requests_per_sec")),
        "total_tokens_per_s": number(metrics.get("throughput_tokens_per_sec")),
        "output_tokens_per_s": _generated(metrics),
    }
    facts = {
        "output tokens asked": number(about.get("max_tokens")),
        "output tokens got": number(metrics.get("avg_completion_tokens")),
    }
    key = load_key(about.get("concurrency"), None) or str(about.get("scenario") or "all")
    made = replace(stage(key, plain, (good, ended), facts=facts), verdict="" if streamed or not good else "INVALID")
    return (RunData(label, (made,), _context({**about, "timestamp": told.get("timestamp")})),)


def read_comparison(label: str, told: Told) -> tuple[RunData, ...]:
    """A run for each model; each has one stage with the name of the scenario."""
    return tuple(_compared(label, told, row) for row in told["results"])


def is_streamed(metrics: Told) -> bool:
    """Whether TTFT and TPOT of the second form can be true."""
    tpot, ttft, latency = (number(metrics.get(f"{name}_p50")) for name in ("tpot", "ttft", "latency"))
    tokens = number(metrics.get("avg_completion_tokens"))
    if tokens is not None and tokens <= 1:
        return True
    if tpot is not None and tpot < LEAST_TPOT_S:
        return False
    return not (ttft and latency and ttft / latency > MOST_TTFT_SHARE)


def _documented(key: str, results: Told) -> StageData:
    plain: dict[str, float | None] = {}
    for metric, block, factor in (("ttft", "ttft_ms", 1.0), ("tpot", "tpot_ms", 1.0), ("e2el", "latency_s", _MS)):
        for statistic, value in (results.get(block) or {}).items():
            if statistic in _STATISTICS:
                plain[f"{metric}_{statistic}_ms"] = _scaled(value, factor)
    rates = results.get("throughput") or {}
    plain |= {"requests_per_s": rates.get("requests_per_sec"), "output_tokens_per_s": rates.get("tokens_per_sec")}
    good = whole(results.get("successful"))
    ended = whole(results.get("total_requests")) or good + whole(results.get("failed"))
    facts = {"stamps": None} if "verdict" in results else None  # only this instrument judges
    return replace(stage(key, plain, (good, ended), facts=facts), verdict=str(results.get("verdict") or ""))


def _compared(label: str, told: Told, row: Told) -> RunData:
    plain: dict[str, float | None] = {
        f"{metric}_{statistic}_ms": _scaled(row.get(f"{metric}_{statistic}"), _MS)
        for metric in ("ttft", "tpot")
        for statistic in ("p50", "p95")
    }
    plain |= {"output_tokens_per_s": row.get("throughput"), "error_rate": row.get("error_rate")}
    failed = number(row.get("error_rate"))
    plain["success_rate"] = None if failed is None else 1 - failed
    made = stage(str(told.get("scenario") or "all"), plain, (0, 0))
    return RunData(f"{label} {row.get('model')}", (made,), _context({**told, "model": row.get("model")}))


def _key(told: Told) -> str | None:
    load = told.get("load") or {}
    words = load_key(load.get("concurrency"), load.get("rate_per_s"))
    return f"{told['name']}: {words}" if told.get("name") and words else words


def _generated(metrics: Told) -> float | None:
    """Generated tokens per second of a rate that counts prompts, too."""
    rate, made, all_ = (
        number(metrics.get(key)) for key in ("throughput_tokens_per_sec", "total_completion_tokens", "total_tokens")
    )
    return rate * made / all_ if rate is not None and made is not None and all_ else None


def _context(told: Told) -> dict[str, str]:
    names = {
        "target": "target",
        "base URL": "base_url",
        "model": "model",
        "scenario": "scenario",
        "started": "timestamp",
    }
    return texts({"tool": "inference benchmarking suite", **{ours: told.get(theirs) for ours, theirs in names.items()}})


def _scaled(value: Any, factor: float) -> float | None:
    known = number(value)
    return None if known is None else known * factor
