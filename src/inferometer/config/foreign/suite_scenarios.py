"""Scenarios of the suite -> a workload and stages. There are four shapes, told apart by their keys."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

from inferometer.config.foreign.tables import Table
from inferometer.config.foreign.translated import NotUnderstood
from inferometer.config.lengths import cell
from inferometer.config.levels import Levels

#: Tokens of the classes that distributions name.
PROMPT_CLASSES = {"short": (50, 100), "medium": (200, 500), "long": (1000, 2000)}
OUTPUT_CLASSES = {"short": (50, 100), "medium": (100, 200), "long": (200, 500)}
#: What holds where a scenario says nothing.
USUAL_TOKENS, USUAL_REQUESTS, USUAL_CONCURRENCY = 100, 10, 1
KNOWN = (
    "name",
    "description",
    "num_requests",
    "concurrency",
    "concurrency_levels",
    "num_users",
    "spawn_rate",
    "prompt_tokens",
    "max_tokens",
    "duration",
    "step_duration",
    "warmup_requests",
    "error_threshold",
    "latency_threshold",
    "prompt_distribution",
    "max_tokens_distribution",
    "mlperf_targets",
)
Plain = dict[str, Any]


#: Key of ``mlperf_targets``, in seconds -> the level and the limit that it sets.
_TARGETS = {
    "ttft_max": ("standard", "ttft_p95_ms"),
    "tpot_max": ("standard", "tpot_p95_ms"),
    "ttft_interactive": ("interactive", "ttft_p95_ms"),
    "tpot_interactive": ("interactive", "tpot_p95_ms"),
}


class Read(NamedTuple):
    """A scenario of a plan as plain data."""

    scenario: Plain
    not_understood: tuple[NotUnderstood, ...]
    notes: tuple[str, ...]


class _Load(NamedTuple):
    """The stages of a shape."""

    stages: list[Plain]
    notes: tuple[str, ...] = ()


def read(name: str, table: Table, most_output_tokens: int | None = None) -> Read:
    """A scenario. Outputs are cut to ``most_output_tokens``. Raises ``UserError`` for values that cannot be."""
    cells = _cells(table, most_output_tokens)
    made = _shape(table)(table)
    if warmups := table.whole("warmup_requests", least=0):
        made.stages[0]["warmup_requests"] = warmups
    levels = _levels(table)
    scenario: Plain = {"name": name, "workload": _workload(table, cells), "stages": made.stages, "levels": levels}
    if rules := _rules(table):
        scenario["stop_early"] = rules
    if levels["decisive"]:
        limits = levels["standard"]
        scenario["slos"] = [{"metric": name, "limit_ms": limits[f"{name}_p95_ms"]} for name in ("ttft", "tpot")]
    turns = f"requests ask {len(cells)} pairs of a prompt length and an output length in turn"
    notes = (*made.notes, turns) if scenario["workload"].get("mix_in_turn") else made.notes
    return Read(scenario, tuple(table.unknown(KNOWN)), notes)


def _shape(table: Table) -> Callable[[Table], _Load]:
    if table.values.get("concurrency_levels") is not None:
        return _ladder
    return _users if table.values.get("num_users") is not None else _fixed


def _fixed(table: Table) -> _Load:
    """N requests at one concurrency."""
    requests = table.whole("num_requests") or USUAL_REQUESTS
    load = {"type": "closed", "concurrency": table.whole("concurrency") or USUAL_CONCURRENCY}
    seconds = table.number("duration", above=0)
    stage = {"load": load, "num_requests": requests} | ({"duration_s": seconds} if seconds else {})
    return _Load([stage])


def _ladder(table: Table) -> _Load:
    """A stage for each concurrency; the numbers of requests and seconds are those of all of them."""
    levels = table.wholes("concurrency_levels")
    if not levels:
        raise table.wrong("concurrency_levels", "a list of concurrencies is needed")
    requests, seconds = table.whole("num_requests"), table.number("duration", above=0)
    if requests is None and seconds is None:
        raise table.wrong("concurrency_levels", "num_requests, duration or both are needed: it would never end")
    if requests is not None and requests < len(levels):
        raise table.wrong("num_requests", f"{requests} requests are fewer than the {len(levels)} levels")
    shares = _split(requests, len(levels)) if requests else [None] * len(levels)
    stages = [
        {"load": {"type": "closed", "concurrency": level}, "num_requests": share}
        | ({"duration_s": seconds / len(levels)} if seconds else {})
        for level, share in zip(levels, shares, strict=True)
    ]
    told = [f"{requests} requests"] if requests else []
    told += [f"{seconds:g} s"] if seconds else []
    return _Load(stages, (f"{' and '.join(told)} are the total of {len(levels)} levels of concurrency",))


def _users(table: Table) -> _Load:
    """A stage for each number of users: of ``step_duration`` each, or of ``duration`` together."""
    levels, step_s = table.wholes("num_users"), table.number("step_duration", above=0)
    seconds = table.number("duration", above=0)
    if not levels:
        raise table.wrong("num_users", "a list of numbers of users is needed")
    if step_s is None and seconds is None:
        raise table.wrong("num_users", "step_duration or duration is needed: it would never end")
    spawn = table.number("spawn_rate", above=0)
    load = {"type": "users"} | ({"spawn_rate": spawn} if spawn else {})
    each_s = step_s or (seconds or 0.0) / len(levels)
    note = f"{len(levels)} levels of users, {each_s:g} s each" + ("" if step_s else f": {seconds:g} s together")
    return _Load([{"load": load | {"users": users}, "duration_s": each_s} for users in levels], (note,))


def _cells(table: Table, most: int | None) -> list[Plain]:
    """Every pair of a prompt length and an output length, with its share if it has one."""
    asked = _side(table, "prompt_tokens", "prompt_distribution", PROMPT_CLASSES, None)
    answered = _side(table, "max_tokens", "max_tokens_distribution", OUTPUT_CLASSES, most)
    return [
        cell(one, other) | ({"share": share * odds} if share * odds != 1 else {})
        for (one, share), (other, odds) in product(asked, answered)
        if share * odds
    ]


def _side(
    table: Table, key: str, distribution: str, classes: dict[str, tuple[int, int]], most: int | None
) -> list[tuple[Plain, float]]:
    shares = table.shares(distribution)
    for name in shares:
        if name not in classes:
            raise table.table(distribution).wrong(name, f"is none of {', '.join(classes)}")
    cap = most or 2**31
    if not shares:
        return [
            ({"mean": tokens}, 1.0)
            for tokens in dict.fromkeys(min(cap, n) for n in table.wholes(key) or [USUAL_TOKENS])
        ]
    found: dict[tuple[int, int], float] = {}
    for name, share in shares.items():
        low, high = classes[name]
        found[min(cap, low), min(cap, high)] = found.get((min(cap, low), min(cap, high)), 0.0) + share
    return [(_range(*edges), share) for edges, share in found.items()]


def _range(low: int, high: int) -> Plain:
    return {"min": low, "max": high} if low < high else {"mean": high}


def _workload(table: Table, cells: list[Plain]) -> Plain:
    """Random prompts: of one length, or of all pairs, in turn unless their classes have weights."""
    lengths = {side: cells[0][side] for side in ("input_tokens", "output_tokens")}
    weighed = table.shares("prompt_distribution") or table.shares("max_tokens_distribution")
    mix = {"mix": [{"share": 1.0} | one for one in cells]} if len(cells) > 1 else {}
    return {"type": "random"} | lengths | mix | ({"mix_in_turn": True} if mix and not weighed else {})


def _levels(table: Table) -> Plain:
    """The levels of a plan: limits that a scenario does not set are the page's, and any that it sets decides."""
    targets = table.table("mlperf_targets")
    for strange in targets.unknown(list(_TARGETS)):
        raise targets.wrong(strange.key.rpartition(".")[2], strange.sentence)
    levels = Levels(decisive=bool(targets.values)).model_dump()
    for key, (level, limit) in _TARGETS.items():
        if (seconds := targets.number(key, above=0)) is not None:
            levels[level][limit] = 1000 * seconds
    return levels


def _rules(table: Table) -> Plain:
    """Thresholds that end the run."""
    failed = table.number("error_threshold", most=1)
    latency_s = table.number("latency_threshold", above=0)
    # a share of 0 means that the first failure ends the run
    share = {} if failed is None else {"failed_share": max(failed, 1e-9)}
    return share | ({} if latency_s is None else {"e2el_p95_ms": 1000 * latency_s})


def _split(number: int, parts: int) -> list[int]:
    """A number in as many parts, as equal as they can be, the larger ones first."""
    return [number // parts + (i < number % parts) for i in range(parts)]
