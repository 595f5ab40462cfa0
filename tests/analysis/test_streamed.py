"""Runs larger than memory say what small ones say: exactly up to a number of events, to a known resolution beyond."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_run import MS, failure, record, table, worker

from inferometer.analysis import load, stats, streamed
from inferometer.analysis.frame import Events, Frame, Ints, events_of, from_table, stage_of, stored
from inferometer.analysis.metrics import BY_NAME, guessed_rows, met
from inferometer.analysis.stats import Samples
from inferometer.analysis.streamed import RESOLUTION, Histogram, describe, histogram, together
from inferometer.analysis.summary import summarise
from inferometer.analysis.window import Window, peak_output_tokens_per_s, throughput
from inferometer.config import files
from inferometer.config.models import ClosedLoop, OpenLoop, Plan, Scenario, Slo, Stage, Target
from inferometer.errors import UserError
from inferometer.records import store
from inferometer.records.record import Record

SEED = 5


def on_disk(whole: pa.Table, rows_at_once: int) -> Frame:
    """A frame of the table whose events come back a few rows at a time; row numbers have gaps, as those of files do."""
    cuts = range(0, whole.num_rows, rows_at_once)
    pieces = [(1000 * number, whole.slice(cut, rows_at_once)) for number, cut in enumerate(cuts)]

    def source(rows: Ints) -> Iterator[Events]:
        for first, piece in pieces:
            chosen = rows[(rows >= first) & (rows < first + 1000)] - first
            if len(chosen):
                yield events_of(piece.take(chosen))

    return stored(pieces, source)


@st.composite
def requests(draw: st.DrawFn, index: int, whole_tokens: bool) -> Record:
    stage, sent_ms = draw(st.integers(0, 1)), draw(st.floats(0, 3000))
    if draw(st.integers(0, 9)) == 0:
        return failure(index, stage=stage, sent_ms=sent_ms, end_ms=sent_ms + 5)
    gaps = draw(st.lists(st.sampled_from([0.0, 0.000_001, 0.5, 9.99, 10.0, 10.004, 10.2, 700.0]), max_size=12))
    tokens = draw(st.one_of(st.none(), st.lists(st.integers(0, 3), min_size=len(gaps) + 1, max_size=len(gaps) + 1)))
    output = None if whole_tokens else draw(st.one_of(st.none(), st.integers(1, 30)))
    model = draw(st.sampled_from(["one", "two"]))
    phase = draw(st.sampled_from(["measured", "measured", "warmup"]))
    return record(
        index,
        stage=stage,
        sent_ms=sent_ms,
        gaps_ms=gaps,
        event_tokens=tokens,
        output_tokens=output,
        model=model,
        phase=phase,
    )


def runs(*, whole_tokens: bool = False) -> st.SearchStrategy[list[Record]]:
    """``whole_tokens``: no event carries a part of a token."""
    counts = st.integers(1, 20)
    return counts.flatmap(lambda n: st.tuples(*(requests(i, whole_tokens) for i in range(n)))).map(list)


PLAN = Plan(
    target=Target(name="lab", base_url="http://lab:8000", model="tiny"),
    scenario=Scenario(
        stages=(Stage(load=ClosedLoop(concurrency=2), num_requests=20), Stage(load=OpenLoop(rate=9), num_requests=20)),
        slos=(Slo(metric="itl", limit_ms=20), Slo(metric="ttft", limit_ms=60)),
    ),
    seed=SEED,
)


def leaves(document: Any, path: str = "") -> dict[str, Any]:
    """All numbers, texts and nothings of a document by their path; sums in another order may differ in the last bit."""
    if not isinstance(document, dict | list | tuple):
        return {path: pytest.approx(document, rel=1e-12) if isinstance(document, float) else document}
    items = document.items() if isinstance(document, dict) else enumerate(document)
    return {place: value for key, inner in items for place, value in leaves(inner, f"{path}.{key}").items()}


@settings(max_examples=50)
@given(runs(), st.integers(1, 7))
def test_events_on_disk_change_nothing(run: list[Record], rows_at_once: int) -> None:
    """The whole summary of a run, warm-up, failures, several models and odd events included, is the same."""
    whole = table(run)
    assert leaves(summarise(PLAN, on_disk(whole, rows_at_once), [worker()])) == leaves(
        summarise(PLAN, whole, [worker()])
    )


@settings(max_examples=50)
@given(runs(whole_tokens=True), st.integers(1, 7))  # sums of parts, rounded, may fall to either side of a rank
def test_a_histogram_is_as_good_as_it_says(run: list[Record], rows_at_once: int) -> None:
    whole = table(run)
    exact = summarise(PLAN, whole, [worker()])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamed, "EXACT_EVENTS", -1)
        found = summarise(PLAN, on_disk(whole, rows_at_once), [worker()])
    for ours, theirs in zip(found["stages"], exact["stages"], strict=True):
        for name in ("itl", "event_gap"):
            assert_near(ours["metrics"].pop(name, None), theirs["metrics"].pop(name, None))
        for model, other in zip(ours.pop("models"), theirs.pop("models"), strict=True):
            assert model["model"] == other["model"]
        assert leaves(ours) == leaves(theirs)


def assert_near(found: dict[str, Any] | None, exact: dict[str, Any] | None) -> None:
    """Means and deviations are equal, percentiles as good as the resolution, and what it is, is said."""
    if found is None or exact is None:
        assert found is exact
        return
    assert found["resolution"] == RESOLUTION
    assert "resolution" not in exact
    assert found["count"] == exact["count"]
    assert found["std_ms"] == pytest.approx(exact["std_ms"], rel=1e-6, abs=1e-6)
    for key in ("value", "low", "high"):
        assert found["mean_ms"][key] == (exact["mean_ms"][key] and pytest.approx(exact["mean_ms"][key], rel=1e-9))
    for percent, estimate in exact["percentiles_ms"].items():
        ours = found["percentiles_ms"][percent]
        assert ours["value"] == pytest.approx(estimate["value"], rel=RESOLUTION, abs=1e-6)
        assert ours["count"] == estimate["count"]


def drawn(requests: int = 400, tokens: int = 60) -> list[tuple[int, Samples]]:
    """Log-normal gaps around 20 ms, of which each request has its own mean; in four stretches, one of them empty."""
    rng = np.random.default_rng(SEED)
    level = rng.lognormal(np.log(20), 0.2, requests)
    parts: list[tuple[int, Samples]] = [(0, Samples(np.zeros(0), np.zeros(0, np.int64), np.zeros(0)))]
    for first in range(0, requests, requests // 4):
        rows = np.repeat(np.arange(requests // 4), tokens)
        values = level[first + rows] * rng.lognormal(0, 0.4, len(rows))
        parts.append((first, Samples(values, rows, rng.integers(1, 4, len(rows)).astype(float))))
    return parts


def test_intervals_are_those_of_all_values() -> None:
    parts = drawn()
    percents = (1.0, 50.0, 90.0, 99.0, 99.9)
    exact = stats.describe(together(lambda: parts), percents, SEED)
    found = describe(histogram(lambda: parts, 400), percents, SEED)
    assert exact is not None
    assert found is not None
    assert found.mean.value == pytest.approx(exact.mean.value, rel=1e-12)
    assert (found.mean.low, found.mean.high) == (pytest.approx(exact.mean.low), pytest.approx(exact.mean.high))
    assert found.std == pytest.approx(exact.std, rel=1e-9)
    for name, estimate in exact.percentiles.items():
        ours = found.percentiles[name]
        assert ours.count == estimate.count
        assert ours.value == pytest.approx(estimate.value, rel=RESOLUTION)
        if estimate.low is None or estimate.high is None:
            assert (ours.low, ours.high) == (None, None)
            continue
        assert estimate.low * (1 - 3 * RESOLUTION) < (ours.low or 0) < estimate.low
        assert estimate.high < (ours.high or 0) < estimate.high * (1 + 3 * RESOLUTION)


def test_the_weight_below_a_limit_is_that_of_its_bin_and_all_before() -> None:
    parts = drawn(100, 30)
    found = histogram(lambda: parts, 100)
    whole = together(lambda: parts)
    assert whole.weights is not None
    limits = np.quantile(whole.values, [0.0, 0.2, 0.5, 0.99, 1.0])
    last = found.bins[np.maximum(np.searchsorted(found.values, limits, side="right") - 1, 0)]
    inside = streamed._bins(whole.values)[None, :] <= last[:, None]
    wanted = [np.bincount(whole.rows, whole.weights * one, 100) for one in inside]
    assert found.below(limits) == pytest.approx(np.array(wanted))


def test_events_are_counted_once_for_each_metric_of_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """A histogram costs a pass over the file: SLOs and percentiles have it in common, and each its rows."""
    whole = table([record(index, sent_ms=50 * index, gaps_ms=[10.0, 12.0]) for index in range(30)])
    frame = stage_of(on_disk(whole, 4), 0, open_loop=False)
    monkeypatch.setattr(streamed, "EXACT_EVENTS", -1)
    first, again = BY_NAME["itl"].samples(frame), BY_NAME["itl"].samples(frame)
    assert isinstance(first, Histogram)
    assert isinstance(again, Histogram)
    assert again.values is first.values
    assert describe(again, (50.0,)) == describe(first, (50.0,))
    other = BY_NAME["itl"].samples(frame.where(np.arange(30) < 10))
    assert isinstance(other, Histogram)
    assert len(other.sizes) == 10


def test_the_largest_value_of_each_request() -> None:
    parts = drawn(40, 5)
    exact, found = together(lambda: parts), histogram(lambda: parts, 41)
    assert found.worst[40] == -np.inf
    assert list(found.worst[:40]) == [exact.values[exact.rows == row].max() for row in range(40)]


@pytest.mark.parametrize("value", [0.0, -3.0, 1e-9, 1e-6, 1.0, 16.666, 1e9])
def test_values_that_are_all_alike(value: float) -> None:
    part = Samples(np.full(100, value), np.arange(100) // 5, np.ones(100))
    found = describe(histogram(lambda: [(0, part)], 20), (50.0, 99.0), SEED)
    assert found is not None
    assert found.median.value == pytest.approx(value)
    assert found.std == pytest.approx(0, abs=1e-6 * abs(value))
    assert (found.median.low, found.median.high) == pytest.approx((value, value), rel=2 * RESOLUTION)
    assert (found.median.low or 0) <= found.median.value <= (found.median.high or 0)


def test_nothing_at_all() -> None:
    assert describe(histogram(list, 3), (50.0,)) is None
    assert len(together(list).values) == 0


@given(st.floats(1e-6, 1e7), st.floats(1, 1 + RESOLUTION / 2))
def test_a_bin_is_as_narrow_as_it_says(value: float, ratio: float) -> None:
    low, high = streamed._bins(np.array([value, value * ratio]))
    assert high - low in (0, 1)
    assert streamed._bins(np.array([value * (1 + 2 * RESOLUTION)])) > low


def test_a_frame_on_disk_holds_no_events() -> None:
    whole = table([record(index, sent_ms=50 * index, gaps_ms=[10.0] * 9) for index in range(30)])
    frame = stage_of(on_disk(whole, 4), 0, open_loop=False)
    assert (len(frame.event_ns), len(frame.event_tokens)) == (0, 0)
    assert list(frame.event_counts) == [10] * 30
    some = frame.where(np.arange(30) % 7 == 3)
    parts = list(some.parts())
    assert [first for first, _ in parts] == list(range(4))
    assert [int(part.event_ns[0]) for _, part in parts] == [(50 * index + 50) * MS for index in (3, 10, 17, 24)]
    assert all(part.source is None for _, part in parts)


@given(runs(), st.integers(1, 7))
def test_what_needs_events_finds_them(run: list[Record], rows_at_once: int) -> None:
    whole = table(run)
    memory, disk = (stage_of(frame, 0, open_loop=True) for frame in (from_table(whole), on_disk(whole, rows_at_once)))
    window = Window(200.0 * MS, 1700.0 * MS)
    spans = [window, Window(450.5 * MS, 900.0 * MS)]
    assert throughput(disk, window) == pytest.approx(throughput(memory, window))
    assert peak_output_tokens_per_s(disk, spans) == pytest.approx(peak_output_tokens_per_s(memory, spans))
    assert list(guessed_rows(disk)) == list(guessed_rows(memory))
    slos = (Slo(metric="itl", limit_ms=10),)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamed, "EXACT_EVENTS", -1)
        assert isinstance(BY_NAME["itl"].samples(disk), Histogram)
        assert list(met(disk, slos)) == list(met(memory, slos))


# --- from files ------------------------------------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A run of two stages by two workers, not yet merged."""
    (tmp_path / store.PLAN).write_text(files.dump(PLAN))
    rng = np.random.default_rng(SEED)
    for number in range(2):
        writer = store.Writer(tmp_path, number)
        for stage in range(2):
            mine = range(number, 60, 2)
            gaps = [list(rng.lognormal(np.log(10), 0.3, 20)) for _ in mine]
            rows = [
                record(index, stage=stage, worker=number, sent_ms=30 * index, gaps_ms=gap)
                for index, gap in zip(mine, gaps, strict=True)
            ]
            for first in range(0, len(rows), 7):
                writer.append(rows[first : first + 7])
        writer.close()
    return tmp_path


