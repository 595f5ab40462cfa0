"""A user's mistake gets one sentence and the right exit code: no traceback, nothing overwritten, no empty folders."""

from __future__ import annotations

import pytest

BAD_KEY = (
    "target: {base_urll: http://x}\nscenario: {stages: [{load: {type: closed, concurrency: 1}, num_requests: 1}]}\n"
)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("run", "--base-url", "http://127.0.0.1:1"), 2, "nothing listens at 127.0.0.1:1"),
        (("run", "--base-url", "http://nosuch.invalid"), 2, "host not found: nosuch.invalid"),
        (("run", "--base-url", "127.0.0.1:8000"), 2, "try http://127.0.0.1:8000"),
        (("run", "--max-concurrency", "0"), 2, "--max-concurrency"),
        (("run", "--max-concurrency", "many"), 2, "--max-concurrency"),
        (("run", "--request-rate", "-1"), 2, "--request-rate"),
        (("run", "--num-promts", "3"), 2, "did you mean --num-prompts?"),
        (("run", "--random-range-ratio", "1.0"), 2, "--random-range-ratio"),
        (("run", "--extra-body", "{"), 2, "not JSON"),
        (("run", "--goodput", "ttft=3"), 2, "ttft:200"),
        (("run", "--target", "smolm2"), 2, "did you mean 'smollm2'?"),
        (("run", "-c", "nosuch.yaml"), 2, "no such file: nosuch.yaml"),
        (("run", "-c", "bad.yaml"), 2, "bad.yaml:1: unknown key 'target.base_urll'; did you mean 'base_url'?"),
        (("run", "-c", "broken.yaml"), 2, ": not YAML"),
        (("run", "--run-dir", "/proc/nosuch/r"), 2, "cannot write to /proc/nosuch/r"),
        (("run", "--output", "nosuch/o.json"), 2, "there is no folder nosuch"),
        (("run", "--tokenizer", "nosuch"), 2, "no tokenizer at 'nosuch'"),
        (("report", "."), 2, "not a run directory"),
        (("nosuch",), 2, "invalid choice"),
    ],
)
def test_one_sentence(inferometer, tmp_path, words, code, said):
    (tmp_path / "bad.yaml").write_text(BAD_KEY)
    (tmp_path / "broken.yaml").write_text("target: {")
    done = inferometer(*words, HF_HUB_OFFLINE="1")
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.glob("results/*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "nosuch"), "does not know the model 'nosuch': it serves simulated"),
        (("--endpoint", "/v2/nosuch"), "404"),
    ],
)
def test_the_server_says_no(inferometer, simulator, words, said):
    done = inferometer("run", "--base-url", simulator, "--num-prompts", "2", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_used_run_directory_is_left_alone(inferometer, simulator, tmp_path):
    words = ("run", "--base-url", simulator, "--max-concurrency", 1, "--num-prompts", 2, "--run-dir", "r")
    assert inferometer(*words).returncode == 0
    before = (tmp_path / "r" / "summary.json").read_bytes()
    again = inferometer(*words)
    assert again.returncode == 2
    assert "nothing is overwritten" in again.stderr
    assert (tmp_path / "r" / "summary.json").read_bytes() == before


@pytest.mark.parametrize("words", [("--help",), ("run", "--help"), ("--version",)])
def test_help_needs_nothing_heavy(words):
    """What makes help slow is imports: none of the heavy ones may happen."""
    import subprocess
    import sys

    code = f"""
import sys
from inferometer.cli import main
try:
    main({list(words)!r})
except SystemExit:
    pass
heavy = {{'numpy', 'pyarrow', 'scipy', 'httpx', 'rich', 'asyncio', 'uvloop'}} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
