"""The plan: one frozen, fully resolved description of a run.

Every way in (flags, YAML, other tools' files) ends here, and nothing behind it knows which way was taken.
Field descriptions are the help texts of the flags (``config/flags.py``) and of the JSON Schema.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator


class Phase(StrEnum):
    """Warm-up requests are recorded and never counted."""

    WARMUP = "warmup"
    MEASURED = "measured"


class Frozen(BaseModel):
    """Plans do not change once made, and a key that means nothing is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


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


class Target(Frozen):
    """The server to measure, and how to speak to it."""

    name: str = Field("target", description="name of the target in reports and folder names")
    base_url: str = Field("", description="http(s)://HOST:PORT of the server")
    api: Literal["openai-chat", "openai-completions"] = Field(
        "openai-chat", description="how to ask and how to read the answer"
    )
    endpoint: str | None = Field(None, description="path of the API, if not the usual one")
    model: str | None = Field(None, description="model name; the first of /v1/models if not given")
    models: tuple[str, ...] = Field(
        (), description="several models behind one address, asked in turn; each gets its own numbers"
    )
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
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    tokenizer: str | None = Field(
        None, description="tokenizer.json, a folder with one, or a hub name; none: ids or calibrated text"
    )
    vocab_size: int | None = Field(
        None, ge=16, description="vocabulary size for prompts of token ids, if the server does not tell it"
    )

    @field_validator("headers")
    @classmethod
    def _no_secret_values(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if is_secret(name) and not value.startswith("$"):
                hint = f"put it into an environment variable and write {name}=$VARIABLE"
                raise ValueError(f"{name} is a secret, and plans are stored: {hint}")
        return headers

    @field_validator("base_url")
    @classmethod
    def _no_credentials(cls, base_url: str) -> str:
        if "@" in base_url.partition("://")[2].partition("/")[0]:
            raise ValueError("a password in the URL would be stored: use api_key_env, or a header with =$VARIABLE")
        return base_url


def is_secret(header: str) -> bool:
    """Does a header of this name carry a credential?"""
    name = header.lower()
    return any(word in name for word in ("auth", "cookie", "key", "token", "secret", "password"))


class Lengths(Frozen):
    """Token counts: fixed (mean alone), uniform (range_ratio), or normal (std_dev), clipped to [min, max]."""

    mean: int = Field(ge=1, description="mean number of tokens")
    std_dev: float = Field(0.0, ge=0, description="standard deviation of a normal distribution, in tokens")
    min: int | None = Field(None, ge=1, description="smallest number of tokens")
    max: int | None = Field(None, ge=1, description="largest number of tokens")
    range_ratio: float = Field(0.0, ge=0, lt=1, description="uniform in [mean*(1-r), mean*(1+r)]")

    @model_validator(mode="after")
    def _one_distribution(self) -> Lengths:
        if self.range_ratio and (self.std_dev or self.min or self.max):
            raise ValueError("range_ratio excludes std_dev, min and max: give one distribution")
        low, high = self.min or 1, self.max or math.inf
        if not low <= self.mean <= high:
            raise ValueError(f"the mean of {self.mean} tokens is not between min and max")
        return self


class RandomWorkload(Frozen):
    """Random prompts of exact length, all different, from a seed."""

    type: Literal["random"] = "random"
    input_tokens: Lengths = Field(Lengths(mean=256), description="prompt tokens per request")
    output_tokens: Lengths = Field(Lengths(mean=128), description="output tokens asked for per request")
    ignore_eos: bool = Field(False, description="ask the server to go on to the full output length")
    require_length: bool = Field(False, description="an answer with fewer tokens than asked for is a failure")
    extra_body: dict[str, Any] = Field(default_factory=dict, description="JSON object merged into every request body")


class ClosedLoop(Frozen):
    """Exactly ``concurrency`` requests in flight: a new one starts when one ends."""

    type: Literal["closed"] = "closed"
    concurrency: int = Field(ge=1, description="requests in flight")


class OpenLoop(Frozen):
    """Requests start when the schedule says so, whether or not others have ended."""

    type: Literal["open"] = "open"
    rate: float = Field(gt=0, description="requests per second; inf: all at once")
    arrivals: Literal["constant", "poisson", "gamma"] = Field("poisson", description="how the gaps are distributed")
    burstiness: float = Field(1.0, gt=0, description="shape of the gamma gaps: 1 is Poisson, below 1 is burstier")
    max_in_flight: int | None = Field(None, ge=1, description="cap on requests in flight; reaching it is counted")


Load = Annotated[ClosedLoop | OpenLoop, Field(discriminator="type")]


class Stage(Frozen):
    """One load, until ``num_requests`` were sent or ``duration_s`` is over, whichever is first."""

    load: Load
    num_requests: int | None = Field(None, ge=1, description="requests to send")
    duration_s: float | None = Field(None, gt=0, description="seconds of arrivals, or during which requests start")
    warmup_requests: int = Field(0, ge=0, description="requests sent first, recorded as warm-up and never counted")

    @model_validator(mode="after")
    def _ends(self) -> Stage:
        if self.num_requests is None and self.duration_s is None:
            raise ValueError("a stage needs num_requests, duration_s or both: it would never end")
        if self.duration_s is None or self.num_requests is not None:
            return self
        if isinstance(self.load, OpenLoop) and math.isinf(self.load.rate):
            raise ValueError(
                "an infinite rate needs num_requests: a duration alone would mean endless requests at once"
            )
        return self


class Slo(Frozen):
    """A request is good when ``metric`` is at most ``limit_ms``."""

    metric: Literal["ttft", "tpot", "e2el", "itl", "ntpot"]
    limit_ms: float = Field(ge=0)


class StopEarly(Frozen):
    """Limits that end a stage, and the stages after it, before their time. A rule that is None does not exist."""

    failed_share: float | None = Field(None, gt=0, le=1, description="share of failed requests that ends the run")
    ttft_p95_ms: float | None = Field(None, gt=0, description="95th percentile of TTFT (ms) that ends the run")
    e2el_p95_ms: float | None = Field(None, gt=0, description="95th percentile of E2EL (ms) that ends the run")
    consecutive_failures: int | None = Field(None, ge=1, description="failures in a row that end the run")
    after_requests: int = Field(
        20, ge=1, description="requests that must have ended before shares and percentiles count"
    )


class Scenario(Frozen):
    """What is sent, and under which loads, one after the other."""

    name: str = Field("sweep", description="name of the scenario in reports and folder names")
    workload: RandomWorkload = RandomWorkload()
    stages: tuple[Stage, ...] = Field(min_length=1)
    slos: tuple[Slo, ...] = ()
    stop_early: StopEarly = StopEarly()


class Engine(Frozen):
    """A server that the run starts itself: the simulator, or a real model on this machine's CPU."""

    kind: Literal["simulator", "llamacpp"]
    profile: str = Field("l4-qwen2.5-0.5b", description="simulator profile, or path of a GGUF file")


MetricName = Literal["ttft", "tpot", "itl", "event_gap", "e2el", "ntpot"]
Percent = Annotated[float, Field(gt=0, lt=100)]


class ReportOptions(Frozen):
    """What the console prints; everything is stored in any case."""

    percentile_metrics: tuple[MetricName, ...] = Field(
        ("ttft", "tpot", "itl", "e2el"), description="metrics with a section of their own"
    )
    percentiles: tuple[Percent, ...] = Field((50.0, 95.0, 99.0), description="percentiles to print")


class Plan(Frozen):
    """Everything that decides what a run does. ``seed`` and the plan give the same requests on every machine."""

    version: Literal[1] = 1
    target: Target
    scenario: Scenario
    engine: Engine | None = None
    seed: int = Field(0, ge=0, description="seed of prompts, lengths and arrivals")
    workers: int = Field(1, ge=1, description="processes that send")
    drain_s: float = Field(
        30.0, ge=0, description="seconds that running requests get to end after an interrupt or a stop rule"
    )
    stamps: Literal["auto", "kernel", "userland"] = Field("auto", description="who stamps the bytes received")
    report: ReportOptions = ReportOptions()
