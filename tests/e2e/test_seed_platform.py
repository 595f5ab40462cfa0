"""The Job of the platform: its commands as ``docs/coming-from.md`` translates them, its table and its record."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml

from e2e.coming_from import Done, commands, played
from e2e.support import rows, simulating

SECTION = "A Job around vllm bench serve"
KEY = "sk-virtual"
MODELS = ("qwen2.5-0.5b-instruct", "qwen2.5-0.5b", "qwen-local", "m")
#: What makes a command small: the first whose word it has.
SMALLER = {
    "--vllm-args": "--num-prompts 5 --random-output-len 3 --run-dir args",
    "--random-input-len": "--num-prompts 2 --max-concurrency 1 2 --run-dir longer",
    "run --run-dir": "--random-output-len 3 --num-prompts 12",
    "qwen2.5-0.5b ": "--random-output-len 3 --num-prompts 2 --max-concurrency 1 2 --run-dir kserve",
    "litellm": "--random-output-len 3 --num-prompts 2 --max-concurrency 1 --run-dir litellm",
    "": "",
}
#: Header of the table between the markers of the Job's log, and of the table of the recorded page.
JOB = "| conc | req/s | out_tok/s | ttft_p50 | ttft_p95 | itl_p50 | itl_p95 | e2e_p50 | e2e_p95 |"
RECORD = ["concurrency", "req/s", "out tok/s", "TTFT p50", "TTFT p95", "ITL p50", "ITL p95", "E2E p50", "E2E p95"]
#: What the page wants to be told of a run, beside the table; the last three are of its load.
CONTEXT = ("Commit", "GPU", "Driver", "CUDA", "Model", "Engine", "Server arguments", "Kubernetes", "dtype",
           "Request shape", "Load pattern")  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("platform")


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    """A server that anyone may ask, and one that wants the key of LiteLLM."""
    exact = ("--exact", "--ttft-ms", 4, "--itl-ms", 1, "--model", *MODELS)
    with simulating(*exact) as url, simulating(*exact, "--api-key-env", "KEY", KEY=KEY) as guarded:
        yield url, guarded


@pytest.fixture(scope="module")
def done(servers: tuple[str, str], place: Path) -> Mapping[str, Done]:
    """Every command in its order and in one folder; the baseline is a copy of the first run."""
    found = {}
    for command in commands(SECTION):
        more = next(flags for word, flags in SMALLER.items() if word in command)
        found[command] = played(command, place, servers["litellm" in command], more)
        if command.endswith("--run-dir bench"):
            shutil.copytree(place / "bench", place / "baseline")
    return found


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_every_command_of_the_page_ends_well(done: Mapping[str, Done]) -> None:
    assert len(done) == 7
    assert {one.command: one.err for one in done.values() if one.code} == {}


def test_the_table_of_the_job_between_its_markers(done: Mapping[str, Done]) -> None:
    out = next(done[command].out for command in done if command.endswith("--run-dir bench"))
    table = out.partition("RESULTS_TABLE_BEGIN\n")[2].partition("\nRESULTS_TABLE_END")[0].splitlines()
    assert table[:2] == [JOB, "|---|---|---|---|---|---|---|---|---|"]
    numbers = [cells(line) for line in table[2:]]
    assert [row[0] for row in numbers] == ["1", "2", "4", "8", "16", "32"]
    assert all(re.fullmatch(r"\d+\.\d", cell) for row in numbers for cell in row[1:])
    assert "model: qwen2.5-0.5b-instruct  endpoint: /v1/chat/completions" in out


def test_the_sweep_is_that_of_the_job(done: Mapping[str, Done], place: Path) -> None:
    plan = yaml.safe_load((place / "bench" / "plan.yaml").read_text())
    workload = plan["scenario"]["workload"]
    assert (workload["input_tokens"]["mean"], workload["ignore_eos"], plan["seed"]) == (256, True, 42)
    longer = yaml.safe_load((place / "longer" / "plan.yaml").read_text())["scenario"]["workload"]
    assert (longer["input_tokens"]["mean"], longer["output_tokens"]["mean"]) == (2048, 512)


def test_other_targets_are_asked_for_their_models_with_their_key(done: Mapping[str, Done], place: Path) -> None:
    asked = {name: set(rows(place / name)["model_answered"]) for name in ("kserve", "litellm", "args")}
    assert asked == {"kserve": {"qwen2.5-0.5b"}, "litellm": {"qwen-local"}, "args": {"m"}}
    assert [path for path in (place / "litellm").iterdir() if KEY.encode() in path.read_bytes()] == []


def test_the_record_has_the_context_and_the_table_of_the_page(done: Mapping[str, Done], place: Path) -> None:
    record = (place / "benchmarks.md").read_text()
    named = re.findall(r"^\| ([\w /]+?) +\| \S", record, re.MULTILINE)
    assert [name for name in CONTEXT if name not in named] == []
    header = next(line for line in record.splitlines() if line.startswith("| concurrency "))
    assert cells(header)[: len(RECORD)] == RECORD
    assert [title for title in ("### Run context", "### Results", "What the numbers say") if title not in record] == []
    shape = re.search(r"\| Request shape +\| (.+?) +\|", record)
    assert shape
    assert [
        word for word in ("256 prompt tokens", "3 output tokens", "ignore_eos", "seed 42") if word not in shape[1]
    ] == []


def test_a_run_is_held_against_the_baseline(done: Mapping[str, Done]) -> None:
    out = next(done[command].out for command in done if " compare " in command)
    assert re.search(r"\| concurrency 32 +\| TTFT p50 ", out)
    assert "regression" not in out.replace("0 regressions", "")
