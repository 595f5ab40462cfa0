"""An inference engine in virtual time: continuous batching in steps, as vLLM V1 schedules them. Pure; integers in ns.

Each step takes one token of every decoding sequence and as much prompt as the token budget leaves (chunked prefill),
and lasts as long as its content says (``step_ns``). The caller says what time it is, so tests play years in a moment
and the server plays the same object in real time. Only ideal times enter: a step begins where the last one ideally
ended.
"""

from __future__ import annotations

import random
from collections import deque
from heapq import heappop, heappush
from typing import Protocol

import msgspec

from inferometer.simulator.blocks import Block, BlockPool


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's limits and costs.

    The frontend (HTTP, tokenising, the way to the engine) handles one request after the other, ``frontend_serial_ns``
    each, and adds ``frontend_ns`` to all. ``jitter`` is the relative standard deviation of step durations.
    """

    max_num_seqs: int = 256
    max_batch_tokens: int = 8192
    num_gpu_blocks: int
    block_tokens: int = 16
    max_model_len: int = 8192
    frontend_ns: int = 0
    frontend_serial_ns: int = 0
    step_ns: int
    per_sequence_ns: int = 0
    per_prefill_token_ns: int = 0
    per_context_token_ns: int = 0
    jitter: float = 0.0


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine must know. ``hashes`` are ``chain_hashes`` of the prompt, or of prompt and answer.

    ``session`` is what requests of one user share, for routers that send them to one replica.
    """

    key: int
    prompt_tokens: int
    output_tokens: int
    hashes: tuple[bytes, ...] = ()
    session: bytes | None = None


class Progress(msgspec.Struct, eq=False, gc=False):
    """The life of one request; only the engine changes it. Times are None until they happen.

    ``replica`` is the number of the engine that has it, where there are several.
    """

    request: Request
    arrived_ns: int
    queued_ns: int
    scheduled_ns: int | None = None
    first_ns: int | None = None
    generated: int = 0
    computed: int = 0
    cached_tokens: int = 0
    preemptions: int = 0
    done: bool = False
    blocks: list[Block] = []
    replica: int = 0


#: (whose, how many tokens, whether they are the last)
Emission = tuple[Progress, int, bool]


class Step(msgspec.Struct, frozen=True):
    """One pass of the model over a batch."""

    ends_ns: int
    sequences: int
    prefill_tokens: int
    context_tokens: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's gauges and counters at one moment. ``prefix_queries`` and ``prefix_hits`` are tokens."""

    running: int
    waiting: int
    kv_usage: float = 0.0
    prefix_queries: int = 0
    prefix_hits: int = 0
    preemptions: int = 0


def step_ns(profile: Profile, decoding: int, prefill_tokens: int, context_tokens: int) -> int:
    """Ideal duration of a step in ns: weights are read once, the rest grows with what is in the batch."""
    return (
        profile.step_ns
        + decoding * profile.per_sequence_ns
        + prefill_tokens * profile.per_prefill_token_ns
        + context_tokens * profile.per_context_token_ns
    )


class Playable(Protocol):
    """What drives an engine, be it this one or an exact timeline, needs of it."""

    def submit(self, request: Request, now_ns: int) -> Progress:
        """Queue a request."""

    def abort(self, progress: Progress) -> None:
        """Forget a request."""

    def due_ns(self) -> int | None:
        """When to play."""

    def play(self) -> tuple[int, list[Emission]]:
        """Do what is due."""

    def figures(self) -> Figures:
        """Gauges and counters."""


