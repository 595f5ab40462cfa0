"""What parent and worker say to each other: one JSON line each, a handful per stage, none per request."""

from __future__ import annotations

import msgspec

from inferometer.config.models import Phase
from inferometer.records.record import WorkerStage
from inferometer.workload.asks import Materials


class Setup(msgspec.Struct, frozen=True, tag="setup", kw_only=True):
    """Everything that a worker needs to know about the run. ``plan`` is its JSON."""

    plan: str
    materials: Materials
    worker: int
    workers: int
    directory: str
    board: str
    epoch_ns: int


class Prepare(msgspec.Struct, frozen=True, tag="prepare"):
    """Build the requests of one part of a stage and open the connections."""

    stage: int
    phase: Phase


class Start(msgspec.Struct, frozen=True, tag="start"):
    """Play what was prepared, at this reading of the monotonic clock."""

    start_ns: int


class Ready(msgspec.Struct, frozen=True, tag="ready"):
    """Prepared; ``problem`` says why no connection could be opened, if so."""

    problem: str | None = None


class Done(msgspec.Struct, frozen=True, tag="done"):
    """The part is over and its rows are on disk."""

    report: WorkerStage


class Broken(msgspec.Struct, frozen=True, tag="broken"):
    """A mistake of the user's that only the worker could notice."""

    sentence: str


Order = Setup | Prepare | Start
Reply = Ready | Done | Broken

encode = msgspec.json.encode
decode_order = msgspec.json.Decoder(Order).decode
decode_reply = msgspec.json.Decoder(Reply).decode
