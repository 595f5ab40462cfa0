"""Limits of MLPerf Inference by model, as thresholds. Source: mlcommons/inference, mlperf.conf and submission checker.

They are on the 99th percentiles. The limits of the suite's page, on the 95th, are another thing
(``foreign/suite_scenarios.py``).
"""

from __future__ import annotations

from inferometer.config.foreign.translated import nearest
from inferometer.errors import UserError

VERSION = "v6"
#: Model -> level -> limits in ms.
LIMITS: dict[str, dict[str, dict[str, float]]] = {
    "llama2-70b": {"server": {"ttft": 2000, "tpot": 200}, "interactive": {"ttft": 450, "tpot": 40}},
    "mixtral-8x7b": {"server": {"ttft": 2000, "tpot": 200}},
    "llama3.1-8b": {"server": {"ttft": 2000, "tpot": 100}, "interactive": {"ttft": 500, "tpot": 30}},
    "llama3.1-405b": {"server": {"ttft": 6000, "tpot": 175}, "interactive": {"ttft": 4500, "tpot": 80}},
    "deepseek-r1": {"server": {"ttft": 2000, "tpot": 80}, "interactive": {"ttft": 1500, "tpot": 15}},
    # the rules' text says 20 ms for interactive, the configuration and the checker say 15
    "gpt-oss-120b": {"server": {"ttft": 3000, "tpot": 80}, "interactive": {"ttft": 2000, "tpot": 15}},
    "qwen3-vl-235b-a22b": {"server": {"e2el": 12000}, "interactive": {"e2el": 1500}},
    "gptj": {"server": {"e2el": 20000}},
}


def thresholds(name: str) -> list[str]:
    """The thresholds for MODEL or MODEL/LEVEL; ``server`` if no level is given. Raises ``UserError``."""
    model, _, level = name.partition("/")
    if model not in LIMITS:
        raise UserError(f"--mlperf: MLPerf has no model {model!r}{nearest(model, LIMITS) or '; ' + ', '.join(LIMITS)}")
    levels = LIMITS[model]
    if (level or "server") not in levels:
        raise UserError(f"--mlperf: {model} has no level {level!r}: it has {' and '.join(levels)}")
    return [f"{metric}_p99_ms<={limit:g}" for metric, limit in levels[level or "server"].items()]
