from __future__ import annotations

import pytest

from conftest import PAGE, USAGE, Asked, Said, Serve, chat_events, completion_events, good, ollama, sse_body
from inferometer.config.models import Target
from inferometer.errors import UserError
from inferometer.telemetry import ask, probe


def to(base_url: str, **fields: object) -> Target:
    return Target.model_validate({"base_url": base_url, "model": "tiny", "api": "openai-completions", **fields})


@pytest.mark.parametrize(
    ("listed", "infos"),
    [
        ({"data": [{"id": "a", "max_model_len": 2048}]}, [probe.ModelInfo("a", 2048, None)]),
        ({"data": [{"id": "a", "meta": {"n_vocab": 49152, "n_ctx": 2048}}]}, [probe.ModelInfo("a", 2048, 49152)]),
        ({"data": [{"id": "a"}, {"id": "b"}]}, [probe.ModelInfo("a", None, None), probe.ModelInfo("b", None, None)]),
        ([{"id": "a", "meta": None}], [probe.ModelInfo("a", None, None)]),
        ({"data": []}, []),
        ({"data": None}, []),
    ],
)
def test_models_as_servers_list_them(serve: Serve, listed: object, infos: list[probe.ModelInfo]) -> None:
    assert probe.models(to(serve(lambda _: Said(listed)))) == infos


@pytest.mark.parametrize("listed", [{}, {"data": [{"name": "a"}]}, {"data": 3}, "models", 3])
def test_json_that_is_no_list_of_models(serve: Serve, listed: object) -> None:
    with pytest.raises(UserError, match="is not a list of models"):
        probe.models(to(serve(lambda _: Said(listed))))


def test_health(serve: Serve) -> None:
    assert probe.health(to(serve(good))) > 0
    with pytest.raises(ask.RefusedError, match="/health answers 404"):
        probe.health(to(serve(ollama)))


@pytest.mark.parametrize(
    ("api", "prompt", "field"),
    [
        ("openai-completions", "Say", "prompt"),
        ("openai-completions", [1, 2, 3], "prompt"),
        ("openai-chat", [{"role": "user", "content": "Say"}], "messages"),
    ],
)
def test_one_completion(serve: Serve, api: str, prompt: probe.Prompt, field: str) -> None:
    bodies = []

    def respond(asked: Asked) -> Said:
        bodies.append(asked.body)
        return good(asked)

    answer = probe.complete(to(serve(respond), api=api), prompt, 3)
    assert answer[:4] == ("one two three", 7, 3, "tiny")
    assert bodies == [{"model": "tiny", field: prompt, "max_tokens": 3}]


def test_text_becomes_a_message(serve: Serve) -> None:
    seen = []
    base = serve(lambda asked: seen.append(asked.body["messages"]) or good(asked))  # type: ignore[func-returns-value]
    assert probe.complete(to(base, api="openai-chat"), "Say").text == "one two three"
    assert seen == [[{"role": "user", "content": "Say"}]]


@pytest.mark.parametrize(("api", "prompt"), [("openai-chat", [1, 2]), ("openai-completions", [{"role": "user"}])])
def test_a_prompt_that_the_api_cannot_take(api: str, prompt: probe.Prompt) -> None:
    with pytest.raises(ValueError, match="takes no prompt of"):
        probe.complete(to("http://h", api=api), prompt)


def test_the_first_listed_model_is_asked_when_none_is_named(serve: Serve) -> None:
    assert probe.complete(to(serve(good), model=None), "Say").model == "tiny"
    with pytest.raises(UserError, match="lists no model"):
        probe.complete(to(serve(lambda _: Said({"data": []})), model=None), "Say")


def test_an_unknown_model_names_those_that_are_served(serve: Serve) -> None:
    with pytest.raises(ask.RefusedError, match="does not know the model 'other': it serves tiny"):
        probe.complete(to(serve(good), model="other"), "Say")


def test_an_error_that_only_mentions_a_served_model_keeps_its_words(serve: Serve) -> None:
    words = {"error": {"message": "This model's maximum context length is 5 tokens (tiny)"}}
    base = serve(lambda asked: good(asked) if asked.method == "GET" else Said(words, 400))
    with pytest.raises(ask.RefusedError, match="maximum context length"):
        probe.complete(to(base), "Say")


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (Said({"choices": []}), "empty list of choices"),
        (Said({"choices": "x"}), "is not a completion"),
        (Said({"object": "list"}), "is not a completion"),
        (PAGE, "a web page"),
    ],
)
def test_answers_that_are_no_completion(serve: Serve, said: Said, says: str) -> None:
    with pytest.raises(UserError, match=says):
        probe.complete(to(serve(lambda _: said)), "Say")


def test_reasoning_alone_is_text_too_and_usage_may_be_missing(serve: Serve) -> None:
    said = Said({"choices": [{"message": {"content": None, "reasoning_content": "hm"}}]})
    assert probe.complete(to(serve(lambda _: said), api="openai-chat"), "Say")[:4] == ("hm", None, None, None)


@pytest.mark.parametrize(("api", "events"), [("openai-chat", chat_events), ("openai-completions", completion_events)])
def test_one_stream(serve: Serve, api: str, events: object) -> None:
    told = probe.stream(to(serve(good), api=api), "Say", 3)
    assert len(told.token_s) == 3
    assert told.token_s == sorted(told.token_s)
    assert 0 < told.token_s[0] <= told.seconds
    assert (told.answer.output_tokens, told.answer.done, told.cut) == (USAGE["completion_tokens"], True, None)


def test_each_event_has_the_time_of_the_read_that_completed_it() -> None:
    reply = ask.Reply("u", 200, "", b"", [(10, 0.1), (20, 0.2), (35, 0.3)], 0.3, None)
    assert probe._token_s(reply, [5, 10, 11, 35, 36]) == [0.1, 0.1, 0.2, 0.3, 0.3]


def test_a_stream_that_is_cut_off_says_so(serve: Serve) -> None:
    pieces = (sse_body(chat_events()[:3]),)
    told = probe.stream(to(serve(lambda _: Said(content_type="text/event-stream", pieces=pieces, cut=True))), "Say")
    assert len(told.token_s) == 2
    assert told.cut
    assert not told.answer.done


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (Said({"choices": [{"text": "all at once"}]}), "does not stream"),
        (PAGE, "a web page"),
        (Said(b""), "it is empty"),
        (Said({"error": "down"}, 500), "the server failed"),
    ],
)
def test_answers_that_are_no_stream(serve: Serve, said: Said, says: str) -> None:
    with pytest.raises(UserError, match=says):
        probe.stream(to(serve(lambda _: said)), "Say")


def test_a_stream_of_another_content_type_is_still_read(serve: Serve) -> None:
    said = Said(sse_body(completion_events()), content_type="text/plain")
    assert len(probe.stream(to(serve(lambda _: said)), "Say").token_s) == 3
