"""``inferometer run``: load the plan, prepare, play, report."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferometer.config import files
from inferometer.config.catalog.targets import partial_plan
from inferometer.config.flags import add_flags, merge, plan_from_flags
from inferometer.config.models import Plan
from inferometer.errors import UserError

if TYPE_CHECKING:
    from inferometer.engine.launch import Address
    from inferometer.runner.local import Outcome

EPILOG = """Without --base-url, --target or -c the run practises on the embedded simulator.
Exit codes: 0 done; 1 stopped early by a rule; 2 usage or no server; 3 requests failed; 4 not VALID under --strict; 130 interrupted."""

#: The share of failed requests above which a run ends with exit code 3.
FAILED_SHARE = 0.05


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the plan, and of what happens around it."""
    parser.epilog = EPILOG
    parser.add_argument("--target", metavar="NAME", help="a target of the catalog: simulator, smollm2")
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", help="a plan as YAML or JSON; flags win over it")
    add_flags(parser)
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="the run directory itself (default: results/NAME-TIME)"
    )
    parser.add_argument("--output", type=Path, metavar="FILE.json", help="also write the summary here")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved plan and stop")
    parser.add_argument("--strict", action="store_true", help="exit 4 unless every stage is VALID")


def run(options: argparse.Namespace) -> int:
    """Play the plan that the options describe."""
    plan = _plan(options)
    if options.dry_run:
        print(files.dump(plan), end="")
        return 0
    _check_output(options.output)
    from inferometer.records import store

    directory = options.run_dir or Path("results") / _name(plan)
    new = store.create(directory)
    _say_practice(plan, options)
    try:
        with _engine(plan, directory) as address:
            outcome = _play(_at(plan, address), directory)
    except (UserError, KeyboardInterrupt):
        store.discard(directory, new=new)
        raise
    return _report(directory, options, outcome)


def _plan(options: argparse.Namespace) -> Plan:
    given = vars(options)
    base: dict[str, Any] = {}
    if options.config is not None:
        base = files.read(options.config)
    elif options.target is None and "target.base_url" not in given:
        base = partial_plan("simulator")
    if options.target is not None:
        base = merge(base, partial_plan(options.target))
    plan = plan_from_flags(given, base)
    if not plan.target.base_url and plan.engine is None:
        raise UserError("no server to measure: give --base-url, or --target simulator to practise")
    return plan.model_copy(update={"engine": None}) if "target.base_url" in given else plan


def _check_output(path: Path | None) -> None:
    if path is None:
        return
    if not path.parent.is_dir():
        raise UserError(f"--output {path}: there is no folder {path.parent}")
    existed = path.exists()
    try:
        path.open("ab").close()
        if not existed:
            path.unlink()
    except OSError as error:
        raise UserError(f"--output {path}: {error.strerror}") from None


def _name(plan: Plan) -> str:
    model = (
        plan.target.name
        if plan.target.name != "target"
        else (plan.target.model or plan.target.base_url.rpartition("/")[2])
    )
    clean = "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in model)
    return f"{plan.scenario.name}-{clean}-{datetime.now(UTC):%Y%m%dT%H%M%S}Z"


def _say_practice(plan: Plan, options: argparse.Namespace) -> None:
    if plan.engine is not None and options.target is None and options.config is None:
        print("Practising on the embedded simulator (measure a real server with --base-url URL).", file=sys.stderr)


@contextlib.contextmanager
def _engine(plan: Plan, directory: Path) -> Iterator[Address | None]:
    if plan.engine is None:
        yield None
        return
    from inferometer.engine.launch import started

    with started(plan.engine, directory / "engine.log", plan.target.model, note=_note) as address:
        yield address


def _note(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


def _at(plan: Plan, address: Address | None) -> Plan:
    if address is None:
        return plan
    target = plan.target.model_copy(update={"base_url": address.base_url, "model": address.model})
    return plan.model_copy(update={"target": target})


def _play(plan: Plan, directory: Path) -> Outcome:
    """Prepare and play; every problem on the way is said."""
    from inferometer.cli.display import display
    from inferometer.runner.conduct import conduct

    with display() as watch:
        outcome = conduct(plan, directory, watch, _note)
    for problem in (*outcome.problems, *filter(None, [outcome.stopped])):
        _note(f"note: {problem}")
    return outcome


def _report(directory: Path, options: argparse.Namespace, outcome: Outcome) -> int:
    from inferometer.analysis.load import summary_of
    from inferometer.cli.terminal import wants_colour
    from inferometer.records import store
    from inferometer.report.console import render

    summary = summary_of(directory)
    for path in filter(None, (directory / store.SUMMARY, options.output)):
        store.write_json(path, summary)
    print(render(summary, colour=wants_colour(sys.stdout)))
    _note(f"run directory: {directory}")
    if outcome.interrupted:
        return 130
    code = 3 if outcome.died else _exit_code(summary, strict=options.strict)
    return code or (1 if outcome.stopped else 0)


def _exit_code(summary: dict[str, Any], *, strict: bool) -> int:
    stages = summary["stages"]
    ok, failed = (sum(stage["counts"][kind] for stage in stages) for kind in ("ok", "failed"))
    if ok == 0 or failed > FAILED_SHARE * (ok + failed):
        return 3
    if strict and any(stage["verdict"]["verdict"] != "VALID" for stage in stages):
        return 4
    return 0
