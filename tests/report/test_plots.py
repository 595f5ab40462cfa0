"""Pictures: the names that others look for, and real PNG files."""

from __future__ import annotations

import struct

from inferometer.report.plots import pictures, png
from reported_run import content


def test_pictures_have_the_names_of_inference_perf() -> None:
    names = [picture.name for picture in pictures(content())]
    assert len(names) == len(set(names))
    assert {
        "latency_vs_qps",
        "throughput_vs_qps",
        "throughput_vs_latency",
        "goodput_vs_qps",
        "latency_vs_concurrency",
        "throughput_vs_concurrency",
        "latency_distributions",
        "over_time",
    } == set(names)


def test_no_rows_no_distributions() -> None:
    names = {picture.name for picture in pictures(content(pictures=None))}
    assert "latency_vs_qps" in names
    assert not names & {"latency_distributions", "over_time"}


def test_a_picture_is_a_png_of_its_size() -> None:
    picture = next(one for one in pictures(content()) if one.name == "throughput_vs_qps")
    data = png(picture)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    assert width > height > 400
    assert len(data) > 20_000
