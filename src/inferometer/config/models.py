"""The plan: one frozen, fully resolved description of a run.

Every way in (flags, YAML, other tools' files) ends here, and nothing behind it knows which way was taken.
Field descriptions are the help texts of the flags (``config/flags.py``) and of the JSON Schema.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from inferometer.config.frozen import Frozen
from inferometer.config.lengths import Grid, Lengths, RequestClass, in_cells
from inferometer.config.levels import Levels
from inferometer.config.loads import Closed, ClosedLoop, Load, Open, OpenLoop, Ramp, Sine, Step, Steps, TraceLoop, Users
from inferometer.config.pauses import Pause
from inferometer.config.repeats import FEWEST_ROUNDS, check, precision, rounds
from inferometer.config.target import FailureKind, ModelShare, Retries, Target, Timeouts
from inferometer.config.telemetry import Telemetry
from inferometer.config.thresholds import checked
from inferometer.config.workloads import (
    Asking,
    ConversationWorkload,
    DatasetWorkload,
    Images,
    RandomWorkload,
    SharedPrefixWorkload,
    TraceWorkload,
    Workload,
)

#: Parts of a plan that have a file of their own; the others are here.
__all__ = [
    "Asking",
    "Closed",
    "ClosedLoop",
    "ConversationWorkload",
    "DatasetWorkload",
    "FailureKind",
    "Frozen",
    "Grid",
    "Images",
    "Lengths",
    "Load",
    "ModelShare",
    "Open",
    "OpenLoop",
    "Pause",
    "Ramp",
    "RandomWorkload",
    "RequestClass",
    "Retries",
    "SharedPrefixWorkload",
    "Sine",
    "Step",
    "Steps",
    "Target",
    "Telemetry",
    "Timeouts",
    "TraceLoop",
    "TraceWorkload",
    "Users",
    "Workload",
]


class Phase(StrEnum):
    """Warm-up requests are recorded and never counted."""

    WARMUP = "warmup"
    MEASURED = "measured"


class Stage(Frozen):
    """One load, until ``num_requests`` were sent or ``duration_s`` is over, whichever is first.

    A stage of steps ends with the last of them, one of a trace with its last time in the window, if nothing else is
    given. ``inference-perf-poisson`` sends rate x ``duration_s`` requests, however long that takes.
    """

    name: str | None = Field(None, min_length=1, description="name of the stage in reports")
    load: Load
    num_requests: int | None = Field(None, ge=1, validate_default=True, description="requests to send")
    duration_s: float | None = Field(
        None, gt=0, validate_default=True, description="seconds of arrivals, or during which requests start"
    )
    warmup_requests: int = Field(0, ge=0, description="requests sent first, recorded as warm-up and never counted")
    warmup_s: float = Field(0.0, ge=0, description="seconds at the beginning of the load whose requests do not count")
    cooldown_s: float = Field(0.0, ge=0, description="seconds at the end of the load whose requests do not count")
    pause_s: float = Field(0.0, ge=0, description="seconds of rest before the stage begins")
    repeat: int | None = Field(None, ge=1, description="round that the stage is part of; set where stages are repeated")
    same_prompts: bool = Field(False, description="ask what the stage before asked, instead of something new")
    input_tokens: Lengths | None = Field(None, description="prompt tokens per request, if not those of the workload")
    output_tokens: Lengths | None = Field(None, description="output tokens per request, if not those of the workload")

    @field_validator("num_requests")
    @classmethod
    def _all_of_a_trace(cls, num_requests: int | None, info: ValidationInfo) -> int | None:
        load = info.data.get("load")
        timed = isinstance(load, TraceLoop) and load.times_s
        return load.num_requests if num_requests is None and timed and load is not None else num_requests

    @field_validator("duration_s")
    @classmethod
    def _all_steps(cls, duration_s: float | None, info: ValidationInfo) -> float | None:
        rate = getattr(info.data.get("load"), "rate", None)
        unending = duration_s is None and info.data.get("num_requests") is None
        return rate.duration_s if unending and isinstance(rate, Steps) else duration_s

    @model_validator(mode="after")
    def _ends(self) -> Stage:
        of_the_workload = isinstance(self.load, TraceLoop) and not self.load.times_s
        if self.num_requests is None and self.duration_s is None and not of_the_workload:
            raise ValueError("a stage needs num_requests, duration_s or both: it would never end")
        if self.num_requests is not None or not isinstance(self.load, OpenLoop):
            return self
        if self.load.at_once:
            raise ValueError(
                "an infinite rate needs num_requests: a duration alone would mean endless requests at once"
            )
        if self.load.arrivals == "vllm" and isinstance(self.load.rate, Ramp):
            raise ValueError("a ramp of vllm goes by the number of the request: it needs num_requests")
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
    workload: Workload = RandomWorkload()
    stages: tuple[Stage, ...] = Field(min_length=1)
    grid: Grid | None = Field(
        None, exclude=True, description="lengths for each of which all stages are played; resolved into stages"
    )
    slos: tuple[Slo, ...] = ()
    thresholds: tuple[str, ...] = Field(
        (), description="limits on figures of each stage, such as ttft_p95_ms<=200; one that is missed ends in code 1"
    )
    levels: Levels | None = Field(None, description="limits on the whole run, which are shown when it has ended")
    stop_early: StopEarly = StopEarly()
    repeats: int = Field(1, ge=1, le=1000, description="rounds in which all stages are played, one after the other")
    shuffle_stages: bool = Field(False, description="play the stages of each round in an order drawn from the seed")
    until_precision: tuple[str, ...] = Field(
        (),
        description="end before the last round, but not before the third, as soon as these figures are known so well: "
        "ttft_p95:5% for a 95 % interval of +-5 %",
    )

    @field_validator("until_precision")
    @classmethod
    def _can_be_reached(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            precision(text)
        return texts

    @model_validator(mode="after")
    def _fitting_rounds(self) -> Scenario:
        check([stage.repeat for stage in self.stages], self.repeats)
        if self.until_precision and self.repeats < FEWEST_ROUNDS:
            raise ValueError(f"until_precision needs repeats of {FEWEST_ROUNDS} or more, which it can cut short")
        if self.shuffle_stages and any(stage.same_prompts for stage in self.stages):
            raise ValueError("same_prompts asks what the stage before asked: shuffled stages have no fixed one")
        return self

    @property
    def to_be_played(self) -> bool:
        """Whether stages stand there once that are to be played in rounds."""
        return (self.repeats > 1 or self.shuffle_stages) and all(stage.repeat is None for stage in self.stages)

    @field_validator("thresholds")
    @classmethod
    def _can_be_judged(cls, thresholds: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(checked, thresholds))

    @model_validator(mode="before")
    @classmethod
    def _resolve_grid(cls, document: Any) -> Any:
        if not isinstance(document, dict) or document.get("grid") is None:
            return document
        try:
            cells, stages = Grid.model_validate(document["grid"]).cells(), TypeAdapter(list[Stage])
            planned = [stage.model_dump() for stage in stages.validate_python(document.get("stages"))]
        except ValidationError:  # the fields themselves say what is wrong, and where
            return document
        return document | {"grid": None, "stages": in_cells(planned, cells)}

    @model_validator(mode="after")
    def _times_come_from_a_trace(self) -> Scenario:
        untimed = (isinstance(stage.load, TraceLoop) and not stage.load.times_s for stage in self.stages)
        if any(untimed) and not isinstance(self.workload, TraceWorkload):
            raise ValueError("a load of the type trace needs times_s, or a workload of the type trace that has them")
        return self

    @model_validator(mode="after")
    def _one_source_of_lengths(self) -> Scenario:
        own = any(stage.input_tokens or stage.output_tokens for stage in self.stages)
        if isinstance(self.workload, DatasetWorkload | TraceWorkload) and own:
            raise ValueError("the file says how long prompts are: stages and a grid cannot say it too")
        if getattr(self.workload, "mix", ()) and own:
            raise ValueError("a mix gives each class its lengths: stages and a grid cannot have their own beside it")
        return self


class Engine(Frozen):
    """A server that the run starts itself: the simulator, or a real model on this machine's CPU."""

    kind: Literal["simulator", "llamacpp"]
    profile: str = Field("l4-qwen2.5-0.5b", description="simulator profile, or path of a GGUF file")


MetricName = Literal["ttft", "tpot", "itl", "event_gap", "e2el", "ntpot", "connect", "ttfb"]
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

    @model_validator(mode="before")
    @classmethod
    def _resolve_rounds(cls, document: Any) -> Any:
        if not isinstance(document, dict):
            return document
        try:
            scenario = Scenario.model_validate(document.get("scenario"))
        except ValidationError:  # the scenario itself says what is wrong, and where
            return document
        if not scenario.to_be_played:
            return document
        seed = document.get("seed", 0) if scenario.shuffle_stages else None
        played = rounds([stage.model_dump() for stage in scenario.stages], scenario.repeats, seed)
        return document | {"scenario": scenario.model_dump() | {"stages": played}}
