from __future__ import annotations

import numpy as np
import pyarrow as pa
from synthetic_run import MS, failure, frame, record, table

from inferometer.analysis.frame import from_table, stage_of


def test_unknown_numbers_are_nan_and_unknown_texts_none() -> None:
    rows = frame(record(), failure(1, sent_ns=None, detail="no route"))
    assert rows.sent_ns[0] == 0
    assert np.isnan(rows.sent_ns[1])
    assert np.isnan(rows.first_token_ns[1])
    assert rows.detail.tolist() == [None, "no route"]
    assert rows.ok.tolist() == [True, False]


def test_events_stay_with_their_rows() -> None:
    rows = frame(record(0, gaps_ms=[1, 2]), failure(1), record(2, gaps_ms=[7], event_tokens=[1, 3]))
    assert rows.event_offsets.tolist() == [0, 3, 3, 5]
    assert rows.event_rows.tolist() == [0, 0, 0, 2, 2]
    assert np.isnan(rows.event_tokens[:3]).all()
    assert rows.event_tokens[3:].tolist() == [1, 3]

    last = rows.where(np.array([False, False, True]))
    assert last.event_ns.tolist() == [50 * MS, 57 * MS]
    assert last.event_tokens.tolist() == [1, 3]
    assert last.event_rows.tolist() == [0, 0]


def test_tokens_are_unknown_if_there_is_not_one_number_per_event() -> None:
    rows = frame(record(0, gaps_ms=[1, 2], event_tokens=[1, 3]), record(1, gaps_ms=[1], event_tokens=[1, 2]))
    assert np.isnan(rows.event_tokens[:3]).all()
    assert rows.event_tokens[3:].tolist() == [1, 2]


def test_a_stage_is_its_measured_requests() -> None:
    rows = from_table(table([record(0, phase="warmup"), record(1), record(2, stage=1)]))
    assert len(stage_of(rows, 0, open_loop=False)) == 1
    assert len(stage_of(rows, 1, open_loop=False)) == 1
    assert len(stage_of(rows, 2, open_loop=False)) == 0


def test_latencies_start_at_the_schedule_only_in_an_open_loop() -> None:
    late = record(sent_ms=30, scheduled_ms=10)
    assert frame(late).start_ns.tolist() == [30 * MS]
    assert frame(late, open_loop=True).start_ns.tolist() == [10 * MS]


def test_several_batches_and_none() -> None:
    one = table([record(0, gaps_ms=[1]), failure(1)])
    both = from_table(pa.concat_tables([one, one]))
    assert both.event_offsets.tolist() == [0, 2, 2, 4, 4]
    assert len(from_table(one.slice(0, 0))) == 0
    assert len(from_table(one.schema.empty_table())) == 0
    assert from_table(pa.concat_tables([one, one]).slice(2)).event_offsets.tolist() == [0, 2, 2]
