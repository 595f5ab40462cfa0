"""Requests ready before they are due: built before the clock starts as far as memory allows, then between reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from inferometer.client.apis import APIS
from inferometer.client.exchange import Job
from inferometer.config.models import Phase, Plan
from inferometer.workload.synthetic import compose_ask
from inferometer.workload.tokens import Compose

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


def request_head(path: str, host: str, headers: dict[str, str]) -> bytes:
    """The request line and the headers that all requests share. Header values must not hold line breaks."""
    ours = {
        "host": host,
        "content-type": "application/json",
        "accept": "text/event-stream",
        "accept-encoding": "identity",  # without it any coding is allowed (RFC 9110, 12.5.3)
    }
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (ours | headers).items())]
    return "".join(line + "\r\n" for line in lines).encode("latin-1")


def job_writer(plan: Plan, compose: Compose, head: bytes) -> Callable[[int, Phase, int], Job]:
    """A function (stage, phase, index) -> the bytes of that request. ``head`` is the start of every request."""
    encode = msgspec.json.encode
    write_body = APIS[plan.target.api].write
    workload = plan.scenario.workload
    models = plan.target.models or (plan.target.model or "",)
    extra = ({"ignore_eos": True} if workload.ignore_eos else {}) | workload.extra_body

    def write(stage: int, phase: Phase, index: int) -> Job:
        ask = compose_ask(plan, compose, stage, phase, index)
        model = models[index % len(models)]
        body = encode(write_body(model, ask.prompt, ask.output_tokens) | extra)
        prefix = "warmup-" if phase is Phase.WARMUP else ""
        tail = f"x-request-id: inferometer-{prefix}{stage}-{index}\r\ncontent-length: {len(body)}\r\n\r\n"
        return Job(
            stage, index, phase, head + tail.encode() + body, ask.prompt_tokens, ask.output_tokens, model or None
        )

    return write
