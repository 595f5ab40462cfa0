"""The real engine: `pytest -m engine` with the extra `engine` installed; the weights are fetched on first use."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferometer.cli import main
from inferometer.config.models import Engine, Target
from inferometer.engine.launch import started
from inferometer.errors import UserError
from inferometer.telemetry import probe

pytestmark = pytest.mark.engine
pytest.importorskip("xllamacpp")


def test_a_real_model_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with started(Engine(kind="llamacpp"), tmp_path / "engine.log", model="smol") as address:
        target = Target(base_url=address.base_url, api="openai-completions", model=address.model)
        assert probe.models(target) == [probe.ModelInfo("smol", 2048, 49152)]
        assert "Paris" in probe.complete(target, "The capital of France is", 8).text
        assert probe.complete(target, [1, 2, 3, 4], 8).prompt_tokens == 4
        assert main(["check", address.base_url]) == 0
        assert main(["check", address.base_url + "/wrong/"]) == 1
    assert capsys.readouterr().out.count("✓") == 5


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "junk.gguf"
    path.write_text("junk")
    engine = Engine(kind="llamacpp", profile=str(path))
    with pytest.raises(UserError, match="is it a GGUF file that fits"), started(engine, tmp_path / "engine.log"):
        pass
