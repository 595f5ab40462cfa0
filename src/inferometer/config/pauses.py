"""How long users think between two requests."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from inferometer.config.frozen import Frozen


class Pause(Frozen):
    """Seconds between two requests of one user: constant or exponential around a mean, or uniform in a range."""

    distribution: Literal["constant", "uniform", "exponential"] | None = Field(
        None, description="constant, uniform or exponential; follows from the rest"
    )
    mean_s: float | None = Field(None, ge=0, allow_inf_nan=False, description="mean seconds")
    min_s: float | None = Field(None, ge=0, allow_inf_nan=False, description="fewest seconds, of a uniform pause")
    max_s: float | None = Field(None, ge=0, allow_inf_nan=False, description="most seconds, of a uniform pause")

    @property
    def kind(self) -> Literal["constant", "uniform", "exponential"]:
        """The distribution, by its name or by what is given."""
        return self.distribution or ("constant" if self.max_s is None else "uniform")

    @property
    def expected_s(self) -> float:
        """The mean of what is drawn."""
        return self.mean_s if self.mean_s is not None else ((self.min_s or 0.0) + (self.max_s or 0.0)) / 2

    @property
    def text(self) -> str:
        """In a few words."""
        if self.kind == "uniform":
            return f"{self.min_s or 0:g} to {self.max_s:g} s"
        return f"{self.expected_s:g} s" + (" exponential" if self.kind == "exponential" else "")

    @model_validator(mode="after")
    def _one_distribution(self) -> Pause:
        uniform = self.kind == "uniform"
        if uniform and (self.max_s is None or self.mean_s is not None):
            raise ValueError("a uniform pause has min_s and max_s, and no mean_s")
        if not uniform and (self.mean_s is None or self.min_s is not None or self.max_s is not None):
            raise ValueError(f"a pause of the distribution {self.kind} has a mean_s, and neither min_s nor max_s")
        if uniform and (self.min_s or 0.0) > (self.max_s or 0.0):
            raise ValueError("the shortest pause is above the longest")
        return self
