"""The installed command, and servers for it to measure."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.recording import recorder
from e2e.support import COMMAND, environment, simulating

__all__ = ["inferometer", "recorder", "simulator"]


@pytest.fixture
def inferometer(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command in an empty folder and wait for its end."""

    def call(*words: object, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *map(str, words)],
            cwd=tmp_path,
            env=environment(**env),
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    return call


@pytest.fixture(scope="session")
def simulator() -> Iterator[str]:
    """A fast simulator: first token after 20 ms, then one every 4 ms."""
    with simulating("--exact", "--ttft-ms", 20, "--itl-ms", 4) as url:
        yield url
