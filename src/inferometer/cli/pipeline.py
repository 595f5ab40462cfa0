"""The files that the vLLM evaluation pipeline leaves: logs, a folder for each scenario, standardised results.

``run`` plays the plans of ``config/foreign/pipeline.py`` into the folders, and calls ``keep`` after each.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from inferometer.config import files
from inferometer.config.foreign import pipeline
from inferometer.config.foreign.translated import Where
from inferometer.errors import UserError

#: The name of the format, as ``--format`` has it.
WORLD = "vllm-eval"
TIME = "%Y%m%d_%H%M%S"


class Tree(NamedTuple):
    """Where results go: ``time`` is in all names, and the same for a whole run."""

    output: Path
    parsed: Path
    time: str

    @property
    def log(self) -> Path:
        """The log of the whole run."""
        return self.output / f"vllm_benchmark_main_{self.time}.log"


def tree(environment: Mapping[str, str], output: Path | None, now: datetime | None = None) -> Tree:
    """The folders: ``output`` if it is given, else OUTPUT_DIR, else ``results``; PARSED_DIR, else ``parsed`` in it."""
    chosen = output or Path(environment.get("OUTPUT_DIR", "").strip() or "results")
    parsed = environment.get("PARSED_DIR", "").strip()
    time = (now or datetime.now(UTC)).astimezone().strftime(TIME)
    return Tree(chosen, Path(parsed) if parsed else chosen / "parsed", time)


def run_directory(where: Tree, name: str) -> Path:
    """The folder of a scenario, by its name in ``Translated.names``."""
    return where.output / name.replace(pipeline.TIME, where.time)


def config(options: argparse.Namespace, environment: Mapping[str, str]) -> list[Path]:
    """The file to run where no flag names one: that of CONFIG_PATH, or the usual one.

    CONFIG_PATH is a common name, so it counts only beside MODEL_ENDPOINT or ``--format vllm-eval``, and never where
    flags name a server or a scenario. Raises ``UserError`` if MODEL_ENDPOINT says whom to ask and no file what.
    """
    if options.format not in (None, WORLD):
        return []
    named = environment.get("CONFIG_PATH", "").strip()
    if options.format == WORLD:
        return [Path(named or pipeline.CONFIG_PATH)]
    others = (options.target, options.scenario, options.targets_file, options.scenarios_file, options.vllm_args)
    if any(others) or "target.base_url" in vars(options) or not environment.get("MODEL_ENDPOINT", "").strip():
        return []
    usual = Path(named or pipeline.CONFIG_PATH)
    if not usual.is_file():
        raise UserError(
            f"MODEL_ENDPOINT is set, and there is no {usual} that says what to send there: name the file with "
            "CONFIG_PATH or -c, or unset MODEL_ENDPOINT to practise on the simulator"
        )
    return [usual]


def begin(where: Tree, remarks: Sequence[str]) -> None:
    """Begin the main log with what was read, and how. Raises ``UserError`` if it cannot be written."""
    from inferometer import __version__

    say(where, f"inferometer {__version__} begins in {where.output}")
    for remark in remarks:
        say(where, remark)


def say(where: Tree, sentence: str) -> None:
    """Put a line into the main log, with the time in UTC."""
    line = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {sentence}\n"
    try:
        where.output.mkdir(parents=True, exist_ok=True)
        with where.log.open("a", encoding="utf-8") as file:
            file.write(line)
    except OSError as error:
        raise UserError(f"cannot write {where.log}: {error.strerror}") from None


def keep(where: Tree, directory: Path, code: int) -> list[Path]:
    """After a scenario: its native and its standardised result, its log, and a line in the main log.

    Args:
        where: of ``tree``.
        directory: the run directory of the scenario; not there if it could not be played.
        code: the exit code that the run came to.

    Returns:
        The files.
    """
    from inferometer.export.documents import Document
    from inferometer.export.load import load, write
    from inferometer.records import store
    from inferometer.report.console import render

    if not (directory / store.SUMMARY).exists():
        say(where, f"{directory.name}: exit code {code}; nothing was measured")
        return []
    run = load(directory)
    made = _documents(where, directory, run)
    paths = [path for folder, documents in made for path in write(documents, folder)]
    log = directory.with_name(f"{directory.name}.log")
    write([Document(log.name, [run.log, "\n", render(run.summary)])], log.parent)
    say(where, f"{directory.name}: exit code {code}; {'; '.join(_results(run.summary)) or 'no stage was begun'}")
    return [*paths, log]


def _documents(where: Tree, directory: Path, run: Any) -> list[tuple[Path, list[Any]]]:
    from inferometer.export import standardized, vllm
    from inferometer.export.documents import Options, json_document, unique
    from inferometer.export.run import ends, moment, parts, utc

    percents = run.plan.report.percentiles
    metrics = [name for name in standardized.METRICS if name in run.plan.report.percentile_metrics]
    found = parts(run)
    levels = [(part.told["name"] or "").removeprefix(run.plan.scenario.name) for part in found]
    names = unique([f"benchmark_results{level}.json" for level in levels])
    natives, parsed = [], []
    for part, name, task in zip(found, names, standardized.scenario_names(run, found), strict=True):
        native = vllm.document(run, part, Options(), percents)
        natives.append(json_document(name, native))
        told = standardized.standardized(native, task, utc(moment(run, ends(part)[1])), metrics)
        parsed.append(json_document(f"{task}_{where.time}_standardized.json", told))
    return [(directory, natives), (where.parsed, parsed)]


def _results(summary: Mapping[str, Any]) -> Sequence[str]:
    missed = [f"{one['stage']}: {one['sentence']}" for one in summary["thresholds"] if not one["met"]]
    stages = [f"{stage['counts']['ok']} ok, {stage['counts']['failed']} failed" for stage in summary["stages"]]
    return [*stages, *(f"threshold missed: {sentence}" for sentence in missed)]


# --- vllm_benchmark.json beside other commands -----------------------------------------------------------------------


def thresholds_of(path: Path) -> tuple[str, ...]:
    """The thresholds of a vllm_benchmark.json. Raises ``UserError``."""
    return pipeline.thresholds(*_read(path))


def metrics_of(path: Path) -> tuple[str, ...]:
    """Its ``percentile_metrics``. Raises ``UserError``."""
    return pipeline.metrics(*_read(path))


def _read(path: Path) -> tuple[dict[str, Any], Where]:
    told, lines, text = files.document(path)
    return told, Where(path, lines, text)
