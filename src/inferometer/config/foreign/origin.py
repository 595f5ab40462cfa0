"""Where a plan is from: its part of another tool's file, which is kept with the run. Secrets are left out. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml
from pydantic import ValidationError

from inferometer.config.foreign.substitution import substituted
from inferometer.config.foreign.translated import Where
from inferometer.config.frozen import Frozen
from inferometer.config.headers import is_secret

#: How keys end, without ``-`` and ``_``, whose values are credentials, or addresses.
_SECRETS = (
    "apikey",
    "accesskey",
    "secretkey",
    "password",
    "passwd",
    "secret",
    "credentials",
    "authorization",
    "bearer",
)
_ADDRESSES = ("url", "target")
_USER = re.compile(r"(?<=://)[^/@\s]*@")


class Origin(Frozen):
    """A part of another tool's document, with variables filled in and aliases written out.

    Attributes:
        format: whose it is, as ``--format`` has it.
        file: name of the file, without its folder.
        harness: the tool whose words ``document`` has.
        workload: what this part is called; the stem of the file where it has one alone.
        stack: what the user calls the server; may be empty.
        document: the part.
    """

    format: str
    file: str
    harness: str
    workload: str
    stack: str = ""
    document: dict[Any, Any]


def of_file(world: str, document: Mapping[str, Any], where: Where, environment: Mapping[str, str]) -> Origin:
    """The origin of the plans of a document that has one workload alone."""
    filled = substituted(document, where, environment).document
    return Origin(
        format=world,
        file=where.path.name,
        harness=world,
        workload=where.path.stem,
        document=without_secrets(filled),
    )


def without_secrets(document: Any) -> Any:
    """The same without keys of APIs, tokens, passwords, headers that carry one, and users and queries of addresses."""
    if isinstance(document, Mapping):
        return {key: _cleaned(_plain(key), value) for key, value in document.items() if not _is_secret(key, value)}
    if isinstance(document, list):
        return [without_secrets(part) for part in document]
    return _USER.sub("", document) if isinstance(document, str) else document


def plain_address(url: str) -> str:
    """An address without its user and its query, in which a key can be."""
    return _USER.sub("", url).partition("?")[0]


def dump(origin: Origin) -> str:
    """As YAML that ``parsed`` takes back; without anchors, whatever occurs twice."""
    return written(origin.model_dump())


def written(document: Any) -> str:
    """Plain data as YAML in the order of its keys, with everything written out."""
    return yaml.dump(document, Dumper=_WrittenOut, sort_keys=False, allow_unicode=True, width=120)


def parsed(text: str) -> Origin | None:
    """An origin from its YAML; None if it is none, or of another version."""
    try:
        return Origin.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError, ValueError, RecursionError):
        return None


class _WrittenOut(yaml.SafeDumper):
    """No anchors and aliases."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 (the name that the library calls)
        return True


def _plain(key: object) -> str:
    return str(key).lower().replace("-", "").replace("_", "")


def _is_secret(key: object, value: Any) -> bool:
    """A token is a text: a number is one of those that servers make, such as a limit on the time per output token."""
    return _plain(key).endswith(_SECRETS) or (_plain(key).endswith("token") and isinstance(value, str))


def _cleaned(name: str, value: Any) -> Any:
    if name.endswith("headers") or name == "header":
        return _headers(value)
    return plain_address(value) if name.endswith(_ADDRESSES) and isinstance(value, str) else without_secrets(value)


def _headers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: told for name, told in value.items() if not is_secret(str(name))}
    if isinstance(value, list):
        return [one for one in value if not is_secret(str(one).partition("=")[0])]
    return value if not isinstance(value, str) or not is_secret(value.partition("=")[0]) else None
