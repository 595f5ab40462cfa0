"""What is asked of a server before the clock starts, and what it means for the prompts."""

from pathlib import Path
from typing import Any

import pytest

from conftest import Asked, Said, Serve, chat_events, good, sse_body
from inferometer.config.models import Plan
from inferometer.errors import UserError
from inferometer.runner.preparation import Prepared, prepare


def plan_of(base_url: str, mean: int = 64, **target: Any) -> Plan:
    stage = {"load": {"type": "closed", "concurrency": 1}, "num_requests": 1}
    scenario = {"workload": {"input_tokens": {"mean": mean}}, "stages": [stage]}
    return Plan.model_validate({"target": {"base_url": base_url, **target}, "scenario": scenario})


def counting(overhead: int, per_word: float) -> Any:
    """A server that counts prompts like a tokenizer: a constant for its template, and so much a word."""

    def respond(asked: Asked) -> Said:
        said = good(asked)
        if asked.body and not asked.body.get("stream"):
            words = len(asked.body["messages"][0]["content"].split())
            said.body["usage"] = {"prompt_tokens": overhead + round(per_word * words), "completion_tokens": 1}
        return said

    return respond


def prepared(serve: Serve, respond: Any, **target: Any) -> Prepared:
    return prepare(plan_of(serve(respond), **target), Path("unused"))


def test_the_model_is_the_first_that_is_served(serve: Serve) -> None:
    assert prepared(serve, good).plan.target.model == "tiny"


def test_another_name_than_those_listed_is_noted(serve: Serve) -> None:
    def respond(asked: Asked) -> Said:
        if asked.body:
            asked.body["model"] = "tiny"
        return good(asked)

    found = prepared(serve, respond, model="huge")
    assert found.plan.target.model == "huge"
    assert found.notes == ["the server does not list 'huge'; it lists tiny"]


def test_a_server_that_does_not_tell_its_tokens_is_noted(serve: Serve) -> None:
    def respond(asked: Asked) -> Said:
        said = good(asked)
        events = [event for event in chat_events() if event == "[DONE]" or event["choices"]]
        return said._replace(pieces=(sse_body(events),)) if said.pieces else said

    [note] = prepared(serve, respond).notes
    assert note == (
        "tiny tells no number of output tokens: each event counts as one; with --tokenizer they are counted"
    )


@pytest.mark.parametrize(("overhead", "per_word"), [(0, 1.0), (26, 1.0), (12, 1.375)])
def test_text_is_calibrated_on_the_server(serve: Serve, overhead: int, per_word: float) -> None:
    spec = prepared(serve, counting(overhead, per_word)).materials.prompts
    assert spec.kind == "calibrated_text"
    assert spec.overhead_tokens == pytest.approx(overhead, abs=1)
    assert spec.tokens_per_word == pytest.approx(per_word, rel=0.02)


@pytest.mark.parametrize("per_word", [0.0, 0.01])
def test_a_server_whose_counts_mean_nothing_is_not_calibrated_with(serve: Serve, per_word: float) -> None:
    spec = prepared(serve, counting(7, per_word)).materials.prompts
    assert (spec.overhead_tokens, spec.tokens_per_word) == (0, 1.0)
    assert "one token each assumed" in spec.note


def test_completions_take_ids(serve: Serve) -> None:
    spec = prepared(serve, good, api="openai-completions").materials.prompts
    assert (spec.kind, spec.first_id, spec.end_id) == ("token_ids", 1000, 30_000)
    spec = prepared(serve, good, api="openai-completions", vocab_size=500).materials.prompts
    assert (spec.first_id, spec.end_id) == (250, 500)
    assert "given" in spec.note


def test_a_server_without_models_needs_a_name(serve: Serve) -> None:
    def respond(asked: Asked) -> Said:
        return Said({"object": "list", "data": []}) if asked.path == "/v1/models" else good(asked)

    with pytest.raises(UserError, match="--model"):
        prepared(serve, respond)
    assert prepared(serve, respond, model="tiny").notes == []


def test_an_error_in_the_trial_stream_ends_the_run_before_it_begins(serve: Serve) -> None:
    event = b'data: {"error": {"message": "engine died"}}\n\n'

    def respond(asked: Asked) -> Said:
        streamed = asked.body and asked.body.get("stream")
        return Said(content_type="text/event-stream", pieces=(event,)) if streamed else good(asked)

    with pytest.raises(UserError, match="engine died"):
        prepared(serve, respond)
