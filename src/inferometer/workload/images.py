"""Synthetic pictures: PNGs of random pixels in a given size, as data URLs. Pure: the generator decides."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np

from inferometer.config.models import Images, Phase, Plan
from inferometer.workload.asks import Ask, Asks
from inferometer.workload.synthetic import asked_stage, generator

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Bits of a sample, colour type (red, green, blue), compression, filter, interlacing.
_TRUE_COLOUR = (8, 2, 0, 0, 0)


def illustrated(plan: Plan, asks: Asks) -> Asks:
    """The same requests with the pictures that the plan wants: equal in every process, in all stages their own."""
    images = plan.scenario.workload.images
    if images is None:
        return asks

    def ask(stage: int, phase: Phase, index: int) -> Ask:
        random = generator(plan.seed, asked_stage(plan, stage), phase, index)
        shown = pictures(images, np.random.Generator(_jumped(random)))
        return asks(stage, phase, index)._replace(images=shown)

    return ask


def _jumped(random: np.random.Generator) -> np.random.PCG64:
    """Far away from the numbers that the text of the same request is made of."""
    bits = random.bit_generator
    assert isinstance(bits, np.random.PCG64)  # noqa: S101
    return bits.jumped()


def pictures(images: Images, random: np.random.Generator) -> tuple[str, ...]:
    """``images.count`` pictures, no two alike: ``data:image/png;base64,...`` (RFC 2397)."""
    return tuple(
        f"data:image/png;base64,{base64.b64encode(png(images.width, images.height, random)).decode()}"
        for _ in range(images.count)
    )


def png(width: int, height: int, random: np.random.Generator) -> bytes:
    """A PNG of ``width`` x ``height`` random pixels (PNG specification, third edition, 5 and 9).

    About 3 bytes a pixel: noise cannot be compressed, so no time is spent on trying.
    """
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with its filter: none
    rows[:, 1:] = random.integers(0, 256, (height, 3 * width), np.uint8)
    header = struct.pack(">IIBBBBB", width, height, *_TRUE_COLOUR)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 0)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
