"""What each engine calls the figures of ``analysis.server_metrics``: one table per engine or exporter.

A figure has alternatives, the newest name first; the first one of which all terms are on the page is taken. Terms are
``NAME``, ``NAME{LABEL=VALUE|VALUE}`` and ``NAME * FACTOR``, joined by ``+``. What a page does not say is absent.

Names are those of vLLM 0.6 to 0.32 (V0 and V1), SGLang 0.4 to 0.5, TGI 2 and 3, llama.cpp (2024 to 2026), LiteLLM 1.7x
to 1.10x and the DCGM exporter 3 and 4. vLLM and SGLang count cached tokens as prompt tokens, llama.cpp does not.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from inferometer.analysis.server_metrics import SERVER_METRICS, Combine
from inferometer.records.telemetry import Reading
from inferometer.telemetry.prometheus import Sample

MIB = 1 << 20


class Term(NamedTuple):
    """A sample's name, the labels that it must have (any of these values), and what its value is multiplied by."""

    name: str
    where: tuple[tuple[str, frozenset[str]], ...]
    factor: float


class Engine(NamedTuple):
    """``by``: labels that tell the series of one server apart; what is left of them is combined at once.

    ``only``: where a series has this label, it counts with this value alone. ``rest``: how what differs in other
    labels is combined, if not as the figure says.
    """

    by: tuple[str, ...]
    metrics: dict[str, tuple[str, ...]]
    only: tuple[tuple[str, str], ...] = ()
    rest: Combine | None = None


