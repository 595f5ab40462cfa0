"""The first half of the schema of the llm-d benchmark report v0.2: the stack and the load."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, model_validator

from inferometer.export.report_parts import AtLeastOne, Closed, NotNegative


class Parallelism(Closed):
    """How an engine is spread over accelerators."""

    tp: NotNegative = 1
    dp: NotNegative = 1
    dp_local: NotNegative = 1
    workers: NotNegative = 1
    ep: AtLeastOne = 1
    pp: AtLeastOne = 1


class Accelerator(Closed):
    """Accelerators of one replica."""

    model: str
    count: NotNegative
    parallelism: Parallelism


class Model(Closed):
    """The model."""

    name: str


class InferenceEngine(Closed):
    """A component that is an inference engine."""

    kind: Literal["inference_engine"]
    tool: str
    tool_version: str
    role: Literal["replica", "prefill", "decode"]
    replicas: AtLeastOne
    model: Model
    accelerator: Accelerator


class Generic(Closed):
    """Any other component; it may say more."""

    model_config = ConfigDict(frozen=True, extra="allow")

    kind: Literal["generic"]
    tool: str
    tool_version: str


class StackMetadata(Closed):
    """``cfg_id`` is a hash of the configuration."""

    schema_version: str = "0.0.1"
    label: str
    cfg_id: str
    description: str | None = None


class Native(Closed):
    """The configuration in the tool's own words."""

    args: dict[str, Any] | None = None
    envars: dict[str, Any] | None = None
    config: Any = None


class Component(Closed):
    """One part of what was measured."""

    metadata: StackMetadata
    standardized: Annotated[InferenceEngine | Generic, Discriminator("kind")]
    native: Native


class SequenceLength(Closed):
    """A distribution of tokens."""

    distribution: Literal["fixed", "gaussian", "uniform", "other"]
    value: float = Field(ge=0)
    std_dev: float | None = Field(None, ge=0)
    min: NotNegative | None = None
    max: AtLeastOne | None = None


class Prefix(Closed):
    """Shared prefixes."""

    prefix_len: SequenceLength
    num_groups: AtLeastOne
    num_users_per_group: AtLeastOne
    num_prefixes: AtLeastOne


class MultiTurn(Closed):
    """Conversations."""

    enabled: bool = True
    max_turns: SequenceLength | None = None


def _whole_or_endless(value: Any) -> Any:
    """A whole number, or a float only if it is infinite: 8.0 is refused."""
    if isinstance(value, float) and not math.isinf(value):
        raise ValueError("concurrency is a whole number, or .inf")
    return value


class StandardizedLoad(Closed):
    """What was sent."""

    tool: str
    tool_version: str
    parallelism: AtLeastOne = 1
    source: Literal["random", "sampled", "unknown"] = "unknown"
    stage: NotNegative = 0
    input_seq_len: SequenceLength
    output_seq_len: SequenceLength | None = None
    prefix: Prefix | None = None
    multi_turn: MultiTurn | None = None
    rate_qps: float | None = Field(None, gt=0)
    concurrency: Annotated[float, BeforeValidator(_whole_or_endless), Field(ge=1)] | None = None


class LoadMetadata(Closed):
    """``cfg_id`` is a hash of the configuration."""

    schema_version: str = "0.0.1"
    cfg_id: str | None = None
    description: str | None = None


class Load(Closed):
    """What made the load."""

    metadata: LoadMetadata
    standardized: StandardizedLoad
    native: Native


class Scenario(Closed):
    """What was measured, and with what."""

    stack: list[Component] | None = None
    load: Load | None = None

    @model_validator(mode="after")
    def _labels_differ(self) -> Scenario:
        labels = [component.metadata.label for component in self.stack or ()]
        if len(set(labels)) < len(labels):
            raise ValueError("two components of the stack have the same label")
        return self
