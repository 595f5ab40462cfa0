"""TLS: whom the client trusts, and who it says it is."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from conftest import good, serving
from faults.playing import FOUR_AT_ONCE, Played, play
from faults.rows import Row, check

UNKNOWN = Row(
    "a certificate of an authority that nobody knows",
    "`the certificate of`, `was not accepted`, `--insecure`",
    {},
    2,
)
KNOWN = Row("the same, with `--ca-file FILE`", "nothing: it is trusted", {"ok": 12}, 0)
UNCHECKED = Row("the same, with `--insecure`", "nothing: it is not checked", {"ok": 12}, 0)
ANONYMOUS = Row(
    "a server that wants a certificate of its clients",
    "a sentence that names the server and what its TLS says",
    {},
    2,
)
NAMED = Row(
    "the same, with `--client-cert FILE --client-key FILE`",
    "nothing: the certificate is shown to it",
    {"ok": 12},
    0,
)
UNREADABLE = Row(
    "a certificate file that cannot be read",
    "`the certificate file`, `cannot be used`, `give a readable PEM file`",
    {},
    2,
)
ROWS = (UNKNOWN, KNOWN, UNCHECKED, ANONYMOUS, NAMED, UNREADABLE)


class Files(NamedTuple):
    """Certificates of one authority, as files."""

    authority: Path
    certificate: Path
    key: Path


class Place(NamedTuple):
    """Two servers of that authority, the second of which wants to know its clients."""

    files: Files
    open_url: str
    closed_url: str


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    authority, folder = trustme.CA(), tmp_path_factory.mktemp("tls")
    files = Files(folder / "ca.pem", folder / "client.pem", folder / "client.key")
    authority.cert_pem.write_to_path(str(files.authority))
    client = authority.issue_cert("client.example.org")
    client.cert_chain_pems[0].write_to_path(str(files.certificate))
    client.private_key_pem.write_to_path(str(files.key))
    with (
        serving(good, server_context(authority)) as open_url,
        serving(good, server_context(authority, wants_certificate=True)) as closed_url,
    ):
        yield Place(files, open_url, closed_url)


def server_context(authority: trustme.CA, *, wants_certificate: bool = False) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    if wants_certificate:
        context.verify_mode = ssl.CERT_REQUIRED
        authority.configure_trust(context)
    return context


def run(url: str, tmp_path: Path, *more: object) -> Played:
    return play(url, tmp_path / "r", *FOUR_AT_ONCE, *more)


def test_an_unknown_authority(place: Place, tmp_path: Path) -> None:
    check(UNKNOWN, run(place.open_url, tmp_path))


def test_an_authority_of_ones_own(place: Place, tmp_path: Path) -> None:
    played = run(place.open_url, tmp_path, "--ca-file", place.files.authority)
    check(KNOWN, played)
    assert set(played.measured("clock")) <= {"kernel", "userland"}


def test_an_unchecked_certificate(place: Place, tmp_path: Path) -> None:
    check(UNCHECKED, run(place.open_url, tmp_path, "--insecure"))


def test_a_server_that_wants_a_certificate(place: Place, tmp_path: Path) -> None:
    played = run(place.closed_url, tmp_path, "--ca-file", place.files.authority)
    check(ANONYMOUS, played)
    assert place.closed_url.partition("://")[2] in played.text
    assert len(played.err.splitlines()) == 1


def test_a_client_with_a_certificate(place: Place, tmp_path: Path) -> None:
    files = place.files
    own = ("--ca-file", files.authority, "--client-cert", files.certificate, "--client-key", files.key)
    check(NAMED, run(place.closed_url, tmp_path, *own))


@pytest.mark.parametrize("flag", ["--ca-file", "--client-cert"])
def test_a_file_that_is_none(place: Place, tmp_path: Path, flag: str) -> None:
    played = run(place.open_url, tmp_path, flag, tmp_path / "nosuch.pem")
    check(UNREADABLE, played)
    assert "nosuch.pem" in played.err
