"""Steps and calibrations with round figures."""

from __future__ import annotations

from typing import Any

from inferometer.analysis.calibration import Calibration, Errors, Limit, Machine, Spread, Step, What, limit_of

ERROR = Spread(p50_us=3.0, p95_us=5.0, p99_us=7.0, max_us=90.0, count=1000)
MACHINE = Machine(cpu="Fast 9000", cpus=4, kernel="6.1.0", python="3.11.7", inferometer="0.1.0")


def step(**changed: Any) -> Step:
    """A load that held with everything within its limits."""
    fields: dict[str, Any] = {
        "load": 100,
        "workers": 1,
        "requests_per_s": 100.0,
        "tokens_per_s": 1000.0,
        "cpu_share": 0.6,
        "schedule_lag_p99_ms": 0.25,
        "read_lag_p50_ms": 0.5,
        "stamp_error": ERROR,
        "simulator_late_p99_ms": 1.0,
        "simulator_cpu_share": 0.5,
        "others_cores": 0.0,
        "exceeded": None,
    }
    return Step(**{**fields, **changed})


def limit(what: What, workers: int, highest: Step | None) -> Limit:
    return limit_of(what, workers, [] if highest is None else [highest])


def calibration(**changed: Any) -> Calibration:
    """One worker: 80,000 tok/s or 2,500 req/s; three: twice as much."""
    tokens = {"load": 420, "requests_per_s": 1250.0, "tokens_per_s": 80_000.0}
    requests = {"load": 2500, "requests_per_s": 2500.0, "tokens_per_s": 10_000.0}
    twice = [{name: 2 * value for name, value in load.items()} for load in (tokens, requests)]
    fields: dict[str, Any] = {
        "machine": MACHINE,
        "measured": "2026-01-02T03:04:05+00:00",
        "took_s": 40.0,
        "quick": False,
        "others_cores": 0.01,
        "steal_cores": 0.0,
        "errors": (Errors("kernel", 390.0, 12_500.0, ERROR, ERROR), Errors("userland", 390.0, 12_500.0, ERROR, ERROR)),
        "limits": (
            limit("tokens", 1, step(**tokens)),
            limit("requests", 1, step(**requests)),
            limit("tokens", 3, step(workers=3, **twice[0])),
            limit("requests", 3, step(workers=3, **twice[1])),
        ),
    }
    return Calibration(**{**fields, **changed})
