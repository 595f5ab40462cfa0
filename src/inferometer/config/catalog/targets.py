"""Look up a target of the catalog by name: servers that a run starts itself, and kinds of deployments elsewhere."""

from __future__ import annotations

import difflib
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from inferometer.errors import UserError


@cache
def catalog() -> dict[str, Any]:
    """Name -> {description, plan}."""
    text = files(__package__).joinpath("targets.yaml").read_text()
    entries: dict[str, Any] = yaml.safe_load(text)
    return entries


@cache
def servers() -> dict[str, Any]:
    """Kinds of deployments with their defaults, as a document in the form of the suite's ``targets.yaml``."""
    document: dict[str, Any] = yaml.safe_load(files(__package__).joinpath("servers.yaml").read_text("utf-8"))
    return document


def partial_plan(name: str) -> dict[str, Any]:
    """The partial plan of a named target. Raises ``UserError`` with the nearest name."""
    entries = catalog()
    if name not in entries:
        near = difflib.get_close_matches(name, (*entries, *servers()["targets"]), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join((*entries, *servers()['targets']))}"
        raise UserError(f"no target named {name!r}: {hint} (for any other server, give --base-url)")
    plan: dict[str, Any] = entries[name]["plan"]
    return plan
