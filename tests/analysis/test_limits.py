from __future__ import annotations

import math

import pytest
from synthetic_run import frame, record, worker

from inferometer.analysis.figures import figures
from inferometer.analysis.limits import LIMITS
from inferometer.analysis.validity import Verdict, judge
from inferometer.config.models import ClosedLoop, Stage

CLOSED = ClosedLoop(concurrency=1)
ROWS = frame(*(record(i, sent_ms=80 * i) for i in range(12)))
#: Figures that are known to the summary alone.
TOLD = {"workers_missing", "calibrated_load_share"}


def told(figure: str, value: float) -> Verdict:
    """The verdict on a clean stage, but for one figure."""
    return judge(ROWS, [worker()], Stage(load=CLOSED, num_requests=12), (50.0,), {figure: value})


@pytest.mark.parametrize("figure", LIMITS)
def test_a_finding_is_made_above_its_limit_only(figure: str) -> None:
    row = LIMITS[figure]
    assert told(figure, row.limit).findings == ()
    above = math.nextafter(row.limit, math.inf)
    [finding] = told(figure, above).findings
    assert (finding.name, finding.figure, finding.limit, finding.unit) == (row.name, above, row.limit, row.unit)
    assert told(figure, above).verdict == {"note": "VALID", "invalid": "INVALID"}[row.severity]


def test_every_limit_is_one_of_a_figure() -> None:
    assert set(LIMITS) - TOLD <= set(figures(ROWS, [worker()], CLOSED))


def test_answers_whose_events_were_counted_are_known() -> None:
    rows = frame(*(record(i, output_tokens_source=source) for i, source in enumerate(("usage", "events", "tokenizer"))))
    assert figures(rows, [worker()], CLOSED)["counted_events_share"] == pytest.approx(1 / 3)
