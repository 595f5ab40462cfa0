"""The formats that a run can be exported to, by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from inferometer.export import ab, csv_files, inference_perf, llmd, markdown, results_folder, standardized, suite, vllm
from inferometer.export.documents import Export, Options
from inferometer.export.run import Run


class Format(NamedTuple):
    """What it is, in a few words, and what makes it."""

    about: str
    make: Callable[[Run, Options], Export]


FORMATS = {
    "vllm": Format("result JSON of vllm bench serve, one file for each stage", vllm.export),
    "suite": Format(
        "result JSON of the inference benchmarking suite; with several models their comparison", suite.export
    ),
    "standardized": Format(
        "standardised JSON and analysis summary of the vLLM evaluation pipeline", standardized.export
    ),
    "inference-perf": Format(
        "lifecycle reports of inference-perf: summary, stages, requests; its configuration",
        inference_perf.export_with_configuration,
    ),
    "llm-d": Format(
        "results folder of llm-d: reports of inference-perf, both benchmark reports, pictures, configuration, logs",
        results_folder.export,
    ),
    "llm-d-v0.1": Format("llm-d benchmark report v0.1, one file for each stage", llmd.export_v01),
    "llm-d-v0.2": Format("llm-d benchmark report v0.2, one file for each stage", llmd.export_v02),
    "csv": Format("one line for each stage", csv_files.export_stages),
    "csv-requests": Format("one line for each request", csv_files.export_requests),
    "ab": Format("one line for each request, as ab -g (Apache Bench) writes them for gnuplot", ab.export),
    "markdown": Format("a record to keep: run context, table, resource peaks, reading", markdown.export),
}
