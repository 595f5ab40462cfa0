from __future__ import annotations

import contextlib
import ssl

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from conftest import NOT_FOUND, PAGE, Asked, Said, Serve, serving
from inferometer.config.models import Target, Timeouts
from inferometer.errors import UserError
from inferometer.telemetry import ask


def to(base_url: str, **fields: object) -> Target:
    return Target.model_validate({"base_url": base_url, "timeouts": Timeouts(connect_s=2, first_token_s=2), **fields})


@pytest.mark.parametrize("base", ["http://h:8", "http://h:8/", "http://h:8/v1", "http://h:8/v1/", " http://h:8/v1 "])
def test_the_base_url_may_end_as_people_write_it(base: str) -> None:
    assert ask.url(to(base), "/v1/models") == "http://h:8/v1/models"


@pytest.mark.parametrize(
    ("base", "full"),
    [
        ("https://h/openai/v1/", "https://h/openai/v1/models"),
        ("http://[::1]:80/", "http://[::1]:80/v1/models"),
        ("http://h/v1/v1", "http://h/v1/v1/models"),
        ("http://h/apiv1", "http://h/apiv1/v1/models"),
    ],
)
def test_a_path_prefix_is_kept(base: str, full: str) -> None:
    assert ask.url(to(base), "v1/models") == full


@pytest.mark.parametrize(
    ("base", "says"),
    [
        ("", "does not begin with http"),
        ("localhost:8000", "try http://localhost:8000"),
        ("ftp://h", "try http://h"),
        ("http://", "names no host"),
        ("http://a b", "names no host"),
        ("http://[::1", "is not a URL"),
        ("http://h:99999", "is not a URL"),
        ("http://h/?x=1", "a query or a fragment"),
    ],
)
def test_a_wrong_url_is_named_with_what_to_try(base: str, says: str) -> None:
    with pytest.raises(ask.UnreachableError, match=says.replace("?", r"\?")):
        ask.url(to(base), "/health")


@given(st.text(max_size=40))
def test_any_text_is_a_url_or_a_user_error(text: str) -> None:
    with contextlib.suppress(UserError):
        assert ask.url(Target(base_url=text), "/health").endswith("/health")


@given(st.text("s:/@", max_size=8), st.text("ab:/@", max_size=20))
def test_a_password_in_a_url_is_never_shown(more: str, tail: str) -> None:
    assert "s3cret" not in ask.shown(f"http://user:s3cret{more}@host/{tail}")
    assert "s3cret" not in ask.shown(f"user:s3cret{more}@host")


@pytest.mark.parametrize("url", ["http://h:8/v1", "", "h", "https://h/://x", "://"])
def test_a_url_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert ask.shown(url) == url


def test_the_key_and_the_headers_are_sent(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Asked] = []

    def respond(asked: Asked) -> Said:
        seen.append(asked)
        return Said()

    monkeypatch.setenv("MY_KEY", "k1\n")
    monkeypatch.setenv("BASIC", "Basic b")
    base = serve(respond)
    ask.fetch(to(base, api_key_env="MY_KEY", headers={"X-Team": "a"}), "/health")
    ask.fetch(to(base, api_key_env="MY_KEY", headers={"Authorization": "$BASIC"}), "/health")
    ask.fetch(to(base, api_key_env="NOT_SET"), "/health")
    assert [asked.headers.get("authorization") for asked in seen] == ["Bearer k1", "Basic b", None]
    assert seen[0].headers["x-team"] == "a"


@pytest.mark.parametrize("headers", [{"bad name": "x"}, {"": "x"}, {"x": "a\r\nb: c"}, {"x": "é"}])
def test_headers_that_cannot_be_sent_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ask.UnreachableError, match="no HTTP header can carry"):
        ask.headers(to("http://h", headers=headers))


