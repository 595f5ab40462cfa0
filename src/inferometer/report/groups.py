"""Tables of a stage: cold and warm prefixes, replicas, classes of requests, turns, connections. Latencies in ms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from inferometer.report.tables import FEW, as_cell, markdown, short

Entry = dict[str, Any]
#: Title of a column -> what stands in it; a column that is empty in all lines is left out.
Columns = dict[str, Callable[[Entry], str]]


def tables(stage: Entry) -> Iterator[tuple[str, list[str]]]:
    """(title, lines) of each table that a stage of the summary has something for."""
    for key, title, columns in _TABLES:
        if entries := stage.get(key):
            yield title, [*_table(entries, columns), *_BELOW[key](stage)]


def _table(entries: Sequence[Entry], columns: Columns) -> list[str]:
    filled = {title: [cell(entry) for entry in entries] for title, cell in columns.items()}
    shown = {title: cells for title, cells in filled.items() if any(cell != "-" for cell in cells)}
    return markdown(list(shown), list(zip(*shown.values(), strict=True))).splitlines()


def _name(key: str) -> Callable[[Entry], str]:
    """A name may come from a server."""
    return lambda entry: "other" if entry[key] is None else as_cell(str(entry[key]))


def _count(key: str) -> Callable[[Entry], str]:
    return lambda entry: "-" if entry[key] is None else f"{entry[key]:.0f}"


def _number(key: str) -> Callable[[Entry], str]:
    return lambda entry: f"{entry[key]:.2f}"


def _share(key: str) -> Callable[[Entry], str]:
    return lambda entry: "-" if entry[key] is None else f"{100 * entry[key]:.1f} %"


def _percentile(metric: str, percent: str) -> Callable[[Entry], str]:
    def cell(entry: Entry) -> str:
        if metric not in entry["metrics"]:
            return "-"
        estimate = entry["metrics"][metric]["percentiles_ms"][percent]
        return short(estimate["value"]) + (FEW if estimate["low"] is None else "")

    return cell


def _turn(entry: Entry) -> str:
    return f"{entry['turn']}{' ...' if entry['and_later'] else ''}"


_SIZES: Columns = {
    "ok": _count("ok"),
    "failed": _count("failed"),
    "prompt tok": _count("prompt_tokens_mean"),
    "output tok": _count("output_tokens_mean"),
}
_LATENCIES: Columns = {
    f"{label} p{percent}": _percentile(metric, percent)
    for metric, label in (("ttft", "TTFT"), ("tpot", "TPOT"), ("e2el", "E2E"))
    for percent in ("50", "95")
}
_PREFIXES: Columns = {
    "prefix": _name("part"),
    "ok": _count("ok"),
    "prompt tok": _count("prompt_tokens_mean"),
    "hit rate": _share("hit_rate"),
    "perfect": _share("perfect_hit_rate"),
    "same replica": _share("same_replica_share"),
    "TTFT p50": _percentile("ttft", "50"),
    "TTFT p95": _percentile("ttft", "95"),
}
_REPLICAS: Columns = {
    "replica": _name("replica"),
    "share": _share("share"),
    "ok": _count("ok"),
    "failed": _count("failed"),
    "groups": _count("groups"),
    "hit rate": _share("hit_rate"),
    "TTFT p50": _percentile("ttft", "50"),
    "TTFT p95": _percentile("ttft", "95"),
}
_STEPS: Columns = {
    "ms": _name("step"),
    **{title: _number(f"{title}_ms") for title in ("min", "mean", "std", "median", "max")},
}
_CLASSES: Columns = {"class": _name("request_class"), **_SIZES, **_LATENCIES}
_TURNS: Columns = {"turn": _turn, **_SIZES, "hit rate": _share("hit_rate"), **_LATENCIES}
#: Key in a stage, title, columns.
_TABLES: tuple[tuple[str, str, Columns], ...] = (
    ("prefixes", "Shared Prefixes", _PREFIXES),
    ("replicas", "Replicas", _REPLICAS),
    ("classes", "Classes of Requests", _CLASSES),
    ("turns", "Turns", _TURNS),
    ("connection_times", "Times of Requests", _STEPS),
)


def _nothing(_: Entry) -> list[str]:
    return []


def _warm_of_cold(stage: Entry) -> list[str]:
    """What a warm prefix saves, in one figure."""
    medians = {entry["part"]: entry["metrics"]["ttft"]["median_ms"]["value"] for entry in _with_ttft(stage)}
    if not medians.get("cold") or "warm" not in medians:
        return []
    return [f"Median TTFT warm / cold: {medians['warm'] / medians['cold']:.2f}"]


def _with_ttft(stage: Entry) -> list[Entry]:
    return [entry for entry in stage["prefixes"] if "ttft" in entry["metrics"]]


def _how_even(stage: Entry) -> list[str]:
    even = stage.get("evenness")
    if even is None:
        return []
    largest, smallest = even["largest_of_fair"], even["smallest_of_fair"]
    chance = f"{even['p']:.2f}" if even["p"] >= 0.01 else "below 0.01"
    return [f"Largest / fair share: {largest:.2f}, smallest: {smallest:.2f}; p of an even choice: {chance}"]


def _served_within(stage: Entry) -> list[str]:
    """As ``ab`` shows it: how many of the requests are served within which time."""
    within = stage["served_within_ms"]
    table = markdown(("served", *(f"{percent} %" for percent in within)), [["within", *map(short, within.values())]])
    return ["", *table.splitlines(), f"Time per request, all in flight together: {stage['ms_per_request']:.2f} ms"]


#: Lines under a table.
_BELOW: dict[str, Callable[[Entry], list[str]]] = {
    "prefixes": _warm_of_cold,
    "replicas": _how_even,
    "classes": _nothing,
    "turns": _nothing,
    "connection_times": _served_within,
}
