"""The schema of inference-perf's ``config.yml``, with the keys of its older and newer versions. None: not given."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from inferometer.config.foreign.checked import Section

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Distribution(Section):
    """Lengths or numbers. ``std`` is what templates write for ``std_dev``."""

    type: Literal["normal", "skew_normal", "lognormal", "uniform", "poisson", "fixed"] | None = None
    min: int | None = Field(None, ge=0)
    max: int | None = Field(None, ge=0)
    mean: float | None = Field(None, ge=0)
    std_dev: float | None = Field(None, ge=0)
    std: float | None = Field(None, ge=0)
    variance: float | None = Field(None, ge=0)
    total_count: Count | None = None
    skew: float | None = None


Lengths = Annotated[int, Field(ge=0)] | Distribution


class ResponseFormat(Section):
    """Structured output."""

    type: Literal["json_schema", "json_object"] = "json_schema"
    name: str | None = None
    json_schema: dict[str, Any] | None = None


class Api(Section):
    """What is asked, and which headers go with it."""

    type: Literal["completion", "chat", "anthropic_messages", "embeddings"] | None = None
    streaming: bool | None = None
    headers: dict[str, str] | None = None
    slo_unit: Literal["s", "ms", "us"] | None = None
    slo_ttft_header: str | None = None
    slo_tpot_header: str | None = None
    response_format: ResponseFormat | None = None
    session_id_header_key: str | None = None
    session_token_header_key: str | None = None


class Server(Section):
    """Who is asked."""

    type: Literal["vllm", "sglang", "tgi", "mock"] | None = None
    base_url: str | None = None
    model_name: str | None = None
    ignore_eos: bool | None = None
    api_key: str | None = None
    cert_path: str | None = None
    key_path: str | None = None


class Tokenizer(Section):
    """Which tokenizer counts."""

    pretrained_model_name_or_path: str | None = None
    trust_remote_code: bool | None = None
    token: str | None = None


class Trace(Section):
    """A recorded trace."""

    file: str
    format: Literal["AzurePublicDataset"] | None = None


class Resolution(Section):
    """Size of a picture."""

    width: Count
    height: Count


class Image(Section):
    """Pictures beside a prompt."""

    count: int | Distribution | None = None
    insertion_point: Any = None
    resolutions: Literal["4k", "1080p", "720p", "360p"] | Resolution | list[Any] | None = None
    representation: Literal["png", "jpeg", "webp"] | None = None


class Multimodal(Section):
    """What is beside the text."""

    image: Image | None = None
    video: Any = None
    audio: Any = None


class SharedPrefix(Section):
    """Groups of prompts with a common beginning, under the short names or the long ones."""

    num_groups: Count | None = None
    num_unique_system_prompts: Count | None = None
    num_prompts_per_group: Count | None = None
    num_users_per_system_prompt: Count | None = None
    system_prompt_len: Lengths | None = None
    question_len: Lengths | None = None
    output_len: Lengths | None = None
    question_distribution: Distribution | None = None
    output_distribution: Distribution | None = None
    seed: int | None = None
    enable_multi_turn_chat: bool | None = None
    multimodal: Multimodal | None = None


class ConversationReplay(Section):
    """Conversations that are made up."""

    seed: int | None = None
    num_conversations: Count | None = None
    shared_system_prompt_len: int | None = Field(None, ge=0)
    dynamic_system_prompt_len: Distribution | None = None
    turns_per_conversation: Distribution | None = None
    input_tokens_per_turn: Distribution | None = None
    output_tokens_per_turn: Distribution | None = None
    tool_call_latency_sec: Distribution | None = None
    max_model_len: Count | None = None


DataType = Literal[
    "mock",
    "shareGPT",
    "synthetic",
    "random",
    "shared_prefix",
    "cnn_dailymail",
    "infinity_instruct",
    "billsum_conversations",
    "otel_trace_replay",
    "weka_trace_replay",
    "conversation_replay",
    "visionarena",
]


class Data(Section):
    """What is sent."""

    type: DataType | None = None
    path: str | None = None
    corpus_file_path: str | None = None
    input_distribution: Distribution | None = None
    output_distribution: Distribution | None = None
    use_chat_template: bool | None = None
    trace: Trace | None = None
    shared_prefix: SharedPrefix | None = None
    multimodal: Multimodal | None = None
    conversation_replay: ConversationReplay | None = None
    visionarena: Any = None
    otel_trace_replay: Any = None
    weka_trace_replay: Any = None


class LoadStage(Section):
    """One stage of any type of load; which keys it needs depends on that type."""

    rate: Positive | None = None
    duration: Positive | None = None
    num_requests: Count | None = None
    concurrency_level: Count | None = None
    concurrent_sessions: Any = None
    session_rate: Any = None
    num_sessions: Any = None
    timeout: Any = None


class Adapter(Section):
    """An adapter and its share."""

    name: str
    split: float = Field(ge=0, le=1)


class Load(Section):
    """When it is sent."""

    type: Literal["constant", "poisson", "trace_replay", "concurrent", "trace_session_replay"] | None = None
    interval: float | None = Field(None, ge=0)
    stages: list[LoadStage] | None = None
    sweep: Any = None
    num_workers: int | None = Field(None, ge=0)
    worker_max_concurrency: Count | None = None
    worker_max_tcp_connections: Count | None = None
    trace: Trace | None = None
    circuit_breakers: list[str] | None = None
    request_timeout: Positive | None = None
    lora_traffic_split: list[Adapter] | None = None
    base_seed: int | None = None
    request_retries: int | None = Field(None, ge=0)
    request_retry_backoff_sec: float | None = Field(None, ge=0)
    stage_teardown_grace_seconds: float | None = Field(None, ge=0)


class PrometheusMetrics(Section):
    """A Prometheus that scrapes the server."""

    scrape_interval: Positive | None = None
    url: str | None = None
    google_managed: bool | None = None
    filters: list[str] | None = None
    bearer_token: str | None = None
    verify_ssl: bool | None = None
    headers: dict[str, str] | None = None


class Metrics(Section):
    """Where the server's own figures are from."""

    type: Literal["prometheus", "default"] | None = None
    prometheus: PrometheusMetrics | None = None


