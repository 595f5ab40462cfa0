"""What each fault of an answer puts on the wire, read from a real server by a raw socket.

One server has all of them: each fault is for a model of its own name, so that no test disturbs another.
"""

import json
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from inferometer.simulator.styles import STYLES
from simulator.misbehaving import ASKED, CHAT, CLOSE, COMPLETION, QUIET_S, faults, got, heard, simulating
from simulator.reading import Heard, answer_of, ask, connected, hear, parse_events, text_of, without_usage

SPECS = {
    "silence": "silence",
    "slow_headers": "slow_headers=400",
    "status": "status=503",
    "status_later": "status=429,retry_after=7,body=detail",
    "status_date": "status=503,retry_after=90,retry_after_date,body=text",
    "status_page": "status=502,body=html",
    "status_unknown": "status=529",
    "stall": "stall,after_tokens=3",
    "stall_for": "stall,after_tokens=3,for_ms=400",
    "stall_at_once": "stall,after_tokens=0",
    "reset": "reset,after_tokens=3",
    "reset_late": "reset,after_tokens=7",
    "reset_too_late": "reset,after_tokens=8",
    "close": "close,after_tokens=3",
    "truncated_chunk": "truncated_chunk,after_tokens=3",
    "truncated_at_once": "truncated_chunk,after_tokens=0",
    "end_early": "end_early,after_tokens=3",
    "malformed": "malformed,after_tokens=3",
    "error_event": "error_event,after_tokens=3",
    "wrong_model": "wrong_model=another/model",
    "short": "short=3",
    "short_not": "short=8",
    "empty": "empty",
    "empty_body": "empty_body",
    "one_document": "one_document",
    "web_page": "web_page",
    "routing": "routing,share=0.6",
    "twice": "status=500,first=2",
    **{style: f"odd={style}" for style in STYLES},
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "served.jsonl"


@pytest.fixture(scope="module")
def port(log: Path) -> Iterator[int]:
    flags = [word for model, spec in SPECS.items() for word in ("--fault", f"{spec},model={model}")]
    with simulating("--log-served", str(log), *flags, "--model", "plain", *SPECS) as (_server, number):
        yield number


def streamed(heard: Heard) -> list[Any]:
    """The events of an answer, without what differs from one answer to the next."""
    data = parse_events(answer_of(heard.data).body)
    return [
        {k: v for k, v in one.items() if k not in ("id", "created", "model")} if isinstance(one, dict) else one
        for one in data
    ]


@pytest.fixture(scope="module", params=[CHAT, COMPLETION])
def path(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def plain(port: int, path: str) -> list[Any]:
    answer = heard(port, "plain", path)
    assert answer.end == "fin"
    return streamed(answer)


@pytest.mark.parametrize("style", STYLES)
def test_odd_streams_say_the_same(port: int, path: str, style: str) -> None:
    expected, odd = plain(port, path), heard(port, style, path)
    answer = answer_of(odd.data)
    assert (odd.end, answer.status, answer.complete) == ("fin", 200, True)
    events = streamed(odd)
    assert text_of(events) == text_of(expected)
    if style == "usage_in_last_choice":
        assert without_usage(events) == without_usage(expected)
        assert events[-2]["usage"] == expected[-2]["usage"]
    elif style == "no_usage":
        assert events == without_usage(expected)
    else:
        assert events == expected[:-1] if style == "no_done" else events == expected


@pytest.mark.parametrize("style", STYLES)
def test_odd_streams_leave_the_connection_as_they_say(port: int, style: str) -> None:
    body = {**ASKED, "ignore_eos": True, "model": style, "stream": True}
    with connected(port) as sock:
        ask(sock, COMPLETION, body)
        if STYLES[style].closes:
            assert hear(sock).end == "fin"
            return
        first = hear(sock, until=STYLES[style].tail if not STYLES[style].whole else b"[DONE]").data
        ask(sock, "/version", headers=CLOSE)
        rest = hear(sock).data
    assert b"+simulator" in rest
    assert answer_of(first + rest[: rest.index(b"HTTP/1.1 200 OK")]).complete


def test_framing_is_what_the_style_says(port: int) -> None:
    head = {style: answer_of(heard(port, style).data) for style in ("until_close", "content_length", "early_hints")}
    assert {"content-length", "transfer-encoding"}.isdisjoint(head["until_close"].headers)
    assert int(head["content_length"].headers["content-length"]) == len(head["content_length"].body)
    assert head["early_hints"].interim == (103,)


@pytest.mark.parametrize(("model", "end"), [("reset", "rst"), ("close", "fin"), ("truncated_chunk", "fin")])
def test_cuts(port: int, path: str, model: str, end: str) -> None:
    cut = heard(port, model, path)
    answer = answer_of(cut.data)
    events = parse_events(answer.body)
    assert (cut.end, answer.complete, answer.status) == (end, False, 200)
    assert len(text_of(events).split()) == 3
    assert "[DONE]" not in events
    assert cut.data.endswith(b"\n\n\r\n") == (model != "truncated_chunk")


@pytest.mark.parametrize("path", [CHAT, COMPLETION])
def test_a_chunk_promises_more_than_comes(port: int, path: str) -> None:
    for model, tokens in (("truncated_chunk", 3), ("truncated_at_once", 0)):
        body = heard(port, model, path).data.partition(b"\r\n\r\n")[2]
        chunks = 0
        while True:
            size, _, body = body.partition(b"\r\n")
            if len(body) < int(size, 16):
                break
            chunks, body = chunks + 1, body[int(size, 16) + 2 :]
        assert chunks == tokens + (path == CHAT and tokens > 0)
        assert 0 < len(body) < int(size, 16)


@pytest.mark.parametrize("model", ["reset", "close", "truncated_chunk"])
def test_cuts_of_whole_answers(port: int, model: str) -> None:
    cut = heard(port, model, stream=False)
    answer = answer_of(cut.data)
    assert (cut.end, answer.complete) == ("rst" if model == "reset" else "fin", False)
    assert answer.body.startswith(b'{"id":')


def test_the_last_token_may_be_the_one_that_is_missing(port: int) -> None:
    late = heard(port, "reset_late")
    assert late.end == "rst"
    assert len(text_of(parse_events(answer_of(late.data).body)).split()) == 7
    assert streamed(heard(port, "reset_too_late")) == plain(port, COMPLETION)


def test_an_early_end_is_a_clean_one(port: int, path: str) -> None:
    body = {**ASKED, "ignore_eos": True, "model": "end_early", "stream": True}
    with connected(port) as sock:
        ask(sock, path, body)
        answer = answer_of(hear(sock, until=b"\r\n0\r\n\r\n").data)
        ask(sock, "/version", headers=CLOSE)
        assert b"+simulator" in hear(sock).data
    events = parse_events(answer.body)
    assert answer.complete
    assert len(text_of(events).split()) == 3
    assert "[DONE]" not in events
    assert all(choice["finish_reason"] is None for event in events for choice in event["choices"])


def test_a_malformed_event_is_one_more(port: int, path: str) -> None:
    events, expected = streamed(heard(port, "malformed", path)), plain(port, path)
    [at] = [index for index, event in enumerate(events) if isinstance(event, str) and event != "[DONE]"]
    assert len(text_of(events[:at]).split()) == 3
    assert events[:at] + events[at + 1 :] == expected


def test_a_malformed_document_has_the_right_length(port: int) -> None:
    answer = answer_of(heard(port, "malformed", stream=False).data)
    assert answer.complete
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.body)


def test_an_error_in_the_stream(port: int, path: str) -> None:
    told = heard(port, "error_event", path)
    *events, error, done = parse_events(answer_of(told.data).body)
    assert answer_of(told.data).complete
    assert len(text_of(events).split()) == 3
    assert (error["error"]["code"], done) == (500, "[DONE]")


def test_what_stalls_stays_open(port: int) -> None:
    for model, tokens in (("stall", 3), ("stall_at_once", 0)):
        with connected(port) as sock:
            ask(sock, COMPLETION, {**ASKED, "ignore_eos": True, "model": model, "stream": True})
            first = hear(sock, until=b"\r\n\r\n" if not tokens else b"\n\n\r\n")
            told = hear(sock, QUIET_S)
            assert told.end == "quiet"
            assert len(text_of(parse_events(answer_of(first.data + told.data).body)).split()) == tokens


def test_a_whole_answer_stalls_in_its_middle(port: int) -> None:
    with connected(port) as sock:
        ask(sock, COMPLETION, {**ASKED, "model": "stall"})
        first = hear(sock, until=b'{"id":').data
        told = hear(sock, QUIET_S)
    assert told.end == "quiet"
    answer = answer_of(first + told.data)
    assert 0 < len(answer.body) < int(answer.headers["content-length"])


@pytest.mark.parametrize("model", ["stall_for", "slow_headers"])
@pytest.mark.parametrize("stream", [True, False])
def test_what_is_late_comes_whole(port: int, model: str, stream: bool) -> None:
    began = time.monotonic()
    late = heard(port, model, stream=stream)
    assert time.monotonic() - began > 0.35
    assert (late.end, answer_of(late.data).complete) == ("fin", True)
    if stream:
        assert streamed(late) == plain(port, COMPLETION)
    else:
        assert json.loads(answer_of(late.data).body)["usage"]["completion_tokens"] == 8


def test_a_late_head_is_late(port: int) -> None:
    with connected(port) as sock:
        began = time.monotonic()
        ask(sock, COMPLETION, {**ASKED, "model": "slow_headers", "stream": True}, CLOSE)
        hear(sock, until=b"HTTP/1.1 200 OK")
        assert time.monotonic() - began > 0.35


def test_silence_is_not_a_closed_connection(port: int) -> None:
    with connected(port) as sock:
        ask(sock, COMPLETION, {**ASKED, "model": "silence", "stream": True})
        assert hear(sock, QUIET_S) == Heard(b"", "quiet")


@pytest.mark.parametrize(
    ("model", "status", "content_type", "says"),
    [
        ("status", 503, "application/json", '"type":"Service Unavailable","param":null,"code":503'),
        ("status_later", 429, "application/json", '{"detail":"Too Many Requests'),
        ("status_date", 503, "text/plain", "Service Unavailable"),
        ("status_page", 502, "text/html; charset=utf-8", "<html>"),
        ("status_unknown", 529, "application/json", '"code":529'),
        ("web_page", 200, "text/html; charset=utf-8", "<html>"),
    ],
)
def test_statuses(port: int, model: str, status: int, content_type: str, says: str) -> None:
    for stream in (True, False):
        answer = answer_of(heard(port, model, stream=stream).data)
        assert (answer.status, answer.headers["content-type"], answer.complete) == (status, content_type, True)
        assert says in answer.body.decode()
        if content_type == "application/json":
            json.loads(answer.body)


def test_when_to_come_again(port: int) -> None:
    assert answer_of(heard(port, "status_later").data).headers["retry-after"] == "7"
    date = parsedate_to_datetime(answer_of(heard(port, "status_date").data).headers["retry-after"])
    assert 0 < date.timestamp() - time.time() < 100
    assert "retry-after" not in answer_of(heard(port, "status").data).headers


def test_empty_answers(port: int, path: str) -> None:
    empty = answer_of(heard(port, "empty", path).data)
    assert (empty.status, empty.complete, parse_events(empty.body)) == (200, True, ["[DONE]"])
    for stream in (True, False):
        nothing = answer_of(heard(port, "empty_body", path, stream).data)
        assert (nothing.status, nothing.complete, nothing.body) == (200, True, b"")
    whole = answer_of(heard(port, "empty", path, stream=False).data)
    assert json.loads(whole.body)["choices"]  # a fault of streams


def test_one_document_instead_of_a_stream(port: int, path: str) -> None:
    answer = answer_of(heard(port, "one_document", path).data)
    assert (answer.status, answer.headers["content-type"], answer.complete) == (200, "application/json", True)
    body = json.loads(answer.body)
    assert body["usage"]["completion_tokens"] == 8
    assert (body["choices"][0].get("text") or body["choices"][0]["message"]["content"]) == text_of(plain(port, path))


def test_another_model_answers(port: int, path: str) -> None:
    events = parse_events(answer_of(heard(port, "wrong_model", path).data).body)
    assert {event["model"] for event in events[:-1]} == {"another/model"}
    whole = json.loads(answer_of(heard(port, "wrong_model", path, stream=False).data).body)
    assert whole["model"] == "another/model"


def test_answers_that_are_too_short(port: int, path: str) -> None:
    events, expected = streamed(heard(port, "short", path)), plain(port, path)
    assert text_of(events).split() == text_of(expected).split()[:3]
    assert events[-3]["choices"][0]["finish_reason"] == "stop"
    assert events[-2]["usage"]["completion_tokens"] == 3
    assert streamed(heard(port, "short_not", path)) == expected


def test_an_unreliable_router_fails_in_several_ways_and_not_always(port: int) -> None:
    said = [answer_of(heard(port, "routing").data) for _ in range(40)]
    failures = {(one.status, one.headers["content-type"], one.body) for one in said if one.status != 200}
    assert 10 < sum(one.status != 200 for one in said) < 38
    assert {status for status, _, _ in failures} == {404, 503}
    assert (503, "text/plain", b"no healthy upstream") in failures
    [missing] = [json.loads(body) for status, _, body in failures if status == 404]
    assert missing["error"]["message"] == "The model `routing` does not exist."


def test_the_first_requests_only(port: int) -> None:
    assert [answer_of(heard(port, "twice").data).status for _ in range(3)] == [500, 500, 200]


def test_wrong_requests_stay_wrong_and_count_for_nothing(port: int) -> None:
    before = faults(port)
    assert answer_of(heard(port, "close", max_tokens=0).data).status == 400
    assert answer_of(heard(port, "nobody").data).status == 404
    assert faults(port) == before


def test_faults_are_counted_and_logged(port: int, log: Path) -> None:
    kinds = {"close": "close", "short": "short", "status": "status", "crlf": "odd", "slow_headers": "slow_headers"}
    before, lines = faults(port), len(log.read_text().splitlines())
    for model in kinds:
        heard(port, model)
    for harmless in ("plain", "reset_too_late", "short_not"):
        heard(port, harmless)
    after = faults(port)
    assert {kind: after[kind] - before[kind] for kind in after} == {kind: int(kind in kinds.values()) for kind in after}
    wanted = {**kinds, "plain": None, "reset_too_late": None, "short_not": None}
    new = [json.loads(line) for line in log.read_text().splitlines()[lines:]]
    assert {line["request_id"]: line.get("fault") for line in new} == wanted
    assert all(len(line["due_ns"]) == len(line["written_ns"]) for line in new)


def test_a_server_with_several_models(port: int) -> None:
    listed = json.loads(got(port, "/v1/models").body)["data"]
    assert [model["id"] for model in listed] == ["plain", *SPECS]
    for name in ("plain", "empty"):
        whole = json.loads(answer_of(heard(port, name, stream=False).data).body)
        assert whole["model"] == name
    body = {**ASKED, "stream": False}
    with connected(port) as sock:
        ask(sock, COMPLETION, body, CLOSE)
        assert json.loads(answer_of(hear(sock).data).body)["model"] == "plain"
    missing = answer_of(heard(port, "nobody").data)
    assert missing.status == 404
    assert json.loads(missing.body)["error"]["message"].startswith("The model `nobody` does not exist. Valid aliases: ")
