"""Flags of the load: they make stages instead of setting one field (``config/stages.py``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inferometer.config.flag import PAUSES, pause

#: Name, how a word is read, nargs, help.
LOAD_FLAGS: tuple[tuple[str, Callable[[str], Any], str | None, str], ...] = (
    ("max-concurrency", int, "+", "requests in flight; several values make a sweep; with a rate it is a cap"),
    ("request-rate", float, "+", "requests per second, or inf; several values make a sweep"),
    ("num-prompts", int, None, "requests of each stage (default: 20 times the concurrency, at most 320)"),
    (
        "duration",
        float,
        None,
        "seconds of arrivals (open loop) or during which requests start (closed loop), in each stage",
    ),
    ("num-warmups", int, None, "warm-up requests before each stage, recorded and never counted"),
    ("burstiness", float, None, "shape of gamma gaps: 1 is Poisson, below 1 burstier, inf constant"),
    (
        "arrivals",
        str,
        None,
        "constant, poisson, gamma, or as in another tool vllm, inference-perf-constant, inference-perf-poisson",
    ),
    (
        "ramp-up-strategy",
        str,
        None,
        "instead of a rate: linear or exponential, over the stage (with vllm: its requests)",
    ),
    ("ramp-up-start-rps", float, None, "requests per second in the beginning of the ramp"),
    ("ramp-up-end-rps", float, None, "requests per second in the end of the ramp"),
    ("trace-speed", float, "+", "how many times as fast as recorded a trace is replayed; several values make a sweep"),
    ("trace-start", float, None, "second of the trace at which to begin"),
    ("trace-end", float, None, "second of the trace at which to end"),
    ("users", int, "+", "users that ask, wait, think and ask again; several values make a sweep"),
    ("spawn-rate", float, None, "users that arrive per second (default: all at once)"),
    ("user-think-time", pause, None, f"pause of a user between an answer and the next request; {PAUSES}"),
    ("warmup-duration", float, None, "seconds at the beginning of each stage whose requests do not count"),
    ("cooldown-duration", float, None, "seconds at the end of each stage whose requests do not count"),
    ("stage-pause", float, None, "seconds of rest before each stage"),
    ("random-range-ratio", float, None, "lengths uniform in [mean*(1-r), mean*(1+r)], prompts and outputs"),
)
