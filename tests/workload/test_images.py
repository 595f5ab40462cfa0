"""Pictures as decoders see them."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from inferometer.config.models import Images, Phase, Plan
from inferometer.workload.asks import Ask
from inferometer.workload.images import illustrated, pictures, png


def generator(seed: int = 1) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """The chunks of a PNG by the letter of its specification: length, kind, content, checksum."""
    assert data[:8] == bytes([137, 80, 78, 71, 13, 10, 26, 10])
    found, at = [], 8
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        kind, content = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        (checksum,) = struct.unpack(">I", data[at + 8 + size : at + 12 + size])
        assert checksum == zlib.crc32(kind + content)
        found.append((kind, content))
        at += 12 + size
    return found


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_picture_has_its_size_and_all_its_pixels(width: int, height: int) -> None:
    (header, about), (_, pixels), (end, nothing) = chunks(png(width, height, generator()))
    assert (header, end, nothing) == (b"IHDR", b"IEND", b"")
    assert struct.unpack(">IIBBBBB", about) == (width, height, 8, 2, 0, 0, 0)
    rows = np.frombuffer(zlib.decompress(pixels), np.uint8).reshape(height, 1 + 3 * width)
    assert not rows[:, 0].any()


def test_pixels_are_noise() -> None:
    pixels = np.frombuffer(zlib.decompress(chunks(png(64, 64, generator()))[1][1]), np.uint8)
    assert len(np.unique(pixels)) == 256


def test_pictures_are_data_urls_all_different_and_the_same_for_the_same_seed() -> None:
    images = Images(count=3, width=8, height=5)
    made = pictures(images, generator())
    assert len(set(made)) == 3
    assert pictures(images, generator()) == made
    assert not set(pictures(images, generator(2))) & set(made)
    kinds = {one.partition(",")[0] for one in made}
    assert kinds == {"data:image/png;base64"}
    header = chunks(base64.b64decode(made[0].partition(",")[2], validate=True))[0][1]
    assert struct.unpack(">II", header[:8]) == (8, 5)


def test_every_request_has_pictures_of_its_own() -> None:
    stage = {"load": {"type": "closed", "concurrency": 1}, "num_requests": 2}
    stages = [stage, stage | {"same_prompts": True}]
    workload = {"type": "random", "images": {"count": 2, "width": 4, "height": 4}}
    plan = Plan.model_validate({"target": {}, "scenario": {"workload": workload, "stages": stages}})
    asks = illustrated(plan, lambda *_: Ask("look", 1, 8))
    first, second = asks(0, Phase.MEASURED, 0), asks(0, Phase.MEASURED, 1)
    assert len({*first.images, *second.images, *asks(0, Phase.WARMUP, 0).images}) == 6
    assert asks(1, Phase.MEASURED, 0) == first
    assert first._replace(images=()) == Ask("look", 1, 8)
    bare = Plan.model_validate({"target": {}, "scenario": {"stages": stages}})
    assert illustrated(bare, lambda *_: Ask("look", 1, 8))(0, Phase.MEASURED, 0).images == ()
