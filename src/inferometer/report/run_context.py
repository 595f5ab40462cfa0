"""The run context: what must be known to place the numbers, and the peaks of what the server said meanwhile."""

from __future__ import annotations

from typing import Any

from inferometer.analysis import server_peaks
from inferometer.analysis.rounds import view
from inferometer.report.content import UNKNOWN, Content, started
from inferometer.report.tables import level

_PATTERNS = {
    "closed": "closed loop, concurrency",
    "open": "open loop, req/s",
    "trace": "trace, req/s",
    "users": "users",
}
#: Fields of the run context that have a row of their own.
_ROWS = {"model", "request_shape", "load_pattern", "client", "inferometer", "plan_sha256"}
#: Names that are no words.
_TITLES = {"gpu": "GPU", "cuda": "CUDA", "dtype": "dtype", "server_args": "Server arguments"}
#: Gauges of a server that are drawn: name: (title, unit)
GAUGES = {
    "requests_running": ("Requests running", ""),
    "requests_waiting": ("Requests waiting", ""),
    "kv_cache_usage": ("KV cache used", "share"),
    "gpu_utilisation": ("GPU utilisation", "share"),
    "gpu_memory_used_bytes": ("GPU memory used", "bytes"),
    "gpu_power_w": ("GPU power", "W"),
    "gpu_temperature_c": ("GPU temperature", "°C"),
}


def context_rows(content: Content) -> list[tuple[str, str]]:
    """(name, value) of what must be known to place the numbers; a value that nobody captured is ``unknown``.

    What a run captured of server and machine, and what the user added, follows under the names it has there.
    """
    summary, context = content.summary, content.context
    target = summary["target"]
    client = context.get("client") or {}
    machine = [
        f"{client['cpus_allowed']} of {client['cpus']} CPUs" if "cpus" in client else "",
        client.get("system") or "",
        f"Python {client['python']}" if "python" in client else "",
    ]
    rows = [
        ("Model", _model(content) or UNKNOWN),
        ("Target", f"{target['name']}, {target['base_url']}, {target['api']}"),
        ("Request shape", _shape(content)),
        ("Load pattern", _pattern(summary)),
        ("Started", started(content)),
        ("Prompts", (summary.get("prompts") or {}).get("note") or UNKNOWN),
        ("Client", ", ".join(filter(None, machine)) or UNKNOWN),
        ("Workers", str(summary["workers"])),
        ("Inferometer", summary["tool_version"]),
        ("Plan", f"sha256 {context['plan_sha256']}" if context.get("plan_sha256") else UNKNOWN),
    ]
    return rows + _captured(context, content.plan)


def _model(content: Content) -> str | None:
    """As the server told it, which may name the weights behind a served name."""
    told = (content.context.get("run_context") or {}).get("model")
    asked: str | None = content.summary["target"]["model"]
    return told if isinstance(told, str) and told != UNKNOWN else asked


def _captured(context: dict[str, Any], plan: dict[str, Any]) -> list[tuple[str, str]]:
    """Flat facts of the run context and of the target that have no row yet, in the order in which they were written."""
    facts = {**((plan.get("target") or {}).get("facts") or {}), **(context.get("run_context") or {})}
    return [
        (_TITLES.get(name) or name[:1].upper() + name[1:].replace("_", " "), UNKNOWN if value is None else str(value))
        for name, value in facts.items()
        if name not in _ROWS and not isinstance(value, dict | list)
    ]


def _shape(content: Content) -> str:
    """Lengths that were asked for, as means over all stages that have some."""
    workload = (content.plan.get("scenario") or {}).get("workload") or {}
    sides = {
        side: sorted(
            {
                round(asked)
                for stage in content.summary["stages"]
                if (asked := stage["lengths"][f"{side}_tokens"]["asked_mean_tokens"]) is not None
            }
        )
        for side in ("prompt", "output")
    }
    words = [f"{_range(counts)} {side} tokens" for side, counts in sides.items() if counts]
    flags = ["ignore_eos"] if workload.get("ignore_eos") else []
    kind = workload.get("type")
    return ", ".join([*([kind] if kind else []), *words, *flags, f"seed {content.summary['seed']}"])


def _range(counts: list[int]) -> str:
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _pattern(summary: dict[str, Any]) -> str:
    """Kinds of load and their levels, and how often each was played."""
    levels: dict[str, list[str]] = {}
    for stage in view(summary)["stages"]:
        levels.setdefault(stage["load"]["type"], []).append(level(stage["load"]))
    told = [f"{_PATTERNS.get(kind, kind)} {', '.join(dict.fromkeys(all_))}" for kind, all_ in levels.items()]
    often = sorted({group["repeats"] for group in summary.get("repeats") or ()})
    return "; ".join([*told, *([f"each {_range(often)} times"] if often else [])])


def peaks_caption(content: Content) -> str:
    """What a peak is: samples may miss what lies between them."""
    interval_s = ((content.plan.get("target") or {}).get("telemetry") or {}).get("interval_s") or 1.0
    return f"highest of the samples, about one {'a second' if interval_s == 1 else f'every {interval_s:g} s'}"


def peaks(content: Content) -> list[tuple[str, str]]:
    """(name of a server figure, its peak) over all stages, of all replicas together at one moment."""
    found = server_peaks.peaks(content.summary)
    return [(title_, peak_text(found[name], unit)) for name, (title_, unit) in GAUGES.items() if name in found]


def peak_text(peak: server_peaks.Peak, unit: str) -> str:
    """A peak with its unit; where it is a mean, the highest of a single replica, too."""
    whole = server_figure(peak.value, unit)
    return whole if peak.of_one is None else f"{whole} (of one replica {server_figure(peak.of_one, unit)})"


def server_figure(value: float, unit: str) -> str:
    """A figure of the server with its unit."""
    if unit == "share":
        return f"{100 * value:.1f} %"
    if unit == "bytes":
        return f"{value / 2**30:.1f} GiB"
    return f"{value:.4g} {unit}".rstrip()