ENGINES: dict[str, Engine] = {
    "vllm": Engine(
        ("engine",),
        {
            "requests_running": ("vllm:num_requests_running",),
            "requests_waiting": ("vllm:num_requests_waiting",),
            "requests_swapped": ("vllm:num_requests_swapped",),
            "kv_cache_usage": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
            "prefix_cache_hit_share": ("vllm:gpu_prefix_cache_hit_rate",),
            "prefix_cache_queries_tokens": (
                "vllm:prefix_cache_queries_total",
                "vllm:gpu_prefix_cache_queries_total",
                "vllm:gpu_prefix_cache_queries",
            ),
            "prefix_cache_hits_tokens": (
                "vllm:prefix_cache_hits_total",
                "vllm:gpu_prefix_cache_hits_total",
                "vllm:gpu_prefix_cache_hits",
            ),
            "prompt_tokens": ("vllm:prompt_tokens_total",),
            "prompt_tokens_computed": ("vllm:prompt_tokens_by_source_total{source=local_compute}",),
            "generation_tokens": ("vllm:generation_tokens_total",),
            "preemptions": ("vllm:num_preemptions_total",),
            "requests_succeeded": ("vllm:request_success_total{finished_reason=stop|length|repetition}",),
            "requests_failed": ("vllm:request_success_total{finished_reason=abort|error}",),
            "ttft_s": ("vllm:time_to_first_token_seconds",),
            "itl_s": ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
            "tpot_s": ("vllm:request_time_per_output_token_seconds",),
            "e2el_s": ("vllm:e2e_request_latency_seconds",),
            "queue_s": ("vllm:request_queue_time_seconds",),
            "prefill_s": ("vllm:request_prefill_time_seconds",),
            "decode_s": ("vllm:request_decode_time_seconds",),
        },
    ),
    "sglang": Engine(
        ("dp_rank",),
        {
            "requests_running": ("sglang:num_running_reqs",),
            "requests_waiting": ("sglang:num_queue_reqs",),
            "kv_cache_usage": ("sglang:token_usage",),
            "prefix_cache_hit_share": ("sglang:cache_hit_rate",),
            "prefix_cache_queries_tokens": ("sglang:prompt_tokens_total",),
            "prefix_cache_hits_tokens": ("sglang:cached_tokens_total",),
            "prompt_tokens": ("sglang:prompt_tokens_total",),
            "generation_tokens": ("sglang:generation_tokens_total",),
            "preemptions": ("sglang:num_retracted_requests_total",),
            "requests_succeeded": ("sglang:num_requests_total",),
            "requests_failed": ("sglang:num_aborted_requests_total",),
            "ttft_s": ("sglang:time_to_first_token_seconds",),
            "itl_s": ("sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds"),
            "e2el_s": ("sglang:e2e_request_latency_seconds",),
            "queue_s": ("sglang:queue_time_seconds",),
        },
        only=(("tp_rank", "0"), ("pp_rank", "0")),
    ),
    "tgi": Engine(
        (),
        {
            "requests_running": ("tgi_batch_current_size",),
            "requests_waiting": ("tgi_queue_size",),
            "prompt_tokens": ("tgi_request_input_length_sum",),
            "generation_tokens": ("tgi_request_generated_tokens_sum",),
            "requests_succeeded": ("tgi_request_success_total", "tgi_request_success"),
            "requests_failed": ("tgi_request_failure_total", "tgi_request_failure"),
            "tpot_s": ("tgi_request_mean_time_per_token_duration",),
            "e2el_s": ("tgi_request_duration",),
            "queue_s": ("tgi_request_queue_duration",),
        },
    ),
    "llamacpp": Engine(
        (),
        {
            "requests_running": ("llamacpp:requests_processing",),
            "requests_waiting": ("llamacpp:requests_deferred",),
            "kv_cache_usage": ("llamacpp:kv_cache_usage_ratio",),
            "prefix_cache_queries_tokens": ("llamacpp:prompt_tokens_total + llamacpp:prompt_tokens_cached_total",),
            "prefix_cache_hits_tokens": ("llamacpp:prompt_tokens_cached_total",),
            "prompt_tokens": ("llamacpp:prompt_tokens_total + llamacpp:prompt_tokens_cached_total",),
            "prompt_tokens_computed": ("llamacpp:prompt_tokens_total",),
            "generation_tokens": ("llamacpp:tokens_predicted_total",),
            "prompt_s": ("llamacpp:prompt_seconds_total",),
            "generation_s": ("llamacpp:tokens_predicted_seconds_total",),
        },
    ),
    "litellm": Engine(
        (),
        {
            "requests_running": ("litellm_in_flight_requests",),
            "prompt_tokens": ("litellm_input_tokens_metric_total",),
            "prefix_cache_hits_tokens": ("litellm_input_cached_tokens_metric_total",),
            "generation_tokens": ("litellm_output_tokens_metric_total",),
            "requests_succeeded": ("litellm_deployment_success_responses_total",),
            "requests_failed": ("litellm_proxy_failed_requests_metric_total",),
            "ttft_s": ("litellm_llm_api_time_to_first_token_metric",),
            "e2el_s": ("litellm_request_total_latency_metric",),
            "queue_s": ("litellm_request_queue_time_seconds",),
        },
    ),
    "dcgm": Engine(
        ("Hostname", "gpu", "GPU_I_ID"),
        {
            "gpu_utilisation": ("DCGM_FI_DEV_GPU_UTIL * 0.01", "DCGM_FI_PROF_GR_ENGINE_ACTIVE"),
            "gpu_memory_used_bytes": (f"DCGM_FI_DEV_FB_USED * {MIB}",),
            "gpu_memory_total_bytes": (
                f"DCGM_FI_DEV_FB_TOTAL * {MIB}",
                f"DCGM_FI_DEV_FB_USED * {MIB} + DCGM_FI_DEV_FB_FREE * {MIB} + DCGM_FI_DEV_FB_RESERVED * {MIB}",
                f"DCGM_FI_DEV_FB_USED * {MIB} + DCGM_FI_DEV_FB_FREE * {MIB}",
            ),
            "gpu_power_w": ("DCGM_FI_DEV_POWER_USAGE",),
            "gpu_temperature_c": ("DCGM_FI_DEV_GPU_TEMP",),
            "gpu_energy_j": ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION * 0.001",),
        },
        rest="max",  # pods that share a GPU repeat its figures
    ),
}

#: Samples whose labels say in words what the context of a run wants to know.
INFOS = ("vllm:cache_config_info", "DCGM_FI_DEV_GPU_UTIL")

_COMBINED: dict[str, Callable[[Sequence[float]], float]] = {
    "sum": sum,  # of floats that may be infinite, for which math.fsum raises
    "mean": lambda values: sum(values) / len(values),
    "max": max,
}


def _term(text: str) -> Term:
    written, _, factor = text.partition("*")
    name, _, labels = written.strip().rstrip("}").partition("{")
    pairs = (pair.split("=") for pair in labels.split(",") if pair)
    where = tuple((label, frozenset(values.split("|"))) for label, values in pairs)
    return Term(name, where, float(factor or 1))


_Alternatives = tuple[tuple[Term, ...], ...]
_TABLES: dict[str, dict[str, _Alternatives]] = {
    engine: {
        metric: tuple(tuple(_term(term) for term in alternative.split(" + ")) for alternative in alternatives)
        for metric, alternatives in table.metrics.items()
    }
    for engine, table in ENGINES.items()
}


