"""A Markdown record of a run: its context, the sweep, resource peaks, and what the numbers say. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from inferometer.analysis import server_peaks
from inferometer.analysis.diagnosis import diagnose, facts_of
from inferometer.config.lengths import Lengths
from inferometer.config.models import Plan
from inferometer.export.documents import Document, Export, Options
from inferometer.export.run import UNKNOWN, Run, model_of, moment, utc
from inferometer.report.run_context import peak_text
from inferometer.report.tables import by_model, markdown, sweep

#: Fields of the run context and where ``context.json`` may tell them, under ``run_context`` or ``facts``.
CONTEXT = {
    "Commit": "commit",
    "GPU": "gpu",
    "Driver / CUDA": "driver",
    "Model": "model",
    "Engine": "engine",
    "Server args": "server_args",
    "Kubernetes": "kubernetes",
}
#: Rows of the table of peaks: gauges of ``server_metrics``, and their unit.
PEAKS = {
    "GPU utilisation (`DCGM_FI_DEV_GPU_UTIL`)": (("gpu_utilisation",), "share"),
    "GPU memory used (`DCGM_FI_DEV_FB_USED`)": (("gpu_memory_used_bytes",), "bytes"),
    "KV-cache usage (`vllm:kv_cache_usage_perc`)": (("kv_cache_usage",), "share"),
    "Requests running / waiting (`vllm:num_requests_*`)": (("requests_running", "requests_waiting"), ""),
}
_PATTERNS = {
    "closed": "closed loop (fixed concurrency)",
    "users": "closed loop (users)",
    "open": "open loop (rates)",
    "trace": "recorded times",
}
Stage = Mapping[str, Any]


def export(run: Run, options: Options) -> Export:  # noqa: ARG001 (every format is called alike)
    """``benchmark.md``."""
    return Export([Document("benchmark.md", iter([record(run)]))])


def record(run: Run) -> str:
    """The whole record, with a line end at its end."""
    stages = run.summary["stages"]
    reading = (
        "\n".join(f"* {sentence}" for sentence in readings(run.summary)) or "Too little succeeded to say anything."
    )
    blocks = [
        f"# {run.plan.scenario.name}: {run.plan.target.name}",
        f"Measured with inferometer {run.summary['tool_version']} on {utc(moment(run, 0.0))}. {_verdicts(stages)}",
        "## Run context",
        markdown(("", ""), [[name, value] for name, value in context(run).items()]),
        "## Results",
        sweep(run.summary) if stages else "No stage was played.",
        *(by_model(stage["models"]) for stage in stages if stage["models"]),
        "Resource peaks over the run (highest of the samples):",
        markdown(("", "peak"), [[name, value] for name, value in peaks(run).items()]),
        "## What the numbers say",
        reading,
    ]
    return "\n\n".join(blocks) + "\n"


def context(run: Run) -> dict[str, str]:
    """Every field of the run context as text; what nobody told is unknown, never guessed."""
    facts = {**(run.context.get("run_context") or {}), **(run.context.get("facts") or {})}
    told = {name: str(facts.get(key) or UNKNOWN) for name, key in CONTEXT.items()}
    if told["Model"] == UNKNOWN:
        told["Model"] = f"`{model_of(run)}`"
    client = run.context.get("client") or {}
    return {
        **told,
        "Request shape": _shape(run.plan),
        "Load pattern": _pattern(run.plan),
        "Client": ", ".join(str(client[key]) for key in ("system", "python") if key in client) or UNKNOWN,
        "Plan": f"SHA-256 `{str(run.context.get('plan_sha256', UNKNOWN))[:12]}`",
    }


def peaks(run: Run) -> dict[str, str]:
    """Peaks of what the servers told in all stages, of all replicas together; unknown where nobody told."""
    found = server_peaks.peaks(run.summary)
    return {row: _peak([found.get(name) for name in names], unit) for row, (names, unit) in PEAKS.items()}


def _peak(found: Sequence[server_peaks.Peak | None], unit: str) -> str:
    known = [UNKNOWN if peak is None else peak_text(peak, unit) for peak in found]
    return " / ".join(known) if any(found) else UNKNOWN


def readings(summary: Mapping[str, Any]) -> Iterator[str]:
    """What the figures of the sweep say, as ``analysis/diagnosis.py`` reads them, and what failed."""
    found = diagnose(facts_of(summary))
    for finding in found.findings if found else ():
        yield " ".join(filter(None, (f"**{finding.title}.**", finding.text, finding.advice)))
    failed = sum(stage["counts"]["failed"] for stage in summary["stages"])
    if failed:
        total = failed + sum(stage["counts"]["ok"] for stage in summary["stages"])
        yield f"**{failed} of {total} requests failed**; they are in no latency."


def _verdicts(stages: Sequence[Stage]) -> str:
    bad = [f"stage {stage['stage'] + 1} {stage['verdict']['verdict']}" for stage in stages if not _is_valid(stage)]
    return f"Not to be trusted as they are: {', '.join(bad)}." if bad else "Every stage is VALID."


def _is_valid(stage: Stage) -> bool:
    return bool(stage["verdict"]["verdict"] == "VALID")


def _shape(plan: Plan) -> str:
    workload = plan.scenario.workload
    sides = [getattr(workload, side, None) for side in ("input_tokens", "output_tokens")]
    words = [
        f"{side.text}-token {word}"
        for side, word in zip(sides, ("input", "output"), strict=True)
        if isinstance(side, Lengths)
    ]
    more = [", ignore EOS"] if getattr(workload, "ignore_eos", False) else []
    return f"{workload.type}: {' / '.join(words) or UNKNOWN}{''.join(more)}, seed {plan.seed}"


def _pattern(plan: Plan) -> str:
    return ", ".join(dict.fromkeys(_PATTERNS[stage.load.type] for stage in plan.scenario.stages))