@pytest.mark.parametrize("merged", [True, False])
def test_a_large_run_is_read_piece_by_piece(directory: Path, monkeypatch: pytest.MonkeyPatch, merged: bool) -> None:
    exact = load.summary_of(directory)
    monkeypatch.setattr(store, "PIECE_EVENTS", 150)
    if merged:
        store.finish(directory)
    monkeypatch.setattr(load, "EVENTS_IN_MEMORY", 100)
    monkeypatch.setattr(store, "read", None)
    found = load.summary_of(directory)
    for ours, theirs in zip(found["stages"], exact["stages"], strict=True):
        for name, metric in theirs["metrics"].items():
            # other neighbours are resampled together where rows stand in another order
            assert ours["metrics"][name]["percentiles_ms"] == metric["percentiles_ms"]
            assert ours["metrics"][name]["mean_ms"]["value"] == pytest.approx(metric["mean_ms"]["value"])
        assert ours["throughput"] == pytest.approx(theirs["throughput"])
        assert ours["counts"] == theirs["counts"]
        assert ours["slos"] == theirs["slos"]
    json.dumps(found, allow_nan=False)


def test_a_run_that_changes_meanwhile_is_said(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store.finish(directory)
    monkeypatch.setattr(load, "EVENTS_IN_MEMORY", 100)
    frame: Any = load.requests_of(directory)
    store.keep(directory, {0})
    with pytest.raises(UserError, match="changed while it was read"):
        list(frame.parts())