def _names() -> frozenset[str]:
    """Names of all samples that any figure is made of."""
    found = set(INFOS)
    for engine in _TABLES.values():
        for metric, alternatives in engine.items():
            parts = ("_bucket", "_sum", "_count") if SERVER_METRICS[metric].kind == "histogram" else ("",)
            found |= {term.name + part for terms in alternatives for term in terms for part in parts}
    return frozenset(found)


NAMES = _names()

_Named = dict[str, list[Sample]]
_Read = Callable[[_Named, Engine, tuple[Term, ...], str], Mapping[str, tuple[Any, ...]]]


def readings(samples: Iterable[Sample], t_ns: int, replica: str) -> list[Reading]:
    """Every figure that one answer of one server has, for each of its series, in SI units."""
    named: _Named = defaultdict(list)
    for sample in samples:
        named[sample.name].append(sample)
    found = []
    for source, table in _TABLES.items():
        for metric, alternatives in table.items():
            read: _Read = _histogram if SERVER_METRICS[metric].kind == "histogram" else _number
            values = next(filter(None, (read(named, ENGINES[source], terms, metric) for terms in alternatives)), {})
            found += [Reading(t_ns, source, replica, series, metric, *value) for series, value in values.items()]
    return found


def _number(named: _Named, engine: Engine, terms: tuple[Term, ...], metric: str) -> dict[str, tuple[float]]:
    """The value of a gauge or counter by series; nothing unless every term is there."""
    combine = _COMBINED[engine.rest or SERVER_METRICS[metric].combine]
    parts = []
    for term in terms:
        groups = _groups(named.get(term.name, ()), engine, term)
        parts.append({series: combine([one.value for one in group]) * term.factor for series, group in groups.items()})
    shared = [series for series in parts[0] if all(series in part for part in parts)]
    totals = {series: sum(part[series] for part in parts) for series in shared}
    return {series: (total,) for series, total in totals.items() if math.isfinite(total)}


_Buckets = tuple[float | None, float, tuple[float, ...] | None, tuple[float, ...] | None]


def _histogram(named: _Named, engine: Engine, terms: tuple[Term, ...], _metric: str) -> dict[str, _Buckets]:
    """Sum, count, bounds and cumulative buckets by series; a histogram without a finite count and sum is none."""
    (term,) = terms
    counts, sums, buckets = (
        _groups(named.get(f"{term.name}_{part}", ()), engine, term) for part in ("count", "sum", "bucket")
    )
    found: dict[str, _Buckets] = {}
    for series, group in counts.items():
        count = sum(one.value for one in group)
        total = sum(one.value for one in sums[series]) * term.factor if series in sums else None
        if not (math.isfinite(count) and math.isfinite(total or 0)):
            continue
        bounds, cumulative = _bounds(buckets.get(series, []), count, term.factor)
        found[series] = (total, count, bounds, cumulative)
    return found


def _bounds(
    samples: Sequence[Sample], count: float, factor: float
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Rising bounds, the last one infinite, and cumulative counts; None where they contradict each other."""
    sums: dict[float, float] = defaultdict(float)
    sets: dict[tuple[tuple[str, str], ...], set[float]] = defaultdict(set)
    for sample in samples:
        labels = dict(sample.labels)
        try:
            bound = float(labels.pop("le")) * factor
        except (KeyError, ValueError):
            bound = math.nan
        if math.isnan(bound):
            return None, None
        sums[bound] += sample.value
        sets[tuple(sorted(labels.items()))].add(bound)
    if not sums or len({frozenset(bounds) for bounds in sets.values()}) > 1:
        return None, None
    sums.setdefault(math.inf, count)
    bounds = tuple(sorted(sums))
    cumulative = tuple(sums[bound] for bound in bounds)
    if not all(earlier <= later < math.inf for earlier, later in pairwise((0, *cumulative))):
        return None, None
    return bounds, cumulative


def _groups(samples: Iterable[Sample], engine: Engine, term: Term) -> dict[str, list[Sample]]:
    """The samples that a term means, by series."""
    groups: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        labels = sample.labels
        if any(labels.get(label) not in values for label, values in term.where):
            continue
        if any(labels.get(label, value) != value for label, value in engine.only):
            continue
        groups[",".join(f"{label}={labels[label]}" for label in engine.by if labels.get(label))].append(sample)
    return groups
