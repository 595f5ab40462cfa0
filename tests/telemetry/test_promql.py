from __future__ import annotations

import time
from typing import Any

import pytest

from conftest import Asked, Said, Serve
from inferometer.config.telemetry import PrometheusServer
from inferometer.errors import UserError
from inferometer.telemetry import promql
from inferometer.telemetry.promql import Span, history, selector


def series(name: str, values: list[tuple[float, str]], **labels: str) -> dict[str, Any]:
    return {"metric": {"__name__": name, "instance": "h:8000", "job": "vllm", **labels}, "values": values}


def answering(result: list[dict[str, Any]], seen: list[str] | None = None, ahead_s: float = 0.0) -> Any:
    """A Prometheus with these series. It takes forms, which the small server reads as JSON: so it is asked by GET."""

    def respond(asked: Asked) -> Said:
        if seen is not None:
            seen.append(asked.path + " " + asked.headers.get("authorization", ""))
        if "time()" in asked.path or "time%28%29" in asked.path:
            now_s = time.time() + ahead_s
            return Said({"status": "success", "data": {"resultType": "scalar", "result": [now_s, str(now_s)]}})
        return Said({"status": "success", "data": {"resultType": "matrix", "result": result}})

    return respond


@pytest.fixture(autouse=True)
def _by_get(monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    def as_get(client: httpx.Client, url: str, *, data: dict[str, str], headers: dict[str, str]) -> httpx.Response:
        return client.get(url, params=data, headers=headers)

    monkeypatch.setattr(httpx.Client, "post", as_get)


def test_selectors_are_written_as_promql_wants_them() -> None:
    assert selector({}, frozenset({"a:b", "c"})) == '{__name__=~"a:b|c"}'
    assert selector({"job": 'x"y\\z\n'}, frozenset({"a"})) == r'{__name__=~"a",job="x\"y\\z\n"}'
    with pytest.raises(UserError, match="no label of a Prometheus"):
        selector({'a="",b': "c"})


def test_samples_of_a_replica_at_a_time_are_one_page(serve: Serve) -> None:
    now_s = round(time.time(), 3)
    result = [
        series("vllm:num_requests_running", [(now_s - 20, "1"), (now_s - 10, "2")], engine="0"),
        series("vllm:num_requests_running", [(now_s - 10, "5")], engine="0", instance="i:8000"),
        series("vllm:time_to_first_token_seconds_count", [(now_s - 10, "4")], engine="0"),
        series("vllm:time_to_first_token_seconds_sum", [(now_s - 10, "0.5")], engine="0"),
        series("vllm:time_to_first_token_seconds_bucket", [(now_s - 10, "3")], engine="0", le="0.1"),
        series("vllm:time_to_first_token_seconds_bucket", [(now_s - 10, "4")], engine="0", le="+Inf"),
        series("vllm:kv_cache_usage_perc", [(now_s - 10, "NaN")], engine="0"),
    ]
    found = history(PrometheusServer(url=serve(answering(result)), settle_s=0), Span(now_s - 30, now_s - 15))
    values = {(one.replica, one.name, round(one.t_ns / 1e9 - now_s)): one.value for one in found.readings}
    assert values == {
        ("prometheus:h:8000", "requests_running", -20): 1.0,
        ("prometheus:h:8000", "requests_running", -10): 2.0,
        ("prometheus:i:8000", "requests_running", -10): 5.0,
        ("prometheus:h:8000", "ttft_s", -10): 0.5,
    }
    (ttft,) = [one for one in found.readings if one.name == "ttft_s"]
    assert (ttft.observations, ttft.buckets) == (4.0, (3.0, 4.0))
    assert found.notes == []


def test_a_clock_that_differs_is_corrected_and_said(serve: Serve) -> None:
    now_s = round(time.time(), 3)
    url = serve(answering([series("vllm:num_requests_running", [(now_s + 100, "1")])], ahead_s=100.0))
    found = history(PrometheusServer(url=url, settle_s=0), Span(now_s - 5, now_s - 1))
    assert abs(found.readings[0].t_ns / 1e9 - now_s) < 5
    assert "+100" in found.notes[0] or "+99" in found.notes[0]


def test_samples_behind_the_end_are_waited_for_and_their_absence_is_said(serve: Serve) -> None:
    now_s = time.time()
    url = serve(answering([series("vllm:num_requests_running", [(now_s - 10, "1")])]))
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        time.sleep(0.05)

    found = history(PrometheusServer(url=url, settle_s=0.2), Span(now_s - 30, now_s), wait)
    assert waits
    assert "no sample behind the end" in found.notes[0]
    nothing = history(PrometheusServer(url=serve(answering([])), settle_s=0, selectors={"job": "x"}), Span(0, 1))
    assert "no series of a known engine with job=x" in nothing.notes[0]
    assert nothing.readings == []


def test_ports_of_a_pod_have_counters_of_their_own(serve: Serve) -> None:
    now_s = round(time.time(), 3)
    name = "vllm:generation_tokens_total"
    result = [
        series(name, [(now_s - 20, "1000"), (now_s - 10, "1001")], pod="p", instance="h:8000"),
        series(name, [(now_s - 18, "5"), (now_s - 8, "6")], pod="p", instance="h:8001"),
        series(name, [(now_s - 9, "7")], pod="q", instance="i:8000"),
        series("DCGM_FI_DEV_POWER_USAGE", [(now_s - 9, "70")], pod="q", instance="i:9400", gpu="0"),
        series(name, [(now_s - 9, "8")]),
    ]
    found = history(PrometheusServer(url=serve(answering(result)), settle_s=0), Span(now_s - 30, now_s - 10))
    values: dict[str, list[float | None]] = {}
    for one in found.readings:
        values.setdefault(one.replica, []).append(one.value)
    assert values == {
        "prometheus:p h:8000": [1000, 1001],
        "prometheus:p h:8001": [5, 6],
        "prometheus:q": [7, 70],
        "prometheus:h:8000": [8],
    }


def test_a_long_run_is_asked_for_in_pieces_with_the_token(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROM_TOKEN", "prom-token")
    seen: list[str] = []
    url = serve(answering([], seen)) + "/prefix/"
    history(PrometheusServer(url=url, settle_s=0, bearer_env="PROM_TOKEN"), Span(1e9, 1e9 + 3 * promql.CHUNK_S))
    assert len(seen) == 1 + 4  # its clock; a minute before the run lies in front of it
    assert all(path.startswith("/prefix/api/v1/query") and path.endswith("Bearer prom-token") for path in seen)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (Said({"status": "error", "error": "parse error"}, 400), "refuses: parse error"),
        (Said(b"<html>", 200, "text/html"), "not as a Prometheus does"),
        (Said({"status": "success", "data": {"result": "x"}}), "not as a Prometheus does"),
        (Said({"status": "success"}), "refuses"),
        (Said([1]), "not as a Prometheus does"),
        (Said(b'{"status": "success", "data": {"result": "\xff"}}'), "not as a Prometheus does"),
        (Said(b'{"status": "success", "data": {"result": ' + b"[" * 100_000), "not as a Prometheus does"),
        (Said({"status": "success", "data": {"result": [0, "NaN"]}}), "not as a Prometheus does"),
    ],
)
def test_what_is_no_prometheus_is_named(serve: Serve, said: Said, says: str) -> None:
    with pytest.raises(UserError, match=says):
        history(PrometheusServer(url=serve(lambda _: said), settle_s=0), Span(0, 1))


def test_nobody_there(refusing_url: str) -> None:
    with pytest.raises(UserError, match="cannot be asked"):
        history(PrometheusServer(url=refusing_url), Span(0, 1))