class Engine:
    """The scheduler. ``play`` is ``end_step`` and ``begin_step`` at the right moment."""

    def __init__(self, profile: Profile, seed: int = 0) -> None:
        self._profile = profile
        self._random = random.Random(seed)
        self._pool = BlockPool(profile.num_gpu_blocks)
        self._arrivals: list[tuple[int, int, Progress]] = []
        self._waiting: deque[Progress] = deque()
        self._running: list[Progress] = []
        self._work: list[tuple[Progress, int]] = []
        self._step: Step | None = None
        self._submitted = 0
        self._frontend_free_ns = 0
        self._limit_blocks: int | None = None
        self._lost_blocks = 0
        self._preemptions = 0
        self._prefix_queries = 0
        self._prefix_hits = 0

    def submit(self, request: Request, now_ns: int) -> Progress:
        """Queue a request that arrived now.

        Raises:
            ValueError: if its blocks exceed the whole cache, so that it could never finish.
        """
        needed = self._blocks_of(request)
        if needed > self._profile.num_gpu_blocks:
            raise ValueError(f"a request of {needed} blocks cannot fit a cache of {self._profile.num_gpu_blocks}")
        self._frontend_free_ns = max(self._frontend_free_ns, now_ns) + self._profile.frontend_serial_ns
        progress = Progress(request, now_ns, self._frontend_free_ns + self._profile.frontend_ns)
        self._submitted += 1
        heappush(self._arrivals, (progress.queued_ns, self._submitted, progress))
        return progress

    def abort(self, progress: Progress) -> None:
        """Forget a request wherever it is; aborting a finished one is harmless."""
        if progress.done:
            return
        progress.done = True
        self._pool.release(progress.blocks)
        progress.blocks = []
        self._running = [other for other in self._running if other is not progress]
        self._waiting = deque(other for other in self._waiting if other is not progress)
        self._arrivals = sorted(entry for entry in self._arrivals if entry[2] is not progress)

    def limit_cache(self, num_blocks: int | None) -> None:
        """From the next step on, leave the KV cache so many blocks, or again all of them with None.

        It always keeps what its largest request needs, so that every request comes to its end.
        """
        self._limit_blocks = num_blocks

    def known_tokens(self, request: Request) -> int:
        """How much of a prompt is in the cache now."""
        hashes = request.hashes[: (request.prompt_tokens - 1) // self._profile.block_tokens]
        return self._pool.match(hashes) * self._profile.block_tokens

    def due_ns(self) -> int | None:
        """When ``play`` has something to do: at the step's end, or at an idle engine's next request; None if never."""
        if self._step is not None:
            return self._step.ends_ns
        return self._arrivals[0][0] if self._arrivals else None

    def play(self) -> tuple[int, list[Emission]]:
        """Do what is due: end the step, if any, and begin the next. Returns the ideal time and the new tokens."""
        due_ns = self.due_ns()
        if due_ns is None:
            raise ValueError("nothing is due in this engine")
        emissions = self.end_step()
        self.begin_step(due_ns)
        return due_ns, emissions

    def begin_step(self, now_ns: int) -> Step | None:
        """Choose the batch of a step that begins now; None if there is nothing to do."""
        while self._arrivals and self._arrivals[0][0] <= now_ns:
            self._waiting.append(heappop(self._arrivals)[2])
        if self._limit_blocks is not None or self._lost_blocks:
            self._resize_cache()
        budget, preempted = self._schedule_running(self._profile.max_batch_tokens)
        if not preempted:
            self._schedule_waiting(budget, now_ns)
        if not self._work:
            return None
        decoding = prefill_tokens = context_tokens = 0
        for progress, tokens in self._work:
            context_tokens += progress.computed
            if progress.generated and tokens == 1:
                decoding += 1
            else:
                prefill_tokens += tokens
        duration_ns = step_ns(self._profile, decoding, prefill_tokens, context_tokens)
        if self._profile.jitter:
            duration_ns = int(duration_ns * max(0.5, self._random.gauss(1.0, self._profile.jitter)))
        self._step = Step(now_ns + duration_ns, len(self._work), prefill_tokens, context_tokens)
        return self._step

    def end_step(self) -> list[Emission]:
        """Finish the step: every sequence whose known tokens are all computed has one more."""
        if self._step is None:
            return []
        emissions: list[Emission] = []
        ends_ns = self._step.ends_ns
        any_done = False
        for progress, tokens in self._work:
            if progress.done:
                continue
            progress.computed += tokens
            request = progress.request
            if progress.computed < request.prompt_tokens + progress.generated:
                continue
            progress.generated += 1
            if progress.first_ns is None:
                progress.first_ns = ends_ns
            if progress.generated == request.output_tokens:
                progress.done = any_done = True
                self._pool.release(progress.blocks)
                progress.blocks = []
            emissions.append((progress, 1, progress.done))
        if any_done:
            self._running = [progress for progress in self._running if not progress.done]
        self._step = None
        self._work = []
        return emissions

    def figures(self) -> Figures:
        """What the engine says of itself now."""
        return Figures(
            running=len(self._running),
            waiting=len(self._waiting),
            kv_usage=(self._pool.used - self._lost_blocks) / (self._pool.num_blocks - self._lost_blocks),
            prefix_queries=self._prefix_queries,
            prefix_hits=self._prefix_hits,
            preemptions=self._preemptions,
        )

    def _schedule_running(self, budget: int) -> tuple[int, bool]:
        """Oldest first. Returns the budget left, and whether anyone lost its blocks."""
        before = self._preemptions
        index = 0
        while index < len(self._running) and budget > 0:
            progress = self._running[index]
            tokens = min(progress.request.prompt_tokens + progress.generated - progress.computed, budget)
            if not self._allocate_or_preempt(progress, tokens):
                break
            self._work.append((progress, tokens))
            budget -= tokens
            index += 1
        return budget, self._preemptions > before

    def _allocate_or_preempt(self, progress: Progress, tokens: int) -> bool:
        """The youngest sequences lose their blocks until this one has its own; False if it was the youngest itself."""
        while not self._allocate(progress, tokens):
            if self._preempt() is progress:
                return False
        return True

    def _preempt(self) -> Progress:
        """The youngest running sequence loses its blocks and waits in front of all others."""
        victim = self._running.pop()
        self._pool.release(victim.blocks)
        victim.blocks = []
        victim.computed = 0
        victim.preemptions += 1
        self._preemptions += 1
        self._waiting.appendleft(victim)
        return victim

    def _resize_cache(self) -> None:
        """Take blocks out of the cache, from the youngest sequences if none are free, or give them back."""
        total = self._pool.num_blocks
        live = [*self._running, *self._waiting]
        least = max((self._blocks_of(progress.request) for progress in live), default=1)
        lost = 0 if self._limit_blocks is None else max(0, total - max(self._limit_blocks, least))
        if lost < self._lost_blocks:
            self._pool.release([None] * (self._lost_blocks - lost))
        while lost > self._lost_blocks and not self._pool.take(lost - self._lost_blocks):
            self._preempt()
        self._lost_blocks = lost

    def _blocks_of(self, request: Request) -> int:
        """Blocks of a request at its end."""
        return -(-(request.prompt_tokens + request.output_tokens) // self._profile.block_tokens)

    def _schedule_waiting(self, budget: int, now_ns: int) -> None:
        """First come, first served; a chunk of the prompt is enough to start."""
        while self._waiting and budget > 0 and len(self._running) < self._profile.max_num_seqs:
            progress = self._waiting[0]
            self._reuse_prefix(progress)
            tokens = min(progress.request.prompt_tokens + progress.generated - progress.computed, budget)
            if not self._allocate(progress, tokens):
                self._pool.release(progress.blocks)
                progress.blocks = []
                progress.computed = 0
                return
            if progress.scheduled_ns is None:
                progress.scheduled_ns = now_ns
                progress.cached_tokens = progress.computed
                self._prefix_queries += progress.request.prompt_tokens
                self._prefix_hits += progress.computed
            self._running.append(self._waiting.popleft())
            self._work.append((progress, tokens))
            budget -= tokens

    def _reuse_prefix(self, progress: Progress) -> None:
        """Share cached blocks, but leave at least one token to compute: the next one comes out of it."""
        known = progress.request.prompt_tokens + progress.generated
        hashes = progress.request.hashes[: (known - 1) // self._profile.block_tokens]
        shared = hashes[: self._pool.match(hashes)]
        self._pool.hold(shared)
        progress.blocks = list(shared)
        progress.computed = len(shared) * self._profile.block_tokens

    def _allocate(self, progress: Progress, tokens: int) -> bool:
        """Blocks for this many more tokens; those that become full are published."""
        block_tokens = self._profile.block_tokens
        end = progress.computed + tokens
        missing = -(-end // block_tokens) - len(progress.blocks)
        if missing > 0:
            if not self._pool.take(missing):
                return False
            progress.blocks += [None] * missing
        elif end % block_tokens:  # the usual decode: a token more in a block that stays incomplete
            return True
        hashes = progress.request.hashes
        for index in range(progress.computed // block_tokens, min(end // block_tokens, len(hashes))):
            if self._pool.publish(hashes[index]):
                progress.blocks[index] = hashes[index]
        return True
