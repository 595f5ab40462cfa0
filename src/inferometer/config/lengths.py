"""How many tokens: distributions of lengths, and classes of requests that have their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from inferometer.config.frozen import Frozen

Distribution = Literal["fixed", "uniform", "normal", "lognormal", "exponential", "poisson", "zipf", "empirical"]
#: No prompt and no answer is longer: records have 32 bits for a number of tokens.
MOST_TOKENS = 2**31 - 1
Tokens = Annotated[int, Field(ge=1, le=MOST_TOKENS)]

#: A table of this length decides what a draw of a zipf distribution is.
MOST_ZIPF = 1_000_000

#: What a distribution needs, and what it may have besides.
_NEEDS: dict[Distribution, set[str]] = {
    "fixed": {"mean"},
    "uniform": {"min", "max"},
    "normal": {"mean"},
    "lognormal": {"mean", "std_dev"},
    "exponential": {"mean"},
    "poisson": {"mean"},
    "zipf": {"min", "max"},
    "empirical": {"values"},
}
_MAY_HAVE: dict[Distribution, set[str]] = {
    "fixed": {"min", "max"},
    "uniform": set(),
    "normal": {"std_dev", "min", "max"},
    "lognormal": {"min", "max"},
    "exponential": {"min", "max"},
    "poisson": {"min", "max"},
    "zipf": {"exponent"},
    "empirical": {"weights"},
}
_TEXTS: dict[Distribution, str] = {
    "fixed": "{mean}",
    "uniform": "U({low},{high})",
    "normal": "N({mean},{std:g})",
    "lognormal": "lognormal({mean},{std:g})",
    "exponential": "exponential({mean})",
    "poisson": "poisson({mean})",
    "zipf": "zipf({low},{high})",
    "empirical": "empirical({of})",
}


class Lengths(Frozen):
    """Token counts, never below 1.

    What is given says which distribution is meant: ``mean`` alone a fixed length, with ``std_dev`` a normal one, with
    ``range_ratio`` a uniform one, as are ``min`` and ``max`` without a mean; ``values`` are drawn as they are. The
    others are named by ``distribution``.

    ``mean`` and ``std_dev`` are those before a draw is rounded and clipped to [``min``, ``max``]. Clipping moves the
    mean: a normal distribution of 480 +- 240 tokens, cut at 1, has a mean of 482, one of 100 +- 100 has 108. A fixed
    and a uniform length keep what they say, and so do ``exponential`` (drawn as the geometric distribution, its form
    for whole numbers) and ``poisson`` unless ``min`` or ``max`` cuts them.
    """

    distribution: Distribution | None = Field(
        None,
        description="fixed, uniform, normal, lognormal, exponential, poisson, zipf or empirical; follows from the rest",
    )
    mean: int | None = Field(None, ge=1, le=MOST_TOKENS, description="mean number of tokens")
    std_dev: float = Field(0.0, ge=0, description="standard deviation in tokens, of normal and lognormal lengths")
    min: int | None = Field(None, ge=1, le=MOST_TOKENS, description="smallest number of tokens")
    max: int | None = Field(None, ge=1, le=MOST_TOKENS, description="largest number of tokens")
    range_ratio: float = Field(0.0, ge=0, lt=1, description="uniform in [mean*(1-r), mean*(1+r)]")
    exponent: float = Field(1.0, ge=0, description="zipf: n tokens, from min to max, are as likely as n^-exponent")
    values: tuple[Tokens, ...] = Field((), description="empirical: the lengths that occur")
    weights: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (), description="empirical: how often each of the values occurs; equally often if not given"
    )

    @property
    def kind(self) -> Distribution:
        """The distribution, by its name or by what is given."""
        if self.distribution is not None:
            return self.distribution
        if self.values:
            return "empirical"
        if self.range_ratio or (self.mean is None and self.min and self.max):
            return "uniform"
        return "normal" if self.std_dev else "fixed"

    @property
    def bounds(self) -> tuple[int, float]:
        """The smallest and the largest length that can be drawn; as in vLLM for a range_ratio."""
        if not self.range_ratio or self.mean is None:
            return self.min or 1, self.max or math.inf
        low = math.floor(self.mean * (1 - self.range_ratio))
        return max(1, low), math.ceil(self.mean * (1 + self.range_ratio))

    @property
    def text(self) -> str:
        """In a word, in the way of genai-bench: 100, N(480,240), U(50,100)."""
        low, high = self.bounds
        return _TEXTS[self.kind].format(mean=self.mean, std=self.std_dev, low=low, high=high, of=len(self.values))

    @model_serializer(mode="wrap")
    def _only_what_is_given(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = serialise(self)
        return {name: value for name, value in fields.items() if getattr(self, name) != self._default(name)}

    @classmethod
    def _default(cls, name: str) -> Any:
        return cls.model_fields[name].default

    @model_validator(mode="after")
    def _one_distribution(self) -> Lengths:
        if self.range_ratio and (self.std_dev or self.min or self.max):
            raise ValueError("range_ratio excludes std_dev, min and max: give one distribution")
        if self.range_ratio and self.kind == "uniform":
            needs, may_have = {"mean", "range_ratio"}, set[str]()
        else:
            needs, may_have = _NEEDS[self.kind], _MAY_HAVE[self.kind]
        given = set(self.model_dump()) - {"distribution"}
        if missing := sorted(needs - given):
            raise ValueError(f"lengths of the distribution {self.kind} need {' and '.join(missing)}")
        if unused := sorted(given - needs - may_have):
            raise ValueError(f"lengths of the distribution {self.kind} have no {' and no '.join(unused)}")
        return self

    @model_validator(mode="after")
    def _within_limits(self) -> Lengths:
        low, high = self.min or 1, self.max or math.inf
        if self.mean is not None and not low <= self.mean <= high:
            raise ValueError(f"the mean of {self.mean} tokens is not between min and max")
        if low > high:
            raise ValueError(f"the smallest number of tokens, {low}, is above the largest, {high}")
        if self.kind == "zipf" and high - low > MOST_ZIPF:
            raise ValueError(f"a zipf distribution reaches over at most {MOST_ZIPF:,} lengths: give a smaller max")
        if self.weights and (len(self.weights) != len(self.values) or not 0 < sum(self.weights) < math.inf):
            raise ValueError("weights are one number for each of the values, and not all zero")
        return self


class RequestClass(Frozen):
    """A share of the requests that has lengths of its own, such as short questions beside long documents."""

    name: str = Field(min_length=1, description="name of the class")
    share: float = Field(ge=0, allow_inf_nan=False, description="its share, in proportion to those of the others")
    input_tokens: Lengths | None = Field(None, description="prompt tokens, if not those of the workload")
    output_tokens: Lengths | None = Field(None, description="output tokens, if not those of the workload")


class Grid(Frozen):
    """Every stage of the scenario once for each pair of a prompt length and an output length."""

    input_tokens: tuple[Tokens | Lengths, ...] = Field((), description="prompt lengths, one after the other")
    output_tokens: tuple[Tokens | Lengths, ...] = Field((), description="output lengths, one after the other")

    def cells(self) -> list[dict[str, Any]]:
        """What the stages of each cell have of their own, as plain data; prompt lengths change slowest."""
        return [
            cell(_plain(asked), _plain(answered))
            for asked in self.input_tokens or (None,)
            for answered in self.output_tokens or (None,)
        ]

    @model_validator(mode="after")
    def _has_cells(self) -> Grid:
        if not self.input_tokens and not self.output_tokens:
            raise ValueError("a grid needs input_tokens, output_tokens or both")
        return self


def _plain(lengths: int | Lengths | None) -> dict[str, Any] | None:
    if isinstance(lengths, int):
        return {"mean": lengths}
    return lengths.model_dump() if lengths else None


def cell(input_tokens: dict[str, Any] | None, output_tokens: dict[str, Any] | None) -> dict[str, Any]:
    """Lengths of one cell of a grid and a name that says them, such as 100/50, 100 in or 50 out, as plain data."""
    sides = {"input_tokens": input_tokens, "output_tokens": output_tokens}
    given = {side: lengths for side, lengths in sides.items() if lengths is not None}
    texts = {side: Lengths.model_validate(lengths).text for side, lengths in given.items()}
    alone = "in" if "input_tokens" in given else "out"
    name = "/".join(texts.values()) if len(texts) == 2 else " ".join((*texts.values(), alone))
    return {"name": name} | given


def in_cells(stages: Sequence[dict[str, Any]], cells: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All stages in the first cell, then in the next; without cells the stages as they are. All as plain data."""
    if not cells:
        return list(stages)
    pairs = [(stage, one) for one in cells for stage in stages]
    return [stage | one | {"name": " ".join(filter(None, (stage.get("name"), one["name"])))} for stage, one in pairs]
