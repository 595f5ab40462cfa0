"""Data files as streams of bytes, of any size in bounded memory: gzip is unpacked, a byte order mark passed over."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from inferometer.errors import UserError

#: No record is longer. A longer one means that the file is of another kind, and would fill the memory.
LONGEST_BYTES = 64 * 1024 * 1024
HEAD_BYTES = 64 * 1024

_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
#: How files begin that cannot be read, and what they are.
_FOREIGN = {
    b"\x28\xb5\x2f\xfd": "packed with zstd; unpack it, or pack it with gzip",
    b"\xfd7zXZ\x00": "packed with xz; unpack it, or pack it with gzip",
    b"BZh": "packed with bzip2; unpack it, or pack it with gzip",
    b"PK\x03\x04": "a zip archive; unpack it",
    b"\xff\xfe": "UTF-16; save it as UTF-8",
    b"\xfe\xff": "UTF-16; save it as UTF-8",
}


class Stream(NamedTuple):
    """Bytes in order, from ``start`` on. Offsets are those of ``path``, where the same bytes can be read again."""

    read: Callable[[int], bytes]
    readline: Callable[[], bytes]
    start: int
    path: Path
    source: Path


@contextmanager
def opened(source: Path, copy: Path | None = None) -> Iterator[Stream]:
    """A file's plain bytes. What is packed has no offsets: as far as it is read it goes to ``copy`` too, if given.

    Raises ``UserError`` if there is no such file, or it cannot be read or unpacked.
    """
    try:
        with ExitStack() as stack:
            yield _stream(source, copy, stack)
    except FileNotFoundError as error:
        raise UserError(f"no such file: {error.filename or source}") from None
    except (EOFError, zlib.error) as error:
        raise UserError(f"{source} cannot be unpacked, it may have been cut off: {error}") from None
    except OSError as error:
        raise UserError(f"cannot read {source}: {error}") from None


def _stream(source: Path, copy: Path | None, stack: ExitStack) -> Stream:
    if source.is_dir():
        raise UserError(f"{source} is a folder; give one of its files")
    file: BinaryIO = stack.enter_context(source.open("rb"))
    head = file.read(8)
    file.seek(0)
    foreign = next((what for magic, what in _FOREIGN.items() if head.startswith(magic)), None)
    if foreign is not None:
        raise UserError(f"{source} is {foreign}")
    if head.startswith(_GZIP):
        unpacked: BinaryIO = stack.enter_context(gzip.GzipFile(fileobj=file))  # type: ignore[assignment]
        _pass_bom(unpacked)
        return _copying(unpacked, source, copy, stack)
    start = _pass_bom(file)
    return Stream(file.read, lambda: file.readline(LONGEST_BYTES + 1), start, source, source)


def _pass_bom(file: BinaryIO) -> int:
    start = len(_BOM) if file.read(len(_BOM)) == _BOM else 0
    file.seek(start)
    return start


def _copying(file: BinaryIO, source: Path, copy: Path | None, stack: ExitStack) -> Stream:
    if copy is None:
        return Stream(file.read, lambda: file.readline(LONGEST_BYTES + 1), 0, source, source)
    out = stack.enter_context(copy.open("wb"))

    def read(size: int) -> bytes:
        data = file.read(size)
        out.write(data)
        return data

    def readline() -> bytes:
        line = file.readline(LONGEST_BYTES + 1)
        out.write(line)
        return line

    return Stream(read, readline, 0, copy, source)


def csv_reader(lines: Iterable[str], delimiter: str = ",", *, skip_space: bool = False) -> Iterator[list[str]]:
    """Rows of strict CSV with cells of any length up to ``LONGEST_BYTES``, in whichever process."""
    csv.field_size_limit(LONGEST_BYTES)  # of the whole process; its default refuses prompts above 128 KiB
    return csv.reader(lines, delimiter=delimiter, skipinitialspace=skip_space, strict=True)


def head_of(source: Path) -> bytes:
    """The first ``HEAD_BYTES`` of a file's plain bytes. Raises ``UserError`` as ``opened`` does."""
    with opened(source) as stream:
        return stream.read(HEAD_BYTES)
