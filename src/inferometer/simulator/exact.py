"""A timeline known in advance, independent of load: what a client should report is what was asked for. Pure."""

from __future__ import annotations

from heapq import heappop, heappush

import msgspec

from inferometer.simulator.model import Emission, Figures, Progress, Request


class Timeline(msgspec.Struct, frozen=True, kw_only=True):
    """Event j is due ``ttft_ns + j * tokens_per_event * itl_ns`` after the request's arrival."""

    ttft_ns: int
    itl_ns: int
    tokens_per_event: int = 1


class ExactEngine:
    """Plays a timeline through the interface of ``model.Engine``."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._gap_ns = timeline.itl_ns * timeline.tokens_per_event
        self._events: list[tuple[int, int, Progress]] = []
        self._running = 0

    def submit(self, request: Request, now_ns: int) -> Progress:
        """Start the timeline of a request that arrived now."""
        progress = Progress(request, now_ns, now_ns, scheduled_ns=now_ns)
        self._running += 1
        heappush(self._events, (now_ns + self._timeline.ttft_ns, request.key, progress))
        return progress

    def abort(self, progress: Progress) -> None:
        """Forget a request; its next event passes in silence."""
        if not progress.done:
            progress.done = True
            self._running -= 1

    def due_ns(self) -> int | None:
        """When the next event is due; None if there is none."""
        return self._events[0][0] if self._events else None

    def play(self) -> tuple[int, list[Emission]]:
        """All events of the next due moment, and that moment."""
        due_ns = self._events[0][0]
        due: list[Progress] = []
        while self._events and self._events[0][0] == due_ns:
            due.append(heappop(self._events)[2])
        # Only then the next ones: with a gap of zero they are due at the same moment, in a play of their own.
        return due_ns, [self._emit(progress, due_ns) for progress in due if not progress.done]

    def figures(self) -> Figures:
        """Only the requests in flight: there is no queue and no cache here."""
        return Figures(running=self._running, waiting=0)

    def _emit(self, progress: Progress, due_ns: int) -> Emission:
        tokens = min(self._timeline.tokens_per_event, progress.request.output_tokens - progress.generated)
        progress.generated += tokens
        if progress.first_ns is None:
            progress.first_ns = due_ns
        if progress.generated == progress.request.output_tokens:
            progress.done = True
            self._running -= 1
        else:
            heappush(self._events, (due_ns + self._gap_ns, progress.request.key, progress))
        return progress, tokens, progress.done
