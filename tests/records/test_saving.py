"""Files that are replaced, and what is written straight into."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inferometer.errors import UserError
from inferometer.records import saving, store


def test_a_file_is_replaced_and_a_link_keeps_leading_to_it(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "file", tmp_path / "link"
    link.symlink_to(Path("there") / "file")
    for content in (b"made", b"replaced"):
        saving.save(link, [content[:2], content[2:]])
        assert target.read_bytes() == content
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "link", "there"]


@pytest.mark.parametrize("through_a_link", [False, True])
def test_a_pipe_is_written_to_and_stays_one(tmp_path: Path, through_a_link: bool) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # so that the writer need not wait for one
    try:
        store.write_json(link if through_a_link else pipe, [1])
        assert json.loads(os.read(reader, 4096)) == [1]
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert link.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "pipe"]


@pytest.mark.parametrize("name", ["out", "/dev/stdout"])
def test_a_file_that_is_our_stdout_is_added_to(tmp_path: Path, name: str) -> None:
    code = f"""
from pathlib import Path
from inferometer.records import saving
print("before", flush=True)
saving.save(Path({name!r}), [b"saved\\n"])
print("after")
"""
    (tmp_path / "out").write_text("earlier\n")
    with (tmp_path / "out").open("a") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, cwd=tmp_path, check=True, timeout=120)
    assert (tmp_path / "out").read_text().split() == ["earlier", "before", "saved", "after"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_links_in_a_circle_are_one_sentence_and_stay(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(UserError, match="symbolic links"):
        store.write_json(link, [1])
    assert link.is_symlink()
