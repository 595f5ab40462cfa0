"""The result JSON of ``vllm bench serve`` 0.32, one object for each stage. Pure.

Its keys, units and their order; what they count where vLLM and this instrument differ is in docs/exports.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from inferometer import __version__
from inferometer.analysis.frame import Floats, Frame
from inferometer.analysis.metrics import BY_NAME, met, output_counts
from inferometer.config.loads import Ramp
from inferometer.config.models import Open, OpenLoop, Stage, Users
from inferometer.config.names import as_file_name
from inferometer.export.documents import Export, Options, json_document, unique
from inferometer.export.run import NS_PER_S, UNKNOWN, Part, Run, ends, from_send, model_of, moment, parts, stamp
from inferometer.export.run import monotonic_s as clock_s
from inferometer.export.spread import Spread, spread, spread_of

DATE = "%Y%m%d-%H%M%S"
BACKENDS = {"openai-chat": "openai-chat", "openai-completions": "openai"}
#: vLLM's name -> ours: its inter-token latency is the plain gap between two events.
METRICS = {"ttft": "ttft", "tpot": "tpot", "itl": "event_gap", "e2el": "e2el"}
_MS_PER_NS = 1e-6


def export(run: Run, options: Options) -> Export:
    """A file for each stage, under vLLM's name for it."""
    found = parts(run)
    names = [options.result_filename or file_name(run, part, options) for part in found]
    made = [document(run, part, options) for part in found]
    pairs = zip(unique(names), made, strict=True)
    return Export([json_document(name, one, indent=None) for name, one in pairs])


def document(run: Run, part: Part, options: Options, percents: Sequence[float] | None = None) -> dict[str, Any]:
    """One stage. ``percents`` are the percentiles to write; those of the plan if not given.

    A number that is not known is null; in the lists of requests a failure has 0, as vLLM writes it.
    """
    backend = BACKENDS.get(run.plan.target.api, run.plan.target.api)
    date = stamp(moment(run, ends(part)[1]), DATE)
    rows = from_send(part.rows)
    return {
        "date": date,
        "endpoint_type": backend,
        "backend": backend,
        "label": options.label,
        "model_id": model_of(run),
        "tokenizer_id": run.plan.target.tokenizer or UNKNOWN,
        "num_prompts": _asked(part),
        **dict(options.metadata),
        **load(part.stage),
        **_results(run, part, rows),
        **_lists(run, rows, detailed=options.detailed),
        **_peaks(part),
        **_metrics(part, rows, run.plan.report.percentiles if percents is None else percents),
        **_ours(run, part),
    }


def file_name(run: Run, part: Part, options: Options) -> str:
    """As vLLM names it: backend or label, rate, concurrency, model, date."""
    asked = load(part.stage)
    backend = options.label or BACKENDS.get(run.plan.target.api, run.plan.target.api)
    known = asked["request_rate"]
    rate = f"{part.told['load']['rate_per_s'] if known is None else known}qps"
    if "ramp_up_strategy" in asked:
        rate = "ramp-up-{ramp_up_strategy}-{ramp_up_start_rps}qps-{ramp_up_end_rps}qps".format_map(asked)
    cap = "" if asked["max_concurrency"] is None else f"-concurrency{asked['max_concurrency']}"
    model = model_of(run).rsplit("/", 1)[-1]
    return as_file_name(f"{backend}-{rate}{cap}-{model}-{stamp(moment(run, ends(part)[1]), DATE)}.json")


def load(stage: Stage) -> dict[str, Any]:
    """The load in vLLM's words. ``request_rate`` is null for loads that vLLM does not have: traces, steps, waves."""
    asked = stage.load
    if not isinstance(asked, Open):
        cap = asked.users if isinstance(asked, Users) else asked.concurrency
        return {"request_rate": "inf", "burstiness": 1.0, "max_concurrency": cap}
    rate: float | str | None = "inf" if asked.at_once else asked.steady_rate
    plain = {"request_rate": rate, "burstiness": _burstiness(asked), "max_concurrency": asked.max_in_flight}
    if isinstance(asked, OpenLoop) and isinstance(asked.rate, Ramp):
        first, last = (int(rps) if float(rps).is_integer() else rps for rps in (asked.rate.start, asked.rate.end))
        ramp = {"ramp_up_strategy": asked.rate.type, "ramp_up_start_rps": first, "ramp_up_end_rps": last}
        return plain | {"request_rate": "inf"} | ramp
    return plain


def _burstiness(asked: Open) -> float | str:
    if not isinstance(asked, OpenLoop) or asked.arrivals not in ("constant", "gamma", "vllm"):
        return 1.0
    return "inf" if asked.arrivals == "constant" or np.isinf(asked.burstiness) else asked.burstiness


def _asked(part: Part) -> int:
    counts = part.told["counts"]
    return int(counts["planned"] if counts["planned"] is not None else counts["ok"] + counts["failed"])


