"""Rows of ``vllm_eval.results`` in ClickHouse, one for each figure of each scenario, and what got worse. Pure."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from inferometer.export import standardized
from inferometer.export.foreign.evaluation import Result
from inferometer.export.foreign.stages import number

COLUMNS = {
    "run_id": "String",
    "model_tag": "String",
    "metric_name": "String",
    "metric_value": "Float64",
    "metric_category": "String",
    "evaluation_framework": "String",
    "dataset_name": "String",
    "dataset_version": "String",
    "timestamp": "DateTime64(3)",
    "metadata": "String",
}
TABLE = "vllm_eval.results"
SCHEMA = (
    "CREATE DATABASE IF NOT EXISTS vllm_eval;\n"
    f"CREATE TABLE IF NOT EXISTS {TABLE} (\n"
    + ",\n".join(f"    {name} {kind}" for name, kind in COLUMNS.items())
    + "\n) ENGINE = MergeTree() PARTITION BY toYYYYMM(timestamp) ORDER BY (model_tag, timestamp, metric_name);\n"
)
INSERT = f"INSERT INTO {TABLE} ({', '.join(COLUMNS)}) FORMAT JSONEachRow"
TIME = "%Y-%m-%d %H:%M:%S.%f"
#: A run is compared with the mean of those in this many days before it.
DAYS = 30
MEDIUM, HIGH = 0.10, 0.20
_LATENCY = re.compile(r"(mean|median|std|p\d+(?:\.\d+)?)_(ttft|tpot|itl|e2el)_ms")
_PLAIN = ("request_throughput", "output_throughput", "total_token_throughput", "duration", "completed", "failed")
_FACTS = ("model_id", "tokenizer_id", "num_prompts", "request_rate", "max_concurrency", "burstiness", "duration")
_LOWER_IS_BETTER = re.compile(r"_ms$|latency|duration|(^|_)(fail|error)")
#: Figures in which neither way is better.
_NEITHER = re.compile(r"(_completed|_duration|_std_(ttft|tpot|itl|e2el)_ms|_(ttft|tpot|itl|e2el)_std_ms)$")

Row = dict[str, Any]


def rows(
    results: Iterable[Result], model_tag: str | None, run_id: str | None, version: str, now: datetime
) -> list[Row]:
    """All figures of results that are known.

    Args:
        results: of one run.
        model_tag: what the model is called there; the model's own name if not given.
        run_id: of the run; one that follows from the tag and the run's time if not given, so that the same results
            always have the same.
        version: of the data set, which is that of the configuration.
        now: stands where a result does not say when it was made.
    """
    made: list[Row] = []
    known = list(results)
    times = [one.time.isoformat() for one in known if one.time is not None]
    for one in known:
        tag = model_tag or str(one.native.get("model_id") or "unknown")
        identity = run_id or str(
            uuid.uuid5(uuid.NAMESPACE_URL, f"{tag}/{one.run or max(times, default=now.isoformat())}")
        )
        plain = {
            "metric_category": "performance",
            "evaluation_framework": "vllm_benchmark",
            "dataset_name": one.scenario,
            "dataset_version": version,
            "timestamp": (one.time or now).astimezone(UTC).strftime(TIME)[:-3],
            "metadata": json.dumps({key: one.native.get(key) for key in _FACTS}, ensure_ascii=False),
        }
        for name, value in figures(one.native).items():
            row = {"run_id": identity, "model_tag": tag, "metric_name": f"{one.scenario}_{name}", "metric_value": value}
            made.append(row | plain)
    return made


def figures(native: Mapping[str, Any]) -> dict[str, float]:
    """The finite figures of a native result under the names of rows: ``ttft_p95_ms``."""
    told = {"success_rate": standardized.success_rate(native), **{name: native.get(name) for name in _PLAIN}}
    for key, value in native.items():
        if match := _LATENCY.fullmatch(key):
            told[f"{match[2]}_{match[1]}_ms"] = value
    return {name: found for name, value in told.items() if (found := number(value)) is not None}


def lower_is_better(metric_name: str) -> bool:
    """Latencies, durations and failures; everything else is better when higher."""
    return bool(_LOWER_IS_BETTER.search(metric_name))


def regressions(current: Sequence[Row], history: Sequence[Row]) -> list[dict[str, Any]]:
    """What got worse by more than 10 % (high: 20 %) against the mean of the 30 days before the run.

    The run itself is not part of its own past, and a past mean of 0 has no share to get worse by.
    """
    own = {row["run_id"] for row in current}
    times = [datetime.strptime(row["timestamp"], TIME).replace(tzinfo=UTC) for row in current]
    first = min(times, default=datetime.now(UTC)) - timedelta(days=DAYS)
    past: dict[tuple[str, str], list[float]] = {}
    for row in history:
        recent = datetime.strptime(row["timestamp"], TIME).replace(tzinfo=UTC) >= first
        if row["run_id"] not in own and recent:
            past.setdefault((row["model_tag"], row["metric_name"]), []).append(float(row["metric_value"]))
    found = [_decline(row, past.get((row["model_tag"], row["metric_name"]), [])) for row in current]
    return [one for one in found if one is not None]


def _decline(row: Row, past: Sequence[float]) -> dict[str, Any] | None:
    name, value = row["metric_name"], float(row["metric_value"])
    mean = sum(past) / len(past) if past else 0.0
    if not mean or _NEITHER.search(name):
        return None
    share = (value - mean) / abs(mean)
    decline = share if lower_is_better(name) else -share
    if decline <= MEDIUM:
        return None
    return {
        "metric_name": name,
        "current_value": value,
        "historical_avg": mean,
        "decline_rate": 100 * decline,
        "severity": "high" if decline > HIGH else "medium",
    }


def as_prometheus(found: Iterable[Row]) -> str:
    """Rows as a page of gauges, for the text file collector of the node exporter."""
    by_name: dict[str, list[str]] = {}
    for row in found:
        name = row["metric_name"].removeprefix(f"{row['dataset_name']}_")
        plain = "vllm_benchmark_" + re.sub(r"\W", "_", name)
        labels = {"scenario": row["dataset_name"], "model_tag": row["model_tag"]}
        told = ",".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in labels.items())
        by_name.setdefault(plain, []).append(f"{plain}{{{told}}} {row['metric_value']!r}")
    return "".join(f"# TYPE {name} gauge\n" + "\n".join(lines) + "\n" for name, lines in by_name.items())
