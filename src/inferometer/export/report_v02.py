"""The schema of the llm-d benchmark report v0.2. Closed: a key that is not known is an error, but in a few places."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field

from inferometer.export.report_parts import (
    Closed,
    GenerationLatency,
    Memory,
    NotNegative,
    Portion,
    Power,
    Quantity,
    QueryRate,
    Time,
    TokenRate,
    Units,
)
from inferometer.export.report_v02_scenario import Scenario


class RunTime(Closed):
    """``duration`` as in ISO 8601: PT50.4S."""

    start: datetime | None = None
    end: datetime | None = None
    duration: Annotated[str, Field(pattern=r"^P(\d+D)?(T(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?$")] | None = None


class RunFacts(Closed):
    """Which report this is."""

    uid: str
    eid: str | None = None
    cid: str | None = None
    pid: str | None = None
    time: RunTime | None = None
    user: str | None = None
    description: str | None = None
    keywords: list[str] | None = None


class Requests(Closed):
    """Counts and lengths."""

    total: NotNegative
    failures: NotNegative | None = None
    incomplete: NotNegative | None = None
    input_length: Quantity | None = None
    output_length: Quantity | None = None


class Latency(Closed):
    """Latencies."""

    time_to_first_token: Time | None = None
    request_latency: Time | None = None
    normalized_time_per_output_token: GenerationLatency | None = None
    time_per_output_token: GenerationLatency | None = None
    inter_token_latency: GenerationLatency | None = None


class Throughput(Closed):
    """Rates."""

    input_token_rate: TokenRate | None = None
    output_token_rate: TokenRate | None = None
    total_token_rate: TokenRate | None = None
    request_rate: QueryRate | None = None


class Aggregate(Closed):
    """Numbers of the whole stage."""

    requests: Requests | None = None
    latency: Latency | None = None
    throughput: Throughput | None = None


class Point(Closed):
    """A value, or a distribution, at a moment."""

    ts: datetime
    value: str | float | bool | None = None
    mean: float | None = None
    mode: float | None = None
    stddev: float | None = None
    min: float | None = None
    p0p1: float | None = None
    p1: float | None = None
    p5: float | None = None
    p10: float | None = None
    p25: float | None = None
    p50: float | None = None
    p75: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    p99p9: float | None = None
    max: float | None = None


class Series(Closed):
    """Points in time."""

    units: Units
    series: list[Point]


def _units(*allowed: str) -> AfterValidator:
    def check(found: Series) -> Series:
        if found.units not in allowed:
            raise ValueError(f"units are one of {', '.join(allowed)}, not {found.units}")
        return found

    return AfterValidator(check)


TimeSeries = Annotated[Series, _units("ms", "s")]
GenerationSeries = Annotated[Series, _units("ms/token", "s/token")]
TokenSeries = Annotated[Series, _units("tokens/s")]
QuerySeries = Annotated[Series, _units("queries/s")]
PortionSeries = Annotated[Series, _units("percent", "fraction")]
MemorySeries = Annotated[Series, _units("bytes", "MB", "GB", "TB", "MiB", "GiB", "TiB")]
PowerSeries = Annotated[Series, _units("Watts")]


class LatencySeries(Closed):
    """Latencies over time."""

    time_to_first_token: TimeSeries | None = None
    request_latency: TimeSeries | None = None
    normalized_time_per_output_token: GenerationSeries | None = None
    time_per_output_token: GenerationSeries | None = None
    inter_token_latency: GenerationSeries | None = None


class ThroughputSeries(Closed):
    """Rates over time."""

    units: Units = "tokens/s"
    input_token_rate: TokenSeries | None = None
    output_token_rate: TokenSeries | None = None
    total_token_rate: TokenSeries | None = None
    request_rate: QuerySeries | None = None


class OverTime(Closed):
    """Numbers over time."""

    latency: LatencySeries | None = None
    throughput: ThroughputSeries | None = None


class RequestPerformance(Closed):
    """What clients saw."""

    aggregate: Aggregate | None = None
    time_series: OverTime | None = None


class ComponentAggregate(Closed):
    """What a component said of itself."""

    kv_cache_usage: Portion | None = None
    cache_hit_rate: Portion | None = None
    gpu_cache_usage: Portion | None = None
    cpu_cache_usage: Portion | None = None
    gpu_utilization: Portion | None = None
    cpu_utilization: Portion | None = None
    gpu_memory_usage: Memory | None = None
    cpu_memory_usage: Memory | None = None
    storage_usage: Memory | None = None
    power_consumption: Power | None = None
    running_requests: Quantity | None = None
    waiting_requests: Quantity | None = None
    swapped_requests: Quantity | None = None
    preemptions: Quantity | None = None


class ComponentSeries(Closed):
    """What a component said of itself over time."""

    kv_cache_usage: PortionSeries | None = None
    gpu_cache_usage: PortionSeries | None = None
    cpu_cache_usage: PortionSeries | None = None
    gpu_memory_usage: MemorySeries | None = None
    cpu_memory_usage: MemorySeries | None = None
    storage_usage: MemorySeries | None = None
    gpu_utilization: PortionSeries | None = None
    cpu_utilization: PortionSeries | None = None
    power_consumption: PowerSeries | None = None


class ObservedComponent(Closed):
    """One component; its label is one of the stack."""

    component_label: str
    replica_id: str | None = None
    raw_data_path: str | None = None
    graph_path: str | None = None
    aggregate: ComponentAggregate | None = None
    time_series: ComponentSeries | None = None


class StartedPod(Closed):
    """How long one pod took to start."""

    name: str
    model: str | None = None
    role: str | None = None
    node: str | None = None
    creation_timestamp: datetime | None = None
    ready_timestamp: datetime | None = None
    startup_seconds: float | None = Field(None, ge=0)


class PodStartupTimes(Closed):
    """How long pods took to start."""

    collected_at: datetime | None = None
    pods: list[StartedPod] | None = None
    aggregate: Time | None = None
    graph_path: str | None = None


class Controller(Closed):
    """Replicas of one controller."""

    kind: str
    name: str
    model: str | None = None
    role: str | None = None
    desired_replicas: NotNegative
    available_replicas: NotNegative
    ready_replicas: NotNegative
    updated_replicas: NotNegative | None = None


class ReplicaPoint(Closed):
    """Controllers at a moment."""

    timestamp: datetime
    namespace: str | None = None
    controllers: list[Controller] | None = None


class ReplicaStatus(Closed):
    """How many replicas there were."""

    namespace: str | None = None
    timestamp: datetime | None = None
    controllers: list[Controller] | None = None
    time_series: list[ReplicaPoint] | None = None
    aggregate_ready_replicas: Quantity | None = None
    graph_path: str | None = None


class Observability(Closed):
    """What the stack said of itself. Further keys are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")

    components: list[ObservedComponent] | None = None
    drop_rate: Portion | None = None
    pod_startup_times: PodStartupTimes | None = None
    replica_status: ReplicaStatus | None = None


class ReplicaHealth(Closed):
    """Health of one replica."""

    replica_id: str
    restarts: NotNegative | None = None
    healthy: bool | None = None
    logs: str | None = None


class ComponentHealth(Closed):
    """Health of one component."""

    component_label: str
    total_restarts: NotNegative | None = None
    failed_replicas: NotNegative | None = None
    replica_health: list[ReplicaHealth] | None = None


class Results(Closed):
    """The numbers."""

    request_performance: RequestPerformance | None = None
    observability: Observability | None = None
    profiling: Any = None
    component_health: list[ComponentHealth] | None = None


class BenchmarkReport(Closed):
    """A whole report."""

    version: Literal["0.2"]
    run: RunFacts
    scenario: Scenario | None = None
    results: Results
