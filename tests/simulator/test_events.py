from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferometer.simulator import events

COUNTS = events.usage(5, 3, 4)


def unframe(chunk: bytes) -> Any:
    """The JSON in one HTTP chunk with one SSE event."""
    size, _, rest = chunk.partition(b"\r\n")
    assert len(rest) == int(size, 16) + 2
    assert rest.startswith(b"data: ")
    assert rest.endswith(b"\n\n\r\n")
    return msgspec.json.decode(rest[6:-4])


@pytest.fixture(params=[events.CHAT, events.COMPLETION])
def parts(request: pytest.FixtureRequest) -> events.Template:
    return events.template(events.Identity(request.param, "id-1", 7, 'a "model"'), "length")


def test_token_events_are_whole_chunks(parts: events.Template) -> None:
    for last in (False, True):
        event = unframe(events.token_event(parts, b" word", last))
        [choice] = event["choices"]
        assert choice["finish_reason"] == ("length" if last else None)
        assert choice.get("text", choice.get("delta", {}).get("content")) == " word"
        assert (event["id"], event["created"], event["model"]) == ("id-1", 7, 'a "model"')
        assert "usage" not in event


def test_usage_may_ride_on_every_event(parts: events.Template) -> None:
    event = unframe(events.token_event(parts, b"x" * 300, False, events.usage_field(COUNTS)))
    assert event["usage"] == COUNTS
    assert unframe(events.role_event(parts, events.usage_field(COUNTS)))["usage"] == COUNTS


def test_usage_event_has_no_choices(parts: events.Template) -> None:
    event = unframe(events.usage_event(parts, COUNTS))
    assert event["choices"] == []
    assert event["usage"] == {
        "prompt_tokens": 5,
        "total_tokens": 8,
        "completion_tokens": 3,
        "prompt_tokens_details": {"cached_tokens": 4},
    }


def test_role_event_is_no_token() -> None:
    parts = events.template(events.Identity(events.CHAT, "id-1", 7, "m"), "stop")
    assert unframe(events.role_event(parts))["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_keys_are_those_of_vllm() -> None:
    parts = events.template(events.Identity(events.COMPLETION, "id-1", 7, "m"), "stop")
    event = unframe(events.token_event(parts, b"x", False))
    assert list(event) == ["id", "object", "created", "model", "choices"]
    assert event["object"] == "text_completion"
    assert set(event["choices"][0]) == {
        "index",
        "text",
        "logprobs",
        "finish_reason",
        "stop_reason",
        "prompt_token_ids",
        "token_ids",
    }


def test_the_end_is_an_event_and_the_empty_chunk() -> None:
    assert events.DONE == b"e\r\ndata: [DONE]\n\n\r\n" + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("shape", "choice"),
    [(events.CHAT, ("message", "content")), (events.COMPLETION, ("text",))],
)
def test_whole_answers(shape: events.Shape, choice: tuple[str, ...]) -> None:
    body = msgspec.json.decode(events.whole_answer(events.Identity(shape, "id-1", 7, "m"), "so it is", "stop", COUNTS))
    text = body["choices"][0]
    for key in choice:
        text = text[key]
    assert (text, body["choices"][0]["finish_reason"], body["usage"]) == ("so it is", "stop", COUNTS)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.booleans())
def test_chunks_are_taken_apart_again(pieces: list[bytes], ended: bool) -> None:
    last = [b""] if ended else []
    assert events.unchunk(b"".join(map(events.chunk, pieces)) + events.LAST_CHUNK * ended) == pieces + last
