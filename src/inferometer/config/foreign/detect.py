"""Whose configuration is it? Told by content, or by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from inferometer.config.foreign import guidellm, inference_perf, inferencemax, llmd, pipeline, platform, suite
from inferometer.config.foreign.translated import Translated, Where, nearest
from inferometer.errors import UserError


class Format(NamedTuple):
    """``looks_like`` tells a document of this format; ``translate`` makes plans of it (document, where, environment).

    ``alone`` tells an environment that says all by itself; such a format needs no document.
    """

    looks_like: Callable[[Mapping[str, Any]], bool]
    translate: Callable[[Mapping[str, Any], Where, Mapping[str, str]], Translated]
    alone: Callable[[Mapping[str, str]], bool] | None = None


#: The first that looks like a document is meant.
FORMATS: dict[str, Format] = {
    "llm-d": Format(llmd.looks_like, llmd.translate),
    "inference-perf": Format(inference_perf.looks_like, inference_perf.translate),
    "guidellm": Format(guidellm.looks_like, guidellm.translate),
    "vllm-benchmark": Format(inferencemax.looks_like, inferencemax.translate),
    "inferencemax": Format(inferencemax.looks_like, inferencemax.translate),
    "suite": Format(suite.looks_like, suite.translate),
    "vllm-eval": Format(pipeline.looks_like, pipeline.translate),
    "platform": Format(platform.looks_like, platform.translate, platform.alone),
}
#: A plan of our own, which needs no translation.
OURS = "inferometer"


def detect(document: Mapping[str, Any], name: str | None = None) -> str:
    """The format of a document, or the one that is asked for by name. Raises ``UserError`` for a name nobody has."""
    if name is not None:
        if name not in (OURS, *FORMATS):
            names = ", ".join((OURS, *FORMATS))
            raise UserError(f"--format {name} is none of {names}{nearest(name, (OURS, *FORMATS))}")
        return name
    if isinstance(document.get("target"), Mapping) or "scenario" in document:
        return OURS
    return next((known for known, one in FORMATS.items() if one.looks_like(document)), OURS)


def from_environment(environment: Mapping[str, str]) -> str | None:
    """The format whose environment this is, if any."""
    return next((known for known, one in FORMATS.items() if one.alone is not None and one.alone(environment)), None)
