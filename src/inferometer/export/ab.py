"""One line for each request in the gnuplot form of ``ab -g`` (Apache Bench): whole ms, by rising total time. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import numpy as np

from inferometer.analysis.frame import Floats, Frame
from inferometer.analysis.metrics import connects
from inferometer.export.documents import Document, Export, Options, unique
from inferometer.export.run import NS_PER_S, Part, Run, label_of, moment, parts, stamp

HEADER = "starttime\tseconds\tctime\tdtime\tttime\twait\n"
#: As APR writes a time: days have two digits.
_CTIME = "%a %b %d %H:%M:%S %Y"
_MS_PER_NS = 1e-6


def export(run: Run, options: Options) -> Export:  # noqa: ARG001 (every format is called alike)
    """``ab_results.tsv``; with several stages a file for each."""
    found = parts(run)
    names = ["ab_results.tsv"] if len(found) == 1 else unique([f"ab_results_{label_of(part)}.tsv" for part in found])
    silent = sum(int(np.count_nonzero(~_answered(part.rows))) for part in found)
    notes = (f"{silent} requests got no answer: ab has no line for them",) if silent else ()
    return Export([Document(name, _lines(run, part)) for name, part in zip(names, found, strict=True)], notes)


def _answered(rows: Frame) -> np.typing.NDArray[np.bool_]:
    answered: np.typing.NDArray[np.bool_] = np.isfinite(rows.sent_ns) & np.isfinite(rows.first_byte_ns)
    return answered


def _lines(run: Run, part: Part) -> Iterator[str]:
    """Requests that failed after their first byte have a line like all others, as in ``ab``."""
    rows = part.rows.where(_answered(part.rows))
    ended_ns = np.where(rows.ok, rows.last_token_ns, rows.end_ns)
    total_ms = _whole_ms(ended_ns - rows.first_try_ns)
    connect_ms = _whole_ms(np.where(connects(rows), rows.connected_ns - rows.first_try_ns, 0.0))
    wait_ms = _whole_ms(rows.first_byte_ns - rows.sent_ns)
    yield HEADER
    for row in np.argsort(total_ms, kind="stable").tolist():
        began = moment(run, rows.first_try_ns[row] / NS_PER_S)
        total, connect = total_ms[row], connect_ms[row]
        yield f"{stamp(began, _CTIME)}\t{_epoch_s(began)}\t{connect}\t{total - connect}\t{total}\t{wait_ms[row]}\n"


def _epoch_s(time: datetime | None) -> int:
    return int(time.timestamp()) if time else 0


def _whole_ms(elapsed_ns: Floats) -> list[int]:
    """Rounded as ``ab`` does, halves up."""
    whole: list[int] = np.floor(elapsed_ns * _MS_PER_NS + 0.5).astype(np.int64).tolist()
    return whole
