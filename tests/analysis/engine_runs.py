"""Closed loops against the engine model in virtual time: whole runs, with telemetry, whose bottleneck is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from drawn_runs import plan_of
from synthetic_run import record, table, worker

from inferometer.analysis.server_samples import from_table
from inferometer.analysis.summary import summarise
from inferometer.records.record import Record, WorkerStage
from inferometer.records.telemetry import SCHEMA, Reading, batch
from inferometer.simulator.model import Engine, Profile, Progress, Request

PROMPT_TOKENS, OUTPUT_TOKENS = 64, 24
#: Time between two samples of what the engine says, and between two stages.
SAMPLE_NS, PAUSE_NS = 20_000_000, 3_000_000_000


def summary(profile: Profile, levels: tuple[int, ...], seed: int, client_ns: int = 0) -> dict[str, Any]:
    """The summary of a run of these concurrencies, one after the other on one engine.

    Args:
        profile: of the engine.
        levels: concurrency of each stage.
        seed: of the engine's jitter.
        client_ns: what the client needs for each send; it does one after the other, so that it is the limit where
            the loop would be faster.
    """
    engine, start_ns = Engine(profile, seed), PAUSE_NS
    records: list[Record] = []
    readings: list[Reading] = []
    workers: list[WorkerStage] = []
    for stage, level in enumerate(levels):
        readings += _readings(start_ns - 1, engine)
        loop = _Loop(engine, stage, start_ns, client_ns)
        ended_ns, told = loop.play(level, 6 * level + 10)
        records += loop.records
        readings += told
        workers.append(worker(stage=stage, started_ns=start_ns, ended_ns=ended_ns, sent=len(loop.records)))
        start_ns = ended_ns + PAUSE_NS
    told = from_table(pa.Table.from_batches([batch(readings)], SCHEMA))
    return summarise(plan_of(*levels), table(records), workers, told=told)


class _Loop:
    """One stage: so many requests in flight, each followed by the next as soon as the client gets to it."""

    def __init__(self, engine: Engine, stage: int, start_ns: int, client_ns: int) -> None:
        self._engine, self._stage, self._client_ns = engine, stage, client_ns
        self._client_free_ns = start_ns
        self._start_ns = start_ns
        self._events: dict[int, list[int]] = {}
        self._sent = 0
        self.records: list[Record] = []

    def play(self, concurrency: int, requests: int) -> tuple[int, list[Reading]]:
        """Until all requests have ended; when that was, and what the engine said meanwhile."""
        now_ns = sampled_ns = self._start_ns
        readings: list[Reading] = []
        for _ in range(concurrency):
            self._send(now_ns)
        while len(self.records) < requests:
            now_ns, emissions = self._engine.play()
            for progress, tokens, last in emissions:
                self._events[progress.request.key] += [now_ns] * tokens
                if last:
                    self._end(progress, now_ns)
                    if self._sent < requests:
                        self._send(now_ns)
            if now_ns >= sampled_ns:
                readings += _readings(now_ns, self._engine)
                sampled_ns = now_ns + SAMPLE_NS
        readings += _readings(now_ns + 1, self._engine)
        return now_ns, readings

    def _send(self, free_ns: int) -> None:
        self._client_free_ns = max(self._client_free_ns, free_ns) + self._client_ns
        request = Request(key=self._sent, prompt_tokens=PROMPT_TOKENS, output_tokens=OUTPUT_TOKENS)
        self._engine.submit(request, self._client_free_ns)
        self._events[self._sent] = []
        self._sent += 1

    def _end(self, progress: Progress, now_ns: int) -> None:
        events_ns = np.array(self._events.pop(progress.request.key), np.int64)
        sent_ns = progress.arrived_ns
        times = {"sent_ns": sent_ns, "first_token_ns": int(events_ns[0]), "last_token_ns": now_ns, "end_ns": now_ns}
        lengths = {"asked_output_tokens": OUTPUT_TOKENS, "output_tokens": OUTPUT_TOKENS, "event_ns": events_ns}
        self.records.append(
            record(progress.request.key, stage=self._stage, scheduled_ms=sent_ns / 1e6, **times, **lengths)
        )


def _readings(t_ns: int, engine: Engine) -> list[Reading]:
    """One sample, under the names of the vocabulary. A GPU is used while a step is under way, however small."""
    figures = engine.figures()
    values = {
        "requests_running": figures.running,
        "requests_waiting": figures.waiting,
        "kv_cache_usage": figures.kv_usage,
        "preemptions": figures.preemptions,
    }
    used = 1.0 if figures.running else 0.0
    return [
        *(Reading(t_ns, "vllm", "a", "engine=0", name, float(value)) for name, value in values.items()),
        Reading(t_ns, "dcgm", "a", "gpu=0", "gpu_utilisation", used),
    ]
