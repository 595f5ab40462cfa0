"""The schema of the llm-d benchmark report v0.1."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import model_validator

from inferometer.export.report_parts import (
    Bandwidth,
    GenerationLatency,
    Memory,
    Open,
    Portion,
    Power,
    Quantity,
    Time,
)


class Parallelism(Open):
    """How an engine is spread over accelerators."""

    dp: int = 1
    tp: int = 1
    pp: int = 1
    ep: int = 1


class Accelerator(Open):
    """Accelerators of one engine instance; ``memory`` in GB of one of them."""

    model: str
    memory: float | None = None
    count: int
    parallelism: Parallelism | None = None
    metadata: Any = None


class Host(Open):
    """One entry for each engine instance."""

    accelerator: list[Accelerator]
    type: list[Literal["replica", "prefill", "decode"]]
    metadata: Any = None

    @model_validator(mode="after")
    def _one_kind_of_serving(self) -> Host:
        if "replica" in self.type and set(self.type) != {"replica"}:
            raise ValueError("types are all replica, or only prefill and decode")
        return self


class Engine(Open):
    """One engine instance."""

    name: str
    version: str | None = None
    args: dict[str, Any] | None = None
    metadata: Any = None


class Platform(Open):
    """The engines."""

    engine: list[Engine]
    metadata: Any = None


class Model(Open):
    """The model."""

    name: str
    quantization: str | None = None
    adapters: list[dict[str, str]] | None = None
    metadata: Any = None


class Load(Open):
    """What made the load. The names are a closed list."""

    name: Literal["aiperf", "guidellm", "inferencemax", "inference-perf", "vllm-benchmark", "nop"]
    type: str | None = None
    args: dict[str, Any] | None = None
    metadata: Any = None


class Scenario(Open):
    """What was measured, and with what."""

    description: str | None = None
    host: Host | None = None
    platform: Platform | None = None
    model: Model | None = None
    load: Load | None = None
    metadata: Any = None


class Span(Open):
    """``duration`` in seconds, ``start`` and ``stop`` in seconds since 1970."""

    duration: float
    start: float | None = None
    stop: float | None = None
    metadata: Any = None


class Requests(Open):
    """Counts and lengths."""

    total: int
    failures: int | None = None
    incomplete: int | None = None
    input_length: Quantity
    output_length: Quantity


class Latency(Open):
    """Latencies."""

    time_to_first_token: Time
    normalized_time_per_output_token: GenerationLatency | None = None
    time_per_output_token: GenerationLatency | None = None
    inter_token_latency: GenerationLatency | None = None
    request_latency: Time | None = None


class Throughput(Open):
    """Rates per second."""

    total_tokens_per_sec: float
    input_tokens_per_sec: float | None = None
    output_tokens_per_sec: float | None = None
    requests_per_sec: float | None = None


class Service(Open):
    """What the server says of itself."""

    batch_size: Quantity | None = None
    queue_size: Quantity | None = None
    kv_cache_size: Quantity | None = None


class AcceleratorMemory(Open):
    """Memory of one accelerator."""

    consumption: Memory | None = None
    utilization: Portion | None = None
    bandwidth: Bandwidth | None = None


class Compute(Open):
    """Compute of one accelerator."""

    utilization: Portion


class AcceleratorUse(Open):
    """Use of one engine's accelerators."""

    memory: AcceleratorMemory | None = None
    compute: Compute | None = None
    power: Power | None = None


class Resources(Open):
    """One entry for each engine instance."""

    accelerator: list[AcceleratorUse]


class Metrics(Open):
    """The numbers."""

    time: Span
    requests: Requests
    latency: Latency
    throughput: Throughput
    service: Service | None = None
    resources: Resources | None = None
    description: str | None = None
    metadata: Any = None


class BenchmarkReport(Open):
    """A whole report."""

    version: Literal["0.1"]
    scenario: Scenario
    metrics: Metrics
    metadata: Any = None

    @model_validator(mode="after")
    def _one_entry_for_each_engine(self) -> BenchmarkReport:
        host, platform, resources = self.scenario.host, self.scenario.platform, self.metrics.resources
        lists = [
            *((host.accelerator, host.type) if host else ()),
            *((platform.engine,) if platform else ()),
            *((resources.accelerator,) if resources else ()),
        ]
        if len({len(entries) for entries in lists}) > 1:
            raise ValueError("accelerators, types, engines and resources have one entry for each engine instance")
        return self
