"""Streams whose readers go, sleep or never were: nothing is raised, nothing waits, nothing that can arrive is lost."""

import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inferometer.cli.streams import MOST_WAITING, outliving_terminals, steady


@contextmanager
def standard(name: str, stream: object) -> Iterator[None]:
    before = getattr(sys, name)
    setattr(sys, name, stream)
    try:
        yield
    finally:
        setattr(sys, name, before)


def test_what_is_written_arrives_in_order() -> None:
    both = io.StringIO()
    with standard("stdout", both), standard("stderr", both):
        with steady():
            for number in range(100):
                print(number, file=sys.stderr if number % 2 else sys.stdout, flush=True)
        assert both.getvalue().split() == [str(number) for number in range(100)]


@pytest.mark.parametrize(("encoding", "arrives"), [("ascii", b"? p95 ? 2 s\n"), ("utf-8", "✗ p95 ≤ 2 s\n".encode())])
def test_what_a_stream_cannot_encode_costs_no_more_than_that(encoding: str, arrives: bytes) -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding)
    with standard("stdout", stream), steady():
        print("✗ p95 ≤ 2 s")
        print("\ud800")
        print("and more")
    assert raw.getvalue() == arrives + b"?\nand more\n"


def test_a_reader_that_has_gone() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as stream, standard("stderr", stream):
        with steady():
            for _ in range(3):
                print("x" * 100_000, file=sys.stderr)
        stream.write("and this goes to nobody, too")


def test_a_reader_that_sleeps_is_not_waited_for_until_the_end() -> None:
    read, write = os.pipe()
    arrived: list[bytes] = []
    with os.fdopen(write, "w") as stream, standard("stdout", stream):
        with steady():
            for number in range(50):
                print(f"{number:>9999}")  # far more than a pipe takes
            reader = threading.Thread(target=lambda: arrived.extend(iter(lambda: os.read(read, 65536), b"")))
            reader.start()
        stream.close()
    reader.join()
    os.close(read)
    assert b"".join(arrived).split() == [str(number).encode() for number in range(50)]


def test_progress_that_nobody_reads_is_not_kept_for_ever() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "w") as stream, standard("stderr", stream), steady():
        for _ in range(10 * MOST_WAITING):
            sys.stderr.write("x" * 999)
        os.close(read)  # which ends the wait


def test_a_hang_up_is_ignored_here_and_in_children_and_only_meanwhile() -> None:
    before = signal.getsignal(signal.SIGHUP)
    ask = [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGHUP).name)"]
    with outliving_terminals():
        signal.raise_signal(signal.SIGHUP)
        child = subprocess.run(ask, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "SIG_IGN"
    assert signal.getsignal(signal.SIGHUP) == before


def test_an_exception_passes(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        print("before")
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"), steady():
        fail()
    assert capsys.readouterr().out == "before\n"


def test_streams_that_were_closed_are_filled() -> None:
    """Nothing that is opened later gets the number of a standard stream."""
    code = """
import os, sys
from inferometer.cli.streams import steady
with steady():
    print("nobody"); print("nobody", file=sys.stderr)
    taken = os.open(os.devnull, os.O_RDONLY)
    inherited = [os.get_inheritable(number) for number in range(3)]
sys.exit(0 if taken > 2 and inherited == [True] * 3 else 7)
"""
    command = f"{sys.executable} -c '{code}' <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], check=False, timeout=60).returncode == 0


FULL = Path("/dev/full")
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no device that is always full")


@needs_full
def test_a_full_disk_is_kept_and_told_and_stops_nothing() -> None:
    told = io.StringIO()
    with FULL.open("w") as stream, standard("stdout", stream), standard("stderr", told):
        with steady() as out:
            for _ in range(3):
                print("x" * 100_000)
            print("measured", file=sys.stderr)
        assert isinstance(out.failure, OSError)
    said = "inferometer: cannot write to standard output: No space left on device\n"
    assert told.getvalue() == f"measured\n{said}"


def test_a_reader_of_stdout_that_has_gone_is_no_failure() -> None:
    read, write = os.pipe()
    os.close(read)
    told = io.StringIO()
    with os.fdopen(write, "w") as stream, standard("stdout", stream), standard("stderr", told), steady() as out:
        print("to nobody")
    assert out.lost
    assert out.failure is None
    assert told.getvalue() == ""


@needs_full
@pytest.mark.parametrize(("words", "code"), [("schema", 2), ("--version", 2), ("run --help", 3), ("no-such-one", 2)])
def test_the_exit_code_tells_of_a_full_disk(words: str, code: int) -> None:
    command = [sys.executable, "-c", "import sys; from inferometer.cli import main; sys.exit(main())", *words.split()]
    with FULL.open("w") as full:
        done = subprocess.run(command, check=False, timeout=120, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == code
    assert ("No space left on device" in done.stderr) == (words != "no-such-one")
