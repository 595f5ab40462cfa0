"""``inferometer standardize RESULT``: results of vLLM, or runs of our own, in the form of the evaluation pipeline."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from inferometer.errors import UserError

if TYPE_CHECKING:
    from inferometer.export.foreign.evaluation import Result

EPILOG = """A result is a file of vllm bench serve, a folder with such files, or a run directory. Without --output-file
each goes to NAME_standardized.json beside it, or into --output-dir. The input is never written over."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags may be written with - or with _."""
    parser.epilog = EPILOG
    parser.add_argument("path", type=Path, metavar="RESULT", help="a result, or a folder of results")
    parser.add_argument("--output-file", "--output_file", type=Path, metavar="FILE", help="where one result goes")
    parser.add_argument("--output-dir", "--output_dir", type=Path, metavar="DIR", help="where several go")
    parser.add_argument("--task-name", "--task_name", metavar="NAME", help="name of the task (default: the scenario)")
    parser.add_argument(
        "--config-path",
        "--config_path",
        type=Path,
        metavar="FILE",
        help="vllm_benchmark.json; its percentile_metrics are those that are written",
    )


def run(options: argparse.Namespace) -> int:
    """Write them, and name the files on stdout."""
    from inferometer.cli.pipeline import metrics_of
    from inferometer.export.documents import json_document
    from inferometer.export.foreign.evaluation import results
    from inferometer.export.load import write_one
    from inferometer.export.run import utc
    from inferometer.export.standardized import METRICS, standardized

    found = results(options.path)
    if options.output_file is not None and len(found) > 1:
        raise UserError(f"{options.path} has {len(found)} results: give --output-dir instead of --output-file")
    metrics = METRICS if options.config_path is None else metrics_of(options.config_path)
    for one, path in zip(found, _paths(options, found), strict=True):
        if path.resolve() == Path(one.source).resolve():
            raise UserError(f"--output-file {path} is the input itself: give another name")
        timestamp = utc(one.time) if one.time else None
        told = standardized(one.native, options.task_name or one.scenario, timestamp, metrics)
        write_one(json_document(path.name, told), path)
        print(path)
    return 0


def _paths(options: argparse.Namespace, found: list[Result]) -> list[Path]:
    from inferometer.export.documents import unique

    if options.output_file is not None:
        return [options.output_file]
    sources = [Path(one.source) for one in found]
    plain = not options.path.is_dir()
    names = [
        f"{source.stem if plain else '_'.join(filter(None, (one.scenario, one.run)))}_standardized.json"
        for one, source in zip(found, sources, strict=True)
    ]
    folders = [options.output_dir or (source if source.is_dir() else source.parent) for source in sources]
    return [folder / name for folder, name in zip(folders, unique(names), strict=True)]
