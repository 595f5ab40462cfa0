"""A summary as flat rows: one point for each stage, ready for a chart, a CSV file or a table."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

from inferometer.analysis.rounds import view
from inferometer.report.tables import harmless, level

Point = dict[str, Any]
#: Names of stages longer than this are cut in charts.
_LABEL_CHARACTERS = 28
_RATES = ("requests_per_s", "output_tokens_per_s", "total_tokens_per_s", "mean_in_flight", "peak_in_flight")
#: What the first column of a sweep means: (field of a point, title)
_ASKED = {
    "closed": ("concurrency", "Concurrency"),
    "open": ("rate_per_s", "Request rate (req/s)"),
    "users": ("users", "Users"),
}


class Axis(NamedTuple):
    """What stages are drawn against. ``field`` of the points; quantitative, or the labels of the stages in order.

    ``asked``: a tick for each stage, which has a round value; else ticks at round values.
    """

    field: str
    title: str
    quantitative: bool
    log: bool
    asked: bool = True


def points(summary: dict[str, Any]) -> list[Point]:
    """One flat row per stage; latencies as ``ttft_p95_ms`` with ``ttft_p95_low_ms`` and ``ttft_p95_high_ms``."""
    stages = summary["stages"]
    return [_point(stage, label) for stage, label in zip(stages, labels(stages), strict=True)]


def labels(stages: Sequence[dict[str, Any]]) -> list[str]:
    """A short name for each stage, all different: its own, or its load."""
    plain = [_label(stage) for stage in stages]
    often = Counter(plain)
    taken = {label for label in plain if often[label] == 1}
    found = []
    for label in plain:
        numbered = (f"{label} #{number}" for number in count(1))
        found.append(label if often[label] == 1 else next(one for one in numbered if one not in taken))
        taken.add(found[-1])
    return found


def axis(rows: Sequence[Point]) -> Axis:
    """The load, if it is a different number for each stage; else the labels."""
    types = {row["load_type"] for row in rows}
    field, title = _ASKED.get(next(iter(types), ""), ("label", "Stage")) if len(types) == 1 else ("label", "Stage")
    values = [row[field] for row in rows]
    if field == "label" or any(isinstance(value, str) or value is None for value in values):
        return Axis("label", "Stage", quantitative=False, log=False)
    if len(set(values)) < len(values):
        return Axis("label", "Stage", quantitative=False, log=False)
    return Axis(field, title, quantitative=True, log=min(values) > 0 and max(values) >= 8 * min(values))


def heading(rows: Sequence[Point]) -> str:
    """What the labels of the stages are: the load, if they have no names of their own."""
    return axis(rows).title.lower() if axis(rows).quantitative and not any(row["name"] for row in rows) else "stage"


def stages_csv(summary: dict[str, Any]) -> str:
    """Every point as a line of CSV (RFC 4180 with line feeds); unknown is empty.

    Lines of repeated stages together follow, with the number of ``repeats`` and intervals of their rates.
    """
    rows = points(summary)
    rows += [point | _pooled(stage) for point, stage in zip(points(view(summary)), _repeated(summary), strict=False)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: harmless(value) for name, value in row.items()} for row in rows)
    return out.getvalue()


def _repeated(summary: dict[str, Any]) -> list[dict[str, Any]]:
    return summary.get("repeats") or []


def _pooled(stage: dict[str, Any]) -> Point:
    """What only repeats have."""
    rates = {name: stage["figures"].get(name, {}) for name in (*_RATES, "goodput_per_s", "attainment")}
    ends = {f"{name}_{end}": told.get(end) for name, told in rates.items() if told for end in ("low", "high")}
    return {"stage": " ".join(str(number + 1) for number in stage["stages"]), "repeats": stage["repeats"], **ends}


def _label(stage: dict[str, Any]) -> str:
    name: str = stage.get("name") or level(stage["load"])
    return name if len(name) <= _LABEL_CHARACTERS else name[: _LABEL_CHARACTERS - 1] + "…"


def _point(stage: dict[str, Any], label: str) -> Point:
    load, counts, rates, slos = stage["load"], stage["counts"], stage["throughput"] or {}, stage["slos"] or {}
    figures = stage["verdict"]["figures"]
    return {
        "stage": stage["stage"] + 1,
        "name": stage.get("name"),
        "label": label,
        "load_type": load["type"],
        "concurrency": load.get("concurrency"),
        "users": load.get("users"),
        "rate_per_s": load.get("rate_per_s"),
        "max_in_flight": load.get("max_in_flight"),
        "verdict": stage["verdict"]["verdict"],
        "sent": counts["sent"],
        "ok": counts["ok"],
        "failed": counts["failed"],
        "duration_s": stage["window"] and stage["window"]["length_s"],
        "sent_rate_per_s": figures.get("sent_rate_per_s"),
        **{name: rates.get(name) for name in _RATES},
        "goodput_per_s": slos.get("goodput_per_s"),
        "attainment": slos.get("attainment"),
        **{key: value for name, metric in stage["metrics"].items() for key, value in _latency(name, metric).items()},
    }


def _latency(name: str, metric: dict[str, Any]) -> Point:
    percentiles = {f"{name}_p{percent}": found for percent, found in metric["percentiles_ms"].items()}
    found: Point = {f"{name}_count": metric["count"], f"{name}_std_ms": metric["std_ms"]}
    for key, estimate in {f"{name}_mean": metric["mean_ms"], **percentiles}.items():
        found[f"{key}_ms"] = estimate["value"]
        found[f"{key}_low_ms"] = estimate["low"]
        found[f"{key}_high_ms"] = estimate["high"]
    return found