def _results(run: Run, part: Part, rows: Frame) -> dict[str, Any]:
    counts, rates = part.told["counts"], part.told["throughput"] or {}
    lengths = part.told["lengths"]
    seconds = (part.told["window"] or {}).get("length_s")
    slos = run.plan.scenario.slos
    return {
        "duration": seconds,
        "completed": counts["ok"],
        "failed": counts["failed"],
        "total_input_tokens": lengths["prompt_tokens"]["got_total_tokens"] if counts["ok"] else 0,
        "total_output_tokens": int(output_counts(rows)[rows.ok].sum()),
        "request_throughput": rates.get("requests_per_s"),
        "request_goodput": float(np.count_nonzero(met(rows, slos)) / seconds) if slos and seconds else None,
        "output_throughput": rates.get("output_tokens_per_s"),
        "total_token_throughput": rates.get("total_tokens_per_s"),
    }


def _lists(run: Run, rows: Frame, *, detailed: bool) -> dict[str, Any]:
    """One entry per request, in their order. Two of them are there in any case."""
    latencies = {"latencies": _seconds(rows, rows.last_token_ns - rows.sent_ns)}
    waits = {"queue_times": np.nan_to_num((rows.sent_ns - rows.scheduled_ns) / NS_PER_S).tolist()}
    if not detailed:
        return latencies | waits
    asked = np.where(np.isnan(rows.prompt_tokens), rows.asked_prompt_tokens, rows.prompt_tokens)
    starts_ns = np.where(np.isnan(rows.sent_ns), rows.scheduled_ns, rows.sent_ns)
    return {
        "input_lens": [None if np.isnan(tokens) else int(tokens) for tokens in asked],
        "output_lens": np.where(rows.ok, output_counts(rows), 0).astype(np.int64).tolist(),
        "ttfts": _seconds(rows, rows.first_token_ns - rows.sent_ns),
        "itls": list(_gaps(rows)),
        **latencies,
        "start_times": [clock_s(run, time_ns) for time_ns in starts_ns],
        **waits,
        "generated_texts": [""] * len(rows),
        "errors": [
            "" if ok else f"{kind}: {detail or ''}".removesuffix(": ")
            for ok, kind, detail in zip(rows.ok, rows.outcome, rows.detail, strict=True)
        ],
    }


def _seconds(rows: Frame, elapsed_ns: Floats) -> list[float]:
    values: list[float] = np.nan_to_num(np.where(rows.ok, elapsed_ns / NS_PER_S, 0.0)).tolist()
    return values


def _gaps(rows: Frame) -> Iterator[list[float]]:
    """Seconds between the events of each request; none for a failure."""
    for _, part in rows.parts():
        for ok, first, end in zip(part.ok, part.event_offsets[:-1], part.event_offsets[1:], strict=True):
            yield (np.diff(part.event_ns[first:end]) / NS_PER_S).tolist() if ok else []


def _peaks(part: Part) -> dict[str, Any]:
    rates = part.told["throughput"] or {}
    return {
        "max_output_tokens_per_s": rates.get("peak_output_tokens_per_s"),
        "max_concurrent_requests": rates.get("peak_in_flight"),
        "rtfx": 0.0,
    }


def _metrics(part: Part, rows: Frame, percents: Sequence[float]) -> dict[str, Any]:
    spreads = {name: spread(BY_NAME[ours].samples(rows), percents) for name, ours in METRICS.items()}
    asked = part.stage.load
    if isinstance(asked, Open) and asked.max_in_flight is not None:
        waits_ns = (rows.sent_ns - rows.scheduled_ns)[rows.ok]
        spreads["client_queue_time"] = spread_of(waits_ns, percents, _MS_PER_NS)
        spreads["e2el_including_client_queue"] = spread(BY_NAME["e2el"].samples(part.rows), percents)
    keys = [f"{percent:g}" for percent in percents]
    return {key: value for name, found in spreads.items() for key, value in _metric(name, found, keys).items()}


def _metric(name: str, found: Spread | None, keys: Sequence[str]) -> dict[str, float | None]:
    told = {"mean": found.mean, "median": found.median, "std": found.std} if found else dict.fromkeys(_PLAIN)
    percentiles = {f"p{key}": found.percentiles[key] if found else None for key in keys}
    return {f"{which}_{name}_ms": value for which, value in (told | percentiles).items()}


_PLAIN = ("mean", "median", "std")


def _ours(run: Run, part: Part) -> dict[str, Any]:
    """What vLLM does not say, behind all that it says."""
    first, last = (moment(run, end) for end in ends(part))
    slos = part.told["slos"] or {}
    queued = {"request_goodput_including_client_queue": slos.get("goodput_per_s")} if slos else {}
    return {
        **queued,
        "benchmark_start_time_unix": first.timestamp() if first else None,
        "benchmark_end_time_unix": last.timestamp() if last else None,
        "inferometer_version": __version__,
        "inferometer_stage": part.index,
        "inferometer_verdict": part.told["verdict"]["verdict"],
    }
