"""``inferometer aggregate``: results as rows for ClickHouse, and what got worse since the runs before."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inferometer.errors import UserError

if TYPE_CHECKING:
    from inferometer.export.documents import Document

FORMATS = {"jsonl": "rows.jsonl", "csv": "rows.csv", "prometheus": "metrics.prom"}
EPILOG = """The rows of the newest run go to DIR/rows.jsonl, in the columns of vllm_eval.results (--schema prints the
table). Put them in with: clickhouse-client --query "INSERT INTO vllm_eval.results FORMAT JSONEachRow" < rows.jsonl
A figure that is more than 10 % worse than its mean over the 30 days before is a regression, above 20 % a high one.
Exit codes: 0 done; 1 a regression under --fail-on-regression; 2 there is nothing to read."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Flags may be written with - or with _."""
    parser.epilog = EPILOG
    add = parser.add_argument
    add("--include-vllm-benchmark", action="store_true", help="read results of this benchmark; there are no others")
    add("--results-dir", type=Path, metavar="DIR", help="folder of results, standardised or native, or run directories")
    add("--model-tag", metavar="TAG", help="what the model is called in the rows (default: its name)")
    add("--run-id", metavar="ID", help="of the newest run (default: one that follows from the tag and its time)")
    add("--dataset-version", metavar="VERSION", default="v1.0.0", help="version of the configuration (%(default)s)")
    add("--all-runs", action="store_true", help="write the rows of all runs in the folder, not only of the newest")
    add("--history", type=Path, nargs="+", default=[], metavar="FILE", help="rows of earlier runs (JSONEachRow)")
    add("--format", choices=FORMATS, default="jsonl", help="form of the rows (%(default)s)")
    add("--output", type=Path, metavar="FILE", help="where the rows go; - is stdout")
    add("--schema", action="store_true", help="print the table that the rows fit into, and stop")
    add("--fail-on-regression", action="store_true", help="exit 1 if anything got worse")


def run(options: argparse.Namespace) -> int:
    """Write the rows; print what was done as JSON."""
    from inferometer.export import clickhouse
    from inferometer.export.foreign.evaluation import results
    from inferometer.export.load import write_one

    if options.schema:
        print(clickhouse.SCHEMA, end="")
        return 0
    if options.results_dir is None:
        raise UserError("nothing to aggregate: give --results-dir DIR")
    begun, now = time.perf_counter(), datetime.now(UTC)
    by_run: dict[str, list[Any]] = {}
    for one in results(options.results_dir):
        by_run.setdefault(one.run, []).append(one)
    *earlier, newest = by_run.values()
    current = clickhouse.rows(newest, options.model_tag, options.run_id, options.dataset_version, now)
    past = [
        row for one in earlier for row in clickhouse.rows(one, options.model_tag, None, options.dataset_version, now)
    ]
    worse = clickhouse.regressions(current, [*past, *_history(options.history)])
    written = [*past, *current] if options.all_runs else current
    printed = options.output is not None and str(options.output) == "-"
    path = None if printed else options.output or options.results_dir / FORMATS[options.format]
    write_one(_document(options.format, written), path)
    told = {
        "run_id": current[0]["run_id"] if current else None,
        "model_tag": current[0]["model_tag"] if current else None,
        "total_metrics": len(written),
        "execution_time": round(time.perf_counter() - begun, 3),
        "regressions_count": len(worse),
        "regressions": worse,
        "rows": None if path is None else str(path),
    }
    print(json.dumps(told, indent=2, ensure_ascii=False), file=sys.stderr if printed else sys.stdout)
    return 1 if worse and options.fail_on_regression else 0


def _history(paths: list[Path]) -> list[dict[str, Any]]:
    from inferometer.export.clickhouse import COLUMNS

    found = []
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"cannot read {path}: {error}") from None
        for number, line in enumerate(lines, 1):
            row = _row(line)
            if line.strip() and not row.keys() >= {"run_id", "model_tag", "metric_name", "metric_value", "timestamp"}:
                columns = ", ".join(COLUMNS)
                raise UserError(f"{path}:{number}: not a row of vllm_eval.results, which has the columns {columns}")
            found += [_dated(row, path, number)] if row else []
    return found


def _row(line: str) -> dict[str, Any]:
    try:
        told = json.loads(line)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _dated(row: dict[str, Any], path: Path, number: int) -> dict[str, Any]:
    from inferometer.export.clickhouse import TIME

    try:
        told = datetime.fromisoformat(str(row["timestamp"]))
        return row | {"timestamp": told.strftime(TIME), "metric_value": float(row["metric_value"])}
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}:{number}: {error}") from None


def _document(form: str, rows: list[dict[str, Any]]) -> Document:
    import csv
    import io

    from inferometer.export.clickhouse import COLUMNS, as_prometheus
    from inferometer.export.documents import Document

    if form == "prometheus":
        return Document("", [as_prometheus(rows)])
    if form == "jsonl":
        return Document("", (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows([list(COLUMNS), *(list(row.values()) for row in rows)])
    return Document("", [sink.getvalue()])
