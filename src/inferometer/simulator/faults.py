"""What can go wrong on request: the closed table of faults, and which request meets which. Pure.

A fault counts, from 1, what it concerns: the requests (or connections) of its path, its model and its window of time.
``after_requests``, ``first``, ``every`` and ``share`` look at that number and the seed alone, so one seed spoils the
same requests however they are timed, and the retry of a request is decided anew. Of several faults that would strike,
the one that was given first does.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

import msgspec


class Scope(StrEnum):
    """What a fault counts and strikes."""

    REQUEST = "request"  #: a generation request, or any request to its ``path``
    STREAM = "stream"  #: a generation request that asks for a stream
    CONNECTION = "connection"
    SERVER = "server"  #: everything, during its window


class Kind(NamedTuple):
    """A row of the table. ``main`` is the option that ``kind=value`` sets; of ``needs`` one must be given."""

    scope: Scope
    options: tuple[str, ...] = ()
    main: str | None = None
    needs: tuple[str, ...] = ()
    path: bool = False


_CUT = ("after_tokens",)

KINDS: dict[str, Kind] = {
    "refuse": Kind(Scope.SERVER),
    "reset_on_accept": Kind(Scope.CONNECTION),
    "silence": Kind(Scope.REQUEST, path=True),
    "slow_headers": Kind(Scope.REQUEST, ("delay_ms",), "delay_ms", ("delay_ms",), path=True),
    "status": Kind(Scope.REQUEST, ("code", "body", "retry_after", "retry_after_date"), "code", ("code",), path=True),
    "routing": Kind(Scope.REQUEST),
    "stall": Kind(Scope.REQUEST, (*_CUT, "for_ms")),
    "reset": Kind(Scope.REQUEST, _CUT),
    "close": Kind(Scope.REQUEST, _CUT),
    "truncated_chunk": Kind(Scope.REQUEST, _CUT),
    "end_early": Kind(Scope.STREAM, _CUT),
    "malformed": Kind(Scope.REQUEST, _CUT),
    "error_event": Kind(Scope.STREAM, _CUT),
    "odd": Kind(Scope.STREAM, ("style",), "style", ("style",)),
    "wrong_model": Kind(Scope.REQUEST, ("as",), "as", ("as",)),
    "short": Kind(Scope.REQUEST, ("tokens",), "tokens", ("tokens",)),
    "empty": Kind(Scope.STREAM),
    "empty_body": Kind(Scope.REQUEST, path=True),
    "one_document": Kind(Scope.STREAM),
    "web_page": Kind(Scope.REQUEST, path=True),
    "memory_pressure": Kind(Scope.SERVER, ("blocks", "share"), None, ("blocks", "share")),
    "die": Kind(Scope.REQUEST, _CUT),
}

#: When a fault strikes, by what it counts; all conditions that are given must hold.
_WINDOW = ("after_s", "for_s")
_NUMBERS = ("after_requests", "first", "every", "share")
CONDITIONS: dict[Scope, tuple[str, ...]] = {
    Scope.REQUEST: (*_NUMBERS, "model", *_WINDOW),
    Scope.STREAM: (*_NUMBERS, "model", *_WINDOW),
    Scope.CONNECTION: (*_NUMBERS, *_WINDOW),
    Scope.SERVER: _WINDOW,
}


class Fault(msgspec.Struct, frozen=True, kw_only=True, rename={"as_name": "as", "retry_after_s": "retry_after"}):
    """One fault: its kind, when it strikes, and the options of its kind. Fields are named as in a SPEC.

    ``share`` of ``memory_pressure`` is a part of the KV cache, of all others a part of the requests.
    """

    kind: str
    after_requests: int = 0
    first: int | None = None
    every: int | None = None
    share: float | None = None
    model: str | None = None
    path: str | None = None
    after_s: float = 0.0
    for_s: float | None = None
    after_tokens: int = 1
    as_name: str = ""
    blocks: int | None = None
    body: str = "json"
    code: int = 500
    delay_ms: float = 0.0
    for_ms: float | None = None
    retry_after_s: int | None = None
    retry_after_date: bool = False
    style: str = ""
    tokens: int = 1


class Asked(NamedTuple):
    """What of a request decides on its faults. ``model`` and ``streams`` mean something for generation alone."""

    path: str
    generates: bool = False
    model: str | None = None
    streams: bool = False


class Met(NamedTuple):
    """A fault that strikes; ``draw`` from 0 to 1 decides what else there is to decide."""

    fault: Fault
    draw: float


class Chooser:
    """Counts for each fault what it concerns, and says which one strikes."""

    def __init__(self, faults: Sequence[Fault], seed: int) -> None:
        self._faults = faults
        self._seed = seed
        self._numbers = [0] * len(faults)

    def request(self, asked: Asked, at_s: float) -> Met | None:
        """The fault of a request that came ``at_s`` after the server began."""
        return self._choose([concerns(fault, asked) for fault in self._faults], at_s)

    def connection(self, at_s: float) -> Met | None:
        """The fault of a connection that was accepted ``at_s`` after the server began."""
        return self._choose([KINDS[fault.kind].scope is Scope.CONNECTION for fault in self._faults], at_s)

    def _choose(self, concerned: list[bool], at_s: float) -> Met | None:
        """All count, even those that a fault before them keeps from striking: none depends on the others."""
        met = None
        for place, fault in enumerate(self._faults):
            if not concerned[place] or not is_open(fault, at_s):
                continue
            self._numbers[place] += 1
            number = self._numbers[place]
            if met is None and strikes(fault, number, draw(self._seed, place, number, "strike")):
                met = Met(fault, draw(self._seed, place, number, "choose"))
        return met


def concerns(fault: Fault, asked: Asked) -> bool:
    """Whether the fault is for such requests at all."""
    scope = KINDS[fault.kind].scope
    if scope is not Scope.REQUEST and not (scope is Scope.STREAM and asked.streams):
        return False
    if fault.path is None:
        return asked.generates and fault.model in (None, asked.model)
    return fault.path == asked.path and fault.model in (None, asked.model)


def is_open(fault: Fault, at_s: float) -> bool:
    """Whether ``at_s`` after the server began lies in the fault's window; its end does not."""
    return fault.after_s <= at_s and (fault.for_s is None or at_s < fault.after_s + fault.for_s)


def strikes(fault: Fault, number: int, drawn: float) -> bool:
    """Whether the fault strikes what it counted as ``number`` (from 1), given a draw from 0 to 1 for its share.

    ``first`` and ``every`` begin to count after ``after_requests``.
    """
    number -= fault.after_requests
    return (
        number >= 1
        and (fault.first is None or number <= fault.first)
        and (fault.every is None or number % fault.every == 0)
        and (fault.share is None or drawn < fault.share)
    )


def draw(seed: int, place: int, number: int, purpose: str) -> float:
    """A number from 0 up to 1, equal in every process and on every machine, and independent of all other draws."""
    digest = blake2b(f"{seed}/{place}/{number}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64
