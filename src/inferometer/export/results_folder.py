"""The results folder of llm-d's guide: every file of its listing, and the benchmark reports v0.2 beside. Pure.

The reports have the form of inference-perf whatever harness a workload was written for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from inferometer import __version__
from inferometer.config.foreign.origin import plain_address, written
from inferometer.config.names import as_file_name
from inferometer.export import inference_perf, llmd
from inferometer.export.documents import Document, Export, Options, text_document, yaml_document
from inferometer.export.inference_perf_config import configuration
from inferometer.export.run import Run, ends, model_of, moment, parts
from inferometer.report.content import Content

#: Those of the guide's listing.
PICTURES = ("latency_vs_qps", "throughput_vs_latency", "throughput_vs_qps")
CONFIG = "config.yaml"
#: Names that a file of the folder or of a run directory has already.
_TAKEN = {"config", "plan", "source", "run_metadata"}
#: The second part of the folder's name.
_EPOCH = re.compile(r"_(\d{10,})_")
_FLAT = ("vllm-benchmark", "inferencemax")
Json = dict[str, Any]


def export(run: Run, options: Options, *, per_request: bool = True) -> Export:
    """All of them. ``per_request``: with the report of single requests, which can be huge."""
    reports = [made(run, options) for made in (llmd.export_v01, llmd.export_v02)]
    effective = configuration(run.plan, run.name)
    native = inference_perf.export(run, options).documents
    documents = [
        *(one for one in native if per_request or one.name != inference_perf.PER_REQUEST),
        *(one for made in reports for one in made.documents),
        yaml_document(CONFIG, effective.part),
        _workload(run, effective.part),
        yaml_document("run_metadata.yaml", _metadata(run)),
        *_logs(run),
        *_pictures(run),
    ]
    return Export(documents, (*(note for made in reports for note in made.notes), *effective.left_out))


def wants_requests(run: Run) -> bool:
    """Does the workload ask for the report of single requests? Without a word of it the answer is yes."""
    report = run.origin.document.get("report") if run.origin is not None else None
    lifecycle = report.get("request_lifecycle") if isinstance(report, Mapping) else None
    return not (isinstance(lifecycle, Mapping) and lifecycle.get("per_request") is False)


def _workload(run: Run, effective: Json) -> Document:
    """The workload as it was given; of a run that is from no file, what its plan is in inference-perf's words."""
    if run.origin is not None:
        name, told = run.origin.workload, run.origin.document
    else:
        name, told = run.plan.scenario.name, {key: part for key, part in effective.items() if key != "storage"}
    stem = as_file_name(name)
    return text_document(f"{stem}{'_workload' if stem in _TAKEN else ''}.yaml", written(told))


def _metadata(run: Run) -> Json:
    """When, what, against whom; keys that nobody can fill in are left out."""
    found = [ends(part) for part in parts(run)]
    first_s = min((begun for begun, _ in found if begun is not None), default=None)
    last_s = max((ended for _, ended in found if ended is not None), default=None)
    first, last = moment(run, first_s), moment(run, last_s)
    facts = run.plan.target.facts
    name = run.origin.workload if run.origin is not None else run.plan.scenario.name
    named = _EPOCH.search(run.name)
    begun = moment(run, 0.0)
    epoch = named[1] if named else f"{begun.timestamp():.0f}" if begun else None
    told = {
        "harness_start": first.isoformat() if first else None,
        "harness_stop": last.isoformat() if last else None,
        "harness_delta": f"PT{last_s - first_s:.6f}S" if first_s is not None and last_s is not None else None,
        "harness_name": run.origin.harness if run.origin is not None else "inference-perf",
        "harness_version": f"inferometer {__version__}",
        "harness_workload": f"{as_file_name(name)}.yaml",
        "harness_rc": 0 if run.summary.get("state") == "complete" else 1,
        "experiment_id": f"{epoch}_{as_file_name(name)}" if epoch else None,
        "model": model_of(run),
        "endpoint_url": plain_address(run.plan.target.base_url) or None,
        "namespace": facts.get("namespace"),
        "description_text": facts.get("description"),
        "description_keywords": facts.get("keywords"),
    }
    return {key: value for key, value in told.items() if value is not None}


def _logs(run: Run) -> Iterator[Document]:
    """What a run shows, and what it says on the way; for flags of vLLM the table alone, too, as the guide has it."""
    from inferometer.report.console import render

    shown = render(run.summary)
    yield text_document("stdout.log", f"{shown}\n")
    yield text_document("stderr.log", run.log or "\n")
    if run.origin is not None and run.origin.harness in _FLAT:
        yield text_document("analysis/summary.txt", f"{shown}\n")


def _pictures(run: Run) -> Iterator[Document]:
    """Those for which the run has figures. A picture is drawn when it is written."""
    if not any(stage["counts"]["ok"] for stage in run.summary["stages"]):
        return
    from inferometer.report.plots import pictures

    content = Content(run.summary, run.context, run.plan.model_dump(mode="json"))
    for picture in pictures(content):
        if picture.name in PICTURES:
            yield Document(f"analysis/{picture.name}.png", _drawn(picture))


def _drawn(picture: Any) -> Iterator[bytes]:
    from inferometer.report.plots import png

    yield png(picture)
