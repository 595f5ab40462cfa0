"""Start a server as a child process, wait until it is ready, and stop it again."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from inferometer.config.models import Engine
from inferometer.engine import llamacpp
from inferometer.engine.weights import smollm2
from inferometer.errors import UserError

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 5.0
POLL_S = 0.02
LAST_LINES = 8
READ_BYTES = 65536

READY = re.compile(rb"^listening on (http://\S+)$", re.MULTILINE)

Note = Callable[[str], object]


class Child(NamedTuple):
    """A server that listens at ``base_url`` (``http://127.0.0.1:PORT``), and its process id."""

    base_url: str
    pid: int


class Address(NamedTuple):
    """Where a started server listens (``http://127.0.0.1:PORT``) and the name of its model."""

    base_url: str
    model: str


@contextmanager
def started(engine: Engine, log: Path, model: str | None = None, note: Note | None = None) -> Iterator[Address]:
    """A server of the wanted kind, ready for requests; it is stopped when the block ends, however it ends.

    Args:
        engine: which server, and its profile or GGUF file.
        log: file to which the server's own log (its stderr) is appended.
        model: name to serve the model under; each kind has its own default.
        note: called with one sentence before something slow (a first download) starts.

    Raises:
        UserError: the engine is not installed, its weights cannot be had, or it was not ready within 60 s.
    """
    module, arguments, name = COMMANDS[engine.kind](engine, model, note)
    with serving(module, arguments, log) as child:
        yield Address(child.base_url, name)


@contextmanager
def serving(module: str, arguments: list[str], log: Path) -> Iterator[Child]:
    """``python -m module`` as a server on a free port, stopped when the block ends. Errors as of ``started``."""
    own = ["--die-with-parent", str(os.getpid())] if sys.platform.startswith("linux") else []
    # -P keeps files of the working folder from being taken for modules, as for the installed command.
    command = [sys.executable, "-P", "-m", module, *arguments, "--port", "0", *own]
    # A file of its own for stdout: in one file with stderr, the line that says "ready" can land inside another line.
    with log.open("ab") as sink, TemporaryFile() as said:
        start = sink.tell()
        # Its own process group, so that Ctrl-C reaches the client alone: requests in flight can still be answered.
        process = subprocess.Popen(  # noqa: S603 (no shell; the user's own profile, path and name)
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=sink, process_group=0
        )
        try:
            if address := _ready(process, said.fileno()):
                yield Child(address, process.pid)
                return
            raise UserError(f"{module} {_why(process)}; its last lines ({log}):{_tail(log, start)}")
        finally:
            _stop(process)


Command = tuple[str, list[str], str]


def _simulator(engine: Engine, model: str | None, _note: Note | None) -> Command:
    name = model or "simulated"
    return "inferometer.simulator", ["--profile", engine.profile, "--model", name], name


def _llamacpp(engine: Engine, model: str | None, note: Note | None) -> Command:
    if find_spec("xllamacpp") is None:
        raise llamacpp.missing()
    name = model or llamacpp.ALIAS
    if engine.profile in (llamacpp.ALIAS, Engine.model_fields["profile"].default):
        return "inferometer.engine.llamacpp", [str(smollm2(note)), "--alias", name], name
    path = Path(os.path.expanduser(engine.profile))  # noqa: PTH111 (Path's own raises for a home that nobody knows)
    if not path.is_file():
        raise UserError(
            f"no such GGUF file: {path}; give the path of one, or {llamacpp.ALIAS} for the small built-in model"
        )
    return "inferometer.engine.llamacpp", [str(path), "--alias", model or path.stem], model or path.stem


#: Kind of engine -> how to start it: (module, arguments, model name).
COMMANDS: dict[str, Callable[[Engine, str | None, Note | None], Command]] = {
    "simulator": _simulator,
    "llamacpp": _llamacpp,
}


def _ready(process: subprocess.Popen[bytes], said: int) -> str | None:
    """Where the process says that it listens, or nothing when it ended or let too much time pass."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := READY.search(os.pread(said, READ_BYTES, 0)):
            return found[1].decode()
        time.sleep(POLL_S)
    return None


def _why(process: subprocess.Popen[bytes]) -> str:
    code = process.poll()
    return (
        f"was not ready after {READY_TIMEOUT_S:.0f} s"
        if code is None
        else f"ended with code {code} before it was ready"
    )


def _tail(log: Path, start: int) -> str:
    written = log.read_bytes()[start:].decode(errors="replace")
    lines = [line for line in written.splitlines() if line.strip()]
    return "".join(f"\n  {line}" for line in lines[-LAST_LINES:]) or " none"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        pass
    finally:
        process.kill()  # nothing happens to a process that has ended
        process.wait()
