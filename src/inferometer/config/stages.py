"""Flags of the load -> stages, and lists of lengths -> a stage for each."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from itertools import product
from typing import Any

from pydantic import ValidationError

from inferometer.config.lengths import Lengths, cell
from inferometer.config.models import RandomWorkload
from inferometer.errors import UserError

#: The ladder of a run that is told no load: as long as min(20 C, 320) requests each.
DEFAULT_LADDER = (1, 2, 4, 8, 16, 32)
#: A rate without a number of requests or a duration is held this long.
DEFAULT_OPEN_S = 30.0
#: An infinite rate without a number of requests sends this many.
DEFAULT_BURST = 100

SIDES = ("input_tokens", "output_tokens")
#: Flags of a load that replays a trace, and its fields.
_REPLAY = {"trace_speed": "speed", "trace_start": "start_s", "trace_end": "end_s"}
#: Flags of what is around the load of a stage.
_EDGES = {
    "num_warmups": "warmup_requests",
    "warmup_duration": "warmup_s",
    "cooldown_duration": "cooldown_s",
    "stage_pause": "pause_s",
}
_RAMP = ("ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps")
#: A rate as a number, or a ramp as plain data.
Rate = float | dict[str, Any]


def stages(
    planned: list[dict[str, Any]] | None, options: dict[str, Any], *, recorded: bool = False
) -> list[dict[str, Any]]:
    """A concurrency, a rate or a way to replay makes new stages; the other flags change those that there are.

    ``recorded``: the workload is a trace, which is replayed at its own times if nothing else is said.
    """
    rates = _rates(options)
    replay = any(name in options for name in _REPLAY)
    if replay and not recorded:
        raise UserError("--trace-speed, --trace-start and --trace-end need a trace: --dataset-name trace")
    if replay and rates:
        raise UserError("--trace-speed, --trace-start and --trace-end keep recorded times: leave the rate out")
    if ("arrivals" in options or "burstiness" in options) and not any(rate != math.inf for rate in rates):
        raise UserError("--arrivals and --burstiness shape the gaps of an open loop: give a --request-rate too")
    if "users" in options:
        return _populated(options, rates)
    if "spawn_rate" in options or "user_think_time" in options:
        raise UserError("--spawn-rate and --user-think-time are about users: give --users too")
    if recorded and (replay or (planned is None and not rates and "max_concurrency" not in options)):
        return _replayed(options)
    if planned is None or rates or "max_concurrency" in options:
        return _new(rates, options)
    ends = {"num_requests": options.get("num_prompts"), "duration_s": options.get("duration")}
    changes = ends if any(end is not None for end in ends.values()) else {}
    return [stage | changes | _edges(options) for stage in planned]


def _edges(options: dict[str, Any]) -> dict[str, Any]:
    """What is sent or waited for around a stage, as far as flags say it."""
    return {field: options[name] for name, field in _EDGES.items() if name in options}


def _populated(options: dict[str, Any], rates: list[Rate]) -> list[dict[str, Any]]:
    """One stage for each number of users."""
    if rates or "max_concurrency" in options:
        raise UserError("--users is a load of its own: leave --request-rate and --max-concurrency out")
    load = {"type": "users"}
    load |= {"spawn_rate": options["spawn_rate"]} if "spawn_rate" in options else {}
    load |= {"think": options["user_think_time"]} if "user_think_time" in options else {}
    ends = {"num_requests": options.get("num_prompts"), "duration_s": options.get("duration")}
    if not any(ends.values()):
        ends["duration_s"] = DEFAULT_OPEN_S
    return [{"load": load | {"users": users}} | ends | _edges(options) for users in options["users"]]


def _rates(options: dict[str, Any]) -> list[Rate]:
    rates: list[Rate] = options.get("request_rate") or []
    given = [options[name] for name in _RAMP if name in options]
    if not given:
        return rates
    if len(given) < len(_RAMP):
        raise UserError("--ramp-up-strategy, --ramp-up-start-rps and --ramp-up-end-rps make a ramp: give all three")
    if any(rate != math.inf for rate in rates):
        raise UserError("a ramp has its own rates: give --ramp-up-strategy or a --request-rate, not both")
    if given[0] not in ("linear", "exponential"):
        raise UserError(f"--ramp-up-strategy: linear or exponential, not {given[0]!r}")
    return [dict(zip(("type", "start", "end"), given, strict=True))]


def _new(rates: list[Rate], options: dict[str, Any]) -> list[dict[str, Any]]:
    """One stage for each rate, else for each concurrency. An infinite rate with a cap is a closed loop, as in vLLM."""
    caps: list[int | None] = options.get("max_concurrency") or [None]
    if not rates and caps == [None] and "num_prompts" not in options:
        caps = list(DEFAULT_LADDER)
    _one_sweep("--request-rate", rates, caps)
    return [_stage(rate, cap, options) for rate in rates or [math.inf] for cap in caps]


def _replayed(options: dict[str, Any]) -> list[dict[str, Any]]:
    """One stage for each speed, else for each cap on the requests in flight."""
    window = {field: options[name] for name, field in _REPLAY.items() if name in options and field != "speed"}
    speeds: list[float] = options.get("trace_speed") or [1.0]
    caps: list[int | None] = options.get("max_concurrency") or [None]
    _one_sweep("--trace-speed", speeds, caps)
    rest = {
        "num_requests": options.get("num_prompts"),
        "duration_s": options.get("duration"),
        **_edges(options),
    }
    return [
        {"load": {"type": "trace", "speed": speed, "max_in_flight": cap} | window} | rest
        for speed in speeds
        for cap in caps
    ]


def _one_sweep(flag: str, values: list[Any], caps: list[Any]) -> None:
    if len(values) > 1 and len(caps) > 1:
        raise UserError(f"give several values of {flag} or of --max-concurrency, not of both: one sweep at a time")


def _stage(rate: Rate, cap: int | None, options: dict[str, Any]) -> dict[str, Any]:
    closed = rate == math.inf and cap is not None
    stage: dict[str, Any] = {"load": {"type": "closed", "concurrency": cap} if closed else _open(rate, cap, options)}
    stage["num_requests"], stage["duration_s"] = options.get("num_prompts"), options.get("duration")
    if stage["num_requests"] is None and stage["duration_s"] is None:
        if closed:
            stage["num_requests"] = max(20, min(20 * (cap or 1), 320))
        elif rate == math.inf:
            stage["num_requests"] = DEFAULT_BURST
        else:
            stage["duration_s"] = DEFAULT_OPEN_S
    return stage | _edges(options)


def _open(rate: Rate, cap: int | None, options: dict[str, Any]) -> dict[str, Any]:
    burstiness = options.get("burstiness", 1.0)
    arrivals = options.get("arrivals") or (
        "poisson" if burstiness == 1 else "constant" if math.isinf(burstiness) else "gamma"
    )
    load = {"type": "open", "rate": rate, "arrivals": arrivals, "max_in_flight": cap}
    return load | ({"burstiness": burstiness} if arrivals in ("gamma", "vllm") else {})


def refuse_other_lengths(scenario: dict[str, Any]) -> None:
    """Flags for lengths would change nothing where classes, a grid or stages of a file have their own."""
    parts = (*scenario["stages"], *scenario["workload"].get("mix", ()))
    if scenario.get("grid") or any(part.get(side) for part in parts for side in SIDES):
        raise UserError("the plan has lengths in its grid, its mix or its stages, which flags do not change: edit them")


def fill_mean(lengths: dict[str, Any], side: str) -> None:
    """A flag may set the spread of a length without its mean: then the default mean holds."""
    between = lengths.get("min") and lengths.get("max") and not lengths.get("std_dev")
    if lengths.get("values") or (between and lengths.get("distribution") in (None, "uniform", "zipf")):
        return
    default: Lengths = RandomWorkload.model_fields[side].default
    lengths.setdefault("mean", default.mean)


def cells_of_means(means: dict[str, list[int]], workload: dict[str, Any]) -> list[dict[str, Any]]:
    """Cells for lists of mean lengths by side; what else is said of a side stays. None unless there are several."""
    if not any(len(values) > 1 for values in means.values()):
        return []
    sides = [[workload.get(side, {}) | {"mean": mean} for mean in means[side]] or [None] for side in means]
    try:
        return [cell(asked, answered) for asked, answered in product(*sides)]
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise UserError(f"--random-input-len, --random-output-len: {message[0].lower()}{message[1:]}") from None


def traffic_scenario(word: str) -> dict[str, Any]:
    """A cell from genai-bench's short form: D(100,200), N(480,240)/(300,150), U(50,100)/(200,250) or U(100,200)."""
    text = word.replace(" ", "")
    found = re.fullmatch(r"([DNU])\((\d+),(\d+)\)(?:/\((\d+),(\d+)\))?", text)
    make = _SCENARIOS.get((found[1], found[4] is not None)) if found else None
    if found is None or make is None:
        forms = "D(100,200), N(480,240)/(300,150), U(50,100)/(200,250) and U(100,200)"
        raise argparse.ArgumentTypeError(f"{word!r} is not a scenario of text, which look like {forms}")
    try:
        return cell(*make(*(int(number) for number in found.groups()[1:] if number))) | {"name": text}
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise argparse.ArgumentTypeError(f"{word!r}: {message[0].lower()}{message[1:]}") from None


def _fixed(asked: int, answered: int) -> tuple[dict[str, int], dict[str, int]]:
    return {"mean": asked}, {"mean": answered}


def _normal(mean: int, std_dev: int, output_mean: int, output_std_dev: int) -> tuple[dict[str, int], dict[str, int]]:
    return {"mean": mean, "std_dev": std_dev}, {"mean": output_mean, "std_dev": output_std_dev}


def _uniform(low: int, high: int, output_low: int, output_high: int) -> tuple[dict[str, int], dict[str, int]]:
    return {"min": max(1, low), "max": high}, {"min": max(1, output_low), "max": output_high}


def _uniform_from_one(high: int, output_high: int) -> tuple[dict[str, int], dict[str, int]]:
    return {"min": 1, "max": high}, {"min": 1, "max": output_high}


#: By letter, and whether outputs have a pair of their own.
_SCENARIOS: dict[tuple[str, bool], Callable[..., tuple[dict[str, int], dict[str, int]]]] = {
    ("D", False): _fixed,
    ("N", True): _normal,
    ("U", True): _uniform,
    ("U", False): _uniform_from_one,
}
