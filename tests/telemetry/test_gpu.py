from __future__ import annotations

from pathlib import Path

import pytest

from inferometer.telemetry import gpu
from inferometer.telemetry.page import MissingError

SCRIPT = """#!/bin/sh
case "$1" in
  --query-gpu=index,*) printf '0, 75, 900, 23034, 70.5, 61\\n1, [N/A], 1, 23034, [Not Supported], 30\\n' ;;
  --query-gpu=name,*) printf 'NVIDIA L4, 580.126.20, 23034\\nNVIDIA L4, 580.126.20, 23034\\n' ;;
  *) printf '| NVIDIA-SMI 580.126.20   Driver Version: 580.126.20   CUDA Version: 13.0  |\\n' ;;
esac
"""


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program of that name that answers as a machine with two GPUs does."""
    path = tmp_path / "nvidia-smi"
    path.write_text(SCRIPT)
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return path


def test_figures_in_si_units_and_none_where_a_gpu_has_none(smi: Path) -> None:
    found = {(one.series, one.name): one.value for one in gpu.readings()}
    assert found == {
        ("gpu=0", "gpu_utilisation"): 0.75,
        ("gpu=0", "gpu_memory_used_bytes"): 900 * 2**20,
        ("gpu=0", "gpu_memory_total_bytes"): 23034 * 2**20,
        ("gpu=0", "gpu_power_w"): 70.5,
        ("gpu=0", "gpu_temperature_c"): 61.0,
        ("gpu=1", "gpu_memory_used_bytes"): 2**20,
        ("gpu=1", "gpu_memory_total_bytes"): 23034 * 2**20,
        ("gpu=1", "gpu_temperature_c"): 30.0,
    }
    assert {one.source for one in gpu.readings()} == {"nvidia-smi"}


def test_what_the_gpus_are(smi: Path) -> None:
    assert gpu.is_there()
    assert gpu.gpus() == [gpu.Gpu("NVIDIA L4", "580.126.20", 23034 * 2**20)] * 2
    assert gpu.cuda_version() == "13.0"


def test_a_program_that_fails_or_hangs_is_a_reason(smi: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed' \nexit 9\n")
    with pytest.raises(MissingError, match="has failed"):
        gpu.readings()
    assert gpu.gpus() == []
    assert gpu.cuda_version() is None
    monkeypatch.setattr(gpu, "LIMIT_S", 0.1)
    smi.write_text("#!/bin/sh\nexec sleep 20\n")
    with pytest.raises(MissingError, match="did not answer"):
        gpu.readings()


def test_a_machine_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not gpu.is_there()
    assert gpu.gpus() == []
    with pytest.raises(MissingError, match="cannot be run"):
        gpu.readings()


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8000", True),
        ("http://localhost:8000/v1", True),
        ("http://[::1]:8000", True),
        ("http://10.0.0.1:8000", False),
        ("https://api.example.com", False),
        ("", False),
    ],
)
def test_only_a_loopback_address_is_this_machine(url: str, local: bool) -> None:
    assert gpu.is_local(url) is local
