"""Results of the vLLM evaluation pipeline: native ones, standardised ones, and runs of our own.

All become the native form of ``vllm bench serve``, which has the keys of the other. In a folder files that are none of
these are passed over, and standardised ones are read only where there are no native ones: they say the same.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from inferometer.analysis.thresholds import judged_of
from inferometer.errors import UserError
from inferometer.export import standardized
from inferometer.export.documents import Options
from inferometer.export.foreign import vllm
from inferometer.export.foreign.stages import number, whole
from inferometer.export.load import load
from inferometer.export.run import ends, moment, parts, stamp
from inferometer.export.vllm import DATE, document
from inferometer.records import store

_FOLDER = re.compile(r"scenario_(.+)_(\d{8}_\d{6})")
_STANDARDIZED = re.compile(r"(.+)_(\d{8}_\d{6})_standardized")
#: The level of a ladder, and the number of a round.
_LEVEL = re.compile(r"benchmark_results((?:_c\d+)?(?:-\d+)?)")
_LATENCY = re.compile(r"(mean|median|p\d+(?:\.\d+)?)_(ttft|tpot|itl|e2el)_ms")


class Result(NamedTuple):
    """One scenario of one run.

    Attributes:
        scenario: its name.
        run: the time that all scenarios of a run share, as ``%Y%m%d_%H%M%S``; "" where neither file nor folder has it.
        source: where it was read.
        native: in the form of ``vllm bench serve``.
        time: when it ended, in UTC; None if nobody knows. The date of vLLM has no zone, and is taken for local time.
        judged: thresholds as the run itself judged them, by ``thresholds.Judged`` as plain data.
    """

    scenario: str
    run: str
    source: str
    native: Mapping[str, Any]
    time: datetime | None
    judged: tuple[dict[str, Any], ...] = ()


def results(path: Path) -> list[Result]:
    """What a file or a folder has, by time. Raises ``UserError`` if it is not there or has nothing."""
    if not path.exists():
        raise UserError(f"no such file or folder: {path}")
    found = _folder(path) if path.is_dir() else _file(path)
    if not found:
        known = "results of vllm bench serve, standardised ones and run directories"
        raise UserError(f"{path}: no result that can be read; known are {known}")
    return sorted(found, key=lambda one: (one.run, one.time or datetime.min.replace(tzinfo=UTC)))


def is_standardized(told: Any) -> bool:
    """Does this look like a standardised result?"""
    return isinstance(told, dict) and isinstance(told.get("meta"), dict) and isinstance(told.get("performance"), dict)


def native_of(told: Mapping[str, Any]) -> dict[str, Any]:
    """A standardised result in the native form; what it does not say is absent."""
    meta, performance = told["meta"], told["performance"]
    summary, rates = performance.get("summary") or {}, performance.get("throughput") or {}
    model = meta.get("model") or {}
    plain = {
        "date": meta.get("run_id"),
        "backend": model.get("source"),
        "model_id": model.get("id"),
        "tokenizer_id": model.get("tokenizer_id"),
        **(meta.get("config") or {}),
        **{theirs: summary.get(ours) for ours, theirs in standardized.SUMMARY.items()},
        **{theirs: rates.get(ours) for ours, theirs in standardized.THROUGHPUT.items()},
    }
    latency = performance.get("latency") or {}
    spread = {f"{which}_{metric}": value for metric, found in latency.items() for which, value in found.items()}
    return {key: value for key, value in (plain | spread).items() if value is not None}


def stage_of(result: Result) -> dict[str, Any]:
    """A native result as a stage of a summary, as far as figures and thresholds ask for it."""
    told = result.native
    good = whole(told.get("completed"))
    failed = whole(told["failed"]) if "failed" in told else max(0, whole(told.get("num_prompts")) - good)
    metrics: dict[str, Any] = {}
    for key, value in told.items() if good else ():
        match = _LATENCY.fullmatch(key)
        if match and number(value) is not None:
            _put(metrics.setdefault(match[2], {"mean_ms": None, "percentiles_ms": {}}), match[1], float(value), good)
    rate = told.get("request_rate")
    closed = number(rate) is None
    kind = {"type": "closed", "concurrency": told.get("max_concurrency") or "any"} if closed else {"type": "open"}
    return {
        "name": result.scenario,
        "load": kind | {"rate_per_s": rate},
        "counts": {"planned": told.get("num_prompts"), "ok": good, "failed": failed},
        "throughput": {
            "requests_per_s": number(told.get("request_throughput")),
            "output_tokens_per_s": number(told.get("output_throughput")),
            "total_tokens_per_s": number(told.get("total_token_throughput")),
        },
        "metrics": metrics,
        "slos": None,
    }


def _put(metric: dict[str, Any], which: str, value: float, count: int) -> None:
    estimate = {"value": value, "low": None, "high": None, "count": count}
    if which == "mean":
        metric["mean_ms"] = estimate
    else:
        metric["percentiles_ms"]["50" if which == "median" else which[1:]] = estimate


# --- files -----------------------------------------------------------------------------------------------------------


def _file(path: Path) -> list[Result]:
    try:
        text = path.read_text(encoding="utf-8")
        told = _loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {path}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON: {error}") from None
    found = _result(path, told)
    return [found] if found else []


def _folder(path: Path) -> list[Result]:
    runs = [plan.parent for plan in sorted(path.rglob(store.PLAN))]
    found, plain = [], []
    for file in sorted(path.rglob("*.json")):
        inside = next((run for run in runs if file.is_relative_to(run)), None)
        told = None if inside not in (None, file.parent) else _json(file)
        if is_standardized(told):
            plain.append(_result(file, told))
        elif vllm.is_result(told):
            found.append(_result(file, told))
    known = {Path(one.source).parent for one in found if one is not None}
    own = [one for run in runs if run not in known for one in _run(run)]
    return [one for one in (*found, *own) if one is not None] or [one for one in plain if one is not None]


def _loads(text: str) -> Any:
    """JSON, in which the NaN and Infinity of Python's are numbers that nobody knows."""
    return json.loads(text, parse_constant=lambda _: None)


