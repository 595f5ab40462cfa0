"""The simulator's /metrics: vLLM's names, labels and bucket bounds (vLLM 0.32)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence

from inferometer.simulator.model import Figures, Profile, Progress

_TTFT = (
    0.001,
    0.005,
    0.01,
    0.02,
    0.04,
    0.06,
    0.08,
    0.1,
    0.25,
    0.5,
    0.75,
    1,
    2.5,
    5,
    7.5,
    10,
    20,
    40,
    80,
    160,
    640,
    2560,
)
_ITL = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80)
_LATENCY = (0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680)

FINISH_REASONS = ("stop", "length", "abort", "error", "repetition")


def _one_two_five(largest: int) -> tuple[int, ...]:
    bounds = (digit * 10**power for power in range(12) for digit in (1, 2, 5))
    return tuple(bound for bound in bounds if bound <= largest)


class Histogram:
    """Counts per bucket, and their sum."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value in the first bucket whose bound is not below it."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


class Metrics:
    """What the server has seen since it started. Histograms are in seconds or tokens, as their names say."""

    def __init__(self, max_model_len: int) -> None:
        tokens = _one_two_five(max_model_len)
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.finished = dict.fromkeys(FINISH_REASONS, 0)
        self.faults: dict[str, int] = {}  # by kind; only those that this server was told to have
        self.itl = Histogram(_ITL)
        self.ttft = Histogram(_TTFT)
        self.histograms = {
            "request_prompt_tokens": Histogram(tokens),
            "request_generation_tokens": Histogram(tokens),
            "time_to_first_token_seconds": self.ttft,
            "inter_token_latency_seconds": self.itl,
            "request_time_per_output_token_seconds": Histogram(_ITL),
            "e2e_request_latency_seconds": Histogram(_LATENCY),
            "request_queue_time_seconds": Histogram(_LATENCY),
            "request_inference_time_seconds": Histogram(_LATENCY),
            "request_prefill_time_seconds": Histogram(_LATENCY),
            "request_decode_time_seconds": Histogram(_LATENCY),
        }

    def first_token(self, progress: Progress, at_ns: int) -> None:
        """Count a request whose prompt is done."""
        self.prompt_tokens += progress.request.prompt_tokens
        self.ttft.observe((at_ns - progress.arrived_ns) / 1e9)

    def finish(self, progress: Progress, at_ns: int, reason: str) -> None:
        """Count a request that ended well; one that was aborted counts only as such."""
        self.finished[reason] += 1
        scheduled_ns, first_ns = progress.scheduled_ns, progress.first_ns
        if reason == "abort" or scheduled_ns is None or first_ns is None:
            return
        decode_ns = at_ns - first_ns
        values = {
            "request_prompt_tokens": progress.request.prompt_tokens,
            "request_generation_tokens": progress.generated,
            "request_time_per_output_token_seconds": decode_ns / max(1, progress.generated - 1) / 1e9,
            "e2e_request_latency_seconds": (at_ns - progress.arrived_ns) / 1e9,
            "request_queue_time_seconds": (scheduled_ns - progress.queued_ns) / 1e9,
            "request_inference_time_seconds": (at_ns - scheduled_ns) / 1e9,
            "request_prefill_time_seconds": (first_ns - scheduled_ns) / 1e9,
            "request_decode_time_seconds": decode_ns / 1e9,
        }
        for name, value in values.items():
            self.histograms[name].observe(value)


#: A replica's counters and its engine's figures.
Replica = tuple[Metrics, Figures]
_GAUGES: dict[str, Callable[[Replica], float]] = {
    "num_requests_running": lambda replica: replica[1].running,
    "num_requests_waiting": lambda replica: replica[1].waiting,
    "kv_cache_usage_perc": lambda replica: replica[1].kv_usage,
}
_COUNTERS: dict[str, Callable[[Replica], float]] = {
    "prefix_cache_queries_total": lambda replica: replica[1].prefix_queries,
    "prefix_cache_hits_total": lambda replica: replica[1].prefix_hits,
    "num_preemptions_total": lambda replica: replica[1].preemptions,
    "prompt_tokens_total": lambda replica: replica[0].prompt_tokens,
    "generation_tokens_total": lambda replica: replica[0].generation_tokens,
}


def exposition(
    metrics: Metrics, figures: Figures, model: str, profile: Profile | None, others: Sequence[Replica] = ()
) -> bytes:
    """The Prometheus text format; ``profile`` is None where there is no cache to describe.

    Several replicas behind one address tell theirs one after the other, with the label ``engine`` as in vLLM's data
    parallel mode; faults are those of the address, counted by the first.
    """
    model = model.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    replicas = [(metrics, figures), *others]
    lines = []
    for kind, values in (("gauge", _GAUGES), ("counter", _COUNTERS)):
        for name, read in values.items():
            lines.append(f"# TYPE vllm:{name} {kind}")
            for engine, replica in enumerate(replicas):
                lines.append(f'vllm:{name}{{engine="{engine}",model_name="{model}"}} {float(read(replica))}')
    lines.append("# TYPE vllm:request_success_total counter")
    for engine, (counted, _) in enumerate(replicas):
        for reason, count in counted.finished.items():
            labels = f'engine="{engine}",finished_reason="{reason}",model_name="{model}"'
            lines.append(f"vllm:request_success_total{{{labels}}} {float(count)}")
    for name in metrics.histograms:
        lines.append(f"# TYPE vllm:{name} histogram")
        for engine, (counted, _) in enumerate(replicas):
            lines += _histogram_lines(name, counted.histograms[name], model, engine)
    if profile is not None:
        lines.append("# TYPE vllm:cache_config_info gauge")
        lines += [_cache_info(profile, engine) for engine in range(len(replicas))]
    if metrics.faults:
        lines.append("# TYPE inferometer:simulator_faults_total counter")
    for kind, count in metrics.faults.items():
        lines.append(f'inferometer:simulator_faults_total{{kind="{kind}"}} {float(count)}')
    return ("\n".join(lines) + "\n").encode()


def _cache_info(profile: Profile, engine: int) -> str:
    size, count = profile.block_tokens, profile.num_gpu_blocks
    info = f'block_size="{size}",enable_prefix_caching="True",engine="{engine}",num_gpu_blocks="{count}"'
    return f"vllm:cache_config_info{{{info}}} 1.0"


def _histogram_lines(name: str, histogram: Histogram, model: str, engine: int) -> list[str]:
    """Bucket, count, sum: the order of prometheus_client."""
    lines = []
    total = 0
    bounds = [*map(str, map(float, histogram.bounds)), "+Inf"]
    for bound, count in zip(bounds, histogram.counts, strict=True):
        total += count
        lines.append(f'vllm:{name}_bucket{{engine="{engine}",le="{bound}",model_name="{model}"}} {float(total)}')
    labels = f'engine="{engine}",model_name="{model}"'
    return [*lines, f"vllm:{name}_count{{{labels}}} {float(total)}", f"vllm:{name}_sum{{{labels}}} {histogram.sum}"]
