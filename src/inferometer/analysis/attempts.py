"""What retries did to a stage, and whose numbers they are where several models answer."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from inferometer.analysis.frame import Bools, Frame


def retried_rows(frame: Frame) -> Bools:
    """Requests that were tried again after a failure. Shape (requests,)."""
    return np.array([kinds is not None for kinds in frame.retried], np.bool_)


def attempts(frame: Frame) -> dict[str, Any] | None:
    """Tries of a stage; None if none was repeated.

    ``first_try_success_share`` is the success rate that would have been seen without retries; ``failures`` counts the
    tries that failed and were repeated, by kind.
    """
    again = retried_rows(frame)
    if not again.any():
        return None
    kinds = Counter(kind for kinds in frame.retried[again] for kind in kinds.split(","))
    return {
        "mean": float(frame.attempts.mean()),
        "max": int(frame.attempts.max()),
        "requests_retried": int(np.count_nonzero(again)),
        "ok_after_retry": int(np.count_nonzero(again & frame.ok)),
        "first_try_success_share": float(np.count_nonzero(frame.ok & ~again) / len(frame)),
        "success_share": float(np.count_nonzero(frame.ok) / len(frame)),
        "failures": [{"kind": kind, "count": count} for kind, count in kinds.most_common()],
    }


def by_model(frame: Frame) -> list[tuple[str, Frame]]:
    """The requests of each model that was asked for, by name; empty if there is only one."""
    names = sorted({name for name in frame.model if name is not None})
    return [(name, frame.where(np.equal(frame.model, name))) for name in names] if len(names) > 1 else []
