"""A whole run: workers start, the server is asked, the plan is played, the rows are merged into the run directory."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from inferometer import __version__
from inferometer.client.clock import now_ns
from inferometer.config import files
from inferometer.config.models import Plan
from inferometer.records import store
from inferometer.runner.local import Crew, Outcome, Task, Watch
from inferometer.runner.preparation import prepare
from inferometer.workload.tokens import PromptSpec


def conduct(plan: Plan, directory: Path, watch: Watch, note: Callable[[str], None]) -> Outcome:
    """Play ``plan`` and leave a complete run directory (but for the summary). Raises ``UserError``."""
    with Crew(plan.workers) as crew:
        prepared = prepare(plan)
        for remark in prepared.notes:
            note(f"note: {remark}")
        note(f"prompts: {prepared.prompts.note}")
        plan = prepared.plan
        (directory / store.PLAN).write_text(files.dump(plan))
        epoch_ns = now_ns()
        context = _context(prepared.prompts, epoch_ns)

        def save(state: str, outcome: Outcome) -> None:
            told = {
                "state": state,
                "stopped": outcome.stopped,
                "finished_stages": outcome.finished,
                "workers": msgspec.to_builtins(outcome.workers),
            }
            store.write_json(directory / store.CONTEXT, context | told)

        save("running", Outcome([], interrupted=False, died=False, problems=[]))
        outcome = crew.run(
            Task(plan, prepared.prompts, directory, epoch_ns), watch, lambda outcome: save("running", outcome)
        )
    store.finish(directory)
    save("interrupted" if outcome.interrupted else "complete", outcome)
    return outcome


def _context(prompts: PromptSpec, epoch_ns: int) -> dict[str, Any]:
    """What one has to know to place the numbers. Nothing secret, nothing guessed."""
    return {
        "schema_version": 1,
        "inferometer": __version__,
        "epoch_monotonic_ns": epoch_ns,
        "epoch_unix_ns": time.time_ns() - now_ns() + epoch_ns,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "client": {
            "system": platform.platform(),
            "python": sys.version.split()[0],
            "cpus": os.cpu_count(),
            "cpus_allowed": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        },
        "prompts": msgspec.to_builtins(prompts),
    }
