"""Every style is another way to write the same stream: a parser that knows nothing of styles reads the same events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferometer.simulator import events
from inferometer.simulator.styles import STYLES, Style
from simulator.reading import answer_of, parse_events, without_usage

#: Per write of the server: how many tokens it carries.
WRITES = st.lists(st.integers(1, 3), min_size=1, max_size=6)
LEAVES_OUT = {"no_done": lambda data: [one for one in data if one != "[DONE]"], "no_usage": without_usage}


def writes(shape: events.Shape, tokens: list[int], usage: bool) -> list[bytes]:
    """What the server hands over: chunks with events, and the empty chunk at the end."""
    parts = events.template(events.Identity(shape, "id-1", 7, 'a "m,\\"choices\\":"'), "length")
    out = [b"".join(events.token_event(parts, b" w", False) for _ in range(count)) for count in tokens]
    out[0] = (events.role_event(parts) if shape is events.CHAT else b"") + out[0]
    end = events.token_event(parts, b" end", True)
    out.append(end + (events.usage_event(parts, events.usage(5, 9, 0)) if usage else b"") + events.DONE)
    return out


def on_the_wire(style: Style, handed: list[bytes]) -> list[bytes]:
    """The writes of a style."""
    if style.whole:
        pieces = [piece for data in handed for piece in style.rewrite([one for one in events.unchunk(data) if one], 0)]
        return [style.whole(pieces)]
    out = [style.head]
    before = 0
    for data in handed:
        some = [one for one in events.unchunk(data) if one]
        out += [style.frame(piece) for piece in style.rewrite(some, before)]
        before += len(some)
    return [*out, style.tail]


@pytest.mark.parametrize("name", STYLES)
@given(st.sampled_from([events.CHAT, events.COMPLETION]), WRITES, st.booleans())
def test_the_same_events_come_out(name: str, shape: events.Shape, tokens: list[int], usage: bool) -> None:
    handed = writes(shape, tokens, usage)
    plain = parse_events(answer_of(events.STREAM_HEAD + b"".join(handed)).body)
    odd = parse_events(answer_of(b"".join(on_the_wire(STYLES[name], handed))).body)
    if name == "usage_in_last_choice":
        assert without_usage(odd) == without_usage(plain)
        assert [one["usage"] for one in odd if "usage" in one] == [one["usage"] for one in plain if "usage" in one]
        assert all(one == "[DONE]" or one["choices"] for one in odd)
    else:
        assert odd == LEAVES_OUT.get(name, list)(plain)


@pytest.mark.parametrize(
    ("name", "sign"),
    [
        ("crlf", b"}\r\n\r\n"),
        ("cr", b"}\r\r"),
        ("comments", b": keep-alive\n\ndata: {"),
        ("no_space", b'\ndata:{"id"'),
        ("multiline", b',\ndata: "choices":'),
        ("bom", b"\r\n\xef\xbb\xbfdata: "),
        ("event_lines", b"event: message\nid: 1\nretry: 3000\ndata: "),
        ("split", b"3\r\ndat\r\n"),
        ("until_close", b"connection: close\r\n\r\ndata: "),
        ("content_length", b"content-length: "),
        ("early_hints", b"HTTP/1.1 103 Early Hints\r\n"),
        ("trailers", b"0\r\nserver-timing: total;dur=1.0\r\n\r\n"),
    ],
)
def test_styles_are_what_they_say(name: str, sign: bytes) -> None:
    handed = writes(events.COMPLETION, [1, 1], usage=True)
    assert sign not in events.STREAM_HEAD + b"".join(handed)
    assert sign in b"".join(on_the_wire(STYLES[name], handed))
    assert STYLES[name].closes == (name == "until_close")
