"""When a run of repeats may end before its last round: its figures are known as well as the plan asks."""

from __future__ import annotations

from pathlib import Path

from inferometer.config.models import Plan


def check_precision(plan: Plan) -> None:
    """Raises ``UserError`` for a precision that could never be reached, before anything is sent."""
    if plan.scenario.until_precision:
        from inferometer.analysis.rounds import check_stages

        check_stages(plan)


def settled(plan: Plan, directory: Path) -> str | None:
    """A sentence if the rounds whose rows are in the run directory are enough; None if more are needed."""
    if not plan.scenario.until_precision:
        return None
    from inferometer.analysis import rounds
    from inferometer.analysis.load import summary_of

    return rounds.settled(summary_of(directory), plan.scenario.until_precision)