class RequestLifecycle(Section):
    """Which reports of requests are written, and their percentiles."""

    summary: bool | None = None
    per_stage: bool | None = None
    per_request: bool | None = None
    per_adapter: bool | None = None
    per_adapter_stage: bool | None = None
    percentiles: list[float] | None = None
    use_server_output_tokens: bool | None = None
    max_error_messages: int | None = None
    metrics_only: bool | None = None


Constraint = Literal["ttft", "tpot", "itl", "ntpot", "request_latency"]


class Goodput(Section):
    """Limits in seconds."""

    constraints: dict[Constraint, Positive] | None = None


class Report(Section):
    """What is reported."""

    request_lifecycle: RequestLifecycle | None = None
    prometheus: Any = None
    session_lifecycle: Any = None
    goodput: Goodput | None = None


class Trigger(Section):
    """When a breaker opens."""

    type: Literal["consecutive", "rate_over_window"]
    threshold: Positive
    window_sec: Positive | None = None
    min_samples: int | None = Field(None, ge=0)


class Breaker(Section):
    """A rule that ends a stage early."""

    name: str
    metrics: Any = None
    triggers: tuple[Trigger, ...] = ()


class Config(Section):
    """The whole file."""

    api: Api | None = None
    data: Data | None = None
    load: Load | None = None
    metrics: Metrics | None = None
    report: Report | None = None
    storage: Any = None
    server: Server | None = None
    tokenizer: Tokenizer | None = None
    circuit_breakers: list[Breaker] | None = None
