"""The result JSON of the inference benchmarking suite, as its page documents it, and its comparison of models. Pure.

TTFT and TPOT in milliseconds, latency in seconds, the success rate in percent; in the comparison seconds and fractions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from inferometer.analysis.attempts import retried_rows
from inferometer.analysis.frame import Bools, Texts
from inferometer.analysis.metrics import BY_NAME, output_counts
from inferometer.analysis.stats import Samples
from inferometer.config.levels import Level, Levels
from inferometer.config.loads import Closed
from inferometer.config.models import Plan
from inferometer.config.names import as_file_name
from inferometer.export.documents import Export, Options, json_document
from inferometer.export.run import Part, Run, from_send, model_of, models_of, moment, parts
from inferometer.export.spread import Spread, spread

PERCENTS = (50.0, 95.0, 99.0)
_S_PER_MS = 1e-3
Json = dict[str, Any]


def export(run: Run, options: Options) -> Export:
    """One result over all stages; of several models one for each, and their comparison."""
    stem = options.result_filename.removesuffix(".json") if options.result_filename else "results"
    models = models_of(run)
    if not models:
        return Export([json_document(f"{stem}.json", document(run))])
    made = {model: document(run, model) for model in models}
    each = [json_document(f"{stem}_{as_file_name(model)}.json", result) for model, result in made.items()]
    return Export([*each, json_document(f"{stem}_comparison.json", comparison(list(made.values())))])


def document(run: Run, model: str | None = None) -> Json:
    """The result of a run over all its stages, or of what one model did in them.

    Of several models together it has the numbers of each under ``models``, and whether the right one answered.
    """
    found = [of_model(part, model) if model else part for part in parts(run)]
    last = moment(run, max(((part.told["window"] or {}).get("end_s") or 0.0 for part in found), default=0.0))
    result = results(found, run.plan)
    if len(found) > 1:
        result |= {"stages": [_stage(part, run.plan) for part in found]}
    together = [] if model else models_of(run)
    told = {
        "timestamp": last.astimezone().isoformat() if last else None,
        "target": run.plan.target.name,
        "scenario": run.plan.scenario.name,
        "base_url": run.summary["target"]["base_url"],
        "model": model or model_of(run),
        "results": result,
    }
    if together:
        told["models"] = {name: results([of_model(part, name) for part in found], run.plan) for name in together}
        told["routing"] = _routing(found)
    return told


def results(found: Sequence[Part], plan: Plan) -> Json:
    """The numbers of stages taken together: latencies of all their requests, rates over the time that they took.

    Where the plan retries, ``retry_stats`` tells the tries, and latencies are those of the last one.
    """
    rows = [part.rows for part in found]
    retried = {"retry_stats": _retry_stats(found)} if plan.target.retries.attempts > 1 else {}
    found = [_of_last_try(part) for part in found] if retried else found
    total, good = sum(map(len, rows)), sum(int(np.count_nonzero(frame.ok)) for frame in rows)
    seconds = sum((part.told["window"] or {}).get("length_s") or 0.0 for part in found)
    tokens = sum(float(output_counts(frame)[frame.ok].sum()) for frame in rows)
    ttft, tpot = pooled(found, "ttft"), pooled(found, "tpot")
    levels = plan.scenario.levels or Levels()
    return {
        "total_requests": total,
        "successful": good,
        "failed": total - good,
        "success_rate": 100 * good / total if total else None,
        "ttft_ms": _block(ttft),
        "tpot_ms": _block(tpot),
        "latency_s": _block(pooled(found, "e2el", _S_PER_MS)),
        "throughput": {
            "tokens_per_sec": tokens / seconds if seconds else None,
            "requests_per_sec": good / seconds if seconds else None,
            "total_tokens": int(tokens),
            "avg_tokens_per_request": tokens / good if good else None,
        },
        "mlperf_compliant": _within(levels.standard, ttft, tpot),
        "mlperf_interactive": _within(levels.interactive, ttft, tpot),
        "mlperf_measured": bool(ttft and tpot),
        "verdict": _worst([part.told["verdict"]["verdict"] for part in found]),
        **retried,
    }


def comparison(documents: Sequence[Json]) -> Json:
    """Results of several models side by side, and the best of each column by name."""
    rows = [_row(document) for document in documents]
    first = documents[0]
    return {
        **{key: first[key] for key in ("timestamp", "target", "scenario", "base_url")},
        "models_tested": len(rows),
        "results": rows,
        "best": {key: _best(rows, key, least=key != "throughput") for key in _COMPARED},
    }


def pooled(found: Sequence[Part], metric: str, scale: float = 1.0) -> Spread | None:
    """One latency of all requests of several stages; it starts where each stage's latencies start."""
    samples = [BY_NAME[metric].samples(part.rows) for part in found]
    values = np.concatenate([np.zeros(0), *(sample.values for sample in samples)])
    return spread(Samples(values, np.arange(len(values))), PERCENTS, scale)


