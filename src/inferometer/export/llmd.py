"""The llm-d benchmark reports v0.1 and v0.2. Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np

from inferometer import __version__
from inferometer.config.lengths import Lengths
from inferometer.config.models import (
    ConversationWorkload,
    DatasetWorkload,
    Open,
    SharedPrefixWorkload,
    TraceWorkload,
    Workload,
)
from inferometer.export import inference_perf, report_v01, report_v02
from inferometer.export.documents import Document, Export, Options, json_document, yaml_document
from inferometer.export.lifecycle import Lifecycle, goodput, lifecycle
from inferometer.export.run import UNKNOWN, Part, Run, ends, from_send, model_of, moment, parts
from inferometer.export.spread import Spread

Json = dict[str, Any]
_KINDS = {"fixed": "fixed", "normal": "gaussian", "uniform": "uniform"}
_OWN_NAMES = {"0.1": "p0p1", "99.9": "p99p9"}
#: The schema of v0.1 has a closed list of tools; the figures are those of this one's reports.
_TOOL_V01 = "inference-perf"


def export_v01(run: Run, options: Options) -> Export:
    """A benchmark report v0.1 for each stage."""
    return _files("0.1", run, options)


def export_v02(run: Run, options: Options) -> Export:
    """A benchmark report v0.2 for each stage."""
    return _files("0.2", run, options)


def _files(version: str, run: Run, options: Options) -> Export:
    prefix = {"0.1": "benchmark_report", "0.2": "benchmark_report_v0.2"}[version]
    write = {"0.1": v01, "0.2": v02}[version]
    documents: list[Document] = []
    notes = []
    for part in parts(run):
        report = write(run, part)
        if report is None:
            notes.append(f"stage {part.index + 1} has no time to first token, which a report v0.1 has to have")
            continue
        name = f"{prefix},_{inference_perf.stage_name(part)}"
        made = json_document(name, report) if options.as_json else yaml_document(f"{name}.yaml", report)
        documents.append(made)
    return Export(documents, tuple(notes))


def v01(run: Run, part: Part) -> Json | None:
    """A report v0.1 of one stage; None if it has no latencies, lengths or rates, which that form demands."""
    life = lifecycle(from_send(part.rows))
    first_s, last_s = (_epoch_s(run, end) for end in ends(part))
    rates = _rates(life)
    lengths, latency = _lengths(life), _latency(life)
    if len(lengths) < 2 or "time_to_first_token" not in latency or "total" not in rates:
        return None
    report = {
        "version": "0.1",
        "scenario": {
            "model": {"name": model_of(run)},
            "load": {
                "name": _TOOL_V01,
                "type": part.told["load"]["type"],
                "args": _native_load(run, part),
                "metadata": {"stage": part.index, "tool": "inferometer", "tool_version": __version__},
            },
        },
        "metrics": {
            "time": _known({"duration": life.seconds, "start": first_s, "stop": last_s}),
            "requests": _counts(life) | lengths,
            "latency": latency,
            "throughput": {
                f"{name}s_per_sec" if name == "request" else f"{name}_tokens_per_sec": rate
                for name, rate in rates.items()
            },
            "metadata": _beside(run, part, life),
        },
    }
    report_v01.BenchmarkReport.model_validate(report)
    return report


def v02(run: Run, part: Part) -> Json:
    """A report v0.2 of one stage."""
    life = lifecycle(from_send(part.rows))
    first, last = (moment(run, end) for end in ends(part))
    native = _native_load(run, part)
    times = {
        "start": first.isoformat() if first else None,
        "end": last.isoformat() if last else None,
        "duration": f"PT{life.seconds:.6f}S" if life.seconds else None,
    }
    rates = {
        f"{name}_rate" if name == "request" else f"{name}_token_rate": {
            "units": "queries/s" if name == "request" else "tokens/s",
            "mean": rate,
        }
        for name, rate in _rates(life).items()
    }
    aggregate = {
        "requests": _counts(life) | _lengths(life),
        "latency": _latency(life),
        "throughput": rates,
    }
    report = {
        "version": "0.2",
        "run": {"uid": _uid(run, part), "eid": _eid(run), "time": _known(times)},
        "scenario": {
            "stack": [_component(run)],
            "load": {
                "metadata": {"schema_version": "0.0.1", "cfg_id": _digest(native)},
                "standardized": _standardized_load(run, part, life),
                "native": {"config": native},
            },
        },
        "results": {
            "request_performance": {"aggregate": {name: found for name, found in aggregate.items() if found}},
            "observability": _beside(run, part, life),
        },
    }
    report_v02.BenchmarkReport.model_validate(report)
    return report


def _counts(life: Lifecycle) -> Json:
    return {"total": life.count, "failures": life.count - life.ok - life.aborted, "incomplete": life.aborted}


def _lengths(life: Lifecycle) -> Json:
    return _statistics({"input_length": life.input_length, "output_length": life.output_length}, "count")


def _latency(life: Lifecycle) -> Json:
    times = {"time_to_first_token": life.time_to_first_token, "request_latency": life.request_latency}
    per_token = {
        "normalized_time_per_output_token": life.normalized_time_per_output_token,
        "time_per_output_token": life.time_per_output_token,
        "inter_token_latency": life.inter_token_latency,
    }
    return _statistics(times, "s") | _statistics(per_token, "s/token")


def _statistics(found: Mapping[str, Spread | None], units: str) -> Json:
    return {name: _one(spread, units) for name, spread in found.items() if spread is not None}


def _one(found: Spread, units: str) -> Json:
    percentiles = {_OWN_NAMES.get(key, f"p{key}"): value for key, value in found.percentiles.items()}
    return {
        "units": units,
        "mean": found.mean,
        "stddev": found.std,
        "min": found.min,
        **percentiles,
        "max": found.max,
    }


def _rates(life: Lifecycle) -> dict[str, float]:
    """Those that are known."""
    return {name: rate for name, rate in life.rates.items() if rate is not None}


def _standardized_load(run: Run, part: Part, life: Lifecycle) -> Json:
    asked, workload = part.stage.load, run.plan.scenario.workload
    rate = None
    if isinstance(asked, Open):
        rate = "inf" if asked.at_once else asked.steady_rate
    caps = {"closed": "concurrency", "users": "users"}
    cap = getattr(asked, caps.get(asked.type, "max_in_flight"))
    enforced = workload.ignore_eos or workload.require_length
    output = _length(run, part, "output_tokens", life.output_length) if enforced else None
    told = {
        "tool": "inferometer",
        "tool_version": __version__,
        "parallelism": run.plan.workers,
        "source": "sampled" if isinstance(workload, DatasetWorkload | TraceWorkload) else "random",
        "stage": part.index,
        "input_seq_len": _length(run, part, "input_tokens", life.input_length),
        "output_seq_len": output,
        "prefix": _prefix(workload),
        "multi_turn": _turns(workload),
        "rate_qps": rate,
        "concurrency": cap,
    }
    return _known(told)


def _length(run: Run, part: Part, side: str, measured: Spread | None) -> Json:
    """The lengths asked for; what was measured, as "other", where the plan names no single distribution."""
    workload = run.plan.scenario.workload
    lengths = getattr(part.stage, side, None) or getattr(workload, side, None)
    name = {"input_tokens": "prompt_tokens"}.get(side, side)
    asked_mean = part.told["lengths"][name]["asked_mean_tokens"]
    if getattr(workload, "mix", ()) or not isinstance(lengths, Lengths):
        return {"distribution": "other", "value": measured.mean if measured else asked_mean or 0}
    return _sequence(lengths, asked_mean or 0)


def _sequence(lengths: Lengths, mean: float) -> Json:
    """Lengths in the schema's words. ``mean`` stands for distributions that do not say one."""
    kind = _KINDS.get(lengths.kind, "other")
    low, high = lengths.bounds
    spread = {"std_dev": lengths.std_dev} if kind == "gaussian" else {}
    limits = {"min": low, "max": int(high)} if kind == "uniform" else _known({"min": lengths.min, "max": lengths.max})
    value = mean or _mean(lengths) if lengths.mean is None else lengths.mean
    return {"distribution": kind, "value": value, **spread, **limits}


