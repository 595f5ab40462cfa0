import argparse
from pathlib import Path

import pytest

from inferometer.errors import UserError
from inferometer.simulator.exact import Timeline
from inferometer.simulator.model import Profile
from inferometer.simulator.options import arguments, settings
from inferometer.simulator.server import Settings


def read(line: str) -> Settings:
    parser = argparse.ArgumentParser()
    arguments(parser)
    return settings(parser.parse_args(line.split()))


def test_defaults() -> None:
    chosen = read("")
    assert (chosen.host, chosen.port, chosen.model, chosen.max_model_len) == ("127.0.0.1", 8000, "simulated", 8192)
    assert isinstance(chosen.mode, Profile)
    assert chosen.api_key is None


@pytest.mark.parametrize(
    ("line", "model", "others"),
    [
        ("--model a", "a", ()),
        ("--model a b c", "a", ("b", "c")),
        ("--model a --model b --exact", "a", ("b",)),
        ("--model a b a", "a", ("b",)),
    ],
)
def test_models(line: str, model: str, others: tuple[str, ...]) -> None:
    chosen = read(line)
    assert (chosen.model, chosen.other_models) == (model, others)


def test_faults_of_flags_come_before_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("- status: 429\n- silence:\n")
    chosen = read(f"--fault stall --faults {file} --fault reset,first=2")
    assert [fault.kind for fault in chosen.faults] == ["stall", "reset", "status", "silence"]


def test_engine_flags_change_the_profile() -> None:
    mode = read("--max-model-len 512 --max-num-seqs 3 --num-gpu-blocks 64").mode
    assert isinstance(mode, Profile)
    assert (mode.max_model_len, mode.max_num_seqs, mode.num_gpu_blocks) == (512, 3, 64)


@pytest.mark.parametrize(
    ("line", "timeline"),
    [
        ("--exact", Timeline(ttft_ns=50_000_000, itl_ns=10_000_000)),
        (
            "--exact --ttft-ms 0.5 --itl-ms 0 --tokens-per-event 3",
            Timeline(ttft_ns=500_000, itl_ns=0, tokens_per_event=3),
        ),
    ],
)
def test_exact_flags(line: str, timeline: Timeline) -> None:
    assert read(line).mode == timeline


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--port 99999", "--port is 99999: it must be from 0 to 65535"),  # else it would listen on 34463
        ("--port -1", "--port is -1"),
        ("--ttft-ms 5", "--ttft-ms belongs to --exact"),
        ("--exact --max-num-seqs 4", "--max-num-seqs describes an engine"),
        ("--exact --profile l4-qwen2.5-0.5b", "--profile describes an engine"),
        ("--exact --itl-ms -1", "at least 0"),
        ("--exact --ttft-ms nan", "at least 0"),
        ("--exact --tokens-per-event 0", "at least 1"),
        ("--num-gpu-blocks 10", "the KV cache holds 160"),
        ("--max-num-seqs 0", "--max-num-seqs is 0"),
        ("--exact --fault memory_pressure,share=0.5", "needs an engine"),
        ("--fault memory_pressure,blocks=66001", "a KV cache of 66000"),
        ("--model a b --fault stall,model=c", "a fault is for the model 'c', and a, b is served"),
        ("--fault stal", "did you mean 'stall'"),
        ("--faults /no/such/file.yaml", "no such file: /no/such/file.yaml"),
        ("--api-key-env INFEROMETER_UNSET_VARIABLE", "not set"),
    ],
)
def test_impossible_flags_say_what_to_do(line: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(line)


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "secret")
    assert read("--api-key-env SOME_KEY").api_key == "secret"