@pytest.mark.parametrize("around", [" {}", "{}  ", "{}\r\n"])
def test_white_space_around_a_secret_is_not_sent_and_not_told(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    monkeypatch.setenv("SECRET", around.format("sk-planted"))
    target = to(serve(lambda asked: Said([asked.headers["x-api-key"]])), headers={"X-Api-Key": "$SECRET"})
    assert ask.decoded(target, ask.fetch(target, "/v1/models")) == ["sk-planted"]


@pytest.mark.parametrize("written", ["Bearer {}", "bearer {}", "Basic {}", "Token  {}", "{}"])
def test_a_secret_is_masked_whatever_its_scheme(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("SECRET", written.format("sk-planted=="))
    target = to("http://h", headers={"Authorization": "$SECRET"}, api_key_env="NOT_SET")
    assert ask.masked(target, "not a good key: sk-planted==!") == "not a good key: ***!"


def test_a_cookie_is_masked_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COOKIE", "session=abc; theme=dark")
    target = to("http://h", headers={"Cookie": "$COOKIE"}, api_key_env="NOT_SET")
    assert ask.secrets(target) == ("session=abc; theme=dark",)


def test_a_key_file_in_nobodys_home_is_a_sentence() -> None:
    with pytest.raises(UserError, match=r"key file ~no-such-user/key cannot be read: No such file"):
        ask.headers(to("http://h", api_key_file="~no-such-user/key"))


def test_proxies_of_the_environment_are_not_used(
    serve: Serve, refusing_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", refusing_url)
    monkeypatch.setenv("all_proxy", refusing_url)
    assert ask.fetch(to(serve(lambda _: Said())), "/health").status == 200


def test_nothing_listens(refusing_url: str) -> None:
    with pytest.raises(ask.UnreachableError, match=r"connection refused: nothing listens at 127\.0\.0\.1:"):
        ask.fetch(to(refusing_url), "/health")


@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b"])
def test_a_host_that_is_not_found(host: str) -> None:
    with pytest.raises(ask.UnreachableError, match=r"host not found|cannot be a host name"):
        ask.fetch(to(f"http://{host}:8000"), "/health")


def test_silence_is_not_unreachable(silent_url: str) -> None:
    with pytest.raises(UserError, match=r"/health was silent for .* A longer timeout may help") as caught:
        ask.fetch(to(silent_url, timeouts=Timeouts(first_token_s=0.1)), "/health")
    assert not isinstance(caught.value, ask.UnreachableError)


def test_https_to_a_plain_server(serve: Serve) -> None:
    base = serve(lambda _: Said()).replace("http://", "https://")
    with pytest.raises(ask.UnreachableError, match="if it speaks plain HTTP, write http://127"):
        ask.fetch(to(base), "/health")


def test_an_unknown_certificate_can_be_accepted() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with serving(lambda _: Said(b"ok"), context) as base:
        with pytest.raises(
            ask.UnreachableError, match=r"the certificate of 127.0.0.1:\d+ was not accepted .*--insecure"
        ):
            ask.fetch(to(base), "/health")
        assert ask.fetch(to(base, verify_tls=False), "/health").body == b"ok"


def test_an_answer_without_end_is_cut_off_in_time(serve: Serve) -> None:
    reply = ask.fetch(to(serve(lambda _: Said(pieces=(b"abc",), cut=True))), "/x")
    assert (reply.status, reply.body, reply.reads[0][0]) == (200, b"abc", 3)
    assert reply.cut
    with pytest.raises(UserError, match="was cut off"):
        ask.decoded(to("http://h"), reply)


@pytest.mark.parametrize(
    ("said", "says"),
    [
        (NOT_FOUND, r"404 Not Found: no such path.*\(it says: Not Found\)"),
        (Said(b"404 page not found", 404, "text/plain"), r"it says: 404 page not found"),
        (PAGE._replace(status=404), r"without the path of an API\)\?$"),
        (Said(b"", 503), r"503 Service Unavailable: not ready"),
        (Said({"error": {"message": "boom"}}, 500), r"the server failed.*boom"),
        (Said(b"", 302), r"302 Found: it points elsewhere"),
        (Said({"message": "\x1b[31mred"}, 418), r"it says: \[31mred\)"),
        (Said(b"", 599), r"answers 599: the server failed"),
        (PAGE, r"a web page, not with JSON: is the base URL right\?"),
        (Said(b"hello"), r"is not JSON: it begins 'hello'"),
        (Said(b"\xff\xfe"), r"is not JSON"),
        (Said(b"[" * 100_000), r"is not JSON"),
        (Said(b""), r"is not JSON: it is empty"),
    ],
)
def test_answers_that_are_not_what_was_asked_for(serve: Serve, said: Said, says: str) -> None:
    target = to(serve(lambda _: said))
    with pytest.raises(UserError, match=says):
        ask.decoded(target, ask.fetch(target, "/v1/models"))


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_or_wrong_key_names_its_variable(serve: Serve, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    target = to(
        serve(lambda a: Said({"error": f"Bad key: {a.headers.get('authorization')}"}, status)), api_key_env="K_ENV"
    )
    with pytest.raises(ask.RefusedError, match="set the environment variable K_ENV"):
        ask.decoded(target, ask.fetch(target, "/v1/models"))
    monkeypatch.setenv("K_ENV", "sk-planted")
    with pytest.raises(ask.RefusedError, match=r"the key in K_ENV was not accepted.*Bearer \*\*\*") as caught:
        ask.decoded(target, ask.fetch(target, "/v1/models"))
    assert caught.value.status == status
    assert "sk-planted" not in str(caught.value)


@given(st.text())
def test_plain_text_cannot_steer_a_terminal(text: str) -> None:
    assert ask.plain(text).isprintable()
