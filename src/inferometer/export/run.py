"""What every export starts from: one run with its rows, its stages, and the moments at which it was made. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from inferometer.analysis.frame import Frame, stage_of
from inferometer.analysis.window import counted
from inferometer.config.foreign.origin import Origin
from inferometer.config.models import Open, Plan, Stage
from inferometer.config.names import as_file_name

if TYPE_CHECKING:
    import pyarrow as pa

#: Stands where a format wants a text and nobody knows it. A number that nobody knows is null or absent.
UNKNOWN = "unknown"
NS_PER_S = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """A run as its directory tells it. ``rows`` are all requests, ``tables`` reads every column of them once more.

    ``origin`` is the part of another tool's file that it is from, ``log`` what the run wrote down of itself.
    """

    name: str
    plan: Plan
    context: dict[str, Any]
    summary: dict[str, Any]
    rows: Frame
    tables: Callable[[], Iterator[pa.Table]]
    origin: Origin | None = None
    log: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One stage that left a trace: its number, its plan, its entry of the summary and the requests that count."""

    index: int
    stage: Stage
    told: dict[str, Any]
    rows: Frame


def parts(run: Run) -> list[Part]:
    """The stages of a run that left a trace, in the order in which they were played."""
    return [_part(run, told) for told in run.summary["stages"]]


def _part(run: Run, told: dict[str, Any]) -> Part:
    stage = run.plan.scenario.stages[told["stage"]]
    rows = stage_of(run.rows, told["stage"], open_loop=isinstance(stage.load, Open))
    return Part(told["stage"], stage, told, counted(rows, stage))


def measured(run: Run) -> Frame:
    """The rows of all parts together, with latencies from the send."""
    numbers = [part.rows.row for part in parts(run)]
    return from_send(run.rows.where(np.isin(run.rows.row, np.concatenate([np.zeros(0, np.int64), *numbers]))))


def from_send(rows: Frame) -> Frame:
    """The same requests with latencies that start at the send of the last try, as most clients count them."""
    return replace(rows, start_ns=rows.sent_ns)


def model_of(run: Run) -> str:
    """The model that was asked, or all of them with commas."""
    return ", ".join(models_of(run)) or run.plan.target.model or UNKNOWN


def models_of(run: Run) -> list[str]:
    """The names of several models behind one address; empty if there is one."""
    return [model.name for model in run.plan.target.models] if len(run.plan.target.models) > 1 else []


def moment(run: Run, time_s: float | None) -> datetime | None:
    """A time of the run (seconds since its epoch) in UTC; None if the run does not tell where its epoch lies."""
    epoch_ns = run.context.get("epoch_unix_ns")
    if time_s is None or not isinstance(epoch_ns, int):
        return None
    return datetime.fromtimestamp(epoch_ns / NS_PER_S + time_s, UTC)


def monotonic_s(run: Run, time_ns: float) -> float:
    """A time of the run on the monotonic clock of the machine that made it, in seconds."""
    return float(run.context.get("epoch_monotonic_ns", 0) + time_ns) / NS_PER_S


def ends(part: Part) -> tuple[float | None, float | None]:
    """When the stage began and ended, in seconds since the run's epoch; None if nothing was sent."""
    window = part.told["window"] or {}
    return window.get("start_s"), window.get("end_s")


def stamp(time: datetime | None, form: str) -> str:
    """A time as local text in the form of ``strftime``."""
    return time.astimezone().strftime(form) if time else UNKNOWN


def utc(time: datetime | None) -> str:
    """A time as ISO 8601 in UTC, to the second, with Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ") if time else UNKNOWN


def label_of(part: Part) -> str:
    """A name for the stage that is fit for a file: its own, or its load; ``c8``, ``r2.5``."""
    load = part.told["load"]
    words = {"closed": "c{concurrency}", "users": "u{users}"}.get(load["type"], "r{rate_per_s}")
    return as_file_name(part.told["name"] or words.format_map(load))
