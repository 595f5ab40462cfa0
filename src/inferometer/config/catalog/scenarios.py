"""Look up a scenario of the catalog by name: one file each, in the form of the suite's ``test_scenarios.yaml``.

A file with a ``plan`` is a partial plan as it is; it says what that form cannot.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

#: In the order in which they are tried on a new server.
NAMES = (
    "quick_validation",
    "latency_benchmark",
    "throughput_benchmark",
    "load_test",
    "stress_test",
    "ab_benchmark",
    "pattern2_routing",
    "pattern3_prefix_cache",
)


@cache
def scenarios() -> dict[str, dict[str, Any]]:
    """Name -> the mapping in its file."""
    folder = files(__package__).joinpath("scenarios")
    return {name: yaml.safe_load(folder.joinpath(f"{name}.yaml").read_text("utf-8")) for name in NAMES}
