"""Runs whose events stay on disk, or whose gaps are counted in a histogram, go out as the others do."""

from __future__ import annotations

import json

import pytest
from exported_runs import directory, ladder

from inferometer.analysis import load as analysis_load
from inferometer.analysis import streamed
from inferometer.export import inference_perf, vllm
from inferometer.export.documents import Options
from inferometer.export.load import load
from inferometer.export.run import parts


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    return directory(tmp_path_factory.mktemp("runs") / "here", ladder())


def texts(run):
    made = [*vllm.export(run, Options(detailed=True)).documents, *inference_perf.export(run, Options()).documents]
    return {document.name: "".join(document.pieces) for document in made}


def test_events_on_disk_make_the_same_files(here, monkeypatch):
    in_memory = load(here)
    monkeypatch.setattr(analysis_load, "EVENTS_IN_MEMORY", 0)
    on_disk = load(here)
    assert in_memory.rows.source is None
    assert on_disk.rows.source is not None
    assert texts(on_disk) == texts(in_memory)


def test_a_histogram_says_the_same_within_its_resolution(here, monkeypatch):
    exact = load(here)
    wanted = [inference_perf.stage(exact, part)["successes"]["latency"]["inter_token_latency"] for part in parts(exact)]
    monkeypatch.setattr(streamed, "EXACT_EVENTS", 0)
    got = [inference_perf.stage(exact, part)["successes"]["latency"]["inter_token_latency"] for part in parts(exact)]
    for one, other in zip(got, wanted, strict=True):
        assert one == pytest.approx(other, rel=2 * streamed.RESOLUTION)
        assert one["mean"] == pytest.approx(other["mean"])
        assert one["max"] == other["max"]
    json.dumps(got, allow_nan=False)
