"""The gnuplot form of ``ab``, from requests of known times."""

from __future__ import annotations

from datetime import UTC, datetime

from exported_runs import LADDER, failure, ladder, run, whole

from inferometer.config.models import ClosedLoop
from inferometer.export.ab import export
from inferometer.export.documents import Options
from inferometer.records.record import Record

MS = 1_000_000
#: The run's epoch, 2026-03-02 08:15:00 UTC, as the machine's own clock shows it.
EPOCH = datetime(2026, 3, 2, 8, 15, tzinfo=UTC).astimezone()


def lines(*records: Record) -> list[list[str]]:
    (document,) = export(run(records, ClosedLoop(concurrency=1)), Options()).documents
    assert document.name == "ab_results.tsv"
    return [line.split("\t") for line in "".join(document.pieces).splitlines()]


def test_whole_milliseconds_by_total_time() -> None:
    slow = whole(0, began_ms=0, connect_ms=2.4, wait_ms=60.5)
    fast = whole(1, began_ms=1600, connect_ms=0.5, wait_ms=30.2)
    started = f"{EPOCH:%a %b %d %H:%M}"
    assert lines(slow, fast) == [
        ["starttime", "seconds", "ctime", "dtime", "ttime", "wait"],
        [f"{started}:01 2026", "1772439301", "1", "34", "35", "30"],
        [f"{started}:00 2026", "1772439300", "2", "65", "67", "61"],
    ]


def test_kept_connections_take_no_time() -> None:
    [_, line] = lines(whole(0, began_ms=0, connect_ms=0, wait_ms=30, connected_ns=None))
    assert line[2:] == ["0", "34", "34", "30"]


def test_a_failure_has_a_line_if_it_was_answered() -> None:
    refused = failure(1, sent_ms=10, end_ms=15.6, first_try_ns=10 * MS, first_byte_ns=14 * MS)
    silent = failure(2, sent_ms=20, end_ms=99)
    made = export(run([refused, silent], ClosedLoop(concurrency=1)), Options())
    [_, line] = "".join(made.documents[0].pieces).splitlines()
    assert line.split("\t")[2:] == ["0", "6", "6", "4"]
    assert made.notes == ("1 requests got no answer: ab has no line for them",)


def test_several_stages_are_several_files() -> None:
    names = [document.name for document in export(run(ladder(), *LADDER), Options()).documents]
    assert names == ["ab_results_c1.tsv", "ab_results_c2.tsv"]
