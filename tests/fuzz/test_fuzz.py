"""A short fuzzing of every target: good inputs, spoilt in a few ways each. ``campaign.py`` is the long one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import PLAN, TARGETS, seeds

from inferometer.records import store

#: Inputs that broke a target once.
FOUND: dict[str, list[bytes]] = {
    "events": [b"data: \n\n", b"data:\r", b"\xef\xbb\xbf", b"data: a\r\n\r\n"],
    "bytes": [
        b"\x00\x01HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        b"\x00\x01HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nHTTP/1.1 500 Oops\r\n\r\nlate",
        b"\x80\x01HTTP/1.1 2",
        b"\x80\x01HTTP/1.1 100 Continue\r\n\r\n",
        b'\x81\x01event: error\ndata: {"choices": []}\n\ndata: [DONE]\n\nevent: error\ndata: {}\n\n',
        b'\x81\x01data: {"choices": [], "usage": {"completion_tokens": 2147483647}}\n\n' * 2,
    ],
    "plans": [
        b"target: &a {headers: *a}",
        b"&a [*a]",
        b"a: !!int x",
        b"a: !!bool x",
        b"a: 2001-99-99",
        b"{a: " * 2000 + b"1" + b"}" * 2000,
        b"seed: " + b"9" * 5000,
        b"a: &a [x, x, x, x, x, x, x, x, x]\n"
        + b"".join(b"%c: &%c [%s]\n" % (at + 1, at + 1, b", ".join([b"*%c" % at] * 9)) for at in range(97, 105)),
        PLAN.replace(b"~, 2.5", b"~, {2.5: .nan}"),
    ],
    "retry-after": [b"\xb2", b"9" * 400, b"Fri, 31 Dec 9999 23:59:59 -2359"],
}


class Change(NamedTuple):
    """``length`` bytes at ``place`` become ``new``, or double."""

    place: int
    length: int
    new: bytes
    double: bool


CHANGES = st.lists(
    st.builds(Change, st.integers(0, 1 << 15), st.integers(0, 40), st.binary(max_size=8), st.booleans()), max_size=6
)


def spoilt(whole: bytes, changes: list[Change]) -> bytes:
    for change in changes:
        at = change.place % (len(whole) + 1)
        cut = whole[at : at + change.length]
        whole = whole[:at] + (cut + cut if change.double else change.new) + whole[at + change.length :]
    return whole


@pytest.mark.parametrize("name", TARGETS)
def test_good_inputs(name: str) -> None:
    for seed in seeds(name):
        TARGETS[name](seed)


@pytest.mark.parametrize(("name", "data"), [(name, data) for name in FOUND for data in FOUND[name]])
def test_what_was_found_once(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_spoilt_inputs(name: str) -> None:
    good = [b"", *seeds(name)]

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(good) - 1), CHANGES)
    def holds(seed: int, changes: list[Change]) -> None:
        TARGETS[name](spoilt(good[seed], changes))

    holds()


def test_a_cut_stream_of_rows_gives_its_whole_batches(tmp_path: Path) -> None:
    whole, unfinished = seeds("rows")
    assert whole.startswith(unfinished)
    counts = [rows_of(whole[:length], tmp_path) for length in (*range(0, len(whole), 97), len(unfinished), len(whole))]
    assert counts == sorted(counts)
    assert set(counts) == {0, 2, 3, 6}  # three batches


def rows_of(data: bytes, folder: Path) -> int:
    (folder / "requests-0.arrow").write_bytes(data)
    return int(store.read(folder).num_rows)


def test_the_long_campaign_says_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['atheris'] = None\n")
    script = Path(__file__).with_name("campaign.py")
    blocked = {"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, script, "--seconds", "1"], env=blocked, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "atheris is not installed" in done.stdout
