"""The result of a calibration for a terminal, in the layout of the results of a run: sections, rules, padded labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from inferometer.analysis.calibration import QUIET_CORES, Calibration, Errors, Exceeded, Limit, Machine

WIDTH = 66
#: What a search is about: (label of its line, what a load is called).
SEARCHES = {
    "tokens": ("Long answers (tok/s):", "{} streams"),
    "requests": ("Short answers (req/s):", "{} req/s asked"),
}


def render(calibration: Calibration) -> str:
    """The whole table, machine first; ends without a line end."""
    counts = sorted({limit.workers for limit in calibration.limits})
    lines = [
        _rule("Calibration Result", "="),
        *_machine(calibration.machine),
        *_quiet(calibration),
        *_errors(calibration.errors),
        *(line for count in counts for line in _highest(calibration.limits, count)),
        *_one_worker_only(calibration.machine, counts),
        _rule("", "="),
        *_remarks(calibration),
    ]
    return "\n".join(lines)


def _rule(title: str, fill: str = "-") -> str:
    return f"{f' {title} ' if title and fill == '=' else title:{fill}^{WIDTH}}"


def _line(label: str, *values: str) -> str:
    return f"{label:<40} {' '.join(f'{value:<12}' for value in values)}".rstrip()


def _machine(machine: Machine) -> Iterator[str]:
    yield _line("CPU:", machine.cpu)
    yield _line("CPUs that may be used:", str(machine.cpus))
    yield _line("Kernel:", machine.kernel)
    yield _line("Python:", machine.python)
    yield _line("Inferometer:", machine.inferometer)


def _quiet(calibration: Calibration) -> Iterator[str]:
    """How much the machine had to do for others meanwhile."""
    if calibration.others_cores is not None:
        yield _line("Cores busy with other processes:", f"{calibration.others_cores:.2f}")
    if calibration.steal_cores is not None:
        yield _line("Cores stolen by the host:", f"{calibration.steal_cores:.2f}")
    yield _line("Duration (s):", f"{calibration.took_s:.1f}")


def _errors(errors: Sequence[Errors]) -> Iterator[str]:
    yield _rule("Stamps and Sends")
    yield _line("", *(f"{one.clock}" for one in errors))
    rows = (
        ("Median stamp error (us):", [one.stamp.p50_us for one in errors]),
        ("P99 stamp error (us):", [one.stamp.p99_us for one in errors]),
        ("Median send error (us):", [one.send.p50_us for one in errors]),
        ("P99 send error (us):", [one.send.p99_us for one in errors]),
        ("Max send error (us):", [one.send.max_us for one in errors]),
    )
    yield from (_line(label, *(f"{value:.1f}" for value in values)) for label, values in rows)
    yield _line("Token events compared:", *(f"{one.stamp.count}" for one in errors))
    yield _line("At a load of (req/s):", *(f"{one.requests_per_s:.0f}" for one in errors))
    yield _line("At a load of (tok/s):", *(f"{one.tokens_per_s:.0f}" for one in errors))


def _highest(limits: Sequence[Limit], workers: int) -> Iterator[str]:
    yield _rule(f"Highest Load, {workers} Worker{'s' if workers > 1 else ''}")
    yield _line("", "measured", "by CPU (estimate)")
    for limit in limits:
        if limit.workers == workers:
            yield from _limit(limit)


def _limit(limit: Limit) -> Iterator[str]:
    label, load = SEARCHES[limit.what]
    step = limit.highest
    if step is None or limit.per_s is None:
        yield _line(label, "none held")
    else:
        least = "" if limit.ended_by == "client" else ">= "
        by_cpu = "-" if limit.by_cpu_per_s is None else f"{limit.by_cpu_per_s:.0f}"
        yield _line(label, f"{least}{limit.per_s:.0f}", by_cpu)
        cpu = f"client CPU {100 * step.cpu_share:.0f} %"
        lag = "" if step.schedule_lag_p99_ms is None else f", schedule lag p99 {step.schedule_lag_p99_ms:.2f} ms"
        stamp = f", stamp error p99 {step.stamp_error.p99_us:.0f} us"
        yield f"  held: {load.format(step.load)}, {cpu}{lag}{stamp}"
    yield f"  ended: {_end(limit, load)}"


def _end(limit: Limit, load: str) -> str:
    """Why no higher load is claimed."""
    if limit.next is None or limit.next.exceeded is None:
        return "the time was over"
    return f"{load.format(limit.next.load)}, {_exceeded(limit.next.exceeded)}"


def _exceeded(one: Exceeded) -> str:
    whose = "the simulator is the limit here: " if one.by == "simulator" else ""
    against = "" if one.limit is None else f" (limit {_figure(one.limit, one.unit)})"
    return f"{whose}{one.name} {_figure(one.figure, one.unit)}{against}"


def _figure(value: float | None, unit: str) -> str:
    if value is None:
        return "unknown"
    shown, name = (100 * value, "%") if unit == "share" else (value, unit)
    return f"{shown:.3g} {name}".rstrip()


def _one_worker_only(machine: Machine, counts: Sequence[int]) -> Iterator[str]:
    if counts == [1]:
        yield f"All workers: 1 as well, as {machine.cpus} CPUs leave one core beside the simulator's."


def _remarks(calibration: Calibration) -> Iterator[str]:
    """What a reader must know to use the numbers."""
    if any(limit.highest and limit.ended_by != "client" for limit in calibration.limits):
        yield ">= the client's own limit was not reached"
    busy = (calibration.others_cores or 0.0) + (calibration.steal_cores or 0.0)
    if busy > QUIET_CORES:
        yield "The machine was not quiet: errors are higher and limits lower than it could have; repeat it."
