"""A page of metrics, asked again and again over one kept connection."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import urljoin, urlsplit

from inferometer.client import tls
from inferometer.client.clock import now_ns
from inferometer.config.models import Target, Timeouts
from inferometer.config.telemetry import Access
from inferometer.records.telemetry import Reading
from inferometer.telemetry import ask
from inferometer.telemetry.prometheus import Page, Sample, is_page, parse
from inferometer.telemetry.vocabulary import NAMES, readings

if TYPE_CHECKING:
    import httpx

#: A gateway with a series for each key and user has pages of megabytes; what is larger is no page of metrics.
MAX_PAGE_BYTES = 16 << 20


class MissingError(Exception):
    """No sample came; the text is the reason, in a few words."""


class Answer(NamedTuple):
    """One page. ``t_ns``: the middle of the exchange, on the monotonic clock."""

    page: Page
    t_ns: int


class MetricsPage:
    """The page of one ``replica``. Raises ``UserError`` if its token, headers or certificates cannot be used."""

    def __init__(self, url: str, reach: Target, replica: str) -> None:
        import httpx

        self.url = url
        self.replica = replica
        self._limit_s = reach.timeouts.total_s
        self._client = httpx.Client(
            headers=ask.headers(reach) | {"accept": "text/plain;version=0.0.4, */*;q=0.1"},
            verify=tls.context(reach) if url.startswith("https://") else False,
            timeout=self._limit_s,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def readings(self) -> list[Reading]:
        """Every figure of the page, in the common vocabulary. Raises ``MissingError``."""
        page, t_ns = self.answer()
        return readings(page.samples, t_ns, self.replica)

    def answer(self) -> Answer:
        """The page now. Raises ``MissingError`` if no page of metrics came in time."""
        import httpx

        began_ns = now_ns()
        try:
            body = self._get()
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise MissingError(ask.plain(str(error)) or type(error).__name__) from None
        page = parse(body.decode(errors="replace"), NAMES.__contains__)
        if not is_page(page):
            raise MissingError("the answer is not a page of metrics")
        return Answer(page, (began_ns + now_ns()) // 2)

    def _get(self) -> bytes:
        """The body. One redirect within the server is followed (some mount the page at ``/metrics/``), and kept."""
        import httpx

        deadline_s = time.monotonic() + self._limit_s
        for _ in range(3):
            try:
                with self._client.stream("GET", self.url) as response:
                    if response.status_code == 200:
                        return _body(response, deadline_s)
                    self.url = self._elsewhere(response)
            except httpx.RemoteProtocolError:  # the server had closed the kept connection
                if time.monotonic() > deadline_s:
                    raise
        raise MissingError("the server closes the connection, or redirects, again and again")

    def _elsewhere(self, response: httpx.Response) -> str:
        there: str = urljoin(self.url, response.headers.get("location", ""))
        if response.status_code in (301, 302, 307, 308) and there != self.url and origin(there) == origin(self.url):
            return there
        raise MissingError(f"HTTP status {response.status_code}")


def _body(response: httpx.Response, deadline_s: float) -> bytes:
    pieces: list[bytes] = []
    size = 0
    for piece in response.iter_bytes():
        size += len(piece)
        pieces.append(piece)
        if size > MAX_PAGE_BYTES:
            raise MissingError(f"the page is longer than {MAX_PAGE_BYTES >> 20} MiB")
        if time.monotonic() > deadline_s:
            raise MissingError(f"the page did not end in time ({size} bytes)")
    return b"".join(pieces)


def origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port: what a credential may be sent to."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def reach(url: str, target: Target, access: Access) -> Target:
    """How a page is reached: with the target's own key, headers and TLS only if it is the target that has the page."""
    timeouts = Timeouts(connect_s=access.timeout_s, first_token_s=access.timeout_s, total_s=access.timeout_s)
    named = access.bearer_env is not None or access.bearer_file is not None
    if origin(url) == origin(target.base_url) and not named:
        return target.model_copy(update={"timeouts": timeouts})
    return Target(
        base_url=url,
        api_key_env=access.bearer_env or "",
        api_key_file=access.bearer_file,
        verify_tls=access.verify_tls,
        ca_file=access.ca_file,
        timeouts=timeouts,
    )


def _replica(url: str, urls: Sequence[str]) -> str:
    """Host and port of a page; its path, too, where one address has several, as a proxy in front of pods has."""
    host = urlsplit(url).netloc
    shared = sum(urlsplit(other).netloc == host for other in urls) > 1
    return url.partition("://")[2] if shared else host


class Opened(NamedTuple):
    """The pages that are worth asking, what they said first, and what a user should know."""

    pages: list[MetricsPage]
    first: dict[str, list[Sample]]
    notes: list[str]


def open_pages(target: Target, urls: Sequence[str], access: Access) -> Opened:
    """Ask every page once. A page that a user named stays, whatever it says; the usual one only if it answers.

    Args:
        target: the server.
        urls: pages of its replicas and exporters; ``/metrics`` of the target if none is named.
        access: token, TLS and timeout of pages that are not the target's.

    Raises:
        UserError: a token, a header or a certificate cannot be used.
    """
    pages: list[MetricsPage] = []
    first: dict[str, list[Sample]] = {}
    notes: list[str] = []
    wanted = list(dict.fromkeys(urls or [ask.url(target, "/metrics")]))
    for url in wanted:
        page = MetricsPage(url, reach(url, target, access), _replica(url, wanted))
        try:
            answer = page.answer()
        except MissingError as error:
            notes.append(f"no metrics from {ask.shown(url)} ({error})")
            if not urls:
                page.close()
                continue
        else:
            known = readings(answer.page.samples, 0, "")
            if not known:
                notes.append(f"{ask.shown(url)} has no metrics that are known here")
            if not known and not urls:
                page.close()
                continue
            first[page.replica] = answer.page.samples
        pages.append(page)
    return Opened(pages, first, notes)
