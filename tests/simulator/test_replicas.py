"""Several engines behind one address: who gets a request, whose cache knows it, and what the address says of it."""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferometer.errors import UserError
from inferometer.simulator.blocks import chain_hashes
from inferometer.simulator.exact import ExactEngine, Timeline
from inferometer.simulator.metrics import Metrics, exposition
from inferometer.simulator.model import Engine, Figures, Profile, Request
from inferometer.simulator.options import arguments, settings
from inferometer.simulator.profiles import PROFILES
from inferometer.simulator.replicas import ROUTINGS, Replicas
from simulator.reading import process
from simulator.replay import closed_loop

PROFILE = PROFILES["l4-qwen2.5-0.5b"]
PREFIX, QUESTION = 160, 32


def replicas(routing: str, count: int = 3, profile: Profile = PROFILE, seed: int = 1) -> Replicas:
    return Replicas([Engine(profile, number) for number in range(count)], ROUTINGS[routing](seed))


def request(key: int, group: int = 0, session: bytes | None = None) -> Request:
    ids = [*(1000 * group + i for i in range(PREFIX)), *(10**6 + 1000 * key + i for i in range(QUESTION))]
    return Request(key=key, prompt_tokens=len(ids), output_tokens=2, hashes=chain_hashes(ids, 16), session=session)


def played(fleet: Replicas, requests: list[Request], concurrency: int = 1) -> list[int]:
    """The replica of each request, by the queries that each engine counted."""
    chosen: dict[int, int] = {}
    submit = fleet.submit

    def noted(asked: Request, now_ns: int) -> Any:
        progress = submit(asked, now_ns)
        chosen[asked.key] = progress.replica
        return progress

    fleet.submit = noted  # type: ignore[method-assign]
    timelines = closed_loop(fleet, requests, concurrency)
    assert all(len(timeline.token_ns) == 2 for timeline in timelines)
    assert fleet.due_ns() is None
    return [chosen[asked.key] for asked in requests]


def test_requests_go_round_in_turn() -> None:
    assert played(replicas("round-robin"), [request(key) for key in range(7)]) == [0, 1, 2, 0, 1, 2, 0]


def test_a_random_choice_reaches_all_of_them_and_is_that_of_the_seed() -> None:
    requests = [request(key) for key in range(90)]
    found = played(replicas("random"), requests)
    assert found == played(replicas("random"), requests)
    assert found != played(replicas("random", seed=2), requests)
    assert min(Counter(found).values()) > 10


def test_a_session_sticks_and_requests_without_one_do_not() -> None:
    sessions = [None if key % 5 == 4 else b"user-%d" % (key % 5) for key in range(100)]
    found = played(replicas("sticky"), [request(key, session=name) for key, name in enumerate(sessions)])
    places = {name: {place for place, own in zip(found, sessions, strict=True) if own == name} for name in sessions}
    assert all(len(own) == 1 for name, own in places.items() if name is not None)
    assert len(places[None]) == 3


