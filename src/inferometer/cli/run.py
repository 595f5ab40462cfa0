"""``inferometer run``: load the plan, prepare, play, report; or go on with a run that was cut."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inferometer import __version__
from inferometer.cli import foreign, pipeline
from inferometer.cli.export import SAVE_FLAGS, check_save, save_flags, save_result
from inferometer.cli.foreign import Asked, Planned
from inferometer.cli.streams import outliving_terminals
from inferometer.config import files
from inferometer.config.flags import FLAGS, add_flags
from inferometer.config.models import Plan
from inferometer.errors import UserError

if TYPE_CHECKING:
    from inferometer.engine.launch import Address
    from inferometer.runner.local import Outcome
    from inferometer.runner.sessions import Earlier

EPILOG = """Without --base-url, --target or -c the run practises on the embedded simulator.
Exit codes: 0 done; 1 stopped early by a rule, or a threshold missed; 2 usage or no server; 3 requests failed;
4 not VALID under --strict; 130 interrupted."""

#: Flags that are given even if they are not: their values then. --resume goes with --strict and --output alone.
DEFAULTS = {**foreign.DEFAULTS, "run_dir": None, "dry_run": False, "html": False}
BESIDE_RESUME = {"command", "resume", "strict", "output", *SAVE_FLAGS}

#: Of the exit codes of several runs the first of these is that of the command.
WORST_FIRST = (130, 2, 3, 4, 1)

#: The share of failed requests above which a run ends with exit code 3.
FAILED_SHARE = 0.05


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the plan, and of what happens around it."""
    parser.epilog = EPILOG
    foreign.arguments(parser)
    add_flags(parser)
    parser.add_argument(
        "--run-dir", type=Path, metavar="DIR", help="the run directory itself (default: results/NAME-TIME)"
    )
    parser.add_argument(
        "--resume", type=Path, metavar="DIR", help="go on with the run in this directory at the stage where it was cut"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE.json",
        help="also write the summary here; with --scenario, --targets-file or a file of the suite its result",
    )
    parser.add_argument("--html", action="store_true", help="also write a page: beside --output, else report.html")
    save_flags(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the resolved plan and stop")
    parser.add_argument("--strict", action="store_true", help="exit 4 unless every stage is VALID")


class Voice(NamedTuple):
    """Where a run speaks: ``note`` to the user and ``run.log``, ``log`` to ``run.log`` alone. One sentence each."""

    note: Callable[[str], None]
    log: Callable[[str], None]


def run(options: argparse.Namespace) -> int:
    """Play the plan that the options describe, or what is left of one."""
    with outliving_terminals(), _terminable():
        return _begin(options) if options.resume is None else _resume(options)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does, so that what it began is taken back or kept, as the case may be."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _begin(options: argparse.Namespace) -> int:
    asked = foreign.requested(options)
    for remark in asked.remarks:
        print(remark, file=sys.stderr)
    if options.dry_run:
        print("---\n".join(files.dump(one.plan) for one in asked.plans), end="")
        return 0
    check_save(options)
    inner = options
    if asked.world == "suite" or len(asked.plans) > 1:
        inner = argparse.Namespace(**vars(options) | {"output": None})
    _check_output(options.output, make=asked.world == "suite")
    tree = _tree(options, asked)
    begun, played = datetime.now(UTC), list[tuple[Planned, Path]]()
    codes = list[int]()
    for one in asked.plans:
        directory = (
            pipeline.run_directory(tree, one.name)
            if tree
            else _directory(one, options, begun, several=len(asked.plans) > 1)
        )
        codes.append(_played(one, inner, asked, directory))
        played.append((one, directory))
        if tree:
            pipeline.keep(tree, directory, codes[-1])
        if codes[-1] == 130:
            break
    codes.append(_after(asked, options, played))
    return next((code for code in WORST_FIRST if code in codes), 0)


def _tree(options: argparse.Namespace, asked: Asked) -> pipeline.Tree | None:
    """The folders of the evaluation pipeline, if it is the one that asks."""
    if asked.world != pipeline.WORLD:
        return None
    found = pipeline.tree(os.environ, options.run_dir)
    pipeline.begin(found, asked.remarks)
    return found


def _played(one: Planned, options: argparse.Namespace, asked: Asked, directory: Path) -> int:
    """Play one of the plans. One of several that cannot be played keeps no other from it. Returns the exit code."""
    from inferometer.records import store

    several = len(asked.plans) > 1 or asked.world == pipeline.WORLD
    new = store.create(directory)
    try:
        with _voice(one.plan, directory) as voice:
            if asked.practising:
                voice.note("Practising on the embedded simulator (measure a real server with --base-url URL).")
            if several:
                voice.note(f"===== {directory.name} =====")
            return _session(one.plan, directory, options, voice)
    except UserError as error:
        store.discard(directory, new=new)
        if not several:
            raise
        print(f"inferometer: {directory.name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        store.discard(directory, new=new)
        raise


def _after(asked: Asked, options: argparse.Namespace, played: list[tuple[Planned, Path]]) -> int:
    """What other worlds show at the end of all runs. Returns an exit code."""
    from inferometer.cli import suite_results

    shown = [(one, at) for one, at in played if (at / "summary.json").exists()]
    if asked.world == "suite":
        return suite_results.show(shown, options.output, html=options.html)
    if asked.world == "platform":
        suite_results.job_table(shown)
    suite_results.copies(shown, options.output, html=options.html)
    return 0


def _directory(one: Planned, options: argparse.Namespace, begun: datetime, *, several: bool) -> Path:
    """Where a run goes; several go below one folder."""
    parent: Path | None = options.run_dir
    if not several:
        return parent or Path("results") / _name(one.plan)
    return (parent or Path("results") / f"{_clean(one.plan.scenario.name)}-{begun:%Y%m%dT%H%M%S}Z") / _clean(one.name)


def _resume(options: argparse.Namespace) -> int:
    """Play the stages that are not finished, if there are any."""
    _refuse_other_flags(options)
    check_save(options)
    _check_output(options.output)
    from inferometer.records import store
    from inferometer.runner.conduct import conclude
    from inferometer.runner.sessions import earlier_sessions, is_complete

    directory: Path = options.resume
    if not (directory / store.PLAN).exists():
        raise UserError(f"--resume {directory}: that is not a run directory: it has no {store.PLAN}")
    plan = files.read_plan(directory / store.PLAN)
    with _voice(plan, directory) as voice:
        earlier = earlier_sessions(directory)
        if earlier is None or not is_complete(plan, earlier):
            return _session(plan, directory, options, voice, earlier)
        conclude(directory, earlier)
        reason = f"a rule ended it ({earlier.stopped})" if earlier.stopped else "every stage was played"
        voice.note(f"{directory} is complete: {reason}. There is nothing left to do.")
        summary = _show(directory, options, voice)
        code = _exit_code(summary, strict=True) if options.strict else 0
        return code or (1 if earlier.stopped else 0)


def _refuse_other_flags(options: argparse.Namespace) -> None:
    """A plan that changed in the middle would be two measurements under one name."""
    names = {flag.path: flag.name for flag in FLAGS}
    given = (key for key, value in vars(options).items() if key not in DEFAULTS or value != DEFAULTS[key])
    other = sorted(names.get(key, key.replace("_", "-")) for key in given if key not in BESIDE_RESUME)
    if other:
        flags = ", ".join(f"--{name}" for name in other)
        raise UserError(f"--resume goes on with the plan of its run: leave out {flags}, or begin a new run")


def _check_output(path: Path | None, *, make: bool = False) -> None:
    """Raises ``UserError`` now for a file that could not be written in the end. ``make``: its folder is made."""
    if path is None:
        return
    if make:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
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
    return f"{_clean(plan.scenario.name)}-{_clean(model)}-{datetime.now(UTC):%Y%m%dT%H%M%S}Z"


def _clean(name: str) -> str:
    """A name as part of a path; folders stay out of it."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name).strip(".") or "-"


@contextlib.contextmanager
def _voice(plan: Plan, directory: Path) -> Iterator[Voice]:
    from inferometer.cli.log import opened
    from inferometer.telemetry.ask import secrets

    try:
        hidden = secrets(plan.target)
    except UserError:  # a key or header that cannot be used: the run will say so, and has nothing to hide
        hidden = ()
    with opened(directory, hidden) as log:

        def note(sentence: str) -> None:
            print(sentence, file=sys.stderr, flush=True)
            log(sentence)

        yield Voice(note, log)


def _session(
    plan: Plan, directory: Path, options: argparse.Namespace, voice: Voice, earlier: Earlier | None = None
) -> int:
    """Start the plan's engine if it has one, play, report. Returns the exit code."""
    voice.log(f"inferometer {__version__} {'goes on' if earlier else 'begins'} in {directory}")
    with _engine(plan, directory, voice) as address:
        plan = _at(plan, address)
        voice.log(f"target {plan.target.name}: {plan.target.base_url}, {plan.target.api}")
        outcome = _play(plan, directory, voice, earlier)
    code = _report(directory, options, outcome, voice)
    voice.log(f"ended: {_how(outcome)}; exit code {code}")
    return code


@contextlib.contextmanager
def _engine(plan: Plan, directory: Path, voice: Voice) -> Iterator[Address | None]:
    if plan.engine is None:
        yield None
        return
    from inferometer.engine.launch import started
    from inferometer.records.store import ENGINE_LOG

    with started(plan.engine, directory / ENGINE_LOG, plan.target.model, note=voice.note) as address:
        yield address


def _at(plan: Plan, address: Address | None) -> Plan:
    if address is None:
        return plan
    target = plan.target.model_copy(update={"base_url": address.base_url, "model": address.model})
    return plan.model_copy(update={"target": target})


def _play(plan: Plan, directory: Path, voice: Voice, earlier: Earlier | None) -> Outcome:
    """Prepare and play; every problem on the way is said."""
    from inferometer.cli.display import display
    from inferometer.cli.log import losses, watching
    from inferometer.runner.conduct import conduct
    from inferometer.runner.local import Progress

    with display() as shown:
        watches = (watching(voice.log, directory), shown, losses(voice.log))

        def watch(progress: Progress) -> None:
            for each in watches:
                each(progress)

        outcome = conduct(plan, directory, watch, voice.note, earlier)
    for problem in (*outcome.problems, *filter(None, [outcome.stopped])):
        voice.note(f"note: {problem}")
    return outcome


def _report(directory: Path, options: argparse.Namespace, outcome: Outcome, voice: Voice) -> int:
    summary = _show(directory, options, voice)
    if outcome.interrupted:
        return 130
    code = 3 if outcome.died else _exit_code(summary, strict=options.strict)
    return code or (1 if outcome.stopped else 0)


def _show(directory: Path, options: argparse.Namespace, voice: Voice) -> dict[str, Any]:
    """Write the summary, then print it: what is on disk does not depend on who reads."""
    from inferometer.analysis.load import summary_of
    from inferometer.cli.terminal import wants_colour
    from inferometer.records import store
    from inferometer.report.console import render

    summary = summary_of(directory)
    for path in filter(None, (directory / store.SUMMARY, options.output)):
        store.write_json(path, summary)
    for path in save_result(options, directory):
        voice.note(f"saved: {path}")
    for stage in summary["stages"]:
        voice.log(f"stage {stage['stage'] + 1}: {stage['verdict']['verdict']}{_findings(stage['verdict'])}")
    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    print(render(summary, colour=wants_colour(sys.stdout), unicode=unicode), flush=True)
    voice.note(f"run directory: {directory}")
    return summary


def _findings(verdict: dict[str, Any]) -> str:
    """What makes a verdict worse than VALID."""
    bad = [finding["name"] for finding in verdict["findings"] if finding["severity"] != "note"]
    return f" ({', '.join(bad)})" if bad else ""


def _how(outcome: Outcome) -> str:
    """How a run ended, in words."""
    if outcome.interrupted:
        return "interrupted"
    if outcome.stopped:
        return outcome.stopped
    return "a worker died" if outcome.died else "complete"


def _exit_code(summary: dict[str, Any], *, strict: bool) -> int:
    stages = summary["stages"]
    ok, failed = (sum(stage["counts"][kind] for stage in stages) for kind in ("ok", "failed"))
    if ok == 0 or failed > FAILED_SHARE * (ok + failed):
        return 3
    if strict and any(stage["verdict"]["verdict"] != "VALID" for stage in stages):
        return 4
    return 1 if any(not one["met"] for one in summary.get("thresholds") or ()) else 0
