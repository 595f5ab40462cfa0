"""One run of one plan: its engine if it has one, the play, the summary and what the run says meanwhile."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from inferometer import __version__
from inferometer.cli.export import save_result
from inferometer.config.models import Plan
from inferometer.errors import UserError

if TYPE_CHECKING:
    from inferometer.engine.launch import Address
    from inferometer.runner.local import Outcome
    from inferometer.runner.sessions import Earlier


#: The exit code of a run that was interrupted.
INTERRUPTED = 130


class Voice(NamedTuple):
    """Where a run speaks: ``note`` to the user and ``run.log``, ``log`` to ``run.log`` alone. One sentence each."""

    note: Callable[[str], None]
    log: Callable[[str], None]


@contextlib.contextmanager
def speaking(plan: Plan, directory: Path) -> Iterator[Voice]:
    """A voice for a run in this directory, which never tells a secret of the plan's target."""
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


def play(plan: Plan, directory: Path, options: argparse.Namespace, voice: Voice, earlier: Earlier | None = None) -> int:
    """Start the plan's engine if it has one, play, report. Returns the exit code."""
    voice.log(f"inferometer {__version__} {'goes on' if earlier else 'begins'} in {directory}")
    with _engine(plan, directory, voice) as address:
        plan = _at(plan, address)
        voice.log(f"target {plan.target.name}: {plan.target.base_url}, {plan.target.api}")
        outcome = _conducted(plan, directory, voice, earlier)
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


def _conducted(plan: Plan, directory: Path, voice: Voice, earlier: Earlier | None) -> Outcome:
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
    for problem in (*outcome.problems, *filter(None, [outcome.stopped, outcome.settled])):
        voice.note(f"note: {problem}")
    return outcome


def _report(directory: Path, options: argparse.Namespace, outcome: Outcome, voice: Voice) -> int:
    summary = show(directory, options, voice)
    if outcome.interrupted:
        return INTERRUPTED
    code = 3 if outcome.died else exit_code(summary, strict=options.strict)
    return code or (1 if outcome.stopped else 0)


def show(directory: Path, options: argparse.Namespace, voice: Voice) -> dict[str, Any]:
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


def exit_code(summary: dict[str, Any], *, strict: bool) -> int:
    """The exit code that a summary comes to: failed requests before verdicts before thresholds."""
    from inferometer.report.judgements import FAILED_SHARE

    stages = summary["stages"]
    ok, failed = (sum(stage["counts"][kind] for stage in stages) for kind in ("ok", "failed"))
    if ok == 0 or failed > FAILED_SHARE * (ok + failed):
        return 3
    if strict and any(stage["verdict"]["verdict"] != "VALID" for stage in stages):
        return 4
    return 1 if any(not one["met"] for one in summary.get("thresholds") or ()) else 0
