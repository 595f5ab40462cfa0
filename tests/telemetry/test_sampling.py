"""The server's side of a session against real servers: the simulator, and Debian's Prometheus where it is installed."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from e2e.support import simulating
from inferometer.analysis.server_samples import Span, from_table
from inferometer.analysis.server_view import Seen, server_view
from inferometer.client.clock import now_ns
from inferometer.config.models import Target
from inferometer.config.telemetry import PrometheusServer, Telemetry
from inferometer.errors import UserError
from inferometer.records.telemetry import finish, read
from inferometer.telemetry import probe, sampling
from inferometer.telemetry.sampling import open_sources

REQUESTS, TOKENS = 6, 8


@pytest.fixture(scope="module")
def simulator() -> Iterator[str]:
    with simulating("--model", "tiny") as url:
        yield url


def target(url: str) -> Target:
    return Target(base_url=url, model="tiny")


def load(url: str) -> Seen:
    """A few requests, one after the other, and what this client knows of them."""
    prompt_tokens = 0
    for number in range(REQUESTS):
        answer = probe.complete(target(url), f"Count to {number}.", TOKENS)
        prompt_tokens += answer.prompt_tokens or 0
    return Seen(prompt_tokens=prompt_tokens, output_tokens=REQUESTS * TOKENS, requests_ok=REQUESTS)


def ignore(_: str) -> None:
    """Nobody listens."""


def test_what_the_simulator_counts_is_what_was_sent(simulator: str, tmp_path: Path) -> None:
    load(simulator)  # somebody else was there before
    settings = Telemetry(interval_s=0.1, gpu="none")
    sources = open_sources(target(simulator), [], settings)
    assert [page.url for page in sources.pages] == [simulator + "/metrics"]
    assert "vllm:cache_config_info" in {sample.name for sample in sources.first[sources.pages[0].replica]}
    epoch_ns = now_ns()
    with sampling.sampling(sources, tmp_path, epoch_ns, ignore) as edge:
        edge()
        start_ns = now_ns() - epoch_ns
        seen = load(simulator)
        end_ns = now_ns() - epoch_ns
        edge()
    finish(tmp_path)
    table = read(tmp_path)
    assert table is not None
    found = server_view(from_table(table), Span(start_ns, end_ns), seen)
    assert found is not None
    engine = found["engines"]["vllm"]
    assert engine["counters"]["generation_tokens"]["gain"] == REQUESTS * TOKENS
    assert engine["counters"]["requests_succeeded"]["gain"] == REQUESTS
    assert engine["histograms"]["ttft_s"]["count"] == REQUESTS
    assert engine["histograms"]["e2el_s"]["mean_ms"] > engine["histograms"]["ttft_s"]["mean_ms"] > 0
    assert {name: one["difference"] for name, one in found["compared"].items()} == {
        "prompt_tokens": 0,
        "output_tokens": 0,
        "requests_ok": 0,
    }
    assert found["notes"] == []


@contextmanager
def scraping(server: str, directory: Path) -> Iterator[str]:
    """A Prometheus that scrapes a server once a second; its URL."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port = holder.getsockname()[1]
    config = directory / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\nscrape_configs:\n"
        f"- {{job_name: tiny, static_configs: [{{targets: ['{server.removeprefix('http://')}']}}]}}\n"
    )
    words = [
        f"--config.file={config}",
        f"--storage.tsdb.path={directory}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *words], stdout=log, stderr=log)
        try:
            _wait_for(f"http://127.0.0.1:{port}/api/v1/query?query=vllm:num_requests_running", b'"instance"')
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(url: str, content: bytes) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            with urlopen(url, timeout=5) as answer:
                if content in answer.read():
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{url} does not say {content!r}")


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Debian's package prometheus")
def test_a_prometheus_says_the_same_of_the_same_time(simulator: str, tmp_path: Path) -> None:
    with scraping(simulator, tmp_path) as url:
        prometheus = PrometheusServer(url=url, selectors={"job": "tiny"}, settle_s=30)
        sources = open_sources(target(simulator), [], Telemetry(prometheus=prometheus, gpu="none"))
        assert sources.pages == []  # the Prometheus knows all replicas, the one page may be that of any
        run = tmp_path / "run"
        run.mkdir()
        time.sleep(1.2)  # the last sample before the load has to be of no load
        epoch_ns = now_ns()
        notes: list[str] = []
        with sampling.sampling(sources, run, epoch_ns, notes.append) as edge:
            edge()
            start_ns = now_ns() - epoch_ns
            seen = load(simulator)
            end_ns = now_ns() - epoch_ns
        table = read(run)
    assert notes == []
    assert table is not None
    found = server_view(from_table(table), Span(start_ns, end_ns), seen)
    assert found is not None
    assert {name: one["difference"] for name, one in found["compared"].items()} == {
        "prompt_tokens": 0,
        "output_tokens": 0,
        "requests_ok": 0,
    }
    assert found["engines"]["vllm"]["histograms"]["ttft_s"]["count"] == REQUESTS


def test_nothing_to_ask_leaves_no_trace(refusing_url: str, tmp_path: Path) -> None:
    for settings in (Telemetry(enabled=False), Telemetry(gpu="none")):
        sources = open_sources(target(refusing_url), [], settings)
        assert bool(sources.notes) is settings.enabled
        with sampling.sampling(sources, tmp_path, now_ns(), ignore) as edge:
            edge()
    assert list(tmp_path.iterdir()) == []


def test_a_prometheus_that_is_gone_is_said_and_ends_nothing(refusing_url: str, tmp_path: Path) -> None:
    settings = Telemetry(prometheus=PrometheusServer(url=refusing_url), gpu="none")
    notes: list[str] = []
    with sampling.sampling(open_sources(target(refusing_url), [], settings), tmp_path, now_ns(), notes.append):
        pass
    assert "cannot be asked" in notes[0]


def test_a_prometheus_that_talks_nonsense_is_said_and_ends_nothing(
    refusing_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nonsense(*_: object) -> None:
        raise ValueError("cannot convert float NaN to integer")

    monkeypatch.setattr(sampling.promql, "history", nonsense)
    settings = Telemetry(prometheus=PrometheusServer(url=refusing_url), gpu="none")
    notes: list[str] = []
    with sampling.sampling(open_sources(target(refusing_url), [], settings), tmp_path, now_ns(), notes.append):
        pass
    assert "cannot be used: ValueError" in notes[0]


def test_gpus_that_were_asked_for_and_are_not_there(
    refusing_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    sources = open_sources(target(refusing_url), [], Telemetry(gpu="nvidia-smi"))
    assert not sources.gpus
    assert "nvidia-smi is not on this machine" in sources.notes[-1]


def test_a_token_that_cannot_be_read_is_an_error_before_the_load(refusing_url: str, tmp_path: Path) -> None:
    page = Telemetry.model_validate({"access": {"bearer_file": str(tmp_path / "none")}})
    with pytest.raises(UserError, match="key file"):
        open_sources(target(refusing_url), ["http://127.0.0.1:1/metrics"], page)
