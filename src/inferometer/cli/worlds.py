"""What each way of asking wants around its runs: where they go, what is kept beside them, what is shown in the end."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from inferometer.cli import llmd, pipeline, suite_files, suite_results
from inferometer.cli.foreign import Asked, Planned
from inferometer.config.models import Plan
from inferometer.config.names import as_file_name

#: Runs that came to a summary, and their directories.
Shown = Sequence[tuple[Planned, Path]]
_RESULTS = Path("results")


class World(NamedTuple):
    """What a command does around the runs that it plays.

    Attributes:
        directory: where the run of a plan goes.
        keep: called after each run with its directory and exit code; writes what belongs beside it, returns a code.
        show: called after all of them; prints and writes what tells of them together, returns a code.
        takes_output: ``--output`` names a file of this world, in a folder that is made if need be, and no summary.
    """

    directory: Callable[[Planned], Path]
    keep: Callable[[Path, int], int]
    show: Callable[[Shown], int]
    takes_output: bool = False


def world(asked: Asked, options: argparse.Namespace) -> World:
    """The world that these plans are from. Raises ``UserError`` if its files cannot be written."""
    return _WORLDS.get("suite" if _of_suite(asked) else asked.world, _ours)(asked, options, datetime.now(UTC))


def _of_suite(asked: Asked) -> bool:
    """Whether results are the suite's: it was asked in its way, or the plans have levels, as those of the suite do."""
    return asked.world == "suite" or any(one.plan.scenario.levels for one in asked.plans)


def _ours(asked: Asked, options: argparse.Namespace, begun: datetime) -> World:
    return World(partial(_directory, asked, options.run_dir, begun), _nothing, partial(_copies, options))


def _suite(asked: Asked, options: argparse.Namespace, begun: datetime) -> World:
    parent = options.run_dir or suite_files.folder([one.plan for one in asked.plans], begun)
    show = partial(suite_results.show, output=options.output, html=options.html)
    return World(partial(_directory, asked, parent, begun), _nothing, show, takes_output=True)


def _platform(asked: Asked, options: argparse.Namespace, begun: datetime) -> World:
    def show(shown: Shown) -> int:
        suite_results.job_table(shown)
        return _copies(options, shown)

    return _ours(asked, options, begun)._replace(show=show)


def _pipeline(asked: Asked, options: argparse.Namespace, _: datetime) -> World:
    tree = pipeline.tree(os.environ, options.run_dir)
    pipeline.begin(tree, asked.remarks)

    def keep(directory: Path, code: int) -> int:
        pipeline.keep(tree, directory, code)
        return 0

    return World(lambda one: pipeline.run_directory(tree, one.name), keep, partial(_copies, options))


def _llmd(_: Asked, options: argparse.Namespace, begun: datetime) -> World:
    return World(partial(llmd.run_directory, options.run_dir or _RESULTS, begun), llmd.keep, partial(_copies, options))


_WORLDS: dict[str, Callable[[Asked, argparse.Namespace, datetime], World]] = {
    "suite": _suite,
    "platform": _platform,
    pipeline.WORLD: _pipeline,
    llmd.WORLD: _llmd,
}


def _directory(asked: Asked, parent: Path | None, begun: datetime, one: Planned) -> Path:
    """Where a run goes; several go below one folder."""
    if len(asked.plans) == 1:
        return parent or _RESULTS / _name(one.plan, begun)
    return (parent or _RESULTS / f"{_part(one.plan.scenario.name)}-{begun:%Y%m%dT%H%M%S}Z") / _part(one.name)


def _name(plan: Plan, begun: datetime) -> str:
    target = plan.target
    named = target.name if target.name != "target" else target.model or target.base_url.rpartition("/")[2]
    return f"{_part(plan.scenario.name)}-{_part(named)}-{begun:%Y%m%dT%H%M%S}Z"


def _part(name: str) -> str:
    return as_file_name(name, "-")


def _nothing(_: Path, __: int) -> int:
    return 0


def _copies(options: argparse.Namespace, shown: Shown) -> int:
    suite_results.copies(shown, options.output, html=options.html)
    return 0
