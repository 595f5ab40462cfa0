from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from inferometer.config.models import Engine
from inferometer.engine import launch, llamacpp
from inferometer.errors import UserError

ENGINE = Engine(kind="simulator")

Program = Callable[[str], None]


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Lets a few lines of Python stand for the server."""

    def write(source: str) -> None:
        (tmp_path / "standin.py").write_text(source)

    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setitem(launch.COMMANDS, "simulator", lambda _engine, model, _note: ("standin", [], model or "m"))
    return write


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "engine.log"


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


SERVER = """
import os, sys, time
print("pid", os.getpid(), "group", os.getpgid(0), "arguments", *sys.argv[1:], file=sys.stderr)
print("half a line", end=" ", file=sys.stderr, flush=True)
print("listening on http://127.0.0.1:4321", flush=True)
time.sleep(60)
"""


def said(log: Path) -> list[str]:
    return next(line for line in log.read_text().splitlines() if line.startswith("pid")).split()


def test_a_server_is_ready_in_its_own_group_and_gone_afterwards(program: Program, log: Path) -> None:
    program(SERVER)
    log.write_text("listening on http://127.0.0.1:1\n")  # of an earlier run
    with launch.started(ENGINE, log) as address:
        assert address == ("http://127.0.0.1:4321", "m")
        _, pid, _, group, _, *arguments = said(log)
        assert is_alive(int(pid))
    assert pid == group != str(os.getpgid(0))
    assert arguments == ["--port", "0", "--die-with-parent", str(os.getpid())]
    assert not is_alive(int(pid))


def test_a_server_is_stopped_when_the_run_fails(program: Program, log: Path) -> None:
    program(SERVER)
    with pytest.raises(KeyboardInterrupt), launch.started(ENGINE, log):
        raise KeyboardInterrupt
    assert not is_alive(int(said(log)[1]))


def test_a_server_that_will_not_end_is_killed(program: Program, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "STOP_TIMEOUT_S", 0.1)
    program("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER)
    with launch.started(ENGINE, log):
        pass
    assert not is_alive(int(said(log)[1]))


def test_a_server_that_dies_shows_its_last_lines(program: Program, log: Path) -> None:
    program("import sys\nfor i in range(20):\n    print(f'line {i}', file=sys.stderr)\nraise SystemExit('no memory')")
    with pytest.raises(UserError) as caught, launch.started(ENGINE, log):
        pass
    first, *last = str(caught.value).splitlines()
    assert first == f"standin ended with code 1 before it was ready; its last lines ({log}):"
    assert last == [*(f"  line {i}" for i in range(13, 20)), "  no memory"]


NEVER_READY = """
import os, sys, time
print("pid", os.getpid(), file=sys.stderr, flush=True)
print("listening on http://127.0.0.1:1", file=sys.stderr, flush=True)
print("almost listening on http://127.0.0.1:1", flush=True)
time.sleep(60)
"""


def test_a_server_that_is_never_ready_is_stopped(program: Program, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "READY_TIMEOUT_S", 1.0)
    program(NEVER_READY)
    with pytest.raises(UserError, match="was not ready after 1 s"), launch.started(ENGINE, log):
        pass
    assert not is_alive(int(said(log)[1]))


@pytest.mark.parametrize(("model", "name"), [(None, "simulated"), ("mine", "mine")])
def test_the_command_of_the_simulator(model: str | None, name: str) -> None:
    engine = Engine(kind="simulator", profile="p")
    assert launch.COMMANDS["simulator"](engine, model, None) == (
        "inferometer.simulator",
        ["--profile", "p", "--model", name],
        name,
    )


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "find_spec", lambda _name: object())
    monkeypatch.setattr(launch, "smollm2", lambda _note: Path("/cache/smol.gguf"))


@pytest.mark.parametrize("profile", [{}, {"profile": "smollm2-135m"}])
@pytest.mark.usefixtures("installed")
def test_llamacpp_without_a_file_serves_the_small_model(profile: dict[str, str]) -> None:
    _, arguments, name = launch.COMMANDS["llamacpp"](Engine(kind="llamacpp", **profile), None, None)  # type: ignore[arg-type]
    assert (arguments, name) == (["/cache/smol.gguf", "--alias", "smollm2-135m"], "smollm2-135m")


@pytest.mark.parametrize(("model", "name"), [(None, "big-q4"), ("mine", "mine")])
@pytest.mark.usefixtures("installed")
def test_llamacpp_serves_a_file(tmp_path: Path, model: str | None, name: str) -> None:
    path = tmp_path / "big-q4.gguf"
    path.touch()
    _, arguments, answered = launch.COMMANDS["llamacpp"](Engine(kind="llamacpp", profile=str(path)), model, None)
    assert (arguments, answered) == ([str(path), "--alias", name], name)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("profile", ["/no/such.gguf", "~no-such-user/such.gguf"])
def test_llamacpp_without_its_file(log: Path, profile: str) -> None:
    engine = Engine(kind="llamacpp", profile=profile)
    with pytest.raises(UserError, match=f"no such GGUF file: {profile}"), launch.started(engine, log):
        pass


def test_llamacpp_without_its_wheel(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "find_spec", lambda _name: None)
    with (
        pytest.raises(UserError, match=r"pip install 'inferometer\[engine\]'"),
        launch.started(Engine(kind="llamacpp"), log),
    ):
        pass
    assert not log.exists()


PARENT = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdout=subprocess.PIPE)
print(child.pid, child.stdout.readline().decode(), flush=True)
os._exit(0)
"""

BOUND = """
import signal, sys, time
from inferometer.engine.parent import die_with
die_with(int(sys.argv[1]), signal.SIGKILL)
print("bound", flush=True)
time.sleep(60)
"""

LATE = """
import os, signal, sys, time
from inferometer.engine.parent import die_with
parent = os.getppid()
print("begun", flush=True)
while os.getppid() == parent:
    time.sleep(0.01)
die_with(int(sys.argv[1]), signal.SIGKILL)
time.sleep(60)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is of Linux")
@pytest.mark.parametrize("child", [BOUND, LATE])
def test_a_server_dies_with_its_parent(child: str) -> None:
    parent = subprocess.run(
        [sys.executable, "-c", PARENT, child], capture_output=True, text=True, timeout=60, check=True
    )
    pid = int(parent.stdout.split()[0])
    deadline = time.monotonic() + 30
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(pid)


def is_running(pid: int) -> bool:
    """Nobody may be there to collect the orphan: a zombie has ended too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_the_module_says_how_to_install_what_it_needs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    monkeypatch.setattr(llamacpp.signal, "pthread_sigmask", lambda *_args: None)
    assert llamacpp.main(["x.gguf"]) == 2
    assert "pip install 'inferometer[engine]'" in capsys.readouterr().err
