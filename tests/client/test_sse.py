"""The rules of the WHATWG ("Parsing an event stream"), and that the fast path is the slow one, only faster."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inferometer.client import sse

RULES: dict[str, tuple[bytes, list[bytes]]] = {
    "LF": (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
    "CR": (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
    "CRLF": (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
    "mixed": (b"data: a\r\n\ndata: b\r\r\ndata: c\n\r\n", [b"a", b"b", b"c"]),
    "BOM": (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
    "a second BOM is text": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [b"b"]),
    "a BOM later is text": (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
    "comment first": (b": ping\n\ndata: a\n\n", [b"a"]),
    "comment inside": (b"data: a\n: ping\ndata: b\n\n", [b"a\nb"]),
    "no space": (b"data:a\n\n", [b"a"]),
    "one space is dropped": (b"data:  a \n\n", [b" a "]),
    "lines join": (b"data: a\ndata: b\ndata:\n\n", [b"a\nb\n"]),
    "no colon": (b"data\ndata\n\n", [b"\n"]),
    "no data, no event": (b"event: ping\n\nid: 1\n\ndata: a\n\n", [b"a"]),
    "id and retry": (b"id: 1\nretry: 5\ndata: a\n\n", [b"a"]),
    "unknown field": (b"data2: x\ndat: y\n data: z\ndata: a\n\n", [b"a"]),
    "last one unterminated": (b"data: a\n\ndata: b", [b"a", b"b"]),
    "last line alone unterminated": (b"data: a\n\ndata: b\n", [b"a", b"b"]),
    "U+2028, U+2029, U+0085, VT, FF": (b"data: a\xe2\x80\xa8\xe2\x80\xa9\xc2\x85\v\fb\n\n", [
        b"a\xe2\x80\xa8\xe2\x80\xa9\xc2\x85\v\fb"
    ]),
    "blank lines": (b"\n\n\ndata: a\n\n\n\n", [b"a"]),
    "nothing": (b"", []),
    "a colon in the data": (b"data: a: b\n\n", [b"a: b"]),
}  # fmt: skip


@pytest.mark.parametrize(("body", "data"), RULES.values(), ids=RULES)
def test_the_rules(body: bytes, data: list[bytes]) -> None:
    assert sse.parse(body).data == data


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"], ids=["LF", "CR", "CRLF"])
def test_an_event_ends_with_its_blank_line(end: bytes) -> None:
    """With the first byte of it: CR ends a line, whether LF follows or not, and LF may come in a later read."""
    first, second = b": ping" + end + b"data: a" + end, b"data: b" + end
    assert sse.parse(first + end + second + end).ends.tolist() == [len(first) + 1, len(first + end + second) + 1]


def test_what_is_unterminated_ends_with_the_body_and_is_marked() -> None:
    events = sse.parse(b"data: a\n\ndata: b")
    assert (events.ends.tolist(), events.unterminated) == ([9, 16], True)
    assert not sse.parse(b"data: a\n\n").unterminated


def test_the_type_of_an_event_is_its_own() -> None:
    events = sse.parse(b"event: error\ndata: a\n\ndata: b\n\nevent: lost\n\ndata: c\n\n")
    assert events.names == [b"error", b"", b""]
    assert sse.parse(b"data: a\n\n").names is None


#: Mostly what a stream is made of, so that both paths are taken.
BODIES = st.lists(
    st.sampled_from(
        [b"data: ", b"data:", b"\n\n", b"\n", b"\r", b"x", b": ", b"event: e", b"\xef\xbb\xbf", b" ", b"{}"]
    )
).map(b"".join)


@settings(deadline=None)
@given(BODIES)
@example(b"data: \n\n")
@example(b"data: data: \n\n")
@example(b"data: \n\n\n\ndata: x\n\n")
def test_the_fast_path_is_the_slow_one(body: bytes) -> None:
    fast = sse._parse_plain(body)
    slow = sse._parse_any(body)
    if fast is not None:
        assert (fast.data, fast.names, fast.unterminated) == (slow.data, slow.names, slow.unterminated)
        assert fast.ends.tolist() == slow.ends.tolist()


LINE = st.binary(max_size=12).filter(lambda line: b"\n" not in line and b"\r" not in line)


@settings(deadline=None)
@given(st.lists(LINE, min_size=1))
def test_the_usual_stream_takes_the_fast_path(lines: list[bytes]) -> None:
    events = sse._parse_plain(b"".join(b"data: " + line + b"\n\n" for line in lines))
    assert events is not None
    assert events.data == lines


@settings(deadline=None)
@given(st.lists(st.lists(LINE, min_size=1), min_size=1), st.sampled_from([b"\n", b"\r", b"\r\n"]))
def test_what_is_written_is_read(events: list[list[bytes]], end: bytes) -> None:
    body = b"".join(b"".join(b"data: " + line + end for line in event) + end for event in events)
    assert sse.parse(body).data == [b"\n".join(event) for event in events]
