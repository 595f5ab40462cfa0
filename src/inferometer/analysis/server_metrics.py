"""The one vocabulary for what servers say of themselves, whatever their engine calls it.

How the values of several series of one server (engines, GPUs) and of several replicas become one is a column here.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Kind = Literal["gauge", "counter", "histogram"]
Combine = Literal["sum", "mean", "max"]


class ServerMetric(NamedTuple):
    """A figure of a server. ``combine``: of several series or replicas at one moment; histograms always add."""

    kind: Kind
    unit: str
    combine: Combine
    title: str


#: name: what it is. Units are SI or counts; shares are from 0 to 1.
SERVER_METRICS: dict[str, ServerMetric] = {
    "requests_running": ServerMetric("gauge", "requests", "sum", "Requests running"),
    "requests_waiting": ServerMetric("gauge", "requests", "sum", "Requests waiting"),
    "requests_swapped": ServerMetric("gauge", "requests", "sum", "Requests swapped out"),
    "kv_cache_usage": ServerMetric("gauge", "share", "mean", "KV cache used"),
    "prefix_cache_hit_share": ServerMetric("gauge", "share", "mean", "Prefix cache hits, as the server averages them"),
    "prefix_cache_queries_tokens": ServerMetric("counter", "tokens", "sum", "Prompt tokens looked up in the cache"),
    "prefix_cache_hits_tokens": ServerMetric("counter", "tokens", "sum", "Prompt tokens found in the cache"),
    "prompt_tokens": ServerMetric("counter", "tokens", "sum", "Prompt tokens, cached ones included"),
    "prompt_tokens_computed": ServerMetric("counter", "tokens", "sum", "Prompt tokens that were computed"),
    "generation_tokens": ServerMetric("counter", "tokens", "sum", "Tokens generated"),
    "preemptions": ServerMetric("counter", "preemptions", "sum", "Pre-emptions"),
    "requests_succeeded": ServerMetric("counter", "requests", "sum", "Requests finished"),
    "requests_failed": ServerMetric("counter", "requests", "sum", "Requests aborted or failed"),
    "prompt_s": ServerMetric("counter", "s", "sum", "Time spent on prompts"),
    "generation_s": ServerMetric("counter", "s", "sum", "Time spent generating"),
    "ttft_s": ServerMetric("histogram", "s", "sum", "TTFT"),
    "itl_s": ServerMetric("histogram", "s", "sum", "ITL"),
    "tpot_s": ServerMetric("histogram", "s", "sum", "TPOT"),
    "e2el_s": ServerMetric("histogram", "s", "sum", "E2EL"),
    "queue_s": ServerMetric("histogram", "s", "sum", "Time in the queue"),
    "prefill_s": ServerMetric("histogram", "s", "sum", "Prefill"),
    "decode_s": ServerMetric("histogram", "s", "sum", "Decode"),
    "gpu_utilisation": ServerMetric("gauge", "share", "mean", "GPU utilisation"),
    "gpu_memory_used_bytes": ServerMetric("gauge", "bytes", "sum", "GPU memory used"),
    "gpu_memory_total_bytes": ServerMetric("gauge", "bytes", "sum", "GPU memory"),
    "gpu_power_w": ServerMetric("gauge", "W", "sum", "GPU power"),
    "gpu_temperature_c": ServerMetric("gauge", "°C", "max", "GPU temperature"),
    "gpu_energy_j": ServerMetric("counter", "J", "sum", "GPU energy"),
}

#: Not a figure of the server but of the asking: 1 where a sample came, 0 where none did (with the reason).
UP = "up"
#: The series of such a row if it was asked for at the edge of a load.
EDGE = "edge"
