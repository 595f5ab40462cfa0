"""The workload ``trace``: requests as long as the recorded ones, with the beginnings that those shared.

Every stage asks what was recorded, with text of its own: equal beginnings are equal within a stage, and no stage warms
the prefix cache for another one, nor a warm-up for its stage, nor one round through the trace for the next.
"""

from __future__ import annotations

from pathlib import Path

from inferometer.config.models import Phase, Plan, Stage, TraceLoop
from inferometer.workload.asks import Ask, Asks, Materials
from inferometer.workload.block_prompts import blocks_composer
from inferometer.workload.synthetic import asked_stage, serial
from inferometer.workload.trace import Trace, load

#: Ids of blocks in a trace are below 2**63; what is above tells one round of one stage from all others.
_ID_BITS = 63
_MOST_ROUNDS = 1 << 20


def asks(plan: Plan, materials: Materials) -> Asks:
    """The requests of a prepared trace, in the order of time; behind its end they begin anew."""
    assert materials.trace is not None  # noqa: S101
    trace = load(Path(materials.trace))
    write = blocks_composer(materials.prompts, plan.seed)
    firsts = [first_arrival(stage, trace) for stage in plan.scenario.stages]

    def ask(stage: int, phase: Phase, index: int) -> Ask:
        stage = asked_stage(plan, stage)
        lap, arrival = divmod(firsts[stage] + index, len(trace.at_ns))
        own = (lap + _MOST_ROUNDS * (2 * stage + (phase is Phase.WARMUP))) << _ID_BITS
        blocks = [(own + name, tokens) for name, tokens in trace.blocks(arrival)]
        prompt_tokens = int(trace.input_tokens[arrival])
        prompt = write(blocks, prompt_tokens, serial(stage, phase, index))
        return Ask(prompt, prompt_tokens, int(trace.output_tokens[arrival]))

    return ask


def first_arrival(stage: Stage, trace: Trace) -> int:
    """The arrival with which a stage begins: that of its window if it keeps recorded times, else the first of all."""
    if not isinstance(stage.load, TraceLoop) or stage.load.times_s:
        return 0
    return int(trace.at_ns.searchsorted(round(stage.load.start_s * 1e9)))
