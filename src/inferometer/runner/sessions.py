"""The sessions of a run: a run that was cut goes on in a later one. ``context.json`` says what each of them did.

All sessions share one axis of time: nanoseconds since the epoch of the first, by the wall clock between two sessions
and by the monotonic clock within one.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from inferometer import __version__
from inferometer.client.clock import now_ns
from inferometer.config.models import Plan
from inferometer.errors import UserError
from inferometer.records import store
from inferometer.records.record import WorkerStage
from inferometer.runner.local import Outcome
from inferometer.telemetry import calibrated
from inferometer.workload.tokens import PromptSpec


class Earlier(NamedTuple):
    """What earlier sessions left behind. ``finished`` are the stages of which every row is there."""

    context: dict[str, Any]
    prompts: PromptSpec
    finished: tuple[int, ...]
    workers: list[WorkerStage]
    stopped: str | None
    settled: str | None = None


class Session(NamedTuple):
    """One session: ``epoch_ns`` is the zero of all times of the run, on the monotonic clock of this session."""

    epoch_ns: int
    document: dict[str, Any]


def earlier_sessions(directory: Path) -> Earlier | None:
    """What is left to go on from in a run directory; None if nothing had been sent yet.

    A stage counts as finished if ``context.json`` says so and its rows are all on disk: a machine that lost power may
    have written the one and not the other.

    Raises:
        UserError: it is not the directory of a run, or of one that an older version made.
    """
    if not (directory / store.PLAN).exists():
        raise UserError(f"{directory} is not a run directory: it has no {store.PLAN}")
    path = directory / store.CONTEXT
    if not path.exists():
        return None
    try:
        context = json.loads(path.read_text())
        prompts = msgspec.convert(context["prompts"], PromptSpec)
        said = msgspec.convert(context["finished_stages"], list[int])
        workers = msgspec.convert(context["workers"], list[WorkerStage])
        digest, _ = context["plan_sha256"], int(context["epoch_unix_ns"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else error
        raise UserError(f"cannot go on from {path}: it is damaged, or of another version ({reason})") from None
    if digest != store.plan_digest(directory):
        raise UserError(f"{directory / store.PLAN} was changed since the run began: a changed plan needs a new run")
    rows = store.measured_rows(directory)
    sent: Counter[int] = Counter()
    for worker in workers:
        sent[worker.stage] += worker.sent
    finished = tuple(stage for stage in sorted(said) if rows.get(stage, 0) >= sent[stage])
    kept = [worker for worker in workers if worker.stage in finished]
    return Earlier(context, prompts, finished, kept, context.get("stopped"), context.get("settled"))


def is_complete(plan: Plan, earlier: Earlier) -> bool:
    """Is nothing left to be played: every stage is finished, or a rule or a precision of the plan ended the run?"""
    if earlier.stopped is not None or earlier.settled is not None:
        return True
    return set(range(len(plan.scenario.stages))) <= set(earlier.finished)


def new_session(
    directory: Path, prompts: PromptSpec, earlier: Earlier | None, known: Mapping[str, Any] | None = None
) -> Session:
    """The session that begins now, and the document that it writes. The plan has to be in the directory.

    ``known`` is what was captured of the server and this machine; a later session leaves that of the first.
    """
    monotonic_ns, wall_ns = now_ns(), time.time_ns()
    epoch = epoch_ns(earlier, monotonic_ns, wall_ns)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    own = {
        "started": started,
        "ended": None,
        "why": None,
        "finished_stages": (),
        "inferometer": __version__,
        "epoch_monotonic_ns": epoch,
        "client": _client(),
    }
    if earlier is not None:
        before = [session | {"why": session["why"] or "killed"} for session in earlier.context.get("sessions", [])]
        return Session(epoch, earlier.context | {"sessions": [*before, own]})
    first = {
        "schema_version": 1,
        "inferometer": __version__,
        "epoch_monotonic_ns": epoch,
        "epoch_unix_ns": wall_ns - monotonic_ns + epoch,
        "started": started,
        "client": own["client"],
        "plan_sha256": store.plan_digest(directory),
        **(known or {}),
        "prompts": msgspec.to_builtins(prompts),
        "calibration": msgspec.to_builtins(calibrated.load(calibrated.state_file(), calibrated.this_machine())),
    }
    return Session(epoch, first | {"sessions": [own]})


def epoch_ns(earlier: Earlier | None, monotonic_ns: int, wall_ns: int) -> int:
    """The zero of all times on this session's monotonic clock: now, or the first session's epoch by the wall clock.

    Times never go back: where the wall clock was set back in between, they go on where the last session ended.
    """
    if earlier is None:
        return monotonic_ns
    passed_ns = wall_ns - int(earlier.context["epoch_unix_ns"])
    return monotonic_ns - max(passed_ns, max((worker.ended_ns for worker in earlier.workers), default=0))


def joined(earlier: Earlier | None, outcome: Outcome) -> Outcome:
    """The outcome of all sessions: reports and finished stages of the earlier ones, too."""
    if earlier is None:
        return outcome
    finished = tuple(sorted({*earlier.finished, *outcome.finished}))
    return outcome._replace(workers=[*earlier.workers, *outcome.workers], finished=finished)


def context(session: Session, own: Outcome, whole: Outcome, state: str, why: str | None) -> dict[str, Any]:
    """The content of ``context.json``.

    Args:
        session: the present one.
        own: what it has done so far.
        whole: what all sessions have done so far.
        state: ``running``, ``complete`` or ``interrupted``.
        why: why the session ended, in a few words; None while it lasts.
    """
    *before, last = session.document["sessions"]
    ended = None if why is None else datetime.now(UTC).isoformat(timespec="seconds")
    last = last | {"finished_stages": own.finished, "ended": ended, "why": why}
    return session.document | {
        "state": state,
        "stopped": whole.stopped,
        "settled": whole.settled,
        "finished_stages": whole.finished,
        "workers": msgspec.to_builtins(whole.workers),
        "sessions": [*before, last],
    }


class Book:
    """Keeps ``context.json`` up to date while a session lasts, so that it is right whenever the run is killed."""

    def __init__(self, directory: Path, session: Session, earlier: Earlier | None) -> None:
        self._path = directory / store.CONTEXT
        self._session = session
        self._earlier = earlier
        self._own = Outcome([], interrupted=False, died=False, problems=[])
        self.write(self._own)

    def write(self, own: Outcome, state: str = "running", why: str | None = None) -> None:
        """Write what the session has done so far; ``state`` and ``why`` as in ``context``."""
        self._own = own
        whole = joined(self._earlier, own)
        store.write_json(self._path, context(self._session, own, whole, state, why))

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """A failure that leaves the block is written down as the end of the session. What was measured is kept."""
        try:
            yield
        except UserError as error:
            with contextlib.suppress(UserError):  # the disk may be full, which is what failed
                self.write(self._own, why="failed")
            raise UserError(str(error), 3) from None


def _client() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "cpus": os.cpu_count(),
        "cpus_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    }
