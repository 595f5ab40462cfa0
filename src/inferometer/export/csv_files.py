"""CSV: one line per stage, or one per request. Numbers in full, units in the names, nothing where nothing is known."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from inferometer.export.documents import Document, Export, Options
from inferometer.export.run import Run, model_of
from inferometer.records.record import COLUMNS


def export_stages(run: Run, options: Options) -> Export:  # noqa: ARG001 (every format is called alike)
    """``stages.csv``."""
    return Export([Document("stages.csv", _stages(run))])


def export_requests(run: Run, options: Options) -> Export:  # noqa: ARG001 (every format is called alike)
    """``requests.csv``: every column of the rows but the lists of events, warm-up included."""
    return Export([Document("requests.csv", _requests(run))])


def stage_rows(run: Run) -> list[dict[str, Any]]:
    """One flat row per stage, all with the same keys."""
    rows = [_stage_row(run, told) for told in run.summary["stages"]]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in names} for row in rows]


def _stage_row(run: Run, told: dict[str, Any]) -> dict[str, Any]:
    load, counts, rates = told["load"], told["counts"], told["throughput"] or {}
    slos = told["slos"] or {}
    plain = {
        "target": run.plan.target.name,
        "model": model_of(run),
        "scenario": run.plan.scenario.name,
        "stage": told["stage"],
        "name": told["name"],
        "load": load["type"],
        "concurrency": load.get("concurrency"),
        "rate_per_s": load.get("rate_per_s"),
        "verdict": told["verdict"]["verdict"],
        **{name: counts[name] for name in ("planned", "sent", "ok", "failed")},
        "window_s": (told["window"] or {}).get("length_s"),
        **{name: rates.get(name) for name in ("requests_per_s", "output_tokens_per_s", "total_tokens_per_s")},
        "peak_in_flight": rates.get("peak_in_flight"),
        "prompt_tokens_mean": told["lengths"]["prompt_tokens"]["got_mean_tokens"],
        "output_tokens_mean": told["lengths"]["output_tokens"]["got_mean_tokens"],
        **({"goodput_per_s": slos["goodput_per_s"], "attainment": slos["attainment"]} if slos else {}),
    }
    return plain | {key: value for name, found in told["metrics"].items() for key, value in _metric(name, found)}


def _metric(name: str, found: dict[str, Any]) -> Iterator[tuple[str, float]]:
    yield f"{name}_mean_ms", found["mean_ms"]["value"]
    yield f"{name}_std_ms", found["std_ms"]
    for percent, estimate in found["percentiles_ms"].items():
        yield f"{name}_p{percent}_ms", estimate["value"]
    yield f"{name}_count", found["count"]


def _stages(run: Run) -> Iterator[str]:
    rows = stage_rows(run)
    yield _lines([list(rows[0]) if rows else [], *(list(row.values()) for row in rows)])


def _requests(run: Run) -> Iterator[str]:
    names = [name for name, _ in COLUMNS]
    yield _lines([names])
    for table in run.tables():
        columns = [table[name].to_pylist() for name in names]
        yield _lines(zip(*columns, strict=True))


def _lines(rows: Any) -> str:
    """Rows as RFC 4180 has them, but for the line ends, which are those of other text."""
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows(rows)
    return sink.getvalue()
