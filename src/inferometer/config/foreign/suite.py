"""``targets.yaml`` and ``test_scenarios.yaml`` of the LLM Inference Benchmarking Suite -> plans."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inferometer.config.foreign.translated import Translated, Where


def looks_like(document: Mapping[str, Any]) -> bool:
    """A map of targets, of scenarios, or targets at the top, each with its address and model."""
    tables = (document.get("targets"), document.get("scenarios"))
    return any(isinstance(table, Mapping) for table in tables) or bool(loose_targets(document))


def loose_targets(document: Mapping[str, Any]) -> list[str]:
    """Targets that stand at the top of a document instead of below ``targets``."""
    return [
        name
        for name, one in document.items()
        if isinstance(one, Mapping) and "base_url" in one and "model" in one and name not in ("targets", "target")
    ]


def translate(document: Mapping[str, Any], where: Where, environment: Mapping[str, str]) -> Translated:
    """To come."""
    raise where.wrong((), "not yet")
