"""Requests ready before they are due: built before the clock starts as far as memory allows, then between reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from inferometer.client.exchange import Job

#: Requests that are built ahead may take this much memory.
BUDGET_BYTES = 256 * 1024 * 1024
#: An endless load cannot be built whole; this many are ahead of it at any time.
AHEAD = 2048


class Supply:
    """Jobs of one worker's stride by index. ``late_builds`` counts those that had to be built at send time."""

    def __init__(self, write: Callable[[int], Job], indices: Iterator[int], *, endless: bool) -> None:
        self._write = write
        self._indices = indices
        self._ready: dict[int, Job] = {}
        self._newest = -1
        self.late_builds = 0
        built_bytes = 0
        while built_bytes < BUDGET_BYTES and not (endless and len(self._ready) >= AHEAD):
            job = self._build_next()
            if job is None:
                break
            built_bytes += len(job.payload)

    def __len__(self) -> int:
        """Jobs that are ready."""
        return len(self._ready)

    def take(self, index: int) -> Job:
        """The job with this index; each is handed out once."""
        self._newest = max(self._newest, index)
        job = self._ready.pop(index, None)
        if job is None:
            self.late_builds += 1
            job = self._write(index)
        return job

    def top_up(self) -> None:
        """Build one more, if there are more to come."""
        self._build_next()

    def _build_next(self) -> Job | None:
        index = next((index for index in self._indices if index > self._newest), None)
        if index is None:
            return None
        job = self._ready[index] = self._write(index)
        return job
