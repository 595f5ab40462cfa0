from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from conftest import NOT_FOUND, PAGE, Asked, Said, Serve
from inferometer.config.models import Target
from inferometer.config.telemetry import Access
from inferometer.telemetry import page as pages
from inferometer.telemetry.page import MetricsPage, MissingError, open_pages, origin, reach

QUICK = Access(timeout_s=0.5)
METRICS = b'vllm:num_requests_running{engine="0"} 2.0\nother 1\n'


def text(body: bytes) -> Said:
    return Said(body, content_type="text/plain; version=0.0.4")


def page_of(base_url: str, path: str = "/metrics") -> MetricsPage:
    target = Target(base_url=base_url)
    return MetricsPage(base_url + path, reach(base_url + path, target, QUICK), "replica")


def test_figures_and_the_time_in_the_middle(serve: Serve) -> None:
    with page_of(serve(lambda _: text(METRICS))) as page:
        (one,) = page.readings()
        assert (one.source, one.replica, one.series, one.name, one.value) == (
            "vllm",
            "replica",
            "engine=0",
            "requests_running",
            2.0,
        )
        assert page.readings()[0].t_ns > one.t_ns


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (NOT_FOUND, "HTTP status 404"),
        (Said(b"", 503), "HTTP status 503"),
        (PAGE, "not a page of metrics"),
        (Said({"detail": "no"}), "not a page of metrics"),
    ],
)
def test_no_page_is_a_reason(serve: Serve, said: Said, reason: str) -> None:
    with page_of(serve(lambda _: said)) as page, pytest.raises(MissingError, match=reason):
        page.answer()


def test_nobody_there_and_a_silent_server(refusing_url: str, silent_url: str) -> None:
    for url, reason in ((refusing_url, "refused"), (silent_url, "timed out")):
        with page_of(url) as page, pytest.raises(MissingError, match=reason):
            page.answer()


def test_a_page_that_never_ends_is_left(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 1000)
    with page_of(serve(lambda _: text(b"a 1\n" * 1000))) as page, pytest.raises(MissingError, match="longer than"):
        page.answer()


def test_a_connection_that_was_closed_is_opened_anew(serve: Serve) -> None:
    url = serve(lambda _: Said(METRICS, content_type="text/plain", pieces=(METRICS,), cut=True))
    with page_of(url) as page, pytest.raises(MissingError):
        page.answer()


@contextmanager
def redirecting(there: str) -> Iterator[tuple[str, list[str]]]:
    """A server whose page is at ``/metrics/`` and which says so at ``/metrics``; its URL, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.append(self.path)
            moved = self.path == "/metrics"
            self.send_response(307 if moved else 200)
            if moved:
                self.send_header("location", there)
            self.send_header("content-length", "0" if moved else str(len(METRICS)))
            self.end_headers()
            self.wfile.write(b"" if moved else METRICS)

        def log_message(self, *_: object) -> None:
            """Tests have their own output."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()
        thread.join()


def test_a_redirect_within_the_server_is_followed_and_kept() -> None:
    with redirecting("/metrics/") as (url, asked), page_of(url) as page:
        assert len(page.readings()) == len(page.readings()) == 1
        page.close()
    assert asked == ["/metrics", "/metrics/", "/metrics/"]


@pytest.mark.parametrize("there", ["http://127.0.0.2:1/metrics", "https://example.com/metrics", "/metrics", ""])
def test_a_redirect_elsewhere_or_in_a_circle_is_not_followed(there: str) -> None:
    with redirecting(there) as (url, asked), page_of(url) as page:
        with pytest.raises(MissingError, match="HTTP status 307"):
            page.answer()
        page.close()
    assert asked == ["/metrics"]


def test_the_key_goes_to_the_target_and_to_no_other_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "secret-key")
    monkeypatch.setenv("TOKEN", "metrics-token")
    target = Target(base_url="https://h/v1", api_key_env="KEY", headers={"x-api-key": "$KEY"}, ca_file="own.pem")
    assert reach("https://h:443/metrics", target, QUICK).api_key_env == "KEY"
    other = reach("http://exporter:9400/metrics", target, QUICK)
    assert (other.api_key_env, other.headers, other.ca_file) == ("", {}, None)
    named = reach("https://h/metrics", target, Access(bearer_env="TOKEN"))
    assert (named.api_key_env, named.headers) == ("TOKEN", {})


def test_a_token_reaches_the_page(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []

    def respond(asked: Asked) -> Said:
        seen.append(asked.headers.get("authorization"))
        return text(METRICS)

    monkeypatch.setenv("TOKEN", "metrics-token")
    url = serve(respond) + "/metrics"
    opened = open_pages(Target(base_url="http://other"), [url], Access(bearer_env="TOKEN"))
    opened.pages[0].close()
    assert seen == ["Bearer metrics-token"]


def test_the_usual_page_is_dropped_where_it_tells_nothing_and_a_named_one_stays(
    serve: Serve, refusing_url: str
) -> None:
    for said, remark in ((NOT_FOUND, "404"), (text(b"python_info 1\n"), "no metrics that are known")):
        url = serve(lambda _, said=said: said)
        usual = open_pages(Target(base_url=url + "/v1"), [], QUICK)
        assert (usual.pages, usual.first) == ([], {})
        named = open_pages(Target(base_url=url), [url + "/metrics"], QUICK)
        assert [page.url for page in named.pages] == [url + "/metrics"]
        assert remark in usual.notes[0]
        assert named.notes == usual.notes
        named.pages[0].close()
    later = open_pages(Target(base_url=refusing_url), [refusing_url + "/metrics"], QUICK)
    assert len(later.pages) == 1
    assert "refused" in later.notes[0]
    later.pages[0].close()


def test_the_first_page_is_kept_for_the_context(serve: Serve) -> None:
    url = serve(lambda _: text(METRICS))
    opened = open_pages(Target(base_url=url), [], QUICK)
    assert opened.notes == []
    (page,) = opened.pages
    page.close()
    assert [sample.name for sample in opened.first[page.replica]] == ["vllm:num_requests_running"]


def test_pages_of_one_address_are_replicas_of_their_own(serve: Serve) -> None:
    url = serve(lambda _: text(METRICS))
    host = url.removeprefix("http://")
    opened = open_pages(Target(base_url=url), [f"{url}/pods/a/metrics", f"{url}/pods/b/metrics"], QUICK)
    assert [page.replica for page in opened.pages] == [f"{host}/pods/a/metrics", f"{host}/pods/b/metrics"]
    assert len(opened.first) == 2
    for page in opened.pages:
        page.close()
    alone = open_pages(Target(base_url=url), [f"{url}/pods/a/metrics"], QUICK)
    assert [page.replica for page in alone.pages] == [host]
    alone.pages[0].close()


def test_origins() -> None:
    assert origin("https://h") == origin("https://h:443/x") != origin("http://h:443")
