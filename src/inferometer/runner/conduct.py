"""A whole run: workers start, the server is asked, the plan is played, the rows are merged into the run directory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from inferometer.config import files
from inferometer.config.models import Plan
from inferometer.errors import UserError
from inferometer.records import store, telemetry
from inferometer.runner.local import Crew, Outcome, Task, Watch
from inferometer.runner.materials import ready_until_the_end
from inferometer.runner.precision import check_precision, settled
from inferometer.runner.preparation import Prepared, prepare
from inferometer.runner.sessions import Book, Earlier, joined, new_session
from inferometer.telemetry.context import context as run_context
from inferometer.telemetry.sampling import Sources, open_sources, sampling

Say = Callable[[str], None]


def conduct(plan: Plan, directory: Path, watch: Watch, note: Say, earlier: Earlier | None = None) -> Outcome:
    """Play ``plan`` and leave a complete run directory (but for the summary).

    Args:
        plan: what to do.
        directory: the run directory; it has to exist.
        watch: called several times a second with the progress.
        note: called with what a user should know.
        earlier: what sessions before this one left; their finished stages are not played again.

    Returns:
        The outcome of all sessions together.

    Raises:
        UserError: the server cannot be measured, every worker died, or the disk is full.
    """
    check_precision(plan)
    with Crew(plan.workers) as crew, ready_until_the_end(directory):
        prepared = prepare(plan, directory)
        for remark in prepared.notes:
            note(f"note: {remark}")
        plan, materials = prepared.plan, prepared.materials
        if earlier is not None:
            materials = msgspec.structs.replace(materials, prompts=earlier.prompts)
        note(f"prompts: {materials.prompts.note}")
        if earlier is None:
            _write_plan(plan, directory / store.PLAN)
        else:
            _go_on(plan, directory, earlier, prepared, note)
        sources = open_sources(plan.target, plan.target.metrics_urls, plan.target.telemetry)
        for remark in sources.notes:
            note(f"note: {remark}")
        known = None if earlier else _known(plan, sources, directory)
        session = new_session(directory, materials.prompts, earlier, known)
        book = Book(directory, session, earlier)
        with book.open(), sampling(sources, directory, session.epoch_ns, note) as edge:
            task = Task(plan, materials, directory, session.epoch_ns, lambda: settled(plan, directory))
            outcome = crew.run(task, watch, book.write, skip=earlier.finished if earlier else (), edge=edge)
    with book.open():
        store.finish(directory)
        telemetry.finish(directory)
    book.write(outcome, "interrupted" if outcome.interrupted else "complete", _why(outcome))
    return joined(earlier, outcome)


def _known(plan: Plan, sources: Sources, directory: Path) -> dict[str, dict[str, str]]:
    """The context of the run, and where each field of it is from."""
    digest = store.plan_digest(directory)
    found = run_context(plan, plan.target.facts, sources.first, plan_sha256=digest, folder=Path.cwd())
    return {"run_context": found.values, "run_context_sources": found.sources}


def _write_plan(plan: Plan, path: Path) -> None:
    try:
        path.write_text(files.dump(plan))
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}; name another folder with --run-dir", 3) from None


def conclude(directory: Path, earlier: Earlier) -> None:
    """Do what a run with nothing left to play may not have come to: merge its rows, and say that it is complete."""
    store.finish(directory)
    telemetry.finish(directory)
    if earlier.context.get("state") != "complete":
        store.write_json(directory / store.CONTEXT, earlier.context | {"state": "complete"})


def _go_on(plan: Plan, directory: Path, earlier: Earlier, prepared: Prepared, note: Say) -> None:
    """Clear away what was cut, and say what this session begins with."""
    (directory / ".counters").unlink(missing_ok=True)  # workers of a killed session may still have it open
    dropped = store.keep(directory, set(earlier.finished))
    stages = len(plan.scenario.stages)
    note(f"going on with {directory}: {len(earlier.finished)} of {stages} stages are done")
    if dropped:
        note(f"{dropped} rows of a stage that was cut are dropped: the stage is played again from its beginning")
    if dropped and plan.engine is None:
        note("note: its prompts are sent again, and may be in the server's prefix cache if it was not restarted")
    if (prompts := prepared.materials.prompts) != earlier.prompts:
        now = prompts.note
        note(f"note: the server counts prompts in another way than at first (now: {now}); they stay as they were")


def _why(outcome: Outcome) -> str:
    """Why a session ended."""
    if outcome.interrupted:
        return "interrupted"
    if outcome.stopped:
        return "stopped by a rule"
    if outcome.settled:
        return "known well enough"
    return "a worker died" if outcome.died else "complete"