def of_model(part: Part, model: str) -> Part:
    """The requests of a stage that asked for this model."""
    return replace(part, rows=part.rows.where(np.equal(part.rows.model, model)))


_COMPARED = ("ttft_p50", "ttft_p95", "tpot_p50", "tpot_p95", "throughput", "error_rate")


def _stage(part: Part, plan: Plan) -> Json:
    return {"stage": part.index, "name": part.told["name"], "load": part.told["load"], **results([part], plan)}


def _retry_stats(found: Sequence[Part]) -> Json:
    """Tries per request, how many requests succeed without a second one, and the time that all tries take together."""
    attempts = np.concatenate([np.zeros(0), *(part.rows.attempts for part in found)])
    at_once = sum(int(np.count_nonzero(part.rows.ok & ~retried_rows(part.rows))) for part in found)
    return {
        "avg_attempts": float(attempts.mean()) if len(attempts) else None,
        "max_attempts": int(attempts.max()) if len(attempts) else None,
        "first_try_success_rate": 100 * at_once / len(attempts) if len(attempts) else None,
        "elapsed_s": _block(pooled(found, "e2el", _S_PER_MS)),
    }


def _told(texts: Texts) -> Bools:
    return np.array([text is not None for text in texts], np.bool_)


def _of_last_try(part: Part) -> Part:
    """Latencies from the send of the last try; in an open loop they begin with the schedule, which no retry moves."""
    return replace(part, rows=from_send(part.rows)) if isinstance(part.stage.load, Closed) else part


def _routing(found: Sequence[Part]) -> Json:
    """Answers that told their model, those of them by the model that was asked for, and tries that another answered."""
    known = [part.rows.where(part.rows.ok & _told(part.rows.model_answered)) for part in found]
    retried = [kinds for part in found for kinds in part.rows.retried if kinds is not None]
    return {
        "answered": sum(map(len, known)),
        "by_the_model_asked_for": sum(int(np.count_nonzero(np.equal(one.model, one.model_answered))) for one in known),
        "tries_of_another_model": sum(kinds.split(",").count("wrong_model") for kinds in retried),
    }


def _block(found: Spread | None) -> Json:
    if found is None:
        return dict.fromkeys(("mean", "p50", "p95", "p99"))
    return {"mean": found.mean, **{f"p{key}": value for key, value in found.percentiles.items()}}


def _within(level: Level, ttft: Spread | None, tpot: Spread | None) -> bool:
    """What was not measured does not comply."""
    if ttft is None or tpot is None:
        return False
    return ttft.percentiles["95"] <= level.ttft_p95_ms and tpot.percentiles["95"] <= level.tpot_p95_ms


def _worst(verdicts: Sequence[str]) -> str | None:
    order = ("INVALID", "CLIENT-LIMITED", "VALID")
    return min(verdicts, key=order.index, default=None)


def _row(document: Json) -> Json:
    told = document["results"]
    seconds = {
        f"{name}_{which}": _times(told[f"{name}_ms"][which], _S_PER_MS)
        for name in ("ttft", "tpot")
        for which in ("p50", "p95")
    }
    return {
        "model": document["model"],
        **seconds,
        "throughput": told["throughput"]["tokens_per_sec"],
        "error_rate": told["failed"] / told["total_requests"] if told["total_requests"] else None,
        "mlperf_compliant": told["mlperf_compliant"],
    }


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _best(rows: Sequence[Json], key: str, *, least: bool) -> str | None:
    known = [row for row in rows if row[key] is not None]
    if len({row[key] for row in known}) < 2:  # nothing is known, or none is better than another
        return None
    return str((min if least else max)(known, key=lambda row: row[key])["model"])
