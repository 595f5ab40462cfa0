"""The lifecycle reports of inference-perf: summary, one per stage, one row per request. Old and new keys. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from inferometer import __version__
from inferometer.analysis.frame import Frame
from inferometer.analysis.metrics import output_counts
from inferometer.config.models import ClosedLoop, Open
from inferometer.export.documents import Export, Options, json_document, json_rows, yaml_document
from inferometer.export.inference_perf_config import configuration
from inferometer.export.lifecycle import Goodput, Lifecycle, goodput, lifecycle, percents
from inferometer.export.run import NS_PER_S, UNKNOWN, Part, Run, from_send, measured, monotonic_s, parts
from inferometer.export.spread import Spread

PER_REQUEST = "per_request_lifecycle_metrics.json"
#: How many different messages are kept for each label.
MESSAGES = 10
_NAMES = {
    429: "429 - Rate Limit",
    500: "500 - Internal Server Error",
    502: "502 - Bad Gateway",
    503: "503 - Service Unavailable",
    504: "504 - Gateway Timeout",
}
_SAID = {
    "Context Window": ("context length", "context window", "maximum context", "too long"),
    "Invalid JSON": ("invalid json", "json"),
    "Timeout": ("timeout", "timed out"),
    "Model Not Found": ("does not exist", "model not found", "no such model"),
}
_OTHER = {"connect_refused", "connect_failed", "connection_reset", "tls", "truncated"}
_SLOS = {"e2el": "request_latency"}
Json = dict[str, Any]


def export(run: Run, options: Options) -> Export:  # noqa: ARG001 (every format is called alike)
    """The three kinds of report under the names that inference-perf gives them."""
    stages = [json_document(stage_name(part), stage(run, part)) for part in parts(run)]
    rows = json_rows(PER_REQUEST, requests(run))
    return Export([json_document("summary_lifecycle_metrics.json", summary(run)), *stages, rows])


def export_with_configuration(run: Run, options: Options) -> Export:
    """Those, and the effective configuration beside them."""
    effective = configuration(run.plan, run.name)
    reports = export(run, options).documents
    return Export([*reports, yaml_document("config.yaml", effective.part)], effective.left_out)


def stage_name(part: Part) -> str:
    """File of one stage."""
    return f"stage_{part.index}_lifecycle_metrics.json"


def summary(run: Run) -> Json:
    """All measured requests of a run. Rates span the pauses between stages, too, as they do in inference-perf."""
    return _report(run, lifecycle(measured(run), percents(run.plan)), {}) | {"inferometer": {"version": __version__}}


def stage(run: Run, part: Part) -> Json:
    """The measured requests of one stage."""
    rows = from_send(part.rows)
    sent_ns = rows.sent_ns[np.isfinite(rows.sent_ns)]
    seconds = float(np.ptp(sent_ns)) / NS_PER_S if len(sent_ns) else None
    asked = part.stage.load
    load = {
        "send_duration": seconds,
        "requested_rate": asked.steady_rate if isinstance(asked, Open) else None,
        "achieved_rate": len(sent_ns) / seconds if seconds else None,
        **({"concurrency": asked.concurrency} if isinstance(asked, ClosedLoop) else {}),
    }
    verdict = part.told["verdict"]["verdict"]
    ours = {"version": __version__, "stage": part.index, "verdict": verdict}
    return _report(run, lifecycle(rows, percents(run.plan)), load) | {"inferometer": ours}


def requests(run: Run) -> Iterator[Json]:
    """Every measured request. Prompts and answers are not stored; events are times of tokens."""
    for _, part in measured(run).parts():
        answered = output_counts(part)
        yield from (_request(run, part, row, answered[row]) for row in range(len(part)))


def dist(found: Spread | None) -> dict[str, float] | None:
    """A distribution under their names; the 50th percentile is called median."""
    if found is None:
        return None
    percentiles = {("median" if key == "50" else f"p{key}"): value for key, value in found.percentiles.items()}
    return {"mean": found.mean, "min": found.min, "max": found.max, **percentiles}


def _report(run: Run, life: Lifecycle, load: Mapping[str, Any]) -> Json:
    good = goodput(life.rows, run.plan.scenario.slos)
    images = run.plan.scenario.workload.images
    return {
        "benchmark_time_seconds": life.seconds,
        "load_summary": {"count": life.count, "schedule_delay": dist(life.schedule_delay), **load},
        "successes": _successes(life, images.count if images else 0) | (_goodput(life, good) if good else {}),
        "failures": {
            "count": life.count - life.ok,
            "request_latency": dist(life.failed_latency),
            "prompt_len": dist(life.failed_input_length),
            "prompt_tokens": _prompt_tokens(life.rows.where(~life.rows.ok), life.failed_input_length),
            "by_label": _by_label(life.rows.where(~life.rows.ok)),
        },
    }


def _successes(life: Lifecycle, images: int) -> Json:
    good = life.rows.where(life.rows.ok)
    none = dict.fromkeys(("count", "pixels", "bytes", "aspect_ratio"))
    no_audio = dict.fromkeys(("count", "seconds", "bytes"))
    output = dist(life.output_length)
    return {
        "count": life.ok,
        "latency": {
            "request_latency": dist(life.request_latency),
            "normalized_time_per_output_token": dist(life.normalized_time_per_output_token),
            "time_per_output_token": dist(life.time_per_output_token),
            "time_to_first_token": dist(life.time_to_first_token),
            "inter_token_latency": dist(life.inter_token_latency),
        },
        "throughput": _throughput(life, images),
        "request_size_bytes": None,
        "image": none,
        "video": none | {"frames": None},
        "audio": no_audio,
        "prompt_len": dist(life.input_length),
        "prompt_tokens": _prompt_tokens(good, life.input_length),
        "output_len": output,
        "output_tokens": {"total": float(output_counts(good).sum()), **(output or {})},
        "token_count_mismatches": None,
    }


def _throughput(life: Lifecycle, images: int) -> Json:
    rates = life.rates
    return {
        **{f"{name}_tokens_per_sec": rates[name] for name in ("input", "output", "total")},
        "requests_per_sec": rates["request"],
        "images_per_sec": life.per_second(float(images * life.ok)),
        "videos_per_sec": 0.0,
        "audios_per_sec": 0.0,
    }


def _prompt_tokens(rows: Frame, found: Spread | None) -> Json:
    """Totals, and the distribution beside them. Null where nobody counted; zero where there is no request."""
    if not len(rows):
        return {"total": 0.0, "cached": 0.0, "uncached": 0.0}
    known = np.isfinite(rows.prompt_tokens).all()
    total = found.total if found and known else None
    cached = float(np.nansum(rows.cached_tokens)) if np.isfinite(rows.cached_tokens).any() else None
    uncached = total - cached if total is not None and cached is not None else None
    return {"total": total, "cached": cached, "uncached": uncached, **(dist(found) or {})}


def _goodput(life: Lifecycle, good: Goodput) -> Json:
    """Over all requests: those that failed count against it, which inference-perf leaves out."""
    share = good.share
    return {
        "goodput_metrics": {
            "goodput_percentage": None if share is None else 100 * share,
            "request_goodput": life.per_second(good.good),
            "token_goodput": life.per_second(good.output_tokens),
            "good_requests": good.good,
            "total_requests": good.requests,
            **{f"{_SLOS.get(name, name)}_attainment_percentage": 100 * part for name, part in good.attained.items()},
        }
    }


def _by_label(failed: Frame) -> Json:
    """Failures by label, the most frequent first, with the messages that occurred."""
    counts, messages = Counter[str](), defaultdict[str, dict[str, None]](dict)
    for kind, detail in zip(failed.outcome, failed.detail, strict=True):
        label = label_of(str(kind), detail or "")
        counts[label] += 1
        if len(messages[label]) < MESSAGES:
            messages[label][detail or str(kind)] = None
    return {
        label: {"count": count, "messages": [{"message": message} for message in messages[label]]}
        for label, count in counts.most_common()
    }


def label_of(kind: str, detail: str) -> str:
    """The label of a failure: by its HTTP status, by what the server said, by its kind."""
    status = re.match(r"HTTP (\d{3})", detail)
    if not status:
        if kind.startswith("timeout") or kind == "connect_timeout":
            return "Timeout"
        return "Connection Error" if kind in _OTHER else kind
    code, text = int(status[1]), detail.lower()
    said = next((name for name, words in _SAID.items() if any(word in text for word in words)), "other")
    return _NAMES.get(code, f"{code} - {said}")


def _request(run: Run, rows: Frame, row: int, tokens: float) -> Json:
    """One row. ``info`` says tokens and times twice, for readers of the old form and of the new one."""
    ok = bool(rows.ok[row])
    first, end = rows.event_offsets[row], rows.event_offsets[row + 1]
    times = [monotonic_s(run, int(time_ns)) for time_ns in rows.event_ns[first:end]]
    asked, answered = _whole(rows.prompt_tokens[row]), _whole(tokens) if ok else None
    by_usage = ok and rows.output_tokens_source[row] == "usage"
    usage = _usage(asked, answered, _whole(rows.cached_tokens[row])) if by_usage else None
    told = {"output_tokens": answered, "server_usage": usage, "response_chunks": [], "chunk_times": times}
    info = {
        "request_metrics": {"text": {"input_tokens": asked}, "image": None, "video": None, "audio": None},
        "response_metrics": told | {"output_token_times": times} if ok else None,
        "extra_info": {"stage": int(rows.stage[row]), "scheduled_time": monotonic_s(run, rows.scheduled_ns[row])},
        "lora_adapter": None,
        "labels": {},
        "input_tokens": asked,
        "output_tokens": answered,
        "output_token_times": times if ok else [],
    }
    sent_ns = rows.sent_ns[row]
    return {
        "start_time": None if np.isnan(sent_ns) else monotonic_s(run, sent_ns),
        "end_time": monotonic_s(run, rows.end_ns[row]),
        "request": UNKNOWN,
        "response": UNKNOWN,
        "info": info,
        "error": None if ok else {"error_type": str(rows.outcome[row]), "error_msg": rows.detail[row] or ""},
    }


def _usage(asked: int | None, answered: int | None, cached: int | None) -> Json:
    """What the server said, in its own names."""
    both = asked + answered if asked is not None and answered is not None else None
    details = {} if cached is None else {"prompt_tokens_details": {"cached_tokens": cached}}
    return {"completion_tokens": answered, "prompt_tokens": asked, "total_tokens": both, **details}


def _whole(value: float) -> int | None:
    return None if np.isnan(value) else int(value)
