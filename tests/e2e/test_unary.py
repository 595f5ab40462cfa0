"""The installed command without streams and without kept connections, against a server whose times are known."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from conftest import Asked, Said, serving
from e2e.support import rows, simulating

Run = Callable[..., subprocess.CompletedProcess[str]]

TTFT_MS, ITL_MS, TOKENS = 20, 2, 11
#: When the last token is there: the whole answer comes at that time.
WHOLE_MS = TTFT_MS + (TOKENS - 1) * ITL_MS
LOAD = ("--num-prompts", 12, "--max-concurrency", 2, "--random-output-len", TOKENS, "--no-telemetry")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with simulating("--exact", "--ttft-ms", TTFT_MS, "--itl-ms", ITL_MS, "--model", "m") as url:
        yield url


def summary(directory: Path) -> dict[str, Any]:
    (stage,) = json.loads((directory / "summary.json").read_text())["stages"]
    found: dict[str, Any] = stage
    return found


@pytest.mark.parametrize("api", ["openai-responses", "tgi"])
def test_a_whole_answer_has_the_time_of_its_last_token(api: str, inferometer: Run, server: str, tmp_path: Path) -> None:
    done = inferometer("run", "--base-url", server, "--backend", api, *LOAD, "--disable-stream", "--run-dir", "r")
    assert done.returncode == 0, done.stderr
    columns, stage = rows(tmp_path / "r"), summary(tmp_path / "r")
    assert set(columns["outcome"]) == {"ok"}
    assert set(columns["first_token_ns"]) == {None}
    assert set(columns["output_tokens"]) == {TOKENS}
    assert set(columns["connected_ns"]) == {None}  # kept, and opened before the clock
    waits_ms = (columns["first_byte_ns"] - columns["sent_ns"]).astype(float) / 1e6
    assert waits_ms.min() >= WHOLE_MS - 1
    assert {"ttft", "tpot", "itl", "connect"}.isdisjoint(stage["metrics"])
    assert {"e2el", "ntpot", "ttfb"} <= stage["metrics"].keys()
    assert stage["throughput"]["output_tokens_per_s"] > 0
    assert "TTFT" not in done.stdout
    assert "Mean TTFB (ms):" in done.stdout


def test_the_ab_benchmark(inferometer: Run, server: str, tmp_path: Path) -> None:
    with httpx.Client(base_url=server, trust_env=False, timeout=60) as client:
        asked: list[Asked] = []

        def respond(one: Asked) -> Said:
            if one.headers.get("x-request-id", "").startswith("inferometer-0-"):
                asked.append(one)
            answer = client.request(one.method, one.path, json=one.body)
            return Said(answer.content, answer.status_code, answer.headers["content-type"], pieces=None)

        with serving(respond) as url:
            words = ("--scenario", "ab_benchmark", "--num-requests", 30, "--concurrency", 5, "--run-dir", "r")
            done = inferometer("run", "--base-url", url, "--model", "m", *words)
    assert done.returncode == 0, done.stderr
    bodies = [one.body for one in asked]
    assert {one.path for one in asked} == {"/v1/completions"}
    assert {one.headers["connection"] for one in asked} == {"close"}
    assert len(bodies) == 30
    assert len({str(body["prompt"]) for body in bodies}) == 30
    assert (bodies[0]["max_tokens"], bodies[0]["temperature"], bodies[0]["stream"]) == (100, 0.7, False)
    columns, stage = rows(tmp_path / "r"), summary(tmp_path / "r")
    assert (columns["connected_ns"] > columns["first_try_ns"]).all()
    assert (columns["sent_ns"] >= columns["connected_ns"]).all()
    assert [entry["step"] for entry in stage["connection_times"]] == ["connect", "TTFB", "total"]
    assert stage["metrics"]["connect"]["count"] == 30
    for line in ("Times of Requests", "| connect |", "| served |", "Time per request"):
        assert line in done.stdout
    exported = inferometer("export", "r", "--to", "ab", "--output", "ab.tsv")
    assert exported.returncode == 0, exported.stderr
    header, *lines = (tmp_path / "ab.tsv").read_text().splitlines()
    assert header == "starttime\tseconds\tctime\tdtime\tttime\twait"
    table = np.array([line.split("\t")[1:] for line in lines]).astype(int)
    _, connects, processing, totals, waits = table.T
    assert len(table) == 30
    assert (np.diff(totals) >= 0).all()
    assert (connects + processing == totals).all()
    assert (waits <= totals).all()
    page = inferometer("report", "r", "--format", "html", "--output", "r.html")
    assert page.returncode == 0, page.stderr


def test_an_answer_of_the_other_form_is_found_before_the_load(inferometer: Run, tmp_path: Path) -> None:
    whole = {"model": "m", "choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}

    def respond(one: Asked) -> Said:
        listed = {"data": [{"id": "m"}]}
        return Said(json.dumps(listed if one.path == "/v1/models" else whole).encode())

    with serving(respond) as url:
        words = ("run", "--base-url", url, "--model", "m", "--num-prompts", 3, "--max-concurrency", 1)
        refused = inferometer(*words, "--run-dir", "r")
        done = inferometer(*words, "--run-dir", "s", "--disable-stream", "--no-telemetry")
    assert (refused.returncode, "--disable-stream measures that" in refused.stderr) == (2, True), refused.stderr
    assert set(rows(tmp_path / "s")["outcome"]) == {"ok"}, done.stderr