def _mean(lengths: Lengths) -> float:
    """The mean of a distribution that is given by its limits or its values."""
    if lengths.values:
        return float(np.average(lengths.values, weights=lengths.weights or None))
    low, high = lengths.bounds
    tokens = np.arange(low, high + 1)
    return float(np.average(tokens, weights=tokens**-lengths.exponent if lengths.kind == "zipf" else None))


def _prefix(workload: Workload) -> Json | None:
    """Beginnings that requests share. A group's are all the same, so each has one."""
    if not isinstance(workload, SharedPrefixWorkload):
        return None
    return {
        "prefix_len": _sequence(workload.prefix_tokens, 0),
        "num_groups": workload.groups,
        "num_users_per_group": workload.prompts_per_group,
        "num_prefixes": 1,
    }


def _turns(workload: Workload) -> Json | None:
    if not isinstance(workload, ConversationWorkload):
        return {"enabled": True} if workload.talks else None
    return {"enabled": True, "max_turns": _sequence(workload.turns, 0)}


def _component(run: Run) -> Json:
    """The server as one component. What it runs on is not known to a client."""
    target = {"api": run.plan.target.api, "model": model_of(run)}
    return {
        "metadata": {"schema_version": "0.0.1", "label": run.plan.target.name, "cfg_id": _digest(target)},
        "standardized": {"kind": "generic", "tool": UNKNOWN, "tool_version": UNKNOWN, "model": model_of(run)},
        "native": {"config": target},
    }


def _native_load(run: Run, part: Part) -> Json:
    """The plan of the stage: its load and its lengths, nothing of the target and nothing that bodies carry."""
    stage = part.stage.model_dump(mode="json", exclude_none=True, exclude={"load": {"times_s"}})
    sides = ("input_tokens", "output_tokens", "ignore_eos")
    workload = run.plan.scenario.workload.model_dump(mode="json", include={"type", *sides})
    return {"stage": stage, "workload": workload, "seed": run.plan.seed}


def _beside(run: Run, part: Part, life: Lifecycle) -> Json:
    """What neither schema has a place for: the verdict on the measurement, and goodput."""
    verdict = part.told["verdict"]
    told: Json = {
        "inferometer": {
            "verdict": verdict["verdict"],
            "findings": [finding["name"] for finding in verdict["findings"] if finding["severity"] != "note"],
        }
    }
    good = goodput(life.rows, run.plan.scenario.slos)
    if good:
        told["goodput"] = {
            "limits_ms": {slo.metric: slo.limit_ms for slo in run.plan.scenario.slos},
            "good_requests": good.good,
            "share_of_all_requests": good.share,
            "requests_per_s": life.per_second(good.good),
        }
    return told


def _uid(run: Run, part: Part) -> str:
    """The same for the same stage of the same run, and for no other."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{_eid(run)}/{run.context.get('epoch_unix_ns')}/{part.index}"))


def _eid(run: Run) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"inferometer:{run.context.get('plan_sha256', run.name)}"))


def _digest(value: Json) -> str:
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _epoch_s(run: Run, time_s: float | None) -> float | None:
    found = moment(run, time_s)
    return found.timestamp() if found else None


def _known(told: Mapping[str, Any]) -> Json:
    return {key: value for key, value in told.items() if value is not None}