def _json(file: Path) -> Any:
    try:
        return _loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None


def _result(path: Path, told: Any) -> Result | None:
    if is_standardized(told):
        return _of_standardized(path, told)
    if not vllm.is_result(told):
        return None
    folder, level = _FOLDER.fullmatch(path.parent.name), _LEVEL.fullmatch(path.stem)
    name = f"{folder[1]}{level[1] if level else ''}" if folder else path.stem
    run = folder[2] if folder else ""
    return Result(name, run, str(path), told, _time(told), _judged(path.parent, told))


def _of_standardized(path: Path, told: Mapping[str, Any]) -> Result:
    file = _STANDARDIZED.fullmatch(path.stem)
    meta = told["meta"]
    name = meta.get("tasks") or (file[1] if file else path.stem)
    time = _iso(meta.get("timestamp"))
    run = file[2] if file else ""
    return Result(str(name), run, str(path), native_of(told), time)


def _run(directory: Path) -> list[Result]:
    """The stages of a run directory."""
    run = load(directory)
    folder = _FOLDER.fullmatch(directory.name)
    begun = folder[2] if folder else stamp(moment(run, 0.0), standardized.TIME)
    percents = sorted({*standardized.PERCENTS, *run.plan.report.percentiles})
    found = []
    for part in parts(run):
        judged = judged_of(run.summary, part.told["stage"])
        native = document(run, part, Options(), percents)
        ended = moment(run, ends(part)[1])
        found.append(Result(standardized.scenario_name(run, part), begun, str(directory), native, ended, judged))
    return found


def _judged(directory: Path, native: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    """What the run beside a native result of ours says of its thresholds."""
    summary = _json(directory / store.SUMMARY) if "inferometer_stage" in native else None
    if not isinstance(summary, dict):
        return ()
    return judged_of(summary, native["inferometer_stage"])


def _time(told: Mapping[str, Any]) -> datetime | None:
    ended = told.get("benchmark_end_time_unix")
    if isinstance(ended, int | float) and math.isfinite(ended):
        return datetime.fromtimestamp(ended, UTC)
    try:
        return datetime.strptime(str(told.get("date")), DATE).astimezone(UTC)
    except ValueError:
        return None


def _iso(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        return None
