"""Lines of JSON, and the quick ways through server-sent events: the same events as the long way."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferometer.client import ndjson, sse

JSON = st.recursive(st.none() | st.text(max_size=8) | st.integers(), lambda inner: st.lists(inner, max_size=3))
OBJECTS = st.dictionaries(st.text(max_size=3), JSON, max_size=3)


@given(st.lists(OBJECTS, min_size=1), st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]), st.booleans())
def test_every_object_is_an_event_that_ends_behind_its_line(objects: list[object], end: str, closed: bool) -> None:
    lines = [json.dumps(one, ensure_ascii=False) for one in objects]
    body = (end.join(lines) + end * closed).encode()
    events = ndjson.parse(body)
    assert [json.loads(data) for data in events.data] == objects
    assert events.unterminated is not closed
    assert (events.ends[1:] > events.ends[:-1]).all()
    for data, after in zip(events.data, events.ends.tolist(), strict=True):
        assert body[:after].rstrip().endswith(data.strip())


@pytest.mark.parametrize("body", [b"", b"\n", b"<html>", b"data: {}\n\n", b"[1]\n", b"busy"])
def test_what_are_no_lines_of_objects(body: bytes) -> None:
    assert ndjson.parse(body) == ([], pytest.approx([]), None, False)


def test_a_byte_order_mark_is_no_part_of_the_first_line() -> None:
    assert ndjson.parse(b"\xef\xbb\xbf{}\n").data == [b"{}"]


PAYLOAD = st.sampled_from([b"{}", b'{"a": 1}', b"[DONE]", b"", b" x", b"data: x", b"event: x"])
FIELD = st.sampled_from([b"data: ", b"data:", b"event: ", b"event:", b": ", b"id: ", b""])
LINES = st.lists(st.tuples(FIELD, PAYLOAD), min_size=1, max_size=3)


@given(st.lists(LINES, max_size=6), st.sampled_from([b"\n\n", b"\n", b"\n\n\n", b""]))
def test_the_quick_ways_through_events_lead_where_the_long_one_does(
    blocks: list[list[tuple[bytes, bytes]]], end: bytes
) -> None:
    body = b"\n\n".join(b"\n".join(field + payload for field, payload in block) for block in blocks) + end
    quick, long = sse.parse(body), sse._parse_any(body)
    assert (quick.data, quick.names, quick.unterminated) == (long.data, long.names, long.unterminated)
    assert quick.ends.tolist() == long.ends.tolist()


@pytest.mark.parametrize(
    ("event", "quick"),
    [
        (b"data: %b\n\n", sse._parse_plain),
        (b"data:%b\n\n", sse._parse_plain),
        (b"event: delta\ndata: %b\n\n", sse._parse_typed),
    ],
)
@given(st.lists(OBJECTS, min_size=1))
def test_usual_streams_go_the_quick_way(event: bytes, quick: object, objects: list[object]) -> None:
    payloads = [json.dumps(one).encode() for one in objects]
    events = quick(b"".join(event % payload for payload in payloads))  # type: ignore[operator]
    assert events is not None
    assert events.data == payloads
