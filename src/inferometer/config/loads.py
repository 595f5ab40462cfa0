"""When requests are sent: loads, and rates that change in time."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag, model_validator

from inferometer.config.frozen import Frozen
from inferometer.config.pauses import Pause

Arrivals = Literal["constant", "poisson", "gamma", "vllm", "inference-perf-constant", "inference-perf-poisson"]


class Ramp(Frozen):
    """A rate that goes from ``start`` to ``end``, by equal steps or equal factors in equal times, and then stays."""

    type: Literal["linear", "exponential"]
    start: float = Field(ge=0, allow_inf_nan=False, description="requests per second in the beginning")
    end: float = Field(gt=0, allow_inf_nan=False, description="requests per second in the end")
    over_s: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="seconds from start to end; the whole stage if not given"
    )

    @property
    def text(self) -> str:
        """In a few words."""
        return f"{self.start:g} to {self.end:g}" + (" exponential" if self.type == "exponential" else "")

    @model_validator(mode="after")
    def _can_grow(self) -> Ramp:
        if self.type == "exponential" and self.start == 0:
            raise ValueError("an exponential ramp cannot start at 0, which no factor makes more: start above 0")
        return self


class Step(Frozen):
    """A part of ``Steps``."""

    rate: float = Field(ge=0, allow_inf_nan=False, description="requests per second; 0 is a pause")
    duration_s: float = Field(gt=0, allow_inf_nan=False, description="seconds that it is held")


class Steps(Frozen):
    """One rate after the other; the stage ends with the last."""

    type: Literal["steps"] = "steps"
    steps: tuple[Step, ...] = Field(min_length=1, description="rates and their durations")

    @property
    def text(self) -> str:
        """In a few words."""
        rates = [f"{step.rate:g}" for step in self.steps]
        return ", ".join(rates if len(rates) <= 4 else [*rates[:2], "...", rates[-1]])

    @property
    def duration_s(self) -> float:
        """Seconds of all steps together."""
        return math.fsum(step.duration_s for step in self.steps)

    @model_validator(mode="after")
    def _sends(self) -> Steps:
        if not any(step.rate for step in self.steps):
            raise ValueError("no step sends anything: give one of them a rate above 0")
        return self


class Sine(Frozen):
    """Day and night: mean + amplitude sin(2 pi (t / period + phase)) requests per second."""

    type: Literal["sine"] = "sine"
    mean: float = Field(gt=0, allow_inf_nan=False, description="mean requests per second")
    amplitude: float = Field(ge=0, allow_inf_nan=False, description="how far the rate goes above and below the mean")
    period_s: float = Field(gt=0, allow_inf_nan=False, description="seconds from one peak to the next")
    phase: float = Field(
        0.0, ge=0, le=1, description="share of a period at which it begins; 0: rising, 0.25: peak, 0.75: least"
    )

    @property
    def text(self) -> str:
        """In a few words."""
        return f"{self.mean - self.amplitude:g} to {self.mean + self.amplitude:g} sine"

    @model_validator(mode="after")
    def _never_negative(self) -> Sine:
        if self.amplitude > self.mean:
            raise ValueError("the amplitude is above the mean, so the rate would become negative: give a smaller one")
        return self


def _form(rate: Any) -> str:
    return "course" if isinstance(rate, dict | Frozen) else "number"


Course = Ramp | Steps | Sine
Rate = Annotated[
    Annotated[Annotated[float, Field(gt=0)], Tag("number")]
    | Annotated[Annotated[Course, Field(discriminator="type")], Tag("course")],
    Discriminator(_form),
]
Cap = Annotated[int | None, Field(ge=1, description="cap on requests in flight; reaching it is counted")]


class ClosedLoop(Frozen):
    """Exactly ``concurrency`` requests in flight: a new one starts when one ends."""

    type: Literal["closed"] = "closed"
    concurrency: int = Field(ge=1, description="requests in flight")


class Users(Frozen):
    """A closed loop of users as in Locust: they arrive at ``spawn_rate``, and each asks, waits, thinks and asks again.

    With conversations a user leads one after the other, and thinks between them as between messages.
    """

    type: Literal["users"] = "users"
    users: int = Field(ge=1, description="users in the end")
    spawn_rate: float = Field(math.inf, gt=0, description="users that arrive per second; inf: all at once")
    think: Pause = Field(Pause(mean_s=0.0), description="pause between an answer and the next request of a user")

    @property
    def text(self) -> str:
        """In a few words."""
        spawned = "" if math.isinf(self.spawn_rate) else f", {self.spawn_rate:g}/s arriving"
        return f"{self.users} users{spawned}" + (f", thinking {self.think.text}" if self.think.expected_s else "")


class OpenLoop(Frozen):
    """Requests start when the schedule says so, whether or not others have ended.

    ``rate`` is a number or a course in time: linear, exponential, steps, sine. ``arrivals`` says how requests are
    spread around it. Three of them do what another tool does under that name (``schedule/compatible.py``).
    """

    type: Literal["open"] = "open"
    rate: Rate = Field(description="requests per second, or how they change in time; inf: all at once")
    arrivals: Arrivals = Field("poisson", description=f"how the gaps are distributed: {', '.join(get_args(Arrivals))}")
    burstiness: float = Field(1.0, gt=0, description="shape of the gamma gaps: 1 is Poisson, below 1 is burstier")
    max_in_flight: Cap = None

    @property
    def at_once(self) -> bool:
        """Whether all requests are due in the first moment."""
        return self.rate == math.inf

    @property
    def steady_rate(self) -> float | None:
        """Requests per second, if they are finite and the same all the time."""
        return self.rate if isinstance(self.rate, float) and math.isfinite(self.rate) else None

    @property
    def text(self) -> str:
        """The rate in a few words."""
        return f"{self.rate:g}" if isinstance(self.rate, float) else self.rate.text

    @model_validator(mode="after")
    def _known_to_the_other_tool(self) -> OpenLoop:
        if isinstance(self.rate, float) or self.arrivals in ("constant", "poisson", "gamma"):
            return self
        if self.arrivals != "vllm":
            raise ValueError(f"{self.arrivals} has one rate: use constant, poisson or gamma for a rate that changes")
        if not isinstance(self.rate, Ramp) or self.rate.over_s is not None:
            raise ValueError("vllm knows one rate and ramps over the whole stage: use constant, poisson or gamma")
        if self.rate.start == 0:
            raise ValueError("a ramp of vllm cannot start at 0, where its first gap would be endless: start above 0")
        return self


class TraceLoop(Frozen):
    """Requests start at recorded times: those of [``start_s``, ``end_s``) in the trace, ``speed`` times as fast."""

    type: Literal["trace"] = "trace"
    times_s: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = Field(
        (), description="recorded times in seconds, in any order, from the earliest on; those of the workload if none"
    )
    speed: float = Field(1.0, gt=0, allow_inf_nan=False, description="how many times as fast as recorded")
    start_s: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="where in the trace to begin, in seconds as recorded"
    )
    end_s: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="where in the trace to end, in seconds as recorded"
    )
    max_in_flight: Cap = None

    @property
    def at_once(self) -> bool:
        """Whether all requests are due in the first moment: a trace is never meant so."""
        return False

    @property
    def steady_rate(self) -> None:
        """No rate was asked for."""
        return

    @property
    def text(self) -> str:
        """In a few words."""
        return "trace" + (f" x {self.speed:g}" if self.speed != 1 else "")

    @property
    def num_requests(self) -> int:
        """How many of ``times_s`` lie in the window."""
        first_s, start_ns = min(self.times_s), round(self.start_s * 1e9)
        end_ns = math.inf if self.end_s is None else round(self.end_s * 1e9)
        return sum(start_ns <= round((time_s - first_s) * 1e9) < end_ns for time_s in self.times_s)

    @model_validator(mode="after")
    def _has_times(self) -> TraceLoop:
        if self.times_s and not self.num_requests:
            raise ValueError("no time of the trace is between start_s and end_s: give a wider window")
        return self


#: Loads whose schedule does not wait for answers.
Open = OpenLoop | TraceLoop
#: Loads that wait for answers before they send more.
Closed = ClosedLoop | Users
Load = Annotated[ClosedLoop | Users | OpenLoop | TraceLoop, Field(discriminator="type")]
