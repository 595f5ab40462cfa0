"""A run that goes out in another tool's form and comes back says what its summary says, where the definitions agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from exported_runs import failure, record, run
from hypothesis import given, settings
from hypothesis import strategies as st

from inferometer.analysis.run_data import from_summary
from inferometer.config.models import ClosedLoop, OpenLoop
from inferometer.export import inference_perf, vllm
from inferometer.export.documents import Options
from inferometer.export.foreign import inference_perf as foreign_inference_perf
from inferometer.export.foreign import vllm as foreign_vllm
from inferometer.export.load import load
from inferometer.export.run import parts

#: Times are nanoseconds, of which floats of seconds lose some.
CLOSE = 1e-6
RATES = ("requests_per_s", "output_tokens_per_s", "total_tokens_per_s", "goodput_per_s", "success_rate", "error_rate")
LATENCIES = ("ttft", "tpot", "event_gap", "e2el", "ttft_from_send", "e2el_from_send")

milliseconds = st.integers(1, 500).map(float)
request = st.one_of(
    st.tuples(milliseconds, st.lists(milliseconds, max_size=6), milliseconds),
    st.tuples(st.none(), st.just([]), milliseconds),
)


def made_of(requests, *, open_loop):
    """Records one after the other; with ``None`` for a first token they fail."""
    records, now = [], 0.0
    for index, (ttft, gaps, wait) in enumerate(requests):
        sent = now + (wait if open_loop else 0.0)
        times = {"sent_ms": sent, "scheduled_ms": now}
        if ttft is None:
            records.append(failure(index, end_ms=sent + 5, **times))
        else:
            records.append(record(index, ttft_ms=ttft, gaps_ms=gaps, **times))
        now += wait
    return records


def figures(stage):
    return {name: found.value for name, found in stage.figures.items()}


def check(found, ours, names):
    """Every one of these figures that the summary has came back, and none that it has not."""
    wanted = {name: value for name, value in ours.items() if name in names}
    got = {name: found.get(name) for name in wanted}
    assert got == pytest.approx(wanted, rel=CLOSE, abs=CLOSE)


def names_of(metrics):
    return {f"{metric}_{statistic}_ms" for metric in metrics for statistic in ("mean", "p50", "p95", "p99")}


@settings(max_examples=60)
@given(st.lists(request, min_size=1, max_size=12), st.booleans(), st.booleans())
def test_vllm_results_come_back(requests, open_loop, detailed):
    asked = OpenLoop(rate=5, max_in_flight=9 if detailed else None) if open_loop else ClosedLoop(concurrency=2)
    whole = run(made_of(requests, open_loop=open_loop), asked)
    document = vllm.document(whole, parts(whole)[0], Options(detailed=detailed))
    json.dumps(document, allow_nan=False)
    found = figures(foreign_vllm.read("x", [document])[0].stages[0])
    ours = figures(from_summary("x", whole.summary).stages[0])
    hidden = set() if detailed or not open_loop else {"ttft"}  # a plain result has no waits before first tokens
    check(found, ours, {*RATES[:3], *names_of(set(LATENCIES) - hidden)})


@settings(max_examples=60)
@given(st.lists(request, min_size=1, max_size=12), st.booleans())
def test_inference_perf_reports_come_back(requests, open_loop):
    asked = OpenLoop(rate=5) if open_loop else ClosedLoop(concurrency=2)
    whole = run(made_of(requests, open_loop=open_loop), asked)
    part = parts(whole)[0]
    documents = {inference_perf.stage_name(part): inference_perf.stage(whole, part)}
    rows = [json.loads(json.dumps(row)) for row in inference_perf.requests(whole)]
    converted = foreign_inference_perf.rows_of(json.dumps(rows).encode())
    found = figures(foreign_inference_perf.read("x", documents, converted)[0].stages[0])
    ours = figures(from_summary("x", whole.summary).stages[0])
    gaps = {name.replace("event_gap", "itl"): value for name, value in ours.items() if name.startswith("event_gap")}
    check(found, gaps, set(gaps))
    check(found, ours, {*RATES[:3], *names_of(("ttft", "tpot", "e2el", "ntpot", "ttft_from_send"))})


@pytest.fixture(scope="module", params=["closed", "open"])
def played(request, tmp_path_factory) -> Path:
    """A run against the simulator."""
    directory = tmp_path_factory.mktemp("played") / "run"
    flags = {
        "closed": ["--max-concurrency", "1", "3"],
        "open": ["--request-rate", "40", "80", "--goodput", "ttft:200", "tpot:50"],
    }[request.param]
    words = ["run", *flags, "--num-prompts", "24", "--random-input-len", "24", "--random-output-len", "12"]
    command = [sys.executable, "-c", "import sys; from inferometer.cli import main; sys.exit(main())"]
    done = subprocess.run(
        [*command, *words, "--run-dir", str(directory)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    return directory


def test_a_real_run_comes_back_from_both(played):
    whole = load(played)
    ours = from_summary("x", whole.summary)
    documents = [vllm.document(whole, part, Options(detailed=True)) for part in parts(whole)]
    (native,) = foreign_vllm.read("x", documents)
    reports = {inference_perf.stage_name(part): inference_perf.stage(whole, part) for part in parts(whole)}
    rows = foreign_inference_perf.rows_of(json.dumps(list(inference_perf.requests(whole))).encode())
    (perf,) = foreign_inference_perf.read("x", reports, rows)
    for mine, its, other in zip(ours.stages, native.stages, perf.stages, strict=True):
        assert mine.key == its.key == other.key
        check(figures(its), figures(mine), {*RATES, *names_of(LATENCIES)})
        check(figures(other), figures(mine), {*RATES, *names_of(("ttft", "tpot", "e2el", "ntpot", "ttft_from_send"))})
        gaps = {name: value for name, value in figures(mine).items() if name.startswith("event_gap")}
        same = {
            name.replace("itl", "event_gap"): value for name, value in figures(other).items() if name.startswith("itl")
        }
        check(same, gaps, set(gaps))
        assert list(its.series["ttft"]) == pytest.approx(list(other.series["ttft"]), rel=CLOSE)
