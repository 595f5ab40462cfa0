"""The standardised JSON of the vLLM evaluation pipeline, its analysis summary, and its tree of files. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inferometer.config.names import as_file_name
from inferometer.export import vllm
from inferometer.export.documents import Export, Options, json_document, unique
from inferometer.export.run import Part, Run, ends, label_of, moment, parts, stamp, utc

TIME = "%Y%m%d_%H%M%S"
METRICS = ("ttft", "tpot", "itl", "e2el")
#: Percentiles that are always there; those of the plan are added.
PERCENTS = (25.0, 50.0, 75.0, 90.0, 95.0, 99.0)


def export(run: Run, options: Options) -> Export:
    """For each stage its native result and the standardised one; the analysis of all of them."""
    found = parts(run)
    percents = sorted({*PERCENTS, *run.plan.report.percentiles})
    natives = [vllm.document(run, part, options, percents) for part in found]
    time = stamp(moment(run, 0.0), TIME)
    names = scenario_names(run, found)
    documents = []
    for part, name, native in zip(found, names, natives, strict=True):
        plain = standardized(native, name, utc(moment(run, ends(part)[1])))
        documents.append(json_document(f"scenario_{name}_{time}/benchmark_results.json", native))
        documents.append(json_document(f"parsed/{name}_{time}_standardized.json", plain))
    summary = analysis(dict(zip(names, natives, strict=True)), _iso(run))
    return Export([*documents, json_document("analysis_summary.json", summary)])


def scenario_names(run: Run, found: Sequence[Part]) -> list[str]:
    """The names of stages, all different: rounds of one stage are numbered."""
    return [name.removesuffix(".") for name in unique([f"{scenario_name(run, part)}." for part in found])]


def scenario_name(run: Run, part: Part) -> str:
    """What this pipeline calls a scenario is a stage here: its name, or that of the whole with the load."""
    whole = as_file_name(run.plan.scenario.name)
    if part.told["name"]:
        return as_file_name(part.told["name"])
    return whole if len(run.plan.scenario.stages) == 1 else f"{whole}_{label_of(part)}"


def standardized(
    native: Mapping[str, Any], task: str | None, timestamp: str | None, metrics: Sequence[str] = METRICS
) -> dict[str, Any]:
    """A native result of vLLM, ours or its own, in the standardised form.

    Args:
        native: the object that ``vllm bench serve`` saves.
        task: name of the scenario.
        timestamp: ISO 8601 with its zone; the native date is local time without one.
        metrics: those whose latencies are wanted, by vLLM's names.
    """
    return {
        "meta": {
            "run_id": native.get("date"),
            "timestamp": timestamp,
            "benchmark_name": "vllm_benchmark",
            "tasks": task,
            "model": {
                "id": native.get("model_id"),
                "tokenizer_id": native.get("tokenizer_id"),
                "source": native.get("backend") or native.get("endpoint_type"),
            },
            "config": {
                key: native.get(key) for key in ("num_prompts", "request_rate", "burstiness", "max_concurrency")
            },
        },
        "results": {},
        "performance": {
            "summary": _taken(native, SUMMARY),
            "throughput": _taken(native, THROUGHPUT),
            "latency": {f"{name}_ms": found for name in metrics if (found := _latency(native, name))},
        },
    }


def analysis(natives: Mapping[str, Mapping[str, Any]], timestamp: str) -> dict[str, Any]:
    """The analysis summary of native results by scenario. What a result does not tell is null."""
    return {
        "timestamp": timestamp,
        "total_scenarios": len(natives),
        "scenarios": {
            name: {"success_rate": success_rate(one), **_taken(one, ANALYSIS)} for name, one in natives.items()
        },
    }


def success_rate(native: Mapping[str, Any]) -> float | None:
    """Completed requests / those that ended, or / those asked for if failures are not told; a fraction."""
    completed, failed = native.get("completed"), native.get("failed")
    ended = native.get("num_prompts") if failed is None else (completed or 0) + failed
    return completed / ended if completed is not None and ended else None


SUMMARY = {
    "duration_sec": "duration",
    "completed_requests": "completed",
    "total_input_tokens": "total_input_tokens",
    "total_output_tokens": "total_output_tokens",
}
THROUGHPUT = {
    "requests_per_second": "request_throughput",
    "output_tokens_per_second": "output_throughput",
    "total_tokens_per_second": "total_token_throughput",
}
ANALYSIS = {
    "request_throughput": "request_throughput",
    "output_throughput": "output_throughput",
    "ttft_p95_ms": "p95_ttft_ms",
    "tpot_mean_ms": "mean_tpot_ms",
    "e2el_p95_ms": "p95_e2el_ms",
}


def _taken(native: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {ours: native.get(theirs) for ours, theirs in names.items()}


def _latency(native: Mapping[str, Any], metric: str) -> dict[str, float]:
    """Mean, median, std and every percentile of one metric; empty if the result does not have it."""
    ending = f"_{metric}_ms"
    found = {key.removesuffix(ending): value for key, value in native.items() if key.endswith(ending)}
    return {key: value for key, value in found.items() if value is not None and _is_figure(key)}


def _is_figure(key: str) -> bool:
    return key in ("mean", "median", "std") or key[1:].replace(".", "", 1).isdigit()


def _iso(run: Run) -> str:
    return utc(moment(run, max((ends(part)[1] or 0.0 for part in parts(run)), default=0.0)))
