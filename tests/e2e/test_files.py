"""The installed command with data files and traces: what the server received, in which order, and when it was due."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from e2e.recording import OVERHEAD, Recorder, text
from e2e.support import COMMAND, environment, rows

Call = Callable[..., subprocess.CompletedProcess[str]]

FIXTURES = Path(__file__).parents[1] / "fixtures" / "datasets"


def test_records_in_the_order_of_the_file_with_what_they_set(
    inferometer: Call, recorder: Recorder, tmp_path: Path
) -> None:
    lines = [
        {"messages": [{"role": "user", "content": f"question {n}"}], "max_tokens": 10 + n, "temperature": n / 10}
        for n in range(7)
    ]
    bad = '{"messages": [{"role": "user"\n'
    packed = gzip.compress((bad + "".join(json.dumps(line) + "\n" for line in lines)).encode())
    (tmp_path / "lines.jsonl.gz").write_bytes(packed)
    flags = ("run", "--base-url", recorder.url, "--dataset-name", "openai", "--dataset-path", "lines.jsonl.gz",
             "--disable-shuffle", "--max-concurrency", 1, "--num-prompts", 6, "--num-warmups", 2,
             "--run-dir", "r")  # fmt: skip
    refused = inferometer(*flags)
    assert refused.returncode == 2
    assert "lines.jsonl.gz:1: " in refused.stderr
    assert not (tmp_path / "r").exists()

    done = inferometer(*flags, "--skip-bad-lines", "--extra-body", '{"temperature": 2, "top_p": 0.5}')
    assert done.returncode == 0, done.stderr
    assert "1 bad ones passed over, the first at" in done.stderr
    assert "7 prompts for 8 requests" in done.stderr
    assert [text(body) for body in recorder.load("warmup-")] == ["question 0", "question 1"]
    numbers = [2, 3, 4, 5, 6, 0]
    assert [text(body) for body in recorder.load()] == [f"question {n}" for n in numbers]
    assert [(body["max_tokens"], body["temperature"]) for body in recorder.load()] == [
        (10 + n, n / 10) for n in numbers
    ]
    assert {body["top_p"] for body in recorder.load()} == {0.5}
    assert json.loads((tmp_path / "r" / "workload.json").read_text())["report"]["bad"] == 1


def test_whole_conversations_with_the_answers_of_the_server(inferometer: Call, recorder: Recorder) -> None:
    done = inferometer("run", "--base-url", recorder.url, "--dataset-name", "sharegpt", "--dataset-path",
                       FIXTURES / "sharegpt.json", "--multi-turn", "--disable-shuffle", "--max-concurrency", 1,
                       "--num-prompts", 3, "--sharegpt-output-len", 2, "--run-dir", "r")  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [[(message["role"], message["content"]) for message in body["messages"]] for body in recorder.load()]
    river = 'How do rivers find the sea? Say it in one line, with "quotes" and [brackets] {too}.'
    assert found == [
        [("user", river)],
        [("user", river), ("assistant", "answer 1"), ("user", "And lakes?")],
        [("user", "Größe, 大きさ, розмір?")],
        [("system", "Be brief."), ("user", "One?")],
    ]
    assert {body["max_tokens"] for body in recorder.load()} == {2}


def test_a_trace_at_its_times_with_its_beginnings(inferometer: Call, recorder: Recorder, tmp_path: Path) -> None:
    rng = np.random.Generator(np.random.PCG64(4))
    times_ms = np.sort(rng.integers(0, 10_000, 60)).tolist()
    trace = [
        {"timestamp": at, "input_length": 64 + n, "output_length": 3 + n % 5, "hash_ids": [n % 4, 10 + n % 4, 100 + n]}
        for n, at in enumerate(times_ms)
    ]
    (tmp_path / "trace.jsonl").write_text("".join(json.dumps(row) + "\n" for row in trace))
    done = inferometer("run", "--base-url", recorder.url, "--dataset-name", "timed_trace", "--dataset-path",
                       "trace.jsonl", "--timed-trace-chunk-hash-size", 16, "--trace-speed", 5, "--trace-start", 2,
                       "--ignore-eos", "--workers", 2, "--run-dir", "r", "--output", "s.json")  # fmt: skip
    assert done.returncode == 0, done.stderr
    window = [n for n, at in enumerate(times_ms) if at - times_ms[0] >= 2000]
    stage = json.loads((tmp_path / "s.json").read_text())["stages"][0]
    assert stage["counts"]["ok"] == len(window)
    print("schedule lag p99:", next((line for line in done.stdout.splitlines() if "lag p99" in line), "not shown"))

    table = rows(tmp_path / "r")
    due_ns = table["scheduled_ns"] - table["scheduled_ns"][0]
    recorded_ns = np.array([times_ms[n] - times_ms[window[0]] for n in window]) * 1e6 / 5
    assert np.abs(due_ns - recorded_ns).max() <= 1
    assert (table["sent_ns"] >= table["scheduled_ns"]).all()
    assert table["asked_prompt_tokens"].tolist() == table["prompt_tokens"].tolist() == [64 + n for n in window]
    assert table["asked_output_tokens"].tolist() == [3 + n % 5 for n in window]

    bodies = recorder.load()
    assert {body["ignore_eos"] for body in bodies} == {True}
    found = [text(body).split() for body in bodies]
    sizes = sorted((len(words), body["max_tokens"]) for words, body in zip(found, bodies, strict=True))
    assert sizes == [(64 + n - OVERHEAD, 3 + n % 5) for n in window]
    beginnings = {tuple(words[:32]) for words in found}
    assert len(beginnings) == 4  # two blocks of 16 tokens each
    assert len({tuple(words[:48]) for words in found}) == len(window)


def test_a_resumed_run_goes_on_in_the_same_order(inferometer: Call, recorder: Recorder, tmp_path: Path) -> None:
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps({"prompt": f"number {n}"}) + "\n" for n in range(40)))
    (tmp_path / "plan.yaml").write_text(
        "target: {model: tiny}\nseed: 8\nscenario:\n  workload: {type: dataset, path: lines.jsonl, output_tokens: 2}\n"
        "  stages:\n  - {load: {type: closed, concurrency: 1}, num_requests: 4}\n"
        "  - {load: {type: open, rate: 10, arrivals: constant}, num_requests: 16}\n"
    )
    command = [COMMAND, "run", "-c", "plan.yaml", "--base-url", recorder.url, "--run-dir", "r"]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        deadline = time.monotonic() + 60
        while len(recorder.load()) < 7:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
    before = recorder.prompts()
    recorder.asked.clear()
    resumed = inferometer("run", "--resume", "r")
    assert resumed.returncode == 0, resumed.stderr
    after = recorder.prompts()
    first = [before[f"inferometer-0-{n}"] for n in range(4)]
    assert sorted(after) == sorted(f"inferometer-1-{n}" for n in range(16))
    assert {name: prompt for name, prompt in before.items() if name in after}.items() <= after.items()
    assert len({*first, *after.values()}) == 20
    assert first != [f"number {n}" for n in range(4)]


@contextmanager
def hub(content: bytes) -> Iterator[tuple[str, list[str]]]:
    """The hub as far as it is needed: what a data set is made of, and one file of it; its URL, and what was asked."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            info = {"id": "org/name", "sha": "c" * 40, "siblings": [{"rfilename": f} for f in ("README.md", "a.jsonl")]}
            body = content if self.path.endswith("a.jsonl") else json.dumps(info).encode()
            self.send_response(200)
            for name, value in (("etag", '"abc"'), ("x-repo-commit", "c" * 40), ("content-length", str(len(body)))):
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 (the name that http.server looks for)

        def log_message(self, *_args: Any) -> None:
            """Tests have their own output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", paths
        server.shutdown()
        thread.join()


def test_a_data_set_of_the_hub(inferometer: Call, recorder: Recorder, tmp_path: Path) -> None:
    flags = ("run", "--base-url", recorder.url, "--dataset-path", "hf://org/name", "--max-concurrency", 1,
             "--num-prompts", 1, "--run-dir", "r")  # fmt: skip
    with hub(b'{"prompt": "from afar", "output_tokens": 2}\n') as (url, paths):
        done = inferometer(*flags, HF_ENDPOINT=url, HF_HOME=str(tmp_path / "hub"))
        assert done.returncode == 0, (done.stderr, paths)
    assert [text(body) for body in recorder.load()] == ["from afar"]
    assert "path: hf://org/name" in (tmp_path / "r" / "plan.yaml").read_text()
    without = inferometer(*flags[:-1], "r2", HF_ENDPOINT=url, HF_HOME=str(tmp_path / "other"))
    assert without.returncode == 2
    assert without.stderr.startswith("inferometer: cannot get hf://org/name from the hub: ")
    assert len(without.stderr.splitlines()) == 1
