"""A key is sent and nowhere kept, printed or shown: not in a file, not on a stream, not in a process's command line."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import Asked, Said, Serve, good
from e2e.support import COMMAND, environment
from faults.playing import HANGS_S, words

KEY = "sk-planted-7c1e4d90ab35f628"
#: Servers shorten keys when they repeat them; a part of this length would still help a thief.
PART = KEY[3:15]
LOAD = ("--max-concurrency", 2, "--num-prompts", 6)

#: How the key is given: flags, environment, the header that must carry it.
WAYS: dict[str, Callable[[Path], tuple[list[str], dict[str, str], str]]] = {
    "the usual variable": lambda _: ([], {"OPENAI_API_KEY": KEY}, f"Bearer {KEY}"),
    "another variable": lambda _: (["--api-key-env", "MY_KEY"], {"MY_KEY": KEY}, f"Bearer {KEY}"),
    "a file": lambda folder: (["--api-key-file", str(written(folder / "key"))], {}, f"Bearer {KEY}"),
    "a header": lambda _: (["--header", "x-api-key=$MY_KEY"], {"MY_KEY": KEY}, KEY),
}


def written(path: Path) -> Path:
    path.write_text(KEY + "\n")
    return path


def accepts(asked: Asked, served: int) -> Said:
    return good(asked)


def refuses(asked: Asked, served: int) -> Said:
    return Said({"error": {"message": f"Incorrect API key provided: {KEY}. Find yours at ...", "code": 401}}, 401)


def refuses_later(asked: Asked, served: int) -> Said:
    return refuses(asked, served) if asked.method == "POST" and served > 1 else good(asked)


def repeats_as_text(asked: Asked, served: int) -> Said:
    """A proxy that shows the whole request, and cuts it in the middle of the key."""
    if asked.method == "POST" and served > 1:
        return Said(("x" * 1010 + KEY).encode(), 403, "text/plain")
    return good(asked)


def fails_in_the_stream(asked: Asked, served: int) -> Said:
    if asked.method == "POST" and served > 1:
        event = b'data: {"error": {"message": "no quota left for %b"}}\n\ndata: [DONE]\n\n' % KEY.encode()
        return Said(content_type="text/event-stream", pieces=(event,))
    return good(asked)


def fails_in_the_trial(asked: Asked, served: int) -> Said:
    return fails_in_the_stream(asked, 2)


def answers_with_it(asked: Asked, served: int) -> Said:
    """No JSON, but the key at its beginning."""
    return Said(KEY.encode())


#: What the server does: answers by number of POST requests, and the exit code of the run.
SERVERS: dict[str, tuple[Callable[[Asked, int], Said], int]] = {
    "accepts it": (accepts, 0),
    "refuses it, and repeats it": (refuses, 2),
    "refuses it in mid-run, and repeats it": (refuses_later, 3),
    "repeats it in a long text": (repeats_as_text, 3),
    "repeats it in an event": (fails_in_the_stream, 3),
    "repeats it in the trial stream": (fails_in_the_trial, 3),
    "repeats it where JSON should be": (answers_with_it, 2),
}


class Watch:
    """Reads the command lines of a process group while it lives."""

    def __init__(self, group: int) -> None:
        self.seen: set[bytes] = set()
        self._group = group
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.seen |= set(command_lines(self._group))

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def command_lines(group: int) -> list[bytes]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            found += [(entry / "cmdline").read_bytes()] if int(fields[2]) == group else []
        except OSError:
            continue
    return found


def run(command: list[str], **env: str) -> tuple[int, str, set[bytes]]:
    """Exit code, everything said, command lines of all its processes."""
    process = subprocess.Popen(
        command,
        env=environment(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    watch = Watch(process.pid)
    said, _ = process.communicate(timeout=HANGS_S)
    watch.end()
    return process.returncode, said, watch.seen


def leaks(folder: Path) -> list[str]:
    """Files that hold the key or the middle of it, whatever they are."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if PART.encode() in path.read_bytes()]


#: Every way with the servers of every day, one way with the others.
PAIRS = [(way, server) for server in SERVERS for way in WAYS if server in list(SERVERS)[:3] or way == "a file"]


@pytest.mark.parametrize(("way", "server"), PAIRS)
def test_the_key_stays_secret(way: str, server: str, serve: Serve, tmp_path: Path) -> None:
    answer, code = SERVERS[server]
    flags, env, expected = WAYS[way](tmp_path)
    seen: list[Any] = []

    def respond(asked: Asked) -> Said:
        seen.append(asked.headers.get("x-api-key" if way == "a header" else "authorization"))
        served = sum(1 for _ in filter(None, seen)) - 1  # the list of models was the first question
        return answer(asked, served)

    runs = tmp_path / "runs"
    runs.mkdir()
    command = words(serve(respond), runs / "r", *LOAD, "--output", runs / "o.json", *flags)
    ended_with, said, commands = run(command, **env)
    assert ended_with == code, said
    assert set(seen) == {expected}
    assert PART not in said
    assert leaks(runs) == []
    assert not [line for line in commands if PART.encode() in line]
    assert len(commands) >= 2


@pytest.mark.parametrize("way", WAYS)
def test_a_dry_run_shows_no_key(way: str, tmp_path: Path) -> None:
    flags, env, _ = WAYS[way](tmp_path)
    code, said, commands = run([COMMAND, "run", "--base-url", "http://127.0.0.1:9", *flags, "--dry-run"], **env)
    assert code == 0
    assert "base_url: http://127.0.0.1:9" in said
    assert PART not in said
    assert not [line for line in commands if PART.encode() in line]


@pytest.mark.parametrize("name", ["authorization", "x-api-key", "cookie"])
def test_a_key_on_the_command_line_is_not_taken(name: str, tmp_path: Path) -> None:
    """It would be stored with the plan. What to do instead is said, without the key."""
    code, said, _ = run([*words("http://127.0.0.1:9", tmp_path / "r", "--header", f"{name}={KEY}")])
    assert code == 2
    assert "environment variable" in said
    assert PART not in said
    assert not (tmp_path / "r").exists()
