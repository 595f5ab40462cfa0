"""The server to measure, and how to speak to it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from inferometer.config.frozen import Frozen
from inferometer.config.headers import frames, is_secret, variable
from inferometer.config.telemetry import Telemetry, Url


class Timeouts(Frozen):
    """Seconds; each has its own failure kind."""

    connect_s: float = Field(10.0, gt=0, description="seconds to open a connection")
    first_token_s: float = Field(600.0, gt=0, description="seconds from the send to the first bytes of the answer")
    between_tokens_s: float = Field(120.0, gt=0, description="seconds between two reads of one answer")
    total_s: float = Field(3600.0, gt=0, description="seconds for a whole request")


#: Every way in which a request can fail; ``records.record.Outcome`` says the same and ``ok``.
FailureKind = Literal[
    "connect_refused",
    "connect_timeout",
    "connect_failed",
    "connection_reset",
    "tls",
    "http_4xx",
    "http_429",
    "http_5xx",
    "timeout_first_token",
    "timeout_between_tokens",
    "timeout_total",
    "stream_error",
    "truncated",
    "malformed",
    "not_streaming",
    "empty",
    "wrong_model",
    "short_output",
    "client_aborted",
]


class Retries(Frozen):
    """Whether failed requests are tried again. Off by default, because a retry hides a failure."""

    attempts: int = Field(1, ge=1, le=1000, description="tries of a request, the first included; 1: no retries")
    backoff_s: float = Field(0.5, ge=0, description="seconds before the second try; doubles with each further one")
    backoff_max_s: float = Field(30.0, ge=0, description="longest wait between two tries, in seconds")
    jitter: float = Field(0.5, ge=0, le=1, description="share of each wait that the seed takes away at random")
    on: tuple[FailureKind, ...] = Field(
        ("connect_refused", "connect_timeout", "connection_reset", "http_429", "http_5xx"),
        description="kinds of failure that are tried again",
    )
    retry_after: bool = Field(True, description="wait as long as the server's Retry-After header says, if longer")


class ModelShare(Frozen):
    """One of several models, or adapters of one, and how often it is asked. A name alone has a share of 1."""

    name: str = Field(min_length=1, description="name of the model")
    share: float = Field(1.0, gt=0, allow_inf_nan=False, description="its share, in proportion to those of the others")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_serializer(mode="wrap")
    def _shortest(self, serialise: SerializerFunctionWrapHandler) -> Any:
        return self.name if self.share == 1 else serialise(self)


class Target(Frozen):
    """The server to measure, and how to speak to it."""

    name: str = Field("target", description="name of the target in reports and folder names")
    base_url: str = Field("", description="http(s)://HOST:PORT of the server")
    api: Literal[
        "openai-chat",
        "openai-completions",
        "openai-responses",
        "openai-embeddings",
        "anthropic",
        "tgi",
        "ollama-chat",
        "ollama-generate",
        "vllm-generate",
    ] = Field("openai-chat", description="how to ask and how to read the answer")
    endpoint: str | None = Field(None, description="path of the API, if not the usual one")
    model: str | None = Field(None, description="model name; the first of /v1/models if not given")
    models: tuple[ModelShare, ...] = Field(
        (),
        description="several models, or adapters of one, behind one address, each with its own numbers: NAME or "
        "NAME=SHARE",
    )
    all_models: bool = Field(False, description="ask all models that the server lists, in turn")
    check_model: bool = Field(False, description="an answer of another model than the one asked for is a failure")
    api_key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the key")
    api_key_file: str | None = Field(None, description="file that holds the key; wins over the environment")
    headers: dict[str, str] = Field(
        default_factory=dict, description="more HTTP headers, NAME=VALUE; NAME=$VARIABLE takes it from the environment"
    )
    verify_tls: bool = Field(True, description="check the server's certificate")
    ca_file: str | None = Field(None, description="file with the certificates of your own authority (PEM)")
    client_cert: str | None = Field(None, description="file with this client's certificate, and its key if not apart")
    client_key: str | None = Field(None, description="file with the key of the client's certificate")
    keep_alive: bool = Field(
        True,
        description="connections are kept for the next request; otherwise each request opens its own, timed with it",
    )
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    tokenizer: str | None = Field(
        None, description="tokenizer.json, a folder with one, or a hub name; none: ids or calibrated text"
    )
    replica_header: str | None = Field(
        None, description="response header that names the replica which answered, such as x-pod-name"
    )
    vocab_size: int | None = Field(
        None, ge=16, description="vocabulary size for prompts of token ids, if the server does not tell it"
    )
    metrics_urls: tuple[Url, ...] = Field(
        (), description="pages of metrics of all replicas and GPU exporters; /metrics of the base URL if none is given"
    )
    telemetry: Telemetry = Telemetry()
    facts: dict[str, str] = Field(
        default_factory=dict, description="what should be known of the server and nobody can ask it, NAME=VALUE"
    )

    @field_validator("headers")
    @classmethod
    def _can_be_sent_and_stored(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if frames(name):
                raise ValueError(f"{name} comes with the body of each request: leave it out")
            if is_secret(name) and variable(value) is None:
                hint = f"put it into an environment variable and write {name}=$VARIABLE"
                raise ValueError(f"{name} is a secret, and plans are stored: {hint}")
        return headers

    @field_validator("base_url")
    @classmethod
    def _without_credentials(cls, base_url: str) -> str:
        if "@" in base_url.partition("://")[2].partition("/")[0]:
            raise ValueError("a password in the URL would be stored: use api_key_env, or a header with =$VARIABLE")
        return base_url.strip()  # a blank comes along with copies and variables