@pytest.mark.parametrize(("routing", "cold"), [("prefix", 6), ("round-robin", 18)])
def test_prefixes_stay_where_they_are_cached(routing: str, cold: int) -> None:
    """Each cache has a prefix once: following it computes 6 of them, going round in turn 6 at each of 3 replicas."""
    fleet = replicas(routing)
    requests = [request(key, key // 4 % 6) for key in range(96)]
    found = played(fleet, requests)
    hits = fleet.figures().prefix_hits
    assert hits == (96 - cold) * PREFIX
    if routing == "prefix":
        groups = {(place, key // 4 % 6) for key, place in enumerate(found)}
        assert len(groups) == 6
        assert Counter(place for place, _ in groups) == {0: 2, 1: 2, 2: 2}


def test_a_short_common_beginning_does_not_draw_all_requests_to_one_replica() -> None:
    ids = list(range(32))
    many = [[*ids, *range(1000 * key, 1000 * key + 200)] for key in range(1, 31)]
    requests = [
        Request(key=key, prompt_tokens=232, output_tokens=2, hashes=chain_hashes(tokens, 16))
        for key, tokens in enumerate(many)
    ]
    assert Counter(played(replicas("prefix"), requests)) == {0: 10, 1: 10, 2: 10}


@given(st.sampled_from(sorted(ROUTINGS)), st.integers(1, 4), st.integers(1, 6), st.integers(1, 30))
def test_nothing_is_lost_and_the_figures_add_up(routing: str, count: int, concurrency: int, number: int) -> None:
    fleet = replicas(routing, count)
    played(fleet, [request(key, key % 3) for key in range(number)], concurrency)
    each = [engine.figures() for engine in fleet.engines]
    assert fleet.figures().prefix_queries == sum(one.prefix_queries for one in each) == number * (PREFIX + QUESTION)
    assert fleet.figures().prefix_hits == sum(one.prefix_hits for one in each)
    assert fleet.figures().running == fleet.figures().waiting == 0


def test_an_aborted_request_leaves_its_replica_free() -> None:
    fleet = replicas("prefix", 2)
    first = fleet.submit(request(0), 0)
    assert fleet.submit(request(1, 1), 0).replica == 1 - first.replica
    fleet.abort(first)
    fleet.abort(first)
    assert fleet.submit(request(2, 2), 0).replica == first.replica


def test_a_smaller_cache_is_smaller_everywhere() -> None:
    fleet = replicas("round-robin", 2, msgspec.structs.replace(PROFILE, num_gpu_blocks=1000))
    fleet.limit_cache(20)
    played(fleet, [request(key, key) for key in range(12)])
    for engine in fleet.engines:
        assert isinstance(engine, Engine)
        assert sum(engine.known_tokens(request(key, key)) > 0 for key in range(12)) <= 2


def test_known_timelines_may_have_replicas_too() -> None:
    engines = [ExactEngine(Timeline(ttft_ns=5, itl_ns=1)) for _ in range(2)]
    assert played(Replicas(engines, ROUTINGS["round-robin"](0)), [request(key) for key in range(4)]) == [0, 1, 0, 1]


def test_metrics_of_replicas_stand_side_by_side() -> None:
    busy = Metrics(8192)
    busy.prompt_tokens = 7
    figures = Figures(running=2, waiting=0, prefix_hits=5)
    text = exposition(Metrics(8192), Figures(running=1, waiting=0), "m", PROFILE, [(busy, figures)]).decode()
    assert 'vllm:num_requests_running{engine="0",model_name="m"} 1.0\n' in text
    assert 'vllm:num_requests_running{engine="1",model_name="m"} 2.0\n' in text
    assert 'vllm:prefix_cache_hits_total{engine="1",model_name="m"} 5.0\n' in text
    assert 'vllm:prompt_tokens_total{engine="1",model_name="m"} 7.0\n' in text
    types = re.findall(r"^# TYPE (\S+)", text, re.MULTILINE)
    assert len(types) == len(set(types))


def parsed(*words: str) -> Any:
    parser = argparse.ArgumentParser()
    arguments(parser)
    return settings(parser.parse_args(words))


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--replicas", "0"], "--replicas is 0"),
        (["--routing", "random"], "add --replicas"),
        (["--replicas", "2", "--session-header", "x-user"], "--routing sticky"),
        (["--replicas", "2", "--routing", "prefix", "--exact"], "KV cache"),
    ],
)
def test_impossible_fleets_are_refused(words: list[str], hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        parsed(*words)


def test_flags_make_a_fleet() -> None:
    found = parsed("--replicas", "3", "--routing", "sticky", "--session-header", "X-User")
    assert (found.replicas, found.routing, found.session_header) == (3, "sticky", "x-user")
    assert (parsed().replicas, parsed("--replicas", "2").routing) == (1, "round-robin")


@pytest.mark.parametrize("style", ["crlf", "early_hints", "one_write", "content_length"])
def test_odd_streams_name_who_answered(odd: httpx.Client, style: str) -> None:
    answer = odd.post("/v1/completions", json={"prompt": "x", "max_tokens": 3, "stream": True, "model": style})
    assert answer.headers["x-replica"] in ("replica-0", "replica-1")
    assert answer.text.splitlines()[-2:] == ["data: [DONE]", ""]


@pytest.fixture(scope="module")
def odd() -> Iterator[httpx.Client]:
    """Two replicas behind an address with a model for each of some styles."""
    styles = ("crlf", "early_hints", "one_write", "content_length")
    faults = [word for style in styles for word in ("--fault", f"odd={style},model={style}")]
    flags = ("--exact", "--itl-ms", "1", "--replicas", "2", "--model", *styles, *faults)
    with process(*flags) as (_server, url), httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        yield client


def test_an_address_names_who_answered_and_counts_for_each() -> None:
    prompt = " ".join(f"word{number}" for number in range(200))
    flags = ("--replicas", "2", "--routing", "sticky", "--session-header", "x-user")
    body = {"prompt": prompt, "max_tokens": 2, "ignore_eos": True}
    names, cached = [], []
    with process(*flags) as (_server, url), httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
        for user in ("a", "a", "b", "b", "c"):
            answer = client.post("/v1/completions", json=body, headers={"X-User": user})
            names.append(answer.headers["x-replica"])
            cached.append(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])
        streamed = client.post(
            "/v1/chat/completions", json={**body, "messages": [{"role": "user", "content": "x"}]} | {"stream": True}
        )
        page = client.get("/metrics")
    assert streamed.headers["x-replica"] in ("replica-0", "replica-1")
    assert "x-replica" not in page.headers
    assert names[0] == names[1]
    assert names[2] == names[3]
    known = {name: [own for own, one in zip(cached, names, strict=True) if one == name] for name in names}
    assert all(own == [0] + [192] * (len(own) - 1) for own in known.values())
    hits = re.findall(r'^vllm:prefix_cache_hits_total\{engine="(\d)".*\} (\S+)$', page.text, re.MULTILINE)
    assert {f"replica-{engine}": float(count) for engine, count in hits if float(count)} == {
        name: float(sum(own)) for name, own in known.items() if sum(own)
    }
