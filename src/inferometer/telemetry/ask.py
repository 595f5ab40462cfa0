"""One HTTP question outside a measurement, and a sentence for every way in which it can fail."""

from __future__ import annotations

import os
import re
import ssl
import time
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from inferometer.client import tls
from inferometer.client.apis import APIS, message_of
from inferometer.config.headers import is_secret, is_sendable, variable
from inferometer.config.models import Target
from inferometer.errors import UserError

if TYPE_CHECKING:
    import httpx

#: An answer to a question is small; what is larger is something else (a file, an endless stream).
MAX_ANSWER_BYTES = 32 << 20

MAX_QUOTE = 300
#: A shorter value is no secret, and masking it would spoil every message.
MIN_SECRET = 4

_SCHEME = re.compile(r"[A-Za-z]+ +(?=\S+$)")  # of credentials, RFC 9110 section 11.4
_PASSWORD = re.compile(r"^([a-z][a-z0-9+.-]*://)?.*@", re.IGNORECASE | re.DOTALL)


class UnreachableError(UserError):
    """No request can reach the server: bad URL or header, no connection, no TLS, no HTTP. Asking more is no use."""


class RefusedError(UserError):
    """The server answered, and its answer was no. ``status`` is the HTTP status, ``said`` its own words."""

    def __init__(self, sentence: str, status: int, said: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.said = said


class Reply(NamedTuple):
    """A whole answer. ``reads`` holds, for each read, the body bytes so far and the seconds since the start."""

    url: str
    status: int
    content_type: str
    body: bytes
    reads: list[tuple[int, float]]
    seconds: float
    cut: str | None


def url(target: Target, path: str) -> str:
    """The full URL of a path such as ``/v1/models``. The base may end with a slash, ``/v1`` or both.

    Raises:
        UnreachableError: the base URL of the target is not an http(s) URL.
    """
    base = target.base_url.strip()
    try:
        parts = urlsplit(base)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UnreachableError(f"the base URL {shown(base)!r} is not a URL ({error}); try http://HOST:PORT") from error
    if parts.scheme not in ("http", "https"):
        bare = base.split("://")[-1].lstrip("/:") or "HOST:PORT"
        raise UnreachableError(
            f"the base URL {shown(base)!r} does not begin with http:// or https://; try http://{shown(bare)}"
        )
    if not host or any(character.isspace() or not character.isprintable() for character in base):
        raise UnreachableError(f"the base URL {shown(base)!r} names no host; try http://HOST:PORT")
    if parts.query or parts.fragment:
        raise UnreachableError(
            f"the base URL {shown(base)!r} has a query or a fragment; give only http://HOST:PORT and a path prefix"
        )
    prefix = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{prefix}/{path.lstrip('/')}"


def shown(text: str) -> str:
    """A URL as it may be printed: what stands before an ``@`` can be a password, even one with a slash in it."""
    return _PASSWORD.sub(r"\1***@", text)


def headers(target: Target) -> dict[str, str]:
    """Headers of every request: the key, if its variable is set, and the target's own, which win.

    Raises:
        UnreachableError: a name or a value cannot be sent in an HTTP header (RFC 9110 section 5).
    """
    key = _key(target)
    chosen = {"accept-encoding": "identity"} | (APIS[target.api].key_headers(key) if key else {})
    if not is_sendable("authorization", key):
        raise UnreachableError(
            f"the key in {target.api_key_file or target.api_key_env} has characters that no HTTP header can carry:"
            " set it again"
        )
    for name, written in target.headers.items():
        value = _from_environment(name, written).strip()  # white space around it is no part of it, RFC 9110 section 5.5
        if not is_sendable(name, value):
            raise UnreachableError(
                f"the header {name!r} has characters that no HTTP header can carry: check its name and value"
            )
        chosen[name.lower()] = value
    return chosen


def _key(target: Target) -> str:
    """The key from its file, else from its environment variable; empty if there is none."""
    if target.api_key_file is None:
        return os.environ.get(target.api_key_env, "").strip()
    try:
        key = Path(os.path.expanduser(target.api_key_file)).read_text().strip()  # noqa: PTH111 (see workload/hub.py)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise UserError(f"the key file {target.api_key_file} cannot be read: {reason}") from None
    if not key:
        raise UserError(f"the key file {target.api_key_file} is empty")
    return key


def secrets(target: Target) -> tuple[str, ...]:
    """The values that must not be shown: the key, and every header that holds a credential, without its scheme."""
    values = [_SCHEME.sub("", value, count=1) for name, value in headers(target).items() if is_secret(name)]
    return tuple(value for value in values if len(value) >= MIN_SECRET)


def masked(target: Target, text: str) -> str:
    """The text without the target's secrets: servers repeat the key that they refuse."""
    for secret in secrets(target):
        text = text.replace(secret, "***")
    return text


def _from_environment(name: str, value: str) -> str:
    """The value itself, or, written as ``$NAME``, that of the environment variable: secrets stay out of plans."""
    wanted = variable(value)
    if wanted is None:
        return value
    if wanted not in os.environ:
        raise UserError(f"the header {name} wants the environment variable {wanted}, which is not set: export it")
    return os.environ[wanted]


def fetch(target: Target, path: str, body: dict[str, Any] | None = None, limit_s: float | None = None) -> Reply:
    """GET ``path``, or POST ``body`` to it, and read the whole answer, whatever its status.

    Neither proxies nor redirects are followed: a measurement goes straight to the server, and so must its questions.

    Args:
        target: where, with which key, headers, TLS and timeouts.
        path: path of the API, such as ``/v1/models``.
        body: JSON object to post.
        limit_s: seconds for the whole exchange; ``target.timeouts.total_s`` if not given.

    Raises:
        UnreachableError: the URL or a header cannot be used; no connection, no TLS or no HTTP.
        UserError: no answer came in time.
    """
    import httpx

    where = url(target, path)
    limit_s = min(limit_s or target.timeouts.total_s, target.timeouts.total_s)
    timeout = httpx.Timeout(
        min(target.timeouts.first_token_s, limit_s), connect=min(target.timeouts.connect_s, limit_s)
    )
    chosen = headers(target)
    with httpx.Client(verify=_tls(target, where), timeout=timeout, trust_env=False) as client:
        started_s = time.monotonic()
        try:
            with client.stream("GET" if body is None else "POST", where, json=body, headers=chosen) as response:
                return _read(response, where, started_s, limit_s)
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
            raise _failure(error, where, time.monotonic() - started_s) from error


def _tls(target: Target, where: str) -> ssl.SSLContext | bool:
    if where.startswith("http://"):
        return False  # loading the certificates would cost 20 ms
    return tls.context(target)


def _read(response: httpx.Response, where: str, started_s: float, limit_s: float) -> Reply:
    import httpx

    pieces: list[bytes] = []
    reads: list[tuple[int, float]] = []
    size, cut = 0, None
    try:
        for piece in response.iter_bytes():
            size += len(piece)
            pieces.append(piece)
            reads.append((size, time.monotonic() - started_s))
            if reads[-1][1] > limit_s or size > MAX_ANSWER_BYTES:
                cut = f"it had not ended after {reads[-1][1]:.0f} s and {size} bytes"
                break
    except httpx.HTTPError as error:
        cut = str(error) or type(error).__name__
    seconds = time.monotonic() - started_s
    return Reply(
        where, response.status_code, response.headers.get("content-type", ""), b"".join(pieces), reads, seconds, cut
    )


# --- What went wrong, in a sentence ----------------------------------------------------------------------------------


def _failure(error: Exception, where: str, seconds: float) -> UserError:
    causes = list(_causes(error))
    _, kind, sentence = next(row for row in _FAILURES if any(_is_a(cause, row[0]) for cause in causes))
    parts = urlsplit(where)
    return kind(
        sentence.format(
            host=parts.netloc.rpartition("@")[2],
            url=shown(where),
            scheme=parts.scheme,
            after=f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s",
            error=str(error) or type(error).__name__,
            tls=_tls_reason(causes),
        )
    )


def _is_a(error: BaseException, name: str) -> bool:
    return any(name == f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)


#: The first row that fits any cause of an error: (type, by name as httpx is imported late; what is raised; sentence).
_FAILURES: tuple[tuple[str, type[UserError], str], ...] = (
    ("httpx.InvalidURL", UnreachableError, "{url} is not a URL: {error}; try http://HOST:PORT"),
    ("builtins.UnicodeError", UnreachableError, "{host} cannot be a host name ({error}); try http://HOST:PORT"),
    (
        "socket.gaierror",
        UnreachableError,
        "host not found: {host}; is the name right, and does it resolve on this machine?",
    ),
    (
        "builtins.ConnectionRefusedError",
        UnreachableError,
        "connection refused: nothing listens at {host}; is the server started, and is the port right?",
    ),
    (
        "ssl.SSLCertVerificationError",
        UnreachableError,
        "the certificate of {host} was not accepted ({tls}): give its authority by --ca-file, or use --insecure",
    ),
    ("ssl.SSLError", UnreachableError, "no TLS at {host} ({tls}); if it speaks plain HTTP, write http://{host}"),
    (
        "httpx.ConnectTimeout",
        UnreachableError,
        "no connection to {host} within {after}; is the address right, or does a firewall drop it?",
    ),
    (
        "httpx.TimeoutException",
        UserError,
        "{url} was silent for {after}; is the server overloaded or still loading its model? A longer timeout may help",
    ),
    (
        "httpx.RemoteProtocolError",
        UnreachableError,
        "{host} does not answer in HTTP ({error}); is that the port of an LLM server, and is {scheme}:// right?",
    ),
    (
        "builtins.Exception",
        UnreachableError,
        "no answer from {url} ({error}); is the address right, and does this machine reach it?",
    ),
)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _tls_reason(causes: list[BaseException]) -> str:
    """The human part of ``[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:992)``."""
    found = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    told = getattr(found, "verify_message", None) or getattr(found, "reason", None) or str(found)
    return str(told).replace("_", " ").lower()


def decoded(target: Target, reply: Reply) -> Any:
    """The JSON of a good answer.

    Raises:
        RefusedError: another status than 200.
        UserError: not JSON, or cut off.
    """
    refuse(target, reply)
    if reply.cut:
        raise UserError(f"the answer of {shown(reply.url)} was cut off: {reply.cut}")
    if _is_html(reply):
        raise UserError(f"{shown(reply.url)} answers with a web page, not with JSON: is the base URL right?")
    try:
        return msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        begins = plain(masked(target, reply.body.decode(errors="replace")))[:60]
        what = f"it begins {begins!r}" if begins else "it is empty"
        raise UserError(
            f"the answer of {shown(reply.url)} is not JSON: {what}; is that the port of an LLM server?"
        ) from error


def refuse(target: Target, reply: Reply) -> None:
    """Nothing for status 200.

    Raises:
        RefusedError: any other status, with what it means and what to try.
    """
    if reply.status == HTTPStatus.OK:
        return
    said = _said(target, reply)
    source = target.api_key_file or target.api_key_env
    key = f"the key in {source} was not accepted" if _key(target) else f"set the environment variable {source}"
    hints = {
        401: f"it wants a key: {key}",
        403: f"access denied: {key}, or ask for the right to use this server",
        404: "no such path: is the base URL right (http://HOST:PORT, without the path of an API)?",
        405: "no such method: is the base URL right?",
        429: "too many requests: wait, or ask for a higher limit",
        503: "not ready or overloaded: wait until the model is loaded",
    }
    hint = hints.get(reply.status, _CLASSES.get(reply.status // 100, "that is no HTTP status"))
    words = f"{shown(reply.url)} answers {reply.status}{_phrase(reply.status)}: {hint}"
    raise RefusedError(f"{words} (it says: {said})" if said else words, reply.status, said)


_CLASSES = {
    1: "an answer that never came to its end",
    2: "an answer without the content that was asked for",
    3: "it points elsewhere: give the final address as base URL",
    4: "it rejects the request",
    5: "the server failed: its log will say why",
}


def _phrase(status: int) -> str:
    return f" {HTTPStatus(status).phrase}" if status in HTTPStatus._value2member_map_ else ""


def _said(target: Target, reply: Reply) -> str:
    """The server's own words, one line, without the key that some servers repeat."""
    if _is_html(reply):
        return ""
    try:
        content = msgspec.json.decode(reply.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = reply.body.decode(errors="replace")
    if isinstance(content, dict):
        content = content.get("error") or content.get("detail") or content.get("message") or content
    text = message_of(content)
    return plain(masked(target, text))[:MAX_QUOTE]


def _is_html(reply: Reply) -> bool:
    return "text/html" in reply.content_type or reply.body.lstrip()[:15].lower().startswith((b"<!doctype", b"<html"))


def plain(text: bytes | str) -> str:
    """One line that is safe to print: control characters, which could steer a terminal, become spaces."""
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
