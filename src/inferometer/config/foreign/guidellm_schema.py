"""The schemas of GuideLLM's scenario files: the flat one of old, and the nested one with ``spec``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from inferometer.config.foreign.checked import Section

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]
Requests = Literal[
    "text_completions",
    "chat_completions",
    "responses",
    "embeddings",
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
]


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, int | float | str) else value


class Bucket(Section):
    """Prefixes of one length."""

    bucket_weight: Positive = 100
    prefix_count: Count = 1
    prefix_tokens: int = Field(0, ge=0)


class Synthetic(Section):
    """Lengths of texts that are made up; or a file of prompts, by its ``kind``."""

    kind: str | None = None
    prompt_tokens: Count | None = None
    prompt_tokens_stdev: float | None = Field(None, ge=0)
    prompt_tokens_min: Count | None = None
    prompt_tokens_max: Count | None = None
    output_tokens: Count | None = None
    output_tokens_stdev: float | None = Field(None, ge=0)
    output_tokens_min: Count | None = None
    output_tokens_max: Count | None = None
    samples: Count | None = None
    turns: Count | None = None
    prefix_count: Count | None = None
    prefix_tokens: int | None = Field(None, ge=0)
    prefix_buckets: list[Bucket] | None = None
    source: str | None = None
    path: str | None = None


class Flat(Section):
    """A whole file in the flat form."""

    target: str | None = None
    model: str | None = None
    backend: Any = None
    request_type: Requests | None = None
    request_format: Requests | None = None
    profile: Literal["synchronous", "concurrent", "throughput", "constant", "poisson", "async", "sweep", "replay"]
    rate: list[Positive] | None = None
    max_seconds: Positive | None = None
    max_requests: Count | None = None
    max_errors: Count | None = None
    max_error_rate: float | None = Field(None, gt=0, le=1)
    max_global_error_rate: float | None = Field(None, gt=0, le=1)
    warmup: float | None = Field(None, ge=0)
    cooldown: float | None = Field(None, ge=0)
    rampup: float | None = Field(None, ge=0)
    processor: str | None = None
    random_seed: int | None = Field(None, ge=0)
    data: Synthetic | str | list[Any] | None = None
    data_args: Any = None
    backend_kwargs: Any = None
    outputs: Any = None
    output_path: Any = None
    output_formats: Any = None
    sample_requests: Any = None

    _lists = field_validator("rate", mode="before")(_listed)


class Extras(Section):
    """What goes with every request."""

    body: dict[str, Any] | None = None
    headers: dict[str, str] | None = None
    params: dict[str, Any] | None = None


class Backend(Section):
    """Who is asked."""

    kind: Literal["openai_http"] | None = None
    target: str | None = None
    model: str | None = None
    request_format: Requests | None = None
    api_key: str | None = None
    timeout: Positive | None = None
    timeout_connect: Positive | None = None
    http2: bool | None = None
    follow_redirects: bool | None = None
    verify: bool | None = None
    stream: bool | None = None
    extras: Extras | None = None
    max_tokens: Count | None = None


class Edge(Section):
    """A part at the beginning or the end that does not count."""

    percent: float | None = Field(None, ge=0, le=1)
    value: float | None = Field(None, ge=0)
    mode: str | None = None


class Profile(Section):
    """The load."""

    kind: Literal["synchronous", "concurrent", "throughput", "constant", "poisson", "async", "sweep", "replay"]
    streams: list[Count] | None = None
    rate: list[Positive] | None = None
    max_concurrency: Count | None = None
    rampup_duration: float | None = Field(None, ge=0)
    warmup: float | Edge | None = None
    cooldown: float | Edge | None = None
    time_scale: Positive | None = None
    sweep_size: Any = None
    strategy_type: Any = None

    _lists = field_validator("streams", "rate", mode="before")(_listed)


class Constraint(Section):
    """When a benchmark ends."""

    kind: Literal[
        "max_duration", "max_requests", "max_errors", "max_error_rate", "max_global_error_rate", "over_saturation"
    ]
    seconds: Positive | None = None
    count: Count | None = None
    rate: float | None = Field(None, gt=0, le=1)
    window: Count | None = None
    minimum: Count | None = None
    mode: str | None = None
    stopping_scope: Literal["current", "all"] | None = None


class Counter(Section):
    """Which tokenizer counts."""

    kind: str | None = None
    model: str | None = None


class Seed(Section):
    """The seed."""

    kind: str | None = None
    value: int | None = Field(None, ge=0)


class Spec(Section):
    """One benchmark, or what all of them have in common."""

    backend: Backend
    profile: Profile
    constraints: list[Constraint] = []  # noqa: RUF012 (pydantic copies it)
    data: list[Synthetic]
    tokenizer: Counter | None = None
    seed: int | Seed | None = None
    outputs: Any = None
    metrics: Any = None


class Nested(Section):
    """A whole file in the nested form; ``benchmarks`` override what ``spec`` says."""

    metadata: Any = None
    spec: dict[str, Any]
    benchmarks: list[dict[str, Any] | None] | None = None
    apiVersion: Any = None  # noqa: N815 (their key)
    kind: Any = None
